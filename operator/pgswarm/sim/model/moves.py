"""Everything that can happen next, from one state: the transitions of the model, each with what it may break.

The world (crashes, lost volumes, clients, PostgreSQL's processes), the agents (`law`) and the operators (`operators`)
take turns in any order. Bounds keep it finite: terms, commits, crashes, lost volumes, revisions that are still spoken
of, and old reports that are still believed.

What can only be judged while it happens is judged here: an acknowledgement after a later term was decided (S2), a
decision (S1, S3), a promotion (S3), a data directory that goes (S5), a log that the lineage calls ours and is not.
What can be seen in a state is in `invariants`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from pgswarm.core import duty
from pgswarm.sim.model import law, operators, postgres, prompt
from pgswarm.sim.model.canon import canonical
from pgswarm.sim.model.invariants import commits, judge_decision, judge_ending, judge_told, owed
from pgswarm.sim.model.state import (
    MEMBERS,
    NO_WAITING,
    PRIMARY,
    READY,
    STANDBY,
    Member,
    Rec,
    Seen,
    State,
    asleep,
    bits,
    empty,
    index,
    outdated,
    record_of,
    seen,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far the exploration goes."""

    members: int = 2
    terms: int = 3
    commits: int = 2
    crashes: int = 2
    losses: int = 1
    wishes: int = 1
    revisions: int = 3
    held: int = 1


class Move(NamedTuple):
    """One transition: what happened (in words once it is wanted), what it leads to, what it breaks."""

    what: tuple[object, ...]
    state: State
    broken: str


def moves(state: State, bounds: Bounds) -> Iterator[Move]:
    """All transitions, in an order that never changes."""
    for move in _moves(state, bounds):
        yield from _remembered(state, move, bounds)


def _moves(state: State, bounds: Bounds) -> Iterator[Move]:
    yield from _decide(state, bounds)
    if state.wishes < bounds.wishes and not state.record.wish:
        for wish in _wishes(bounds):
            new = state.record._replace(rev=state.record.rev + 1, wish=wish)
            yield Move(("wish", wish), _written(state, new)._replace(wishes=state.wishes + 1), "")
    for i, member in enumerate(state.members):
        known = record_of(state, member)
        for rec in state.recs:
            after = law.hear(member, MEMBERS[i], known, rec)
            if after is not None:
                yield _move(state, i, after, ("hear", i, rec))
        for term in range(member.promised + 1, min(state.record.term + 1, bounds.terms) + 1):
            after = law.promise(member, MEMBERS[i], known, term)
            if after is not None:
                yield _move(state, i, after, ("promise", i, term))
        yield from _duty(state, i, known)
        if member.role == PRIMARY:
            yield from _reign(state, i, bounds)
        if member.role == STANDBY:
            yield from _receive(state, i)
        if state.crashes < bounds.crashes:
            yield from _crash(state, i)
        if state.losses < bounds.losses and member.data == READY:
            yield _lose(state, i)


def _wishes(bounds: Bounds) -> tuple[str, ...]:
    """All that a person may ask for; the members whom they give up may well be alive."""
    names = MEMBERS[: bounds.members]
    some = [dead for size in range(1, bounds.members) for dead in combinations(names, size)]
    return ("switchover:", "failover:", *(f"accept-loss:{''.join(dead)}" for dead in some))


def _decide(state: State, bounds: Bounds) -> Iterator[Move]:
    sights = []
    for member, old in zip(state.members, state.held, strict=True):
        now = seen(member, record_of(state, member), state.record)
        sights.append((now,) if old is None else (now, old))
    for read in state.recs:
        if not operators.succeeds(state.record, read):
            continue
        for new, reason in operators.writes(read, tuple(sights)):
            if new.term <= bounds.terms:
                yield _decided(state, new, reason)


def _decided(state: State, new: Rec, reason: str) -> Move:
    """The write, and what its winner has: nothing else may be acknowledged in a lower term from now on."""
    kind, _, named = state.record.wish.partition(":")
    dead = named if kind == "accept-loss" and reason.startswith("loss accepted") else ""
    after = _written(state, new)
    if new.lineage[-1][2] != state.record.lineage[-1][2]:
        winner = state.members[index(new.primary)]
        if winner.inc == new.primary:
            had = bits(winner.log)
            acked = state.acked & had if dead else state.acked
            after = after._replace(winners=(*state.winners, (new.term, had, dead)), acked=acked)
    return Move(("write", new, reason), after, judge_decision(state, new, dead))


