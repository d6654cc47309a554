"""A pause: a person's word that nothing is changed but what safety and a running reign need.

It stands in the record, so every operator sees it, and from that write on no decision that was planned before it can
be made: its compare-and-set fails. What goes on, and why it must:

    orders, routes         a member or router that starts again is told what the record says; it says nothing new
    raise, claim and sync  a reign that goes on needs them: commits must not wait for a standby that is gone, and
                           none may be acknowledged that is on fewer copies than is claimed
    grants                 without them an `async` primary would stop writing
    what has begun         a reign that its primary has ended by its own promise is succeeded; there is none to keep

What does not: failover, switchover, acceptance of loss (wishes are refused, with the reason), members that are added,
another document, networks, secrets and services. All of that is said as waiting, in the words of its own reasons, so
that `status` shows what a resume will do.

Before this: `plan` asks whether the record is paused. A crash leaves a paused record, which is what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from pgswarm.core import ballot, bootstrap, durability, granting
from pgswarm.core.ballot import Health
from pgswarm.core.record import Record
from pgswarm.core.steps import NOTHING, Plan, title
from pgswarm.core.wish import Pause
from pgswarm.core.world import World

RESUME = "`pgswarm resume` lets it go on"


def in_force(world: World) -> Pause | None:
    """The pause that holds now."""
    return world.record.paused(world.wall) if isinstance(world.record, Record) else None


def has_begun(world: World, record: Record, now: float) -> bool:
    """Has the primary itself ended its reign, by promising the next term? Then going back is a new term as well."""
    own = world.present(record.primary_member, now)
    return own is not None and own.promised > record.term


def reign(world: World, record: Record, primary: Health, pause: Pause, now: float) -> Plan:
    """What a running reign needs of the record, and what is not done meanwhile."""
    waits = Plan(waits=(str(pause),))
    if primary.lost:
        waits = Plan(waits=(f"no failover: {pause}, though {primary.reason}; {RESUME}",), again=1.0)
    elif primary.coming:
        waits = waits.and_then(Plan(waits=(primary.reason,), again=1.0))
    rules: list[Callable[[World, Record, float], Plan]] = [ballot.raised, granting.moves, durability.moves]
    for rule in rules if record.system_id else [bootstrap.completed, *rules]:
        said = rule(world, record, now)
        if said.steps:
            return said.and_then(waits)
        waits = waits.and_then(said)
    return waits


def withheld(said: Plan, pause: Pause | None) -> Plan:
    """What would be done, as what is waited for; unchanged if there is no pause."""
    if pause is None or not said.steps:
        return said
    texts = tuple(f"paused, so not done: {title(step)} ({step.reason})" for step in said.steps)
    return NOTHING.and_then(Plan(waits=(*texts, *said.waits), again=said.again))
