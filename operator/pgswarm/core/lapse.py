"""Failover under a grant: when the old primary cannot write any more, who follows it, and what that gives up.

A ballot of promises (`core/ballot`) proves by counting that nobody acknowledges in the old term. Here one of three
things proves it: the old primary's own *promise*; *Swarm's word* that the container which held the grant has ended;
or *time* - every grant that can have been given has run out. For the last, three ends are known: what this operator
gave itself, what an earlier holder of the tenure may have given, and what consent can have added, which is no more
than one grant after the last consent of any single member that has since promised the next term.

The winner is the furthest of all members that can be reached, along the lineage. If it is known to be further behind
than the document allows, there is no failover and a person decides. What it lacks is said in the record for good. How
far the old primary was is known by its own last word: to this operator, or to the members when they let it write on.
Waiting is no state: each pass works the ends out again from reports, ledger and tenure.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgswarm.core import granting, switchover
from pgswarm.core.ballot import HANG_TIMEOUT, Health, decision, has_promised, may_resume
from pgswarm.core.claim import Incarnation, member_of
from pgswarm.core.grant import DRIFT, MARGIN, TTL
from pgswarm.core.parameters import size
from pgswarm.core.record import LOSSES_KEPT, Grant, Loss, Record
from pgswarm.core.reports import Data, MemberReport, Postgres, Role
from pgswarm.core.steps import AskPromise, LookAgain, Plan, WriteRecord
from pgswarm.core.swarmview import SwarmView, Task
from pgswarm.core.wal import Position, lies_on, progress, show_lsn
from pgswarm.core.world import World

SETTLE = 5.0
"""Seconds beyond the end of all grants that a reachable member is given to tell where its log ends."""

NEVER = float("inf")

UNHEARD = 60.0
"""Seconds between a primary's last word to this operator and the end of its last grant, at most: what it wrote in them
is in no report but those of members that let it write on, and beyond this nobody can say any more that the limit of the
document is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """From when on a successor may be decided, and why then."""

    at: float
    why: str


def besides(world: World, record: Record, primary: Health, said: Plan, now: float) -> Plan:
    """What the ballot says goes first: it elects only a primary that promised, or its heir, and so loses nothing."""
    elected = any(isinstance(step, WriteRecord) for step in said.steps)
    if record.grant is Grant.NONE or elected or isinstance(switchover.decided(world, record, now), Plan):
        return said
    lapsed = succession(world, record, primary, now)
    return said.and_then(lapsed) if said.steps else lapsed


def succession(world: World, record: Record, primary: Health, now: float) -> Plan:
    """The next thing to do about a lost primary that wrote under a grant."""
    name = record.primary_member
    own = world.present(name, now)
    resumes = may_resume(world, record, now) and not record.keeps_down(name)
    if own is not None and resumes and not _hangs(world, own, now):
        return Plan(waits=(f"{primary.reason}; it is to resume term {record.term}, for that loses nothing",), again=0.2)
    if record.grant is Grant.ASKED:
        said = granting.moves(world, record, now)
        if said.steps:
            return said
    reachable = _reachable(world, record, now)
    known = known_end(world, record)
    hopeless = _hopeless(world, record, reachable, known)
    if hopeless:
        return Plan(waits=(f"no failover: {primary.reason}; {hopeless}",), again=1.0)
    term = max([record.term + 1, *(one.promised for one in reachable.values()), own.promised if own else 0])
    missing = [one.member for one in reachable.values() if not has_promised(one, term)]
    if own is not None and record.is_held_by(own, record.primary) and not has_promised(own, term):
        missing.append(name)
    asked = tuple(
        AskPromise(member=member, term=term, reason=f"{primary.reason}; it may be succeeded once its grant has run out")
        for member in missing
    )
    promised = {key: one for key, one in reachable.items() if has_promised(one, term)}
    bound = _bound(world, record, now)
    if bound is not None:
        if now < bound.at:
            return Plan(waits=(f"no failover yet: {bound.why} and has everything: it is given time",), again=0.2)
        missing = [member for member in missing if member != name]  # it had its time
    free = freed(world, record, promised, now)
    if now < free.at or (missing and now < free.at + SETTLE):
        text = f"no failover yet: {primary.reason}; {free.why}"
        if now < free.at < NEVER:
            text += f" (in {free.at - now:.1f} s)"
        report = world.report(name)
        look: tuple[LookAgain, ...] = ()
        if own is None and report is not None and report.task and ended_task(world, record) is None:
            look = (LookAgain(task=report.task, reason="has it ended?"),)
        return Plan(steps=(*asked, *look), waits=(text,), again=0.2)
    if known is not None and (unheard := free.at - _heard_at(world, record)) > UNHEARD:
        text = (
            f"this operator last heard {unheard:.0f} s before the end of its last grant how far {name} was, so nobody "
            "knows what would be lost; wait for it, or accept the loss: `pgswarm failover --accept-data-loss`"
        )
        return Plan(steps=asked, waits=(f"no failover: {primary.reason}; {text}",), again=1.0)
    said = _decide(world, record, primary, promised, known, term)
    return said if said.steps else Plan(steps=asked, waits=said.waits, again=1.0)


