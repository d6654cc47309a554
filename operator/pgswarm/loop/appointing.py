"""`pgswarm switchover --at` and `--cancel`: one write of the record, from any manager's shell.

Nothing is asked of the agents: whether it can be done counts when its time has come, and is told then.
"""

from __future__ import annotations

import secrets
import time

from pgswarm.core.record import Record
from pgswarm.core.stored import Stored
from pgswarm.core.wish import Appointment
from pgswarm.errors import Refused
from pgswarm.loop import shelf


async def look(cluster: str | None) -> Stored:
    """What is stored of the cluster. Refused if it has no record yet."""
    stored = await shelf.one(await shelf.here(), cluster)
    if stored.record is None:
        raise Refused(f"{stored.cluster} is being created: it has no record yet")
    return stored


def proposed(record: Record, to: str | None, at: float, window: float, by: str) -> Appointment:
    """The appointment that would be made. Refused, with the reason, if it makes no sense already now."""
    if to is not None and record.place(to) is None:
        raise Refused(f"there is no member {to}; there is: {', '.join(record.members)}")
    if to == record.primary_member:
        raise Refused(f"{to} is primary already")
    if len(record.members) < 2:
        raise Refused(f"there is no other member than {record.primary_member}")
    return Appointment(
        id=secrets.token_hex(4), to=to, instead_of=record.primary_member, at=round(at), window=window, by=by
    )


async def made(cluster: str, appointment: Appointment) -> Stored:
    """Write it into the record; Refused if another was made meanwhile."""

    def change(record: Record) -> Record | None:
        if record.appointment is not None:
            if record.appointment.id == appointment.id:
                return None  # a write whose outcome was not known has happened after all
            raise Refused(f"there is one already: {record.appointment}; `pgswarm switchover --cancel` first")
        return record.amended(str(appointment), appointment=appointment)

    return await shelf.amended(await shelf.here(), cluster, change)


async def cancelled(cluster: str | None, by: str) -> tuple[Stored, str]:
    """The record without it, and what it was; empty if there was none."""
    before: list[str] = []

    def change(record: Record) -> Record | None:
        if record.appointment is None:
            return None
        before.append(str(record.appointment))
        text = f"{record.appointment}: cancelled by {by}"
        return record.amended(text, appointment=None, answered=record.appointment.answered(text))

    stored = await shelf.amended(await shelf.here(), cluster, change)
    return stored, before[-1] if before else ""


def remaining(appointment: Appointment) -> str:
    """How long until then, in words."""
    minutes = max(0.0, appointment.at - time.time()) / 60
    return f"in {minutes / 60:.1f} h" if minutes > 120 else f"in {minutes:.0f} min"
