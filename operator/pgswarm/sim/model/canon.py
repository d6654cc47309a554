"""One form for states that differ in nothing that matters: fewer states, and moving claims to and fro comes to an end.

- Revisions are ranked: only their order is ever asked for.
- A record that is not the newest is kept only while some member could accept an order made from it.
- A report that is held and says what is true now is not held; what a dead directory held matters while it is named.
- What a member remembers of a reign or of a primary that no record speaks of any more leads to nothing.
- What a winner had matters while somebody may still acknowledge in a lower term.
"""

from __future__ import annotations

from pgswarm.sim.model import law
from pgswarm.sim.model.state import MEMBERS, PRIMARY, Member, Rec, Seen, State, record_of, seen


def canonical(state: State) -> State:
    """The one form of this state."""
    held = tuple(
        None if old is None or old == seen(member, record_of(state, member), state.record) else old
        for old, member in zip(state.held, state.members, strict=True)
    )
    recs = _spoken_of(state)
    members = tuple(_forgetful(member, record_of(state, member), recs) for member in state.members)
    graves = tuple(one for one in state.graves if _is_named(one[0], recs, held)) if state.graves else ()
    winners = tuple(one for one in state.winners if _is_awaited(one[0], members, recs)) if state.winners else ()
    rank = {rec.rev: place for place, rec in enumerate(recs, 1)}
    if any(rev != place for rev, place in rank.items()):
        recs = tuple(rec._replace(rev=rank[rec.rev]) for rec in recs)
    members = tuple(_ranked(member, rank) for member in members)
    return state._replace(recs=recs, members=members, held=held, graves=graves, winners=winners)


def _spoken_of(state: State) -> tuple[Rec, ...]:
    orders = {member.order for member in state.members}
    return tuple(
        rec
        for rec in state.recs
        if rec is state.recs[-1]
        or rec.rev in orders
        or any(_may_hear(state, i, rec) for i in range(len(state.members)))
    )


def _may_hear(state: State, i: int, rec: Rec) -> bool:
    member = state.members[i]
    return law.hear(member, MEMBERS[i], record_of(state, member), rec) is not None


def _forgetful(member: Member, rec: Rec | None, recs: tuple[Rec, ...]) -> Member:
    follows = member.follows
    if follows is not None and rec is not None and follows != (rec.primary, rec.term):
        member = member._replace(follows=None)
    if member.own_tl and member.role != PRIMARY and not _may_reign_on(member, recs):
        member = member._replace(reigned=0, own_tl=0, begun=False)
    return member


def _may_reign_on(member: Member, recs: tuple[Rec, ...]) -> bool:
    return any(rec.primary == member.inc and rec.lineage[-1][2] == member.own_tl for rec in recs)


def _is_awaited(term: int, members: tuple[Member, ...], recs: tuple[Rec, ...]) -> bool:
    """May somebody acknowledge in a lower term, now or by an order that is under way?"""
    return any(
        (member.role == PRIMARY and member.reigned < term)
        or any(member.promised <= rec.term < term and rec.primary == member.inc for rec in recs)
        for member in members
    )


def _is_named(name: str, recs: tuple[Rec, ...], held: tuple[Seen | None, ...]) -> bool:
    return any(name in rec.claim or name in rec.names for rec in recs) or any(old and old.inc == name for old in held)


def _ranked(member: Member, rank: dict[int, int]) -> Member:
    force = member.force if member.force and member.force[0] == member.order else None
    order = rank[member.order] if member.order else 0
    if force is not None:
        force = (order, force[1])
    if order == member.order and force == member.force:
        return member
    return member._replace(order=order, force=force)