def freed(world: World, record: Record, promised: dict[Incarnation, MemberReport], now: float) -> Free:
    """From when on nothing can be acknowledged in this term any more."""
    if record.grant is not Grant.HELD:
        return Free(at=NEVER, why=f"{record.primary_member} may write without a grant")
    bound = _bound(world, record, now)
    if bound is not None:
        return bound
    if not promised:
        return Free(at=NEVER, why="no other member that can be reached has promised the next term")
    standing = world.standing
    if standing is None or standing.number < record.grantor:
        return Free(at=NEVER, why="this operator holds no tenure: another one may still grant")
    lent = min(_last_consent(world, one) for one in promised.values())
    ended = ended_task(world, record)
    own_ends, lent_end = dict(world.granted.boots), lent + TTL * (1 + DRIFT) + MARGIN
    last = world.members.get(record.primary_member)
    if ended is not None and last is not None and last.report is not None and last.heard_at is not None:
        # A grant dies with the process that holds it; what counts on is what others of this member may have.
        own_ends.pop(last.report.boot, None)
        if lent < last.heard_at:
            lent_end = 0.0
    ends = (
        (max(own_ends.values(), default=-MARGIN) + MARGIN, "its grant runs out then"),
        (standing.over, "grants of an earlier holder of the tenure run out then"),
        (lent_end, "what the members consented to runs out then"),
    )
    at, why = max(ends)
    if at <= now:
        why = f"Swarm says that its container ended ({ended.state})" if ended else "its grant has run out"
    return Free(at=at, why=why)


def _bound(world: World, record: Record, now: float) -> Free | None:
    """Has the primary itself promised more, and ended? Then nothing holds its grant; by the ballot it may still win."""
    own = world.present(record.primary_member, now)
    if own is None or own.incarnation != record.primary or own.promised <= record.term:
        return None
    if own.role not in (Role.FENCED, Role.STANDBY) and own.postgres not in (Postgres.STOPPED, Postgres.CRASHED):
        return None
    since = world.not_serving_since if world.not_serving_since is not None else now
    said_at = world.members[record.primary_member].said_at or now
    # A postmaster that crashed may leave a child that finishes what it was at.
    at = max(since + HANG_TIMEOUT, said_at + 2 * MARGIN)
    return Free(at=at, why=f"{record.primary_member} has promised term {own.promised}")


def ended_task(world: World, record: Record) -> Task | None:
    """The task in which the primary was last heard, if its *node* says that the container has ended.

    A task that is only meant to be shut down says nothing, and on a node that is down it says so for a day. Nor do
    `orphaned` and `rejected`: managers write those.
    """
    report = world.report(record.primary_member)
    if report is None or not report.task or not isinstance(world.swarm, SwarmView):
        return None
    for task in world.swarm.tasks:
        if task.id == report.task and task.state in ("complete", "failed", "shutdown"):
            return task if task.container_id and task.exit_code is not None else None
    return None


def known_end(world: World, record: Record) -> Position | None:
    """How far the primary was, by the furthest word of its own; None if this operator never heard it in this reign.

    An agent that has lost its volume, or only just begun, says nothing of it any more; its word of before still holds.
    What it told the members when they let it write on may be newer. That alone is not enough: whoever granted after
    them may be gone, and with it what it had heard.
    """
    report, last = world.report(record.primary_member), world.last_end
    own = report.position if report is not None and report.incarnation == record.primary else None
    if own is None and last is not None and last.incarnation == record.primary:
        own = last.position
    end = _on_the_line(own, record) if own is not None else None
    if end is None:
        return None
    lent = [said.lent for member in record.members if (said := world.report(member)) and said.lent]
    told = [_on_the_line(one.end, record) for one in lent if one.primary == record.primary]
    return max([end, *(one for one in told if one is not None)], key=lambda one: one.lsn)


def _on_the_line(position: Position, record: Record) -> Position | None:
    """The same place on the timeline of the reign; None if that has no such place."""
    reign = record.lineage[-1]
    if position.timeline == reign.timeline:
        return position
    return Position(timeline=reign.timeline, lsn=reign.fork) if lies_on(position, record.lineage) else None


def _heard_at(world: World, record: Record) -> float:
    """When this operator last heard the primary's own word of it."""
    seen, last = world.members.get(record.primary_member), world.last_end
    report = seen.report if seen is not None else None
    if report is not None and report.incarnation == record.primary and report.position is not None:
        return seen.heard_at if seen is not None and seen.heard_at is not None else -NEVER
    return last.heard_at if last is not None else -NEVER


def limit(world: World) -> int:
    return size(world.document.spec.max_lag_on_failover) if world.document else 0


