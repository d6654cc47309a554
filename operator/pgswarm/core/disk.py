"""How full a volume is, in one word, and what follows from it at each step on the way to the end.

PostgreSQL itself knows two answers to a full disk: a transaction that cannot extend a table fails, and a commit that
cannot begin a segment of the log ends the whole server (PANIC), which then often cannot start again, because the end of
crash recovery writes as well. So something is done before that, a little more at each step:

    ample   nothing
    short   log is kept sparingly; a slot of an absent member that holds back much is dropped, its member re-seeded
    tight   a primary hands over to a standby that has ample room, if there is one
    full    transactions are read-only unless they say otherwise, so that reading goes on, and making room does
    spent   a standby receives nothing; a PostgreSQL that has ended stays so, unless the ballast can be given up for it

A step is left upwards only with a quarter more room than where it began: what a checkpoint frees is soon in use again.
Both absolute and relative, because a hundredth of a big volume is much, and a tenth of a small one is little.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

MB, GB = 1 << 20, 1 << 30


class Room(StrEnum):
    """How much is left, the best first."""

    AMPLE = "ample"
    SHORT = "short"
    TIGHT = "tight"
    FULL = "full"
    SPENT = "spent"

    @property
    def want(self) -> int:
        """How bad it is: 0 for ample."""
        return _ORDER[self]


_ORDER = {room: number for number, room in enumerate(Room)}

_STEPS: Mapping[Room, tuple[int, int, int]] = {
    Room.SPENT: (0, 24 * MB, 24 * MB),
    Room.FULL: (50, 48 * MB, 512 * MB),
    Room.TIGHT: (25, 96 * MB, 1 * GB),
    Room.SHORT: (10, 192 * MB, 5 * GB),
}
"""For each step: it begins when less than this part of the volume is free (1/n), but not below the second and not above
the third number of bytes. A segment of the log has 16 MB, and PostgreSQL has two of them under way at times."""

BACK = 5 / 4
"""A step is left again with so many times the room with which it began."""

LEAST_HELD = 32 * MB
"""Log held back by one slot that is not worth a word, nor a re-seed."""

BALLAST = 64 * MB
"""Kept aside for a PostgreSQL that could not start otherwise: four segments; a sixteenth of a small volume."""

WARNED = (95, 85)
"""Percent in use from which people are told, though nothing is done yet."""


def limit(room: Room, total: int) -> int:
    """Free bytes below which a volume of this size is in this step. A very small one does not begin in it."""
    if room is Room.AMPLE:
        return total
    part, least, most = _STEPS[room]
    share = total // part if part else 0
    return min(max(share, least), most, total * least // (600 * MB))


def room(free: int, total: int, before: Room = Room.AMPLE) -> Room:
    """The step that a volume is in; `before`: in which it was."""
    if total <= 0:
        return Room.AMPLE
    for step in _STEPS:
        factor = BACK if before.want >= step.want else 1.0
        if free < limit(step, total) * factor:
            return step
    return Room.AMPLE


def ballast(total: int) -> int:
    """Bytes that are kept aside on a volume of this size."""
    return min(BALLAST, total // 16)


def lets_write(room: Room, *, refused: bool) -> bool:
    """May transactions write as they like? Once refused, not before there is more than just enough."""
    return room.want < (Room.TIGHT if refused else Room.FULL).want


def can_start(room: Room, *, has_ballast: bool) -> bool:
    """Could a PostgreSQL that has ended be started on this volume?"""
    return room is not Room.SPENT or has_ballast


def told(free: int, total: int, held: Mapping[str, int] | None = None) -> str:
    """How full, in words: `93 % of 10.0 GB, of it 4.0 GB log kept for pg-3`; empty if it is not known."""
    if total <= 0:
        return ""
    parts = [
        f"{size(count)} log kept for {member}"
        for member, count in sorted((held or {}).items(), key=lambda one: (-one[1], one[0]))
        if count >= LEAST_HELD
    ]
    return f"{percent(free, total)} % of {size(total)}" + (f", of it {' and '.join(parts)}" if parts else "")


def percent(free: int, total: int) -> int:
    """Of the volume in use, rounded as nobody is deceived by: 100 only if nothing is left."""
    return (total - free) * 100 // total if total > 0 else 0


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB" if count < 1024 else f"{count / 1024:.1f} TB"


def roughly(count: int, least: int = 1 << 20) -> int:
    """To a thirtieth, and to `least`: who else writes on this disk is no news, twice a second, to all who listen."""
    step = max(least.bit_length() - 1, count.bit_length() - 6)
    return count >> step << step
