"""What must never be: the invariants of the protocol (S1-S5, S7), asked of a transition or of a state.

Each answer is one line that says what is broken, or nothing. S6, that an observation which failed removes nothing, has
no place here: nothing in the model can be removed by an operator.
"""

from __future__ import annotations

from pgswarm.sim.model.state import MEMBERS, PRIMARY, READY, Member, Rec, State, bits, index


def judge_told(state: State, member: Member, told: int) -> str:
    """S2: once a later term is decided, only what its winner has may still be acknowledged."""
    fresh = told & ~state.acked
    for term, had, _ in state.winners:
        if term > member.reigned and fresh & ~had:
            without = commits(fresh & ~had)
            return f"S2: {member.inc} acknowledges {without} in term {member.reigned}; term {term} is without it"
    return ""


def judge_decision(state: State, new: Rec, dead: str) -> str:
    """S1, S3, S7: one primary a term, it has everything but what only the `dead` have, and one content a revision."""
    old = state.record
    for rec in state.recs:
        if (rec.term, rec.rev) == (new.term, new.rev) and rec != new:
            return f"S7: two records of term {new.term}, revision {new.rev}"
        if rec.term == new.term and rec.primary != new.primary:
            return f"S1: two primaries of term {new.term}: {rec.primary} and {new.primary}"
    if new.term < old.term:
        return f"the record goes back from term {old.term} to {new.term}"
    winner = state.members[index(new.primary)]
    if new.primary != old.primary and winner.inc == new.primary:
        missing = state.acked & ~bits(winner.log)
        who = _who_has(state, missing, dead) if dead else new.primary
        if missing and who:
            has = f"; {who}, whom nobody has given up, has it" if dead else ""
            return f"S3: {new.primary} is to begin term {new.term} without {commits(missing)}{has}"
    return ""


def _who_has(state: State, missing: int, dead: str) -> str:
    """A claimed member that has some of it, and was not given up."""
    for name, member in zip(MEMBERS, state.members, strict=False):
        if name not in dead and member.inc in state.record.claim and bits(member.log) & missing:
            return member.inc
    return ""


def owed(state: State, member: Member, told: int) -> int:
    """What of this counts as acknowledged: nothing of a member that a person has given up for dead."""
    name = member.inc.partition("/")[0]
    return 0 if any(term > member.reigned and name in dead for term, _, dead in state.winners) else told


def judge_ending(state: State, i: int) -> str:
    """S5: no agent ends a data directory that is claimed, or that has the only copy of an acknowledged commit."""
    member = state.members[i]
    if member.inc in state.record.claim:
        return f"S5: {member.inc} is made anew while the record counts on it"
    others = 0
    for j, other in enumerate(state.members):
        if j != i and other.data == READY:
            others |= bits(other.log)
    only = state.acked & bits(member.log) & ~others
    return f"S5: {member.inc} is made anew, and had the only copy of {commits(only)}" if only else ""


def broken(state: State) -> str:
    """S1 and S4, of a state as it is."""
    return _two_reigns(state) or _false_claim(state)


def commits(mask: int) -> str:
    """These commits, in words."""
    return ", ".join(f"commit {n}" for n in range(mask.bit_length()) if mask >> n & 1)


def _two_reigns(state: State) -> str:
    reigns = [(member.reigned, member.inc) for member in state.members if member.role == PRIMARY]
    for n, (term, name) in enumerate(reigns):
        for other, second in reigns[n + 1 :]:
            if term == other:
                return f"S1: {name} and {second} are both primary of term {term}"
    return ""


def _false_claim(state: State) -> str:
    """S4. A directory that a fault has taken still counts: the claim is about where commits were put."""
    rec = state.record
    missing = state.acked
    if not missing:
        return ""
    had = dict(state.graves)
    copies = [had.get(name, 0) for name in rec.claim]
    for n, name in enumerate(rec.claim):
        member = state.members[MEMBERS.index(name[0])]
        if member.inc == name:
            copies[n] = bits(member.log)
    for commit in range(missing.bit_length()):
        if missing >> commit & 1 and sum(copy >> commit & 1 for copy in copies) < rec.r:
            return f"S4: commit {commit} is not on {rec.r} of {', '.join(rec.claim)} (revision {rec.rev})"
    return ""
