"""Members that are to live elsewhere: the document names another node or volume, or their node is gone for good.

A move is no verb of its own. The member leaves its place by the way of every departure (`departures`), and is then
added at another one like any new member: empty, cloned, counted. Between the two it is in no record, so nobody counts
on it, waits for it or asks it for anything; and its service is made anew only once the old one is gone. Its volume at
the old place is kept, as always.

*Gone for good* is a node that was taken out of the Swarm, or that has been down for `replaceAfter`, without a gap in
what was seen (`world.away`), while its member is not heard and nobody streams to it. Only a member whose node the
document leaves open gets another one; where the node is named a person names another. *Unknown* is not gone: while any
node is unknown, or Swarm cannot be seen, the time begins anew.

What is not done, with the reason (`hindered`): a move that would leave the primary with the only copy, though nothing
is wrong with the other one; a move to where nothing can run, or where another member's data lies. Who is still counted
is let go by claim and sync first, as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pgswarm.core.base import Same
from pgswarm.core.bootstrap import taken, volume_of
from pgswarm.core.claim import streamer
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data
from pgswarm.core.spec import Instance, PostgresCluster, seconds
from pgswarm.core.steps import NOTHING, Plan
from pgswarm.core.swarmview import Node, SwarmView
from pgswarm.core.world import World

REMOVED_AFTER = 30.0
"""Seconds for which a node must be missing in Swarm's list before it counts as taken out: a read of it may be old, and
the oldest that was seen was 16 s old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocation:
    """One member that is to leave its place and come back at another."""

    place: Place  # the old one
    reason: str
    given_up: bool = False  # its node is gone for good; it is not chosen again by itself
    lost: bool = False  # its node is down or gone, and nothing is heard of it: nobody has to be counted in its place


def relocations(world: World, record: Record, now: float) -> tuple[Relocation, ...]:
    """Who is to move now; nobody whose move has to wait."""
    return tuple(one for one in _found(Same(world), Same(record), now) if isinstance(one, Relocation))


def hindered(world: World, record: Record, now: float) -> Plan:
    """Why members stay where they are although something else is wanted of them."""
    waits = tuple(one for one in _found(Same(world), Same(record), now) if isinstance(one, str))
    return Plan(waits=waits, again=5.0) if waits else NOTHING


def is_gone_for_good(world: World, record: Record, place: Place, now: float) -> bool:
    """Is there nothing of use at this place any more, whatever the document wants of its member?"""
    if not isinstance(world.swarm, SwarmView):
        return False
    return isinstance(_gone_for_good(world, record, world.swarm, place, now), Relocation)


def foreseen(document: PostgresCluster, record: Record) -> tuple[str, ...]:
    """What a person is told who is about to put this document into force: moves that will wait, by names alone."""
    if len(document.instances()) >= 3:
        return ()
    return tuple(
        f"{place.member} stays on {place.node_name} while that node is up: until it is cloned at its new place "
        f"{_alone(document, record, place)}; add another instance first"
        for instance in document.instances()
        if (place := record.place(instance.name)) is not None
        and (
            instance.node not in (None, place.node_name, place.node_id) or volume_of(document, instance) != place.volume
        )
    )


@lru_cache(maxsize=2)  # several rules of a pass ask
def _found(world: Same[World], record: Same[Record], now: float) -> tuple[Relocation | str, ...]:
    return tuple(_looked_at(world.value, record.value, now))


def _looked_at(world: World, record: Record, now: float) -> Iterator[Relocation | str]:
    document, swarm = world.document, world.swarm
    if document is None or not world.stored or not isinstance(swarm, SwarmView):
        return
    for instance in document.instances():
        place = record.place(instance.name)
        if place is None:
            continue
        gone = _gone_for_good(world, record, swarm, place, now)
        if isinstance(gone, Relocation):
            named = swarm.node(instance.node) if instance.node is not None else None
            if instance.node is None:
                yield _if_possible(document, record, instance, swarm, None, gone)
            elif named is None or named.id == place.node_id:
                yield f"{place.member}: {gone.reason}; the document names its node: name another there, or none"
            else:
                yield _if_possible(document, record, instance, swarm, named, gone)
            continue
        if wanted := _wanted(world, document, record, instance, swarm, place, now):
            fence = record.fence(place.member)
            yield wanted if fence is None else f"{place.member} stays on {place.node_name}: it is fenced"
        elif gone:
            yield gone


def _is_long_away(world: World, place: Place) -> bool:
    """One listing that says so may be of a node that is just starting again."""
    return world.away.get(place.node_id, 0.0) >= REMOVED_AFTER


