"""Accepting loss: a person's word that what nobody can reach is given up. The only way in which a commit can be lost.

An ordinary ballot waits for a quorum, because with fewer promises nobody can know whether a missing member holds a
commit that the others lack. A person may know more: that a disk is burnt, that yesterday's data is better than none.
So first *everybody who can be reached* promises, claimed or not; whoever of the claim is then still missing must have
been named dead by the person; the furthest along the lineage is primary of the next term, on a timeline that is higher
than any that the record or anyone's report has named (C10). Why, and who was given up, is in the record's reason.

What a member that was named dead and comes back still has is off the line then: it is rewound or cloned like any other,
and what it threw away is kept aside by its agent. Before this: `ballot`, which has found no way without loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgswarm.core import ballot
from pgswarm.core.claim import Incarnation, member_of
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport
from pgswarm.core.steps import AskPromise, Plan, WriteRecord
from pgswarm.core.switchover import preference
from pgswarm.core.wal import Position, progress
from pgswarm.core.wish import Wish
from pgswarm.core.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A claimed member that cannot promise, why, and the last that is known of its log."""

    member: str
    why: str
    position: Position | None

    def __str__(self) -> str:
        known = f"last known at {self.position}" if self.position else "its log was never seen"
        return f"{self.member} ({self.why}; {known})"


def missing(world: World, record: Record, now: float) -> tuple[Missing, ...]:
    """Who of the claim a person must name dead before an election without them."""
    found = []
    for name in record.claim.members:
        member = member_of(name)
        report, last = world.present(member, now), world.report(member)
        if record.fence(member) is not None:
            why = "it is fenced"
        elif report is not None and record.is_held_by(report, name):
            if not report.settled or ballot.is_on_the_line(report, record):
                continue
            why = "its log is off the line of the record's history"
        else:
            why = world.gone(member, now) or f"it holds {last.incarnation if last else 'nothing'} instead of {name}"
        position = last.position if last is not None and last.incarnation == name else None
        found.append(Missing(member=member, why=why, position=position))
    return tuple(found)


def accepted(world: World, record: Record, wish: Wish, now: float) -> Plan:
    """What is still to be asked before a successor with loss, or who that is, or why not."""
    reports = {
        report.incarnation: report
        for member in record.members
        if (report := world.present(member, now)) is not None
        and report.incarnation is not None
        and record.is_held_by(report, report.incarnation)
        and not record.keeps_down(member)
    }
    unnamed = [one for one in missing(world, record, now) if one.member not in wish.dead]
    if unnamed:
        return _refuse(record, f"{wish} refused: not named dead: {', '.join(map(str, unnamed))}")
    term = max([record.term + 1, *(report.promised for report in reports.values())])
    asked = [name for name, report in reports.items() if not ballot.has_promised(report, term)]
    fit = {
        name: report
        for name, report in reports.items()
        if name not in asked and ballot.is_on_the_line(report, record) and record.fence(member_of(name)) is None
    }
    # Who is fenced and runs still confirms commits: it cannot be elected, and is asked all the same.
    unheeded = [name for name in asked if member_of(name) not in wish.dead or record.fence(member_of(name)) is not None]
    if unheeded or (asked and not fit):
        why = f"{wish}: everybody who can be reached is asked first"
        return Plan(steps=tuple(AskPromise(member=member_of(name), term=term, reason=why) for name in asked))
    if not fit:
        return _refuse(
            record, f"{wish} refused: nobody can be reached whose log is on the line of the record's history"
        )
    return _elect(world, record, wish, fit, term, now)


def _elect(
    world: World, record: Record, wish: Wish, fit: dict[Incarnation, MemberReport], term: int, now: float
) -> Plan:
    def furthest(name: Incarnation) -> tuple[int, int]:
        position = fit[name].position
        return progress(position, record.lineage) if position else (-1, 0)

    ranked = sorted(fit, key=lambda name: preference(world, record, member_of(name)))
    winner = max(ranked, key=furthest)
    position = fit[winner].position
    if position is None:
        return Plan()
    known = [seen.report.position.timeline for seen in world.members.values() if seen.report and seen.report.position]
    lost = "; ".join(f"{one}{_beyond(one.position, position)}" for one in missing(world, record, now))
    reason = (
        f"loss accepted by {wish.by}: given up: {lost or 'nobody'}; {member_of(winner)} is furthest at {position} "
        f"of {len(fit)} that promised"
    )
    return ballot.decision(world, record, winner, position, term, reason, above=max(known, default=0))


def _beyond(known: Position | None, position: Position) -> str:
    """How much of a given-up log is known to be lost."""
    if known is None or known.timeline != position.timeline or known.lsn <= position.lsn:
        return ""
    return f", at least {known.lsn - position.lsn} bytes beyond"


def _refuse(record: Record, text: str) -> Plan:
    return Plan(steps=(WriteRecord(record=record.answering(text), reason=text),))