def in_words(world: World, record: Record, now: float) -> str:
    """What an automatic failover would give up, as far as it can be known beforehand."""
    name = record.primary_member
    said = (
        f"async: commits wait for nobody; an automatic failover may lose up to {limit(world)} bytes that are known to "
        f"be lacking, and what {name} writes in its last {TTL:.0f} s if it is cut off from everybody"
    )
    known, reachable = known_end(world, record), _reachable(world, record, now)
    lags = [lag for one in reachable.values() if known and (lag := _lag(one, record, known)) is not None]
    if record.grant is not Grant.HELD or not lags:
        return f"{said}; now there would be none"
    if min(lags) > limit(world):
        return f"{said}; now there would be none, for {min(lags)} bytes are lacking"
    return f"{said}; now {min(lags)} bytes are lacking"


def _hangs(world: World, own: MemberReport, now: float) -> bool:
    """Is it there and of no use? One that only lacks a grant is given one as soon as that can be."""
    since = world.not_serving_since
    lacks_grant = own.role is Role.PRIMARY and bool(own.asks) and not own.granted
    return since is not None and not lacks_grant and now - max(since, world.awake_since) > HANG_TIMEOUT


def _reachable(world: World, record: Record, now: float) -> dict[Incarnation, MemberReport]:
    """Every other member of this system that has data and can be talked to, and is not fenced."""
    found = {}
    for member in record.members:
        report = world.present(member, now)
        if member == record.primary_member or report is None or report.incarnation is None:
            continue
        if record.fence(member) is not None:
            continue
        if record.is_held_by(report, report.incarnation) and report.data is Data.READY:
            found[report.incarnation] = report
    return found


def _hopeless(
    world: World, record: Record, reachable: dict[Incarnation, MemberReport], known: Position | None
) -> str | None:
    """Why promises are not even worth asking for: they stop a member from receiving."""
    if record.grant is not Grant.HELD:
        return (
            f"{record.primary_member} has not said yet that it writes only under a grant, so only it can be promised by"
        )
    if not reachable:
        return "no other member with data can be reached"
    if known is None:
        return (
            f"this operator never heard how far {record.primary_member} was, so nobody knows what would be lost; "
            "wait for it, or accept the loss: `pgswarm failover --accept-data-loss`"
        )
    behind = [_lag(one, record, known) if one.position else 0 for one in reachable.values()]
    if all(lag is None or lag > limit(world) for lag in behind):
        return _too_far(world, record, reachable, known)
    return None


def _decide(
    world: World,
    record: Record,
    primary: Health,
    promised: dict[Incarnation, MemberReport],
    known: Position | None,
    term: int,
) -> Plan:
    fit = {key: one for key, one in promised.items() if one.position and lies_on(one.position, record.lineage)}
    if known is None or not fit:
        strays = ", ".join(f"{one.member} at {one.position}" for one in promised.values()) or "nobody promised"
        return Plan(waits=(f"no failover: {strays}: not on the line of the record's history; a person must look",))
    order = list(record.members)

    def furthest(key: Incarnation) -> tuple[int, int, int]:
        position = fit[key].position
        rank, lsn = progress(position, record.lineage) if position else (-1, 0)
        return (rank, lsn, -order.index(member_of(key)))

    winner = max(fit, key=furthest)
    position, lag = fit[winner].position, _lag(fit[winner], record, known)
    if position is None or lag is None or lag > limit(world):
        return Plan(waits=(f"no failover: {primary.reason}; {_too_far(world, record, fit, known)}",))
    lost = Loss(
        term=term, member=record.primary_member, timeline=record.timeline, since=min(position.lsn, known.lsn), known=lag
    )
    reason = (
        f"{primary.reason}, and can write no more; {member_of(winner)} is furthest at {position} of {len(promised)} "
        f"that promised; {lag} bytes that {record.primary_member} had, and what it wrote unheard, may be lost"
    )
    grantor = max(record.grantor, world.standing.number if world.standing else 0)
    losses = (*record.losses, lost)[-LOSSES_KEPT:]
    return decision(world, record, winner, position, term, reason, grantor=grantor, losses=losses)


def _lag(report: MemberReport, record: Record, known: Position) -> int | None:
    """Bytes that a member is known to lack; None if its log is off the line or not known."""
    if report.position is None or not lies_on(report.position, record.lineage):
        return None
    return max(0, known.lsn - report.position.lsn)


def _too_far(world: World, record: Record, found: dict[Incarnation, MemberReport], known: Position) -> str:
    said = ", ".join(
        f"{one.member} lacks {lag} bytes"
        if (lag := _lag(one, record, known)) is not None
        else f"{one.member} is astray"
        for one in found.values()
    )
    return (
        f"{record.primary_member} was at {show_lsn(known.lsn)}, {said}, and maxLagOnFailover is {limit(world)} bytes: "
        "wait for it, raise maxLagOnFailover, or accept the loss: `pgswarm failover --accept-data-loss`"
    )


def _last_consent(world: World, report: MemberReport) -> float:
    """When this member last consented, at the latest, by this operator's clock."""
    said_at = world.members[report.member].said_at
    if said_at is None or report.consented is None:
        return NEVER
    # It was said before it was heard; and its clock may run faster than ours.
    return said_at - max(0.0, report.clock - report.consented) / (1 + DRIFT)