def _wanted(
    world: World,
    document: PostgresCluster,
    record: Record,
    instance: Instance,
    swarm: SwarmView,
    place: Place,
    now: float,
) -> Relocation | str:
    """What the document wants of a member whose node is not gone; empty if it is where it should be."""
    volume, node = volume_of(document, instance), swarm.node(place.node_id)
    if instance.node is not None:
        node = swarm.node(instance.node)
        if node is None:
            if instance.node in (place.node_name, place.node_id):
                return ""  # two of that name, or not seen for a moment
            known = ", ".join(sorted(one.name for one in swarm.nodes)) or "none"
            return (
                f"{place.member} stays on {place.node_name}: the document names node {instance.node!r}, which is not "
                f"one of this Swarm's nodes ({known})"
            )
    if volume == place.volume and (node is None or node.id == place.node_id):
        return ""
    where = f"on {node.name}" if node is not None and node.id != place.node_id else f"on volume {volume}"
    here = swarm.node(place.node_id)
    is_down = here is None or here.state == "down"
    move = Relocation(
        place=place, reason=f"the document wants it {where}", lost=is_down and _is_long_away(world, place)
    )
    if is_down and (sign := _sign_of_life(world, record, place.member, now)):
        return (
            f"{place.member} stays on {place.node_name}: {move.reason}, but Swarm says that the node is down, and "
            f"{sign}: nobody could end it there. Mend its engine, or switch the machine off"
        )
    if not _is_spared(world, document, record, move, now):
        return (
            f"{place.member} stays on {place.node_name}: {move.reason}, but until it is cloned there "
            f"{_alone(document, record, place)}. Add another instance first, and take it out again when "
            f"{place.member} has moved"
        )
    return _if_possible(document, record, instance, swarm, node, move)


def _is_spared(world: World, document: PostgresCluster, record: Record, move: Relocation, now: float) -> bool:
    """Is there a copy besides the primary's while this one is made anew, or is this one of no use anyway?"""
    if len(document.instances()) >= 3:
        return True  # one after another, each once another is counted: `durability.held_back`
    member = move.place.member
    if member == record.primary_member:
        return False
    report = world.present(member, now)
    if report is not None:
        return report.data is not Data.READY and not record.counts(member)
    return move.lost


def _alone(document: PostgresCluster, record: Record, place: Place) -> str:
    if len(document.instances()) == 1:
        return "nobody could serve"
    if document.spec.durability == "required":
        return "every write would wait"
    return "there would be one copy only"


def _if_possible(
    document: PostgresCluster,
    record: Record,
    instance: Instance,
    swarm: SwarmView,
    node: Node | None,
    move: Relocation,
) -> Relocation | str:
    """The move, or why there is no place for it."""
    name, others = instance.name, [one for one in record.places if one.member != instance.name]
    candidates = [node] if node is not None else [one for one in swarm.nodes if one.id != move.place.node_id]
    fitting = [one for one in candidates if one.takes_tasks]
    if not fitting:
        where = f"{node.name} takes no tasks" if node is not None else "no other node takes tasks"
        return f"{name} stays on {move.place.node_name}: {move.reason}, but {where} now; see `docker node ls`"
    problems = [taken(document, instance, one, others, record.departed) for one in fitting]
    return move if "" in problems else problems[0]


def _gone_for_good(world: World, record: Record, swarm: SwarmView, place: Place, now: float) -> Relocation | str:
    """Is the node of this member gone for good? Else what that waits for; empty if nothing is wrong with it."""
    away = world.away.get(place.node_id)
    document = world.document
    if away is None or document is None or record.maintained(place.member) is not None:
        return ""
    if record.fence(place.member) is not None:
        return ""
    is_removed = swarm.node(place.node_id) is None
    after = document.spec.replace_after
    patience = REMOVED_AFTER if is_removed else seconds(after) if after is not None else None
    what = f"{place.node_name} has left the Swarm" if is_removed else f"{place.node_name} is down"
    if patience is None:
        return ""
    if away < patience:
        return f"{place.member} gets another node in {patience - away:.0f} s if it stays so: {what}"
    if place.member == record.primary_member:
        return f"{place.member} gets no other node: {what}, but it is the record's primary, so it has what others lack"
    if sign := _sign_of_life(world, record, place.member, now):
        return f"{place.member} gets no other node: {what}, but {sign}"
    if not is_removed:
        what += f" for longer than {after} (replaceAfter)"
    return Relocation(place=place, reason=what, given_up=True, lost=True)


def _sign_of_life(world: World, record: Record, member: str, now: float) -> str:
    """What speaks against its being gone with its node; empty if nothing does."""
    if not world.is_lost(member, now):
        return f"{member} is heard"
    primary = world.report(record.primary_member)
    if primary is not None and any(streamer(one.name) == member for one in primary.walsenders if one.replied):
        return f"it streams from {record.primary_member}"
    return ""
