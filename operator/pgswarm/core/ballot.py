"""Failover: when the record's primary counts as lost, who may follow it, and what the record says then.

A ballot has no state of its own. Promises travel in reports and never expire while the record stays in its term, so
each pass looks at the reports and does the next thing: ask for promises that are missing, or, with a quorum, write
the record. That write is the decision; before it everything can be abandoned, after it everything is repeated until
it holds (PROTOCOL, 'Failover is a ballot'; decision 0004).

A crash of the operator leaves: before the write, members that have promised a term that was never decided (a later
pass uses their promises, or raises the term: `raised`); after the write, a record that every operator turns into the
same orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgswarm.core import granting, switchover
from pgswarm.core.claim import Claim, Incarnation, member_of
from pgswarm.core.disk import Room, can_start
from pgswarm.core.durability import alone
from pgswarm.core.record import LINEAGE_KEPT, Record
from pgswarm.core.reports import Data, MemberReport, Postgres, Role, Serving
from pgswarm.core.steps import NOTHING, AskPromise, Plan, WriteRecord
from pgswarm.core.wal import Position, Reign, lies_on, next_timeline, progress
from pgswarm.core.world import World

HANG_TIMEOUT = 10.0
"""Seconds that a primary may be reachable and yet not serve before another is sought."""

SHUTDOWN = 1.0
"""Seconds that a primary which shuts down is given to send its standbys what it has; it takes a tenth of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Of the record's primary: does it reign, is it on its way, or is it lost?"""

    lost: bool
    coming: bool
    reason: str


def health(world: World, record: Record, now: float) -> Health:
    """Judge the primary by what it says of itself, or by its silence."""
    name = record.primary_member
    report = world.present(name, now)
    if report is None:
        why = world.gone(name, now) or "unknown"
        if not world.is_closed(name, now) and now - world.vouched_at < world.detection:
            # Else two operators, of which one does not hear the primary, would duel: a ballot, a raise, a ballot, …
            return Health(
                lost=False, coming=True, reason=f"{why}; another operator has raised the term, so it hears it"
            )
        return Health(lost=world.is_lost(name, now), coming=False, reason=why)
    if report.promised > record.term:
        told = " was told to stop and" if report.leaving else ""
        return Health(lost=True, coming=False, reason=f"{name}{told} has promised term {report.promised}")
    building = report.data in (Data.NONE, Data.BUILDING)
    if building and not record.system_id:
        return Health(lost=False, coming=True, reason=f"{name} is creating its data directory")
    if record.adopting and (building or report.data is Data.FOREIGN):
        return Health(lost=False, coming=True, reason=f"{name} is taking over the data that it has found")
    if not record.is_held_by(report, record.primary):
        has = f"{report.incarnation or 'no data'}, {report.data.value}, system {report.system_id or 'unknown'}"
        return Health(lost=True, coming=False, reason=f"{name} no longer holds {record.primary} (it has {has})")
    since = None if world.not_serving_since is None else max(world.not_serving_since, world.awake_since)
    if report.postgres is Postgres.STOPPING and since is not None and now - since < SHUTDOWN:
        # It still sends what it has. Whoever promised now would miss the rest, and the old primary be rewound for it.
        return Health(lost=False, coming=True, reason=f"PostgreSQL of {name} is shutting down")
    if record.keeps_down(name) and report.postgres is Postgres.STOPPED:
        return Health(lost=True, coming=False, reason=str(record.fence(name)))
    if report.restarting and since is not None and now - since < HANG_TIMEOUT:
        return Health(lost=False, coming=True, reason=f"PostgreSQL of {name} is being started anew")
    if report.postgres in (Postgres.CRASHED, Postgres.STOPPED, Postgres.STOPPING):
        return Health(lost=True, coming=False, reason=f"PostgreSQL of {name} is {report.postgres.value}")
    if report.serving is Serving.PRIMARY:
        return Health(lost=False, coming=False, reason=f"{name} is serving")
    if report.yields > record.term:
        return Health(lost=False, coming=True, reason=f"{name} is about to hand over term {report.yields}")
    if since is not None and now - since > HANG_TIMEOUT:
        return Health(lost=True, coming=False, reason=f"{name} has not served for {now - since:.0f} s")
    return Health(lost=False, coming=True, reason=f"{name} is on its way: PostgreSQL is {report.postgres.value}")


