"""What happens at once, because its coming late breaks nothing that its coming early does not break.

Every state in which something is due has fewer ways on than the one in which it is done; so only the latter is looked
at, and that is most of what makes the exploration finite in an hour. For each of these there is an argument:

- *A reply, a connection, the release of those who wait, the doors opening, the postmaster reading the setting*: more is
  acknowledged, sooner; what is acknowledged stays so, and every invariant is about what is acknowledged.
- *The word that the setting is in force*: the earliest is the weakest proof, and may be believed late.
- *PostgreSQL started, the end of the log found once nothing is received, a standby following, a raised term assumed*:
  nobody else can tell a member that is slow at this from one that is thought lost, and whatever may come in between
  (an order, a promise, a crash) may come after, to the same end.

Not so, and therefore moves: a PostgreSQL that is stopped late, a receiver that is stopped late, a promotion, a clone,
the flag, a walsender that takes a setting up.
"""

from __future__ import annotations

from pgswarm.core import duty
from pgswarm.core.claim import member_of
from pgswarm.sim.model import law, postgres
from pgswarm.sim.model.invariants import judge_told, owed
from pgswarm.sim.model.state import FENCED, MEMBERS, PRIMARY, STANDBY, Member, Rec, State, bits, index, record_of


def at_once(state: State) -> tuple[State, str]:
    """The state in which all that is done, and what that breaks."""
    broken = ""
    while True:
        after, wrong = _agents(state)
        after, told_wrong = _primaries(after)
        broken = broken or wrong or told_wrong
        if after is state:
            return state, broken
        state = after


def upstream_of(state: State, i: int, known: Rec | None) -> tuple[Member | None, bool]:
    """The primary of this member's order, if it confirms its reign; and whether PostgreSQL finds the logs to differ."""
    member = state.members[i]
    if known is None or member_of(known.primary) == MEMBERS[i]:
        return None, False
    other = state.members[index(known.primary)]
    if other.inc != known.primary or other.role != PRIMARY:
        return None, False
    reigns = other.reigned == known.term == other.promised
    return other if reigns else None, member.role == STANDBY and not other.log.startswith(member.log)


def _agents(state: State) -> tuple[State, str]:
    broken = ""
    for i, member in enumerate(state.members):
        known = record_of(state, member)
        source, diverged = upstream_of(state, i, known)
        found = law.done(member, MEMBERS[i], known, source, diverged=diverged)
        if found is None:
            continue
        after, action = found
        match action:
            case duty.Start() | duty.Assume():
                pass
            case duty.Settle() if member.role == FENCED:
                pass
            case duty.Follow():
                if source is not None and not source.log.startswith(member.log):
                    broken = f"lineage: {member.inc} is said to lie on the line of {source.inc}, and does not"
            case _:
                continue
        state = state._replace(members=(*state.members[:i], after, *state.members[i + 1 :]))
    return state, broken


def _primaries(state: State) -> tuple[State, str]:
    broken = ""
    for i, member in enumerate(state.members):
        if member.role != PRIMARY:
            continue
        rec = record_of(state, member)
        after = postgres.loaded(member, rec)
        for standby in state.members:
            if standby.role == STANDBY and standby.upstream and index(standby.upstream[0]) == i:
                after = postgres.joined(after, standby)
        told = postgres.released(after) if after.open else 0
        if postgres.may_open(after, rec):
            after, told = after._replace(open=True), bits(after.log)
        after = postgres.proved(after, rec)
        told = owed(state, after, told)
        if told & ~state.acked:
            broken = broken or judge_told(state, after, told)
            state = state._replace(acked=state.acked | told)
        if after is not member:
            state = state._replace(members=(*state.members[:i], after, *state.members[i + 1 :]))
    return state, broken
