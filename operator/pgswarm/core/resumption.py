"""May a former primary go on by its own durable word, with no operator to ask? (PROTOCOL, an agent's law 5)

After an outage of everything the agents may be back long before anything that can read the record. Who was primary of
a term by the last order that it made durable may go on in it, armed with the sync of that order, once every member of
that order's claim has said that it is still that incarnation and has promised nothing above.

Why the order may be older than the record, and it is safe all the same: any claim that the record can have reached
since, in this term, is implied by the sync of the order held here. A weaker claim is implied by the one before. A
stronger one is written only after *this* member has acknowledged an order with a sync that implies it, so that order,
or a later one, is the one held here. So whatever quorum a successor had, it leaves too few to confirm a commit here;
and with a sync of nobody only this member's own promise is a quorum, and it has given none. The question to the others
thus guards no commit. It keeps a member from beginning a log that is already over, and from letting readers into it.

Two things do depend on the others: a person may have accepted the loss of this very member, so whoever is heard with a
newer promise stops it, counted or not; and in `async` a successor needs no promise of it, so there everybody is asked
(and nothing is written before the grant, for which they are asked again: member/grant).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgswarm.core.claim import Incarnation, member_of
from pgswarm.core.memory import Memory, Verdict
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, MemberReport

PATIENCE = 5.0
"""Seconds that an operator is given to speak first; one that is well needs a fraction of a second."""

FRESH = 3.0
"""Seconds after which another member's word is asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What another member said of itself, and when."""

    report: MemberReport
    at: float


def heard_as(report: MemberReport, order: Order | None) -> str:
    """Under which name its word is kept: its own, if it speaks from where the order has its place.

    A member that has moved may be alive in two places. Who speaks from another one than the order names is not it;
    but a newer promise of his, too, says that a term is over.
    """
    place = order.place_of(report.member) if order is not None else ""
    return report.member if report.place in ("", place) or not place else f"{report.member} at {report.place}"


def may_resume(memory: Memory, order: Order, heard: Mapping[str, Heard], waited: float, now: float) -> Verdict:
    """May this member be primary of `order` again although no operator has confirmed it since this agent began?"""
    if order.claim is None or order.create or memory.incarnation != order.primary:
        return _no("waiting for an operator's word")
    if memory.promised > order.term:
        return _no(f"promised term {memory.promised}")
    newer = [
        f"{name} has promised term {one.report.promised}"
        for name, one in sorted(heard.items())
        if one.report.member in order.peers and one.report.promised > order.term
    ]
    if newer:
        return _no(f"{', '.join(newer)}: only an operator can know what became of term {order.term}")
    doubts = [
        f"{member_of(name)} {doubt}"
        for name in order.claim.members
        if name != order.primary and (doubt := _doubt(name, memory, heard.get(member_of(name)), now))
    ]
    if order.grant:  # no quorum guards it: a successor may have been made without it, so everybody must be asked
        silent = [name for name in order.peers if name not in heard or now - heard[name].at > FRESH]
        doubts += [f"{name} is not heard" for name in silent]
    if doubts:
        return _no(f"waiting for an operator's word, or for all of the claim: {', '.join(doubts)}")
    if waited < PATIENCE:
        return _no("an operator is given the time to speak first")
    said = ", ".join(member_of(name) for name in order.claim.members if name != order.primary)
    reason = f"{said}: nothing promised above" if said else "nobody else is in the claim"
    return Verdict(ok=True, reason=f"no operator has spoken for {waited:.0f} s; {reason} term {order.term}")


def _doubt(name: Incarnation, memory: Memory, one: Heard | None, now: float) -> str:
    """Why this member of the claim has not agreed; empty if it has."""
    if one is None or now - one.at > FRESH:
        return "is not heard"
    report = one.report
    if report.incarnation != name or report.data is not Data.READY or report.system_id != memory.system_id:
        return f"holds {report.incarnation or report.data.value}, not {name}"
    return f"has promised term {report.promised}" if report.promised > memory.promised else ""


def _no(reason: str) -> Verdict:
    return Verdict(ok=False, reason=reason)