def _written(state: State, new: Rec) -> State:
    """The record as it is now; what old reports say of the former one counts for nothing any more."""
    held = tuple(old and outdated(old, by_term=new.term != state.record.term) for old in state.held)
    return state._replace(recs=(*state.recs, new), held=held)


def _duty(state: State, i: int, known: Rec | None) -> Iterator[Move]:
    member = state.members[i]
    source, diverged = prompt.upstream_of(state, i, known)
    found = law.done(member, MEMBERS[i], known, source, diverged=diverged)
    if found is None:
        return
    after, action = found
    broken = ""
    match action:
        case duty.Promote():
            missing = state.acked & ~bits(member.log)
            broken = f"S3: {member.inc} is promoted without {commits(missing)}" if missing else ""
        case duty.Rewind() | duty.Clone():
            if after.inc != member.inc:
                broken = judge_ending(state, i)
                state = _buried(state, i)
        case _:
            pass
    yield _move(state, i, after, ("duty", i, action), broken=broken)


def _reign(state: State, i: int, bounds: Bounds) -> Iterator[Move]:
    member = state.members[i]
    if member.open and state.made < bounds.commits:
        after, told = postgres.commit(member, state.made)
        yield _told(state._replace(made=state.made + 1), i, after, told, ("commit", i, state.made))
    if member.waits != (member.setting != NO_WAITING):
        yield _told(state, i, *postgres.flag(member), ("flag", i))
    for at, sender in enumerate(member.senders):
        if sender.taken != member.setting:
            yield _move(state, i, postgres.take_up(member, at), ("take up", i, sender.inc, member.setting))
        if not postgres.is_attached(member, at, state.members[index(sender.inc)]):
            yield _move(state, i, postgres.disconnect(member, at), ("disconnect", i, sender.inc))


def _receive(state: State, i: int) -> Iterator[Move]:
    member = state.members[i]
    assert member.upstream is not None
    primary = state.members[index(member.upstream[0])]
    reign = record_of(state, primary)
    if primary.role != PRIMARY or reign is None:
        return
    fork = next((one[3] for one in reign.lineage if one[2] == primary.tl), 0)
    after = postgres.receive(primary, member, fork)
    if after is not None:
        yield _move(state, i, after, ("receive", i, len(after.log)))


def _crash(state: State, i: int) -> Iterator[Move]:
    """Of the agent. A PostgreSQL that crashes alone is one whose agent is then sent its order again."""
    member = state.members[i]
    if member.role or member.heeded:
        less = state._replace(crashes=state.crashes + 1)
        yield _move(less, i, asleep(member)._replace(heeded=False), ("crash", i))


def _lose(state: State, i: int) -> Move:
    less = _buried(state, i)
    return _move(less._replace(losses=state.losses + 1), i, empty(state.members[i]), ("lose the volume", i))


def _buried(state: State, i: int) -> State:
    member = state.members[i]
    return state._replace(graves=tuple(sorted((*state.graves, (member.inc, bits(member.log))))))


def _move(state: State, i: int, after: Member, what: tuple[object, ...], *, broken: str = "") -> Move:
    members = (*state.members[:i], after, *state.members[i + 1 :])
    return Move(what, state._replace(members=members), broken)


def _told(state: State, i: int, after: Member, told: int, what: tuple[object, ...]) -> Move:
    told = owed(state, after, told)
    broken = judge_told(state, after, told) if told else ""
    move = _move(state, i, after, what, broken=broken)
    return move._replace(state=move.state._replace(acked=state.acked | told))


def _remembered(state: State, move: Move, bounds: Bounds) -> Iterator[Move]:
    """With every change of what a member would say, an operator may go on believing its former words."""
    after, broken = prompt.at_once(move.state)
    fresh = canonical(after)
    if len(fresh.recs) > bounds.revisions:
        return
    yield Move(move.what, fresh, move.broken or broken)
    if not bounds.held:
        return
    for i, (before, now) in enumerate(zip(state.members, after.members, strict=True)):
        if before is now:
            continue
        old = seen(before, record_of(state, before), after.record)
        if old == seen(now, record_of(after, now), after.record) or old == fresh.held[i]:
            continue
        others = sum(one is not None for j, one in enumerate(fresh.held) if j != i)
        kept: list[Seen | None] = list(fresh.held) if others < bounds.held else [None] * len(fresh.held)
        kept[i] = old
        yield Move((*move.what, "believed"), fresh._replace(held=tuple(kept)), "")