def ballot(world: World, record: Record, primary: Health, now: float) -> Plan:
    """The next thing to do about a lost primary."""
    handed_over = switchover.decided(world, record, now)
    if isinstance(handed_over, Plan):
        return handed_over
    reports = _claimed(world, record, now)
    term = max([record.term + 1, *(report.promised for report in reports.values())])
    promised = {name: report for name, report in reports.items() if has_promised(report, term)}
    strays = [name for name, report in promised.items() if not is_on_the_line(report, record)]
    fit = {name: report for name, report in promised.items() if name not in strays}
    needed = record.claim.quorum
    if handed_over is not None and (successor := world.present(member_of(handed_over), now)) is not None:
        return _elect(world, record, {handed_over: successor}, term, primary)
    if record.primary in fit or len(fit) >= needed:
        return _elect(world, record, fit, term, primary)
    own = reports.get(record.primary)
    if (nowhere := _nowhere_to_go(world, record, reports, primary)) is not None:
        return nowhere
    fenced = own is not None and own.promised > record.term
    askable = [
        name
        for name, report in reports.items()
        if (name != record.primary or fenced) and name not in promised and report.data is Data.READY
    ]
    others = [name for name in (*fit, *askable) if name != record.primary]
    if others and not fenced and all(record.fence(member_of(name)) for name in others):
        return Plan(waits=(f"no failover: {primary.reason}; {_behind_fences(record, others)}",), again=1.0)
    if askable and (fenced or len(others) >= needed):
        # A primary that fenced itself for an undecided term is asked too: its word is a quorum by itself.
        return Plan(
            steps=tuple(
                AskPromise(
                    member=member_of(name),
                    term=term,
                    reason=f"{primary.reason}; {needed} of {len(record.claim.members)} promises make a successor",
                )
                for name in askable
            )
        )
    if own is not None and not fenced and not own.answers:
        # Last of all a primary that hangs: it fences itself, and its word is a quorum by itself.
        why = f"{primary.reason}, its PostgreSQL hangs, and the others do not suffice"
        return Plan(steps=(AskPromise(member=record.primary_member, term=term, reason=why),))
    if strays:
        found = ", ".join(f"{member_of(name)} at {promised[name].position}" for name in strays)
        text = f"no failover: {found} is off the line of the record's history; a person must look"
        return Plan(waits=(text,), again=2.0)
    wish = record.wished(world.wall)
    goes_on = may_resume(world, record, now) and not record.keeps_down(record.primary_member)
    if goes_on and (wish is None or wish.kind != "failover"):
        return Plan(waits=(f"{primary.reason}; no successor can be had, so it is to resume term {record.term}",))
    missing = [
        f"{member_of(name)} ({world.gone(member_of(name), now) or _why_not(world, record, name)})"
        for name in record.claim.members
        if name not in promised
    ]
    text = (
        f"no failover: {primary.reason}, and {needed} of the members that hold every acknowledged commit must promise; "
        f"missing: {', '.join(missing)}"
    )
    return Plan(waits=(text,), again=1.0)


def _nowhere_to_go(
    world: World, record: Record, reports: dict[Incarnation, MemberReport], primary: Health
) -> Plan | None:
    """Its PostgreSQL has ended, and all the others are as full as a disk can be: is it better off where it is?

    Whoever followed would end in the same way, and so on in a circle. One that can start once more does so and is read
    from; only if it cannot is another one taken that could. While promises are out nothing is held up.
    """
    own = reports.get(record.primary)
    others = [report for name, report in reports.items() if name != record.primary]
    wish = record.wished(world.wall)
    if own is None or own.promised > record.term or not others or (wish is not None and wish.kind == "failover"):
        return None
    if record.keeps_down(record.primary_member):
        return None  # a person does not want it to start again
    if own.postgres not in (Postgres.CRASHED, Postgres.STOPPED) or any(one.promised > record.term for one in others):
        return None
    if any(one.room.want < Room.FULL.want for one in others):
        return None
    can = can_start(own.room, has_ballast=own.ballast)
    if not can and any(can_start(one.room, has_ballast=one.ballast) for one in others):
        return None
    full = ", ".join(sorted(one.member for one in others))
    then = "is to start again" if can else "cannot start either: a person must make room on one of them"
    text = f"no failover: {primary.reason}, but the disk of {full} is full; {record.primary_member} {then}"
    return Plan(waits=(text,), again=1.0)


def has_promised(report: MemberReport, term: int) -> bool:
    """Is this report a promise of `term` with a final position?"""
    return report.data is Data.READY and report.promised >= term and report.settled and report.position is not None


