"""Whether PostgreSQL can be started on a volume that is full, and what for: a part of `duty`.

PostgreSQL that has ended for want of room cannot start, for the end of recovery writes as well. So the agent keeps some
room aside (the ballast), which is given up once, for a primary and for a promise only, that is for going on; a standby
alone can wait. When it is used up nothing helps but room, and that is said in place of trying in a circle.
"""

from __future__ import annotations

from pgswarm.core.actions import Jettison, Rest
from pgswarm.core.disk import Room, can_start
from pgswarm.core.reports import Problem


def room_first(room: Room, *, has_ballast: bool) -> Jettison | Rest | None:
    """What is to be done, or waited for, before PostgreSQL is started, or promoted; None if there is room for it."""
    if room is not Room.SPENT:
        return None
    if can_start(room, has_ballast=has_ballast):
        return Jettison(reason="the volume is full: the ballast is given up, or PostgreSQL could not go on")
    return full("PostgreSQL can do nothing until there is room, and the ballast is given up already")


def full(why: str) -> Rest:
    """Nothing to be done until there is room."""
    text = f"disk full: {why}; free space on the volume, or make it larger"
    return Rest(reason=text, problem=Problem(code="disk-full", text=text))
