"""Members that are to leave: who they are, and in which order they go.

Nothing waits to be asked: who is in the record and not in the document is to leave, and so is who shall live elsewhere
(`relocation`), to come back there. One after the other, and always by this way:

    1 a primary that is to leave hands over first (`handover`)
    2 claim and sync do without it, once another standby is counted in its place; where the document wants no other, the
      primary goes on alone (`durability`)
    3 the primary has heeded that, and its new sync is in force: nobody waits for the one that leaves (`retirement`)
    4 its place leaves the record, and is remembered among `departed` (`retirement`)
    5 its service is scaled to zero, then removed (`upkeep`); the others drop its slot, for their orders no longer
      name it

So the number of counted copies never falls below what the remaining members can give. The fourth is the decision:
before it everything can be taken back by editing the document again, after it the member is one that is added. Its
volume is kept and told in the status; if it is added again it comes as any returning data does, judged by its log.

A *rename* is nothing of its own: one member is added and another leaves, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pgswarm.core.base import Same
from pgswarm.core.record import Place, Record
from pgswarm.core.relocation import is_gone_for_good, relocations
from pgswarm.core.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One member that is to leave its place."""

    place: Place
    reason: str
    comes_back: bool = False  # at another place: it is named still (`relocation`)
    given_up: bool = False  # its node is gone for good
    lost: bool = False  # nothing is heard of it, and its node is down or gone

    @property
    def member(self) -> str:
        return self.place.member


def departures(world: World, record: Record, now: float) -> tuple[Departure, ...]:
    """Who is to leave, in the order in which they go: who is lost, whom nobody counts on, and last the primary.

    In a pause nobody is: who is counted stays so, and is counted again.
    """
    return _departures(Same(world), Same(record), now)


@lru_cache(maxsize=2)  # several rules of a pass ask
def _departures(of: Same[World], by: Same[Record], now: float) -> tuple[Departure, ...]:
    world, record = of.value, by.value
    if world.document is None or not world.stored or record.paused(world.wall) is not None:
        return ()
    wanted = {instance.name for instance in world.document.instances()}
    found = []
    for place in (one for one in record.places if one.member not in wanted):
        gone = is_gone_for_good(world, record, place, now)
        found.append(Departure(place=place, reason="the document no longer names it", given_up=gone, lost=gone))
    found += [
        Departure(place=one.place, reason=one.reason, comes_back=True, given_up=one.given_up, lost=one.lost)
        for one in relocations(world, record, now)
    ]

    def turn(one: Departure) -> tuple[bool, bool, bool, str]:
        return (one.member == record.primary_member, not one.lost, record.counts(one.member), one.member)

    return tuple(sorted(found, key=turn))
