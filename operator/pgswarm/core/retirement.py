"""The end of a departure: the write by which a member leaves the record, and what becomes of its service.

Written only when nobody counts on the member or waits for it any more (`departures` has the whole way). After it the
record remembers the place, so that a service is removed because a record says that its member has left, never because
something is not there: a record that was lost, or an old one from a backup, removes nothing. Removing a service
removes no volume.

A crash of the operator leaves: before the write, a record whose claim is moving, as ever; after it, a service that the
record says is to go, and every operator sees it.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgswarm import settings
from pgswarm.core import bootstrap, durability
from pgswarm.core.claim import member_of
from pgswarm.core.departures import Departure, departures
from pgswarm.core.record import DEPARTED_KEPT, Place, Record
from pgswarm.core.relocation import REMOVED_AFTER
from pgswarm.core.reports import MemberReport
from pgswarm.core.steps import NOTHING, Plan, RemoveService, WriteRecord
from pgswarm.core.swarmview import Service, SwarmView
from pgswarm.core.world import World


def ended(world: World, record: Record, now: float) -> Plan:
    """The record without the member, or what is waited for."""
    for departure in departures(world, record, now)[:1]:
        primary = world.present(record.primary_member, now)
        if departure.member == record.primary_member or primary is None:
            return NOTHING  # `handover` says why
        counted = durability.held_back(world, record, departure.member, now)
        counted = counted or counted_on(record, departure.member, primary)
        if counted:
            return Plan(waits=(f"{departure.member} is to leave ({departure.reason}): {counted}",), again=1.0)
        return _left(record, departure)
    return NOTHING


def services(world: World, record: Record, swarm: SwarmView) -> Plan:
    """Services of members that have left: scaled to zero, and removed when their containers have ended.

    Those of which the record does not know that their members have left are told to people, and left alone.
    """
    cluster = world.cluster
    steps: list[RemoveService] = []
    waits: list[str] = []
    for member in dict.fromkeys(place.member for place in record.departed):
        service = swarm.service(settings.member_service(cluster, member))
        if service is None or record.place(member) is not None or not _is_ours(service, cluster, member):
            continue
        there = bootstrap.pinned(member, service, swarm)
        if there is not None and all((one.member, one.id) != (member, there.id) for one in record.departed):
            continue  # it is at a place that no record says it has left: this record is older than the listing
        if service.replicas != 0:
            reason = f"{member} has left, so it is stopped; its volume is kept"
            steps.append(RemoveService(name=service.name, member=member, first=True, reason=reason))
        elif ending := _ending(service, swarm, world.away):
            waits.append(f"service {service.name} is removed when its container on {ending} has ended")
        else:
            reason = f"{member} has left and its container has ended; its volume is kept"
            steps.append(RemoveService(name=service.name, member=member, first=False, reason=reason))
    named = {*record.members, *(place.member for place in record.departed)}
    named |= {one.name for one in world.document.instances()} if world.document else set()
    waits += [
        f"service {service.name} is of a member that neither the document nor the record names: it is left alone; look "
        f"what its volume holds, and `docker service rm {service.name}` if nobody needs it"
        for member, service in swarm.members(cluster).items()
        if member not in named
    ]
    return Plan(steps=tuple(steps), waits=tuple(waits), again=1.0 if waits else None)


def counted_on(record: Record, member: str, primary: MemberReport) -> str:
    """Does anybody still count on it, or wait for it? Empty if not."""
    if record.counts(member):
        return "claim and sync are about to do without it"
    key = (record.term, record.revision)
    if primary.heeded != key:
        return f"{record.primary_member} has not acknowledged revision {record.revision}"
    force = primary.in_force
    if record.sync.k and (force is None or (force.term, force.revision) != key):
        return f"the sync setting of revision {record.revision} is not yet in force on {record.primary_member}"
    return ""


def _left(record: Record, departure: Departure) -> Plan:
    place = departure.place
    reason = (
        f"{place.member} has left ({departure.reason}); its volume {place.volume} on {place.node_name} is kept as it is"
    )
    known: list[Place] = [one for one in record.departed if (one.member, one.id) != (place.member, place.id)]
    left = place.model_copy(update={"given_up": departure.given_up})
    changed = record.amended(
        reason,
        places=tuple(one for one in record.places if one != place),
        reseeds=tuple(one for one in record.reseeds if member_of(one) != place.member),
        fences=tuple(one for one in record.fences if one.member != place.member),
        departed=(*known, left)[-DEPARTED_KEPT:],
    )
    return Plan(steps=(WriteRecord(record=changed, reason=reason),))


def _is_ours(service: Service, cluster: str, member: str) -> bool:
    return (service.cluster, service.kind, service.member) == (cluster, "member", member)


def _ending(service: Service, swarm: SwarmView, away: Mapping[str, float]) -> str:
    """Where a container of it may still run; empty if nowhere.

    What a node that is lost runs is nobody's any more, but one listing that calls it lost may be old, or of a node that
    is just starting again.
    """
    for task in swarm.tasks_of(service):
        if not task.is_live or not task.node_id:
            continue
        node = swarm.node(task.node_id)
        is_lost = node is None or node.state == "down"
        if not is_lost or away.get(task.node_id, 0.0) < REMOVED_AFTER:
            return node.name if node is not None else task.node_id
    return ""
