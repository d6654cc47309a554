"""The operator's own wish: another primary, because this one has to go.

A primary that the document no longer names, that is to be fenced, or whose node is drained or under maintenance, is to
hand over before it is stopped; and one whose disk is about to be full, before PostgreSQL ends of it, if there is a
standby with ample room: where all are as full, it would help nobody, and be done in a circle. The way is the one and
only, `switchover`; here is only who is to follow, and the wish for it, written into the record like a person's, so that
every operator goes on with it and `status` tells. It is written when it can be fulfilled at once, and not while a
person has a wish: theirs comes first.

A hand-over that came to nothing has cost the writers some seconds. So it is not tried again before the time of the wish
is over, however soon it was answered. Whoever has another reason calls `wished`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgswarm.core import disk, switchover
from pgswarm.core.departures import departures
from pgswarm.core.disk import Room
from pgswarm.core.record import Record
from pgswarm.core.steps import NOTHING, Plan, WriteRecord
from pgswarm.core.streams import standbys
from pgswarm.core.wish import Wish
from pgswarm.core.world import Unknown, World

LASTS = 30.0
"""Seconds for which such a wish holds, and for which a failed one is not repeated."""

OWN = "way-"
"""How the ids of such wishes begin."""


def begun(world: World, record: Record, now: float) -> Plan:
    """If the primary has to go: the wish that another follows, or why nobody can."""
    why = _has_to_go(world, record, now)
    full = "" if why else _is_filling(world, record, now)
    if not why and not full:
        return NOTHING
    leaving = {one.member for one in departures(world, record, now)}
    own = world.present(record.primary_member, now)
    comes_back = any(one.member == record.primary_member and one.comes_back for one in departures(world, record, now))
    if comes_back and own is not None and len(standbys(world, record, own, now)) < 2:
        return Plan(waits=(f"{why}, once two others stream from it",), again=1.0)
    heirs = [
        name
        for name in record.members
        if name not in leaving
        and not is_drained(world, record, name)
        and record.maintained(name) is None
        and record.fence(name) is None
    ]
    if not full:
        return wished(world, record, why, heirs, now)
    roomy = [name for name in heirs if (report := world.present(name, now)) is not None and report.room is Room.AMPLE]
    if not roomy:
        return NOTHING
    return wished(world, record, full, roomy, now)


def wished(world: World, record: Record, why: str, heirs: Iterable[str], now: float) -> Plan:
    """The wish that the best of these become primary, or what is waited for first. `why` is the beginning of a line."""
    own = world.present(record.primary_member, now)
    if own is None or own.leaving or record.wish is not None:
        return NOTHING  # a primary that is told to stop asks for a successor itself
    before = record.answered
    if before is not None and before.id.startswith(OWN) and not before.done and world.wall < before.until:
        text = f"{why}: tried again in {before.until - world.wall:.0f} s ({before.text})"
        return Plan(waits=(text,), again=1.0)
    pending: list[str] = []
    for heir in sorted(heirs, key=lambda name: switchover.preference(world, record, name)):
        if heir == record.primary_member:
            continue
        wish = Wish(
            id=f"{OWN}{record.term}-{record.revision}",
            kind="switchover",
            term=record.term,
            to=heir,
            by="pgswarm",
            until=world.wall + LASTS,
        )
        not_yet = switchover.refused(world, record, wish, own, now) or switchover.waits(world, record, wish, own, now)
        if not not_yet:
            reason = f"{why}: {heir} is to be primary"
            return Plan(steps=(WriteRecord(record=record.amended(reason, wish=wish), reason=reason),))
        pending.append(not_yet)
    return Plan(waits=(f"{why}, and nobody can follow: {'; '.join(pending) or 'there is no other member'}",), again=1.0)


def is_drained(world: World, record: Record, member: str) -> bool:
    """Does Swarm end what runs on this member's node? Unknown is not drained."""
    place = record.place(member)
    if place is None or isinstance(world.swarm, Unknown):
        return False
    node = world.swarm.node(place.node_id)
    return node is not None and node.availability == "drain"


def _is_filling(world: World, record: Record, now: float) -> str:
    """How full the primary's disk is, if that is too full to stay; empty if it is not."""
    own = world.present(record.primary_member, now)
    if own is None or own.room.want < Room.TIGHT.want:
        return ""
    return f"the disk of {own.member} is {disk.told(own.disk_free, own.disk_total, own.held) or own.room.value}"


def _has_to_go(world: World, record: Record, now: float) -> str:
    """Why the primary cannot stay, in words; empty if it can. One that is to move does so when all others have."""
    name = record.primary_member
    leaving = departures(world, record, now)
    for departure in leaving:
        if departure.member == name and not (departure.comes_back and len(leaving) > 1):
            return f"{name} is to leave ({departure.reason})"
    if (fence := record.fence(name)) is not None and not fence.no_primary:
        return f"{name} is to be fenced by {fence.by}"
    place = record.place(name)
    if is_drained(world, record, name) and place is not None:
        return f"{name} is on {place.node_name}, which is drained"
    if (maintenance := record.maintained(name)) is not None:
        return f"{name} is on {maintenance.node_name}, which is under maintenance"
    return ""
