"""A roll: what a document asks for and a running member cannot take, taken by one after the other.

The standbys are told by what rides along (`upkeep` changes their services, `telling` has their PostgreSQL started
anew) when it is their turn (`turns`). Here is what a roll needs of the record: the primary, as the last one, hands over
to somebody who has been through; and here is said who is next and what is waited for.
"""

from __future__ import annotations

from pgswarm.core import handover, turns
from pgswarm.core.record import Record
from pgswarm.core.steps import NOTHING, Plan
from pgswarm.core.world import World


def begun(world: World, record: Record, now: float) -> Plan:
    """If the primary is next: the wish that another follows. Else who is, and what it waits for."""
    turn = turns.next_up(world, record, now)
    if turn is None:
        return NOTHING
    why = turns.may_go(world, record, turn, now)
    hands_over = turn.member == record.primary_member and not turn.in_place
    if hands_over and record.wish is None and not turns.others_are_back(world, record, turn.member, now):
        heirs = [name for name in record.members if not turns.has_to_go(world, record, name, now)]
        return handover.wished(world, record, f"{turn.member}: {turn.reason}", heirs, now)
    if turn.service:
        return NOTHING  # `upkeep` says so
    return Plan(waits=(f"{turn.member}: {turn.reason}; {why or 'it is being started anew'}",), again=0.5)
