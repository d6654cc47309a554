"""Moving claim and sync, so that as many copies are claimed as there are healthy standbys, and never falsely.

With `preferred` the aim is: every commit on the primary and on at least one of its healthy standbys, or on the
primary alone while there is none. The way there is a sequence of single moves, each written to the record before the
next is thought about (PROTOCOL, 'Moving claim and sync'):

- *weaker* (the new claim is implied by the old one): claim and sync change in one write, then it is ordered.
- *stronger*: first sync (it implies old and new claim), ordered and acknowledged; once it is *in force*, enough of
  its members have flushed past where it came into force, and each member to be counted has durably accepted an
  order of that very revision: then the claim, by compare-and-set on that same revision (C1, C3).
- one change of sync alters either k or one name, never both (C6).

A member that is to leave (`departures`) or to be fenced (`fencing`) is let go as if it were gone, once another that
shall stay is counted; and so is a standby that is about to be away for a moment (`turns`) if commits wait for it alone.

With `required` the same, but a primary without a standby waits for a name that nobody bears, in place of going on
alone: the claim may shrink to it, its sync never to nothing. With `async` nobody is waited for at all (`granting`).

A crash between any two of these leaves a record whose sync implies its claim; the next pass goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgswarm.core import granting, turns
from pgswarm.core.claim import Claim, Incarnation, Sync, incarnation, member_of
from pgswarm.core.departures import departures
from pgswarm.core.disk import Room
from pgswarm.core.record import Record
from pgswarm.core.reports import REPLIED, MemberReport, Role
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import NOTHING, Plan, WriteRecord
from pgswarm.core.streams import standbys, stream
from pgswarm.core.world import World

ABSENCE = 1.0
"""Seconds that a reachable standby may be without a stream (a reconnect takes 0.2) before it counts as lost."""

NOBODY = incarnation("pgswarm_nobody", "00000000")
"""No member can have this name (an underscore): commits that wait for it wait until a standby is there."""


def alone(document: PostgresCluster | None) -> Sync:
    """What a primary without a standby waits for."""
    required = document is not None and document.spec.durability == "required"
    return Sync(k=1, names=(NOBODY,)) if required else Sync()


CALLED = 60.0
"""Seconds for which it speaks for a standby that another operator has called upon it."""

UNPROVED = 0.3
"""Seconds between two looks at a claim that is not yet proved: positions move on without being news."""


def moves(world: World, record: Record, now: float) -> Plan:
    """The next move towards the claim that the healthy standbys allow, or what is waited for."""
    if granting.governs(record):
        return NOTHING
    primary = world.present(record.primary_member, now)
    if primary is None or not record.is_held_by(primary, record.primary) or primary.role is not Role.PRIMARY:
        return NOTHING
    if primary.heeded is None or primary.heeded[0] != record.term:
        return NOTHING
    leaves = let_go(world, record, now) or turns.let_go(world, record, now)
    streaming = [
        name
        for name in standbys(world, record, primary, now)
        if member_of(name) != leaves and not is_put_out(record, member_of(name)) and name not in record.reseeds
    ]
    leaving = {one.member for one in departures(world, record, now)}
    streaming.sort(key=lambda name: member_of(name) in leaving)  # who stays is counted before who is to leave
    counted = [name for name in record.claim.members if name != record.primary]
    lost = [
        name
        for name in {*counted, *record.sync.names}
        if member_of(name) == leaves or _is_lost(world, record, primary, name, now)
    ]
    return (_from_one if record.claim.r == 1 else _from_two)(world, record, primary, streaming, lost, now)


def let_go(world: World, record: Record, now: float) -> str | None:
    """The member that claim and sync are to do without from now on, because it is to go and may; one at a time."""
    for departure in departures(world, record, now)[:1]:
        if departure.member != record.primary_member and not held_back(world, record, departure.member, now):
            return departure.member
    for fence in record.fences if record.paused(world.wall) is None else ():
        if fence.member == record.primary_member or not record.counts(fence.member):
            continue
        if fence.fewer_copies or not held_back(world, record, fence.member, now):
            return fence.member
    wish = record.wished(world.wall)
    out = wish.to if wish is not None and wish.kind == "reseed" and record.paused(world.wall) is None else None
    if wish is None or out is None or out == record.primary_member or not record.counts(out):
        return None
    return out if wish.fewer_copies or not held_back(world, record, out, now) else None


def held_back(world: World, record: Record, member: str, now: float) -> str:
    """Why this member, which is to leave or to be fenced, cannot be done without yet; empty if it can.

    Another standby of those that the document wants must be counted first. Where it wants none, the primary goes on
    alone; so it does for one that is lost with its node, for it is of no more use.
    """
    if any(one.member == member and one.lost for one in departures(world, record, now)):
        return ""
    wanted = [one.name for one in world.document.instances()] if world.document else list(record.members)
    others = [name for name in wanted if name not in (member, record.primary_member)]
    leaves = any(one.member == member for one in departures(world, record, now))
    if not others and (leaves or not is_put_out(record, member)):
        return ""
    others = [name for name in others if record.fence(name) is None]
    primary = world.present(record.primary_member, now)
    if not others:
        there = standbys(world, record, primary, now) if primary is not None else ()
        is_copy = record.counts(member) or member in map(member_of, there)
        return f"it is the only copy beside that of {record.primary_member}" if is_copy else ""
    if primary is None:
        return world.gone(record.primary_member, now) or "the primary is not there"
    for name in standbys(world, record, primary, now):
        counts = granting.governs(record) or (name in record.claim.members and name in record.sync.names)
        if member_of(name) in others and counts:
            return ""
    return f"{' or '.join(others)} must be counted first"


def is_put_out(record: Record, member: str) -> bool:
    """Does a person want this member out of claim and sync, though the document wants it?"""
    wish = record.wish
    return record.fence(member) is not None or (wish is not None and wish.kind == "reseed" and wish.to == member)


def _from_one(
    world: World,
    record: Record,
    primary: MemberReport,
    streaming: list[Incarnation],
    lost: list[Incarnation],
    now: float,
) -> Plan:
    """Claim ({primary}, 1): bring one standby into sync, then into the claim."""
    if any(name not in lost for name in record.sync.names):
        return _strengthen(world, record, primary, Claim(members=(record.primary, *record.sync.names), r=2))
    if streaming:
        first = streaming[0]
        reason = f"{member_of(first)} streams: commits shall wait for it"
        return _write(record, reason, sync=Sync(k=1, names=(first,)))
    resting = alone(world.document)
    if record.sync != resting:
        waited_for = _members(name for name in record.sync.names if name != NOBODY)
        then = "commits wait until a standby is there" if resting.k else "commits wait for nobody"
        return _write(record, f"no standby is there ({waited_for} was waited for): {then}", sync=resting)
    if resting.k:
        return Plan(waits=("writes wait: no standby is there, and durability is required",))
    return NOTHING


def _from_two(
    world: World,
    record: Record,
    primary: MemberReport,
    streaming: list[Incarnation],
    lost: list[Incarnation],
    now: float,
) -> Plan:
    """Claim ({primary, …}, 2): add who has come, drop who has gone, or go on alone."""
    counted = [name for name in record.claim.members if name != record.primary]
    alive = [name for name in record.sync.names if name not in lost]
    named = {member_of(name) for name in (*counted, *record.sync.names)}
    came = [name for name in streaming if member_of(name) not in named]
    back = [name for name in streaming if name in counted and name not in record.sync.names]
    if back:
        reason = f"{member_of(back[0])} streams again: commits may wait for it too"
        return _write(record, reason, sync=Sync(k=1, names=(*record.sync.names, back[0])))
    if came and set(record.sync.names) == set(counted):
        names = (*record.sync.names, came[0])
        reason = f"{member_of(came[0])} streams: it is counted too"
        return _write(record, reason, claim=Claim(members=(record.primary, *names), r=2), sync=Sync(k=1, names=names))
    if not alive:
        resting = alone(world.document)
        gives_way = let_go(world, record, now)
        if resting.k and not any(
            _is_renewed(world, record, name, now) or member_of(name) == gives_way for name in counted
        ):
            return Plan(waits=(f"writes wait: {_members(lost)} gone, and durability is required",))
        then = "writes wait until it is back" if resting.k else f"{record.primary_member} goes on alone"
        reason = f"{_gone(world, record, lost, now)}: {then}"
        return _write(record, reason, claim=Claim(members=(record.primary,), r=1), sync=resting)
    gone = [name for name in record.sync.names if name in lost]
    if gone:
        kept = tuple(name for name in record.sync.names if name != gone[0])
        what = _why_let_go(world, record, now).get(member_of(gone[0]), "is gone")
        reason = f"{member_of(gone[0])} {what}: commits wait for {_members(kept)} instead"
        return _write(record, reason, sync=Sync(k=1, names=kept))
    if set(record.sync.names) != set(counted):
        return _strengthen(world, record, primary, Claim(members=(record.primary, *record.sync.names), r=2))
    return NOTHING


def _strengthen(world: World, record: Record, primary: MemberReport, claim: Claim) -> Plan:
    """Write the stronger claim if everything that it says is proved; else say what is waited for."""
    unproved = _unproved(world, record, primary, claim)
    if unproved:
        return Plan(waits=(f"to claim {claim}: {unproved}",), again=UNPROVED)
    return _write(record, f"{claim}: proved at revision {record.revision}", claim=claim)


def _unproved(world: World, record: Record, primary: MemberReport, claim: Claim) -> str | None:
    key = (record.term, record.revision)
    if primary.heeded != key:
        return f"{record.primary_member} has not acknowledged revision {record.revision}"
    force = primary.in_force
    if force is None or (force.term, force.revision) != key:
        return f"the sync setting of revision {record.revision} is not yet in force on {record.primary_member}"
    flushed = [
        name
        for name in record.sync.names
        if (sent := stream(primary, name, record.term)) is not None and sent.flush >= force.since
    ]
    if len(flushed) < claim.r - 1:
        return f"no standby has flushed everything from before the setting came into force on {record.primary_member}"
    for name in claim.members:
        report = world.report(member_of(name))
        if report is None or not record.is_held_by(report, name) or report.accepted != key:
            return f"{member_of(name)} has not durably accepted an order of revision {record.revision}"
    return None


def _is_lost(world: World, record: Record, primary: MemberReport, name: Incarnation, now: float) -> bool:
    """Can commits not be expected to reach this incarnation any more?"""
    member = member_of(name)
    if member not in record.members:
        return True
    if world.is_lost(member, now):
        return not _is_heard_of(world, record, primary, name, now)
    report = world.report(member)
    if report is not None and not record.is_held_by(report, name):
        return True
    since = world.absent_since.get(name)
    heard = world.members[record.primary_member].heard_at
    # By the primary's own words, not by its silence: the newest of them must still miss the stream.
    full = report is not None and report.room is Room.SPENT  # it has ended its stream itself: that is no reconnect
    patience = 0.0 if full else ABSENCE
    return since is not None and heard is not None and heard - max(since, world.awake_since) > patience


def _is_heard_of(world: World, record: Record, primary: MemberReport, name: Incarnation, now: float) -> bool:
    """Has another operator called upon this standby since we heard it, and does the primary hear it still?

    Then it is we who do not: cut off from it alone, or looking for it where it no longer is. The two of us would else
    drop it and claim it by turns. The primary's word alone is not enough: a standby whose agent nobody hears streams
    on, and could not promise if it were needed. Nor does the other operator's word hold for ever: it may have been
    its last.
    """
    sent, called_at = stream(primary, name, record.term), world.called_at.get(name)
    said_at, sighting = world.members[record.primary_member].heard_at, world.members.get(member_of(name))
    if sent is None or not sent.replied or not primary.answers or said_at is None or called_at is None:
        return False
    if now - called_at > CALLED:
        return False
    known = (sighting.heard_at, sighting.closed_at) if sighting is not None else ()
    return all(at is None or (said_at - REPLIED > at and called_at > at) for at in known)


def _is_renewed(world: World, record: Record, name: Incarnation, now: float) -> bool:
    """Does its member say that this data directory is no more? It can be made anew only once it is not counted."""
    report = world.present(member_of(name), now)
    return report is not None and not record.is_held_by(report, name)


def _write(record: Record, reason: str, **changes: object) -> Plan:
    return Plan(steps=(WriteRecord(record=record.amended(reason, **changes), reason=reason),))


def _gone(world: World, record: Record, lost: Iterable[Incarnation], now: float) -> str:
    """Who is not waited for any more, and why: `b gone`, or `b is to leave`."""
    going = _why_let_go(world, record, now)
    gone = [name for name in lost if member_of(name) not in going]
    said = [f"{name} {going[name]}" for name in sorted({member_of(name) for name in lost} & set(going))]
    return ", ".join([*[f"{_members(gone)} gone"] * bool(gone), *said])


def _why_let_go(world: World, record: Record, now: float) -> dict[str, str]:
    """Members that are done without because somebody wants it so, and what becomes of them."""
    away = turns.let_go(world, record, now)
    out = {away: "is about to be restarted"} if away is not None and world.present(away, now) is not None else {}
    out |= {fence.member: "is to be fenced" for fence in record.fences}
    if record.wish is not None and record.wish.kind == "reseed" and record.wish.to is not None:
        out[record.wish.to] = "is to be made anew"
    return {**out, **{one.member: "is to leave" for one in departures(world, record, now)}}


def _members(names: Iterable[Incarnation]) -> str:
    return ", ".join(sorted(member_of(name) for name in names)) or "nobody"
