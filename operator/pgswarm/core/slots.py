"""Which replication slots a member keeps for the others, and how far each of them may have moved on.

Every member keeps a physical slot for every other, so that after a failover nobody finds the log thrown away that it
still needs. On a primary PostgreSQL itself moves a slot on, with every reply of the standby that streams through it. On
a standby nobody streams, so the agent does it: to what the primary says that the peer has flushed, and never past this
member's own last restartpoint. The second bound costs nothing (PostgreSQL keeps the log from there for itself) and
serves a peer that must be rewound after the failover: `pg_rewind` asks for the log from a checkpoint *before* the fork.
For the same reason the primary's own slot moves with that restartpoint alone.

A peer that streams from nobody keeps its slot where it is; `max_slot_wal_keep_size` bounds what that may hold back, and
before that the room on the volume does (`relief`): while there is little, the slot that holds back most is dropped and
made anew so that it holds nothing until somebody streams through it; its member will have to be made anew, too. That is
not done to one that commits wait for. A slot that PostgreSQL has given up (`lost`) is good for nothing and is made
anew. One that was a primary's slot still carries the xmin of the standby that used it; on a standby, which hands that
on to its primary, it would hold back vacuum in the whole cluster, so it is made anew as soon as nothing is lost by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pgswarm.core.disk import LEAST_HELD, Room, size


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One physical slot as PostgreSQL shows it."""

    member: str
    active: bool = False
    lost: bool = False
    restart: int = 0  # LSN from which log is kept; 0 if nothing is
    holds_xmin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    member: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    member: str
    reserves: bool = True  # keeps log from now on, and not only from when somebody streams through it


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    member: str
    to: int


Change = Drop | Make | Advance


def changes(there: Iterable[Slot], peers: Iterable[str], *, room: Room = Room.AMPLE) -> tuple[Change, ...]:
    """What every member does: a usable slot for each peer, none for anybody else. One that is made while there is
    little room holds nothing back yet."""
    slots = {slot.member: slot for slot in there}
    wanted = set(peers)
    drops = tuple(
        Drop(member=name, reason="lost" if name in wanted else "no such peer")
        for name, slot in sorted(slots.items())
        if not slot.active and (name not in wanted or slot.lost)
    )
    gone = {drop.member for drop in drops}
    reserves = room is Room.AMPLE
    missing = [name for name in sorted(wanted) if name not in slots or name in gone]
    return (*drops, *(Make(member=name, reserves=reserves) for name in missing))


def held(there: Iterable[Slot], restartpoint: int) -> dict[str, int]:
    """Bytes of log that are kept only because of the slots that nobody streams through."""
    return {
        slot.member: restartpoint - slot.restart
        for slot in there
        if not slot.active and not slot.lost and slot.restart and slot.restart < restartpoint
    }


def relief(
    there: Iterable[Slot], needed: Iterable[str], *, restartpoint: int, room: Room, free: int
) -> tuple[Change, ...]:
    """The slot that a volume with little room cannot afford: that of who holds back most, if that is worth a re-seed.

    `needed` are the members that commits wait for. At first a quarter of what is free is worth it, later anything.
    """
    if room is Room.AMPLE:
        return ()
    worth = LEAST_HELD if room.want >= Room.TIGHT.want else max(LEAST_HELD, free // 4)
    found = {name: count for name, count in held(there, restartpoint).items() if name not in set(needed)}
    most = max(sorted(found), key=lambda name: found[name], default=None)
    if most is None or found[most] < worth:
        return ()
    reason = f"it holds back {size(found[most])} of log, and {size(free)} are free"
    return Drop(member=most, reason=reason), Make(member=most, reserves=False)


def advances(
    there: Iterable[Slot],
    peers: Iterable[str],
    *,
    primary: str,
    flushed: Mapping[str, int],
    restartpoint: int,
    room: Room = Room.AMPLE,
) -> tuple[Change, ...]:
    """What a standby does besides: follow what the primary says that each peer has flushed. A slot that was made while
    there was little room begins to hold log once there is enough."""
    found: list[Change] = []
    for slot in sorted(there, key=lambda one: one.member):
        if slot.active or slot.lost or slot.member not in peers:
            continue
        known = restartpoint if slot.member == primary else flushed.get(slot.member, 0)
        if not slot.restart and room is Room.AMPLE:
            found += [Drop(member=slot.member, reason="it holds no log yet"), Make(member=slot.member)]
        elif slot.holds_xmin and known >= restartpoint:
            found += [Drop(member=slot.member, reason="it holds back vacuum"), Make(member=slot.member)]
        elif slot.restart and min(known, restartpoint) > slot.restart:
            found.append(Advance(member=slot.member, to=min(known, restartpoint)))
    return tuple(found)