def is_on_the_line(report: MemberReport, record: Record) -> bool:
    """Does its log end on the line of the record's history?"""
    return report.position is not None and lies_on(report.position, record.lineage)


def may_resume(world: World, record: Record, now: float) -> bool:
    """Is the record's primary there, the same data directory still, and bound to nothing newer?"""
    own = world.present(record.primary_member, now)
    return own is not None and record.is_held_by(own, record.primary) and own.promised <= record.term


def raised(world: World, record: Record, now: float) -> Plan:
    """After an abandoned ballot: lift the term over the promises, so that those members obey again.

    Nobody is fenced and nothing is promoted: same primary, same claim, same timeline. Only for a primary that can
    be talked to: while nobody knows of it, the promises are a ballot's, which is about to need them.
    """
    if not may_resume(world, record, now):
        return NOTHING
    promises = {
        name: report.promised
        for name in record.members
        if (report := world.present(name, now)) is not None
        and report.promised > record.term
        and name != record.primary_member
    }
    if not promises:
        return NOTHING
    term = max(promises.values())
    reign = record.lineage[-1].model_copy(update={"term": term})
    reason = f"{', '.join(promises)} promised term {term} in a ballot that was not needed"
    lineage = (*record.lineage, reign)[-LINEAGE_KEPT:]
    return Plan(steps=(WriteRecord(record=record.amended(reason, term=term, lineage=lineage), reason=reason),))


def _elect(world: World, record: Record, fit: dict[Incarnation, MemberReport], term: int, primary: Health) -> Plan:
    wish = record.wished(world.wall)
    wished = wish.to if wish is not None and wish.kind == "failover" else None

    def furthest(name: Incarnation) -> tuple[int, int, bool, bool, bool]:
        position = fit[name].position
        rank, lsn = progress(position, record.lineage) if position else (-1, 0)
        has_room = fit[name].room.want < Room.FULL.want
        return (rank, lsn, has_room, member_of(name) == wished, name == record.primary)

    winner = max(sorted(fit, key=lambda name: switchover.preference(world, record, member_of(name))), key=furthest)
    position = fit[winner].position
    if position is None:
        return NOTHING
    if winner != record.primary and record.fence(member_of(winner)) is not None:
        return Plan(waits=(f"no failover: {primary.reason}; {_behind_fences(record, [winner])}",), again=1.0)
    wanted = f"{wish}: " if wish is not None else ""
    reason = f"{wanted}{primary.reason}; {member_of(winner)} is furthest at {position} of {len(fit)} that promised"
    return decision(world, record, winner, position, term, reason)


def decision(
    world: World,
    record: Record,
    winner: Incarnation,
    position: Position,
    term: int,
    reason: str,
    *,
    above: int = 0,
    **changes: object,
) -> Plan:
    """The write that ends a term, whoever found the winner: who begins the next is alone in its claim.

    Its timeline is higher than any that the lineage names, and than `above` (C10).
    """
    timeline = max(next_timeline(position, record.lineage), above + 1)
    reign = Reign(term=term, incarnation=winner, timeline=timeline, fork=position.lsn)
    successor = record.amended(
        reason,
        term=term,
        primary=winner,
        claim=Claim(members=(winner,), r=1),
        sync=alone(world.document),
        grant=granting.after(world, record),
        lineage=(*record.lineage, reign)[-LINEAGE_KEPT:],
        **changes,
    )
    return Plan(steps=(WriteRecord(record=successor, reason=reason),))


def _behind_fences(record: Record, names: Iterable[Incarnation]) -> str:
    """Who would have to follow and may not, and what to do about it."""
    said = (f"{record.fence(member_of(name))}: `pgswarm unfence {member_of(name)}` lets it follow" for name in names)
    return "; ".join(said)


def _claimed(world: World, record: Record, now: float) -> dict[Incarnation, MemberReport]:
    """The claimed incarnations that can be talked to, with their reports."""
    present = {name: world.present(member_of(name), now) for name in record.claim.members}
    return {name: report for name, report in present.items() if report and record.is_held_by(report, name)}


def _why_not(world: World, record: Record, name: Incarnation) -> str:
    report = world.report(member_of(name))
    if report is None:
        return "not heard yet"
    if not record.is_held_by(report, name):
        return f"it holds {report.incarnation or report.data.value}, not {name}"
    if report.role is Role.NONE and report.problem:
        return report.problem.text
    return f"promised {report.promised}, PostgreSQL {report.postgres.value}"
