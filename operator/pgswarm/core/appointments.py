"""A switchover at a time to come: kept in the record until then, begun within a window after it, or not at all.

An appointment is no wish, because a wish is of one term and holds at once. When its time has come it *becomes* one, in
one write, once the ordinary switchover could be begun (`switchover.refused`, `waits`); until then it is said why not.
If the window closes before, it was missed: it is answered and not done, so that nothing happens at nine that somebody
wanted at three. The same if it is pointless by then: whom it names is primary already, or, if it names nobody, somebody
else than when it was asked for.

Time of day is the acting operator's; a clock that is wrong makes it early, late or missed, and nothing else. A pause
holds it back like everything. Before this: `pgswarm switchover --at`. After it: `switchover`.
"""

from __future__ import annotations

from pgswarm.core import switchover
from pgswarm.core.record import Record
from pgswarm.core.steps import NOTHING, Plan, WriteRecord
from pgswarm.core.wish import Appointment, Wish
from pgswarm.core.world import World


def due(world: World, record: Record, now: float) -> Plan:
    """Nothing before its time; then the wish that it becomes, or why not yet, or why not at all."""
    appointment = record.appointment
    if appointment is None or world.wall < appointment.at:
        return NOTHING
    if pointless := _pointless(record, appointment):
        return _over(record, appointment, f"not done, for {pointless}")
    why = _not_yet(world, record, appointment, now)
    if world.wall > appointment.at + appointment.window:
        return _over(record, appointment, f"missed: {why or 'no operator was there in time'}")
    if why:
        left = appointment.at + appointment.window - world.wall
        return Plan(waits=(f"{appointment}: {why} (given up in {left:.0f} s)",), again=1.0)
    reason = f"it is time: {appointment}"
    changed = record.amended(reason, appointment=None, wish=_wish(record, appointment))
    return Plan(steps=(WriteRecord(record=changed, reason=reason),))


def _pointless(record: Record, appointment: Appointment) -> str:
    name = record.primary_member
    if appointment.to == name:
        return f"{name} is primary already"
    if appointment.to is not None and record.place(appointment.to) is None:
        return f"there is no member {appointment.to} any more"
    if appointment.to is None and name != appointment.instead_of:
        return f"{name} is primary by now, and no longer {appointment.instead_of}"
    return ""


def _not_yet(world: World, record: Record, appointment: Appointment, now: float) -> str:
    own = world.present(record.primary_member, now)
    if own is None:
        return world.gone(record.primary_member, now) or "the primary is not there"
    if record.wish is not None:
        return f"{record.wish} comes first"
    wish = _wish(record, appointment)
    return switchover.refused(world, record, wish, own, now) or switchover.waits(world, record, wish, own, now)


def _wish(record: Record, appointment: Appointment) -> Wish:
    return Wish(
        id=appointment.id,
        kind="switchover",
        term=record.term,
        to=appointment.to,
        by=appointment.by,
        until=appointment.at + appointment.window,
    )


def _over(record: Record, appointment: Appointment, text: str) -> Plan:
    said = f"{appointment}: {text}"
    changed = record.amended(said, appointment=None, answered=appointment.answered(said))
    return Plan(steps=(WriteRecord(record=changed, reason=said),))
