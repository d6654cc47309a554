"""Which replication slots a member keeps for the others, and how far each of them may have moved on.

Every member keeps a physical slot for every other, so that after a failover nobody finds the log thrown away that it
still needs. On a primary PostgreSQL itself moves a slot on, with every reply of the standby that streams through it. On
a standby nobody streams, so the agent does it: to what the primary says that the peer has flushed, and never past this
member's own last restartpoint. The second bound costs nothing (PostgreSQL keeps the log from there for itself) and
serves a peer that must be rewound after the failover: `pg_rewind` asks for the log from a checkpoint *before* the fork.
For the same reason the primary's own slot moves with that restartpoint alone.

A peer that streams from nobody keeps its slot where it is; `max_slot_wal_keep_size` bounds what that may hold back. A
slot that PostgreSQL has given up (`lost`) is good for nothing and is made anew. One that was a primary's slot still
carries the xmin of the standby that used it; on a standby, which hands that on to its primary, it would hold back
vacuum in the whole cluster, so it is made anew as soon as nothing is lost by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    member: str
    to: int


Change = Drop | Make | Advance


def changes(there: Iterable[Slot], peers: Iterable[str]) -> tuple[Change, ...]:
    """What every member does: a usable slot for each peer, none for anybody else."""
    slots = {slot.member: slot for slot in there}
    wanted = set(peers)
    drops = tuple(
        Drop(member=name, reason="lost" if name in wanted else "no such peer")
        for name, slot in sorted(slots.items())
        if not slot.active and (name not in wanted or slot.lost)
    )
    gone = {drop.member for drop in drops}
    return (*drops, *(Make(member=name) for name in sorted(wanted) if name not in slots or name in gone))


def advances(
    there: Iterable[Slot], peers: Iterable[str], *, primary: str, flushed: Mapping[str, int], restartpoint: int
) -> tuple[Change, ...]:
    """What a standby does besides: follow what the primary says that each peer has flushed."""
    found: list[Change] = []
    for slot in sorted(there, key=lambda one: one.member):
        if slot.active or slot.lost or slot.member not in peers:
            continue
        known = restartpoint if slot.member == primary else flushed.get(slot.member, 0)
        if slot.holds_xmin and known >= restartpoint:
            found += [Drop(member=slot.member, reason="it holds back vacuum"), Make(member=slot.member)]
        elif slot.restart and min(known, restartpoint) > slot.restart:
            found.append(Advance(member=slot.member, to=min(known, restartpoint)))
    return tuple(found)
