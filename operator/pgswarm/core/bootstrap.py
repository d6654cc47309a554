"""How a cluster begins: where its members live, what must exist before them, and the first record.

Nodes are chosen once and remembered: in the record, and until there is one in the member's service, which is pinned.
The first record names the first instance of the document as primary of term 1, but only after *every* member has
reported an empty volume: a volume that holds data belongs to somebody, perhaps to this very cluster after its record
was lost, and then only a person can know. One who does names the instance whose data are the truth (`adoption`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pgswarm.core import adoption
from pgswarm.core.claim import Claim, incarnation
from pgswarm.core.record import Grant, Place, Record
from pgswarm.core.reports import Data
from pgswarm.core.spec import Instance, PostgresCluster
from pgswarm.core.steps import NOTHING, Plan, WriteRecord
from pgswarm.core.swarmview import Node, Service, SwarmView
from pgswarm.core.wal import Reign
from pgswarm.core.world import Unknown, World


def places(
    document: PostgresCluster, record: Record | None, swarm: SwarmView
) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """Where every member lives or shall live, in the document's order, and what cannot be placed and why.

    The record's word comes first, then the pin of a service that exists, then the document's node, then where the
    volume lies that a member left behind, then a choice: the fitting node with the fewest members, the leader of
    Swarm's Raft last among them, else by name.
    """
    remembered = {place.member: place for place in record.places} if record else {}
    left = record.departed if record else ()
    for member, service in swarm.members(document.name).items():
        place = pinned(member, service, swarm)
        if member not in remembered and place is not None and not _has_left(place, left):
            remembered[member] = place
    problems: list[str] = []
    found: list[Place] = []
    for instance in document.instances():
        chosen = remembered.get(instance.name) or _choose(
            document, instance, swarm, [*remembered.values(), *found], left
        )
        if isinstance(chosen, str):
            problems.append(chosen)
        else:
            found.append(chosen)
    kept = [place for place in remembered.values() if place.member not in {one.member for one in found}]
    kept = [place for place in kept if record is not None and record.place(place.member) is not None]
    return (*found, *kept), tuple(problems)


def first_record(world: World, now: float) -> Plan:
    """The record of term 1, as soon as every member has shown an empty volume, or the data that is to be adopted."""
    if world.document is None or world.swarm is None:
        return NOTHING
    if world.place_problems:
        return Plan(waits=world.place_problems)
    waits: list[str] = []
    adopted = world.document.spec.bootstrap.adopt
    first = next((place for place in world.places if place.member == adopted), None)
    for place in world.places:
        report = world.present(place.member, now)
        if report is None:
            waits.append(f"waiting for {place.member} on {place.node_name}: {_why_silent(world, place.member, now)}")
        elif place is first:
            waits.extend(adoption.against(world, place, report))
        elif report.data is not Data.NONE:
            waits.append(
                f"{place.member}: its volume {place.volume} on {place.node_name} already holds data "
                f"({report.problem.text if report.problem else report.incarnation or report.data.value}), and there is "
                f"no record of a cluster {world.cluster}; name another volume, or remove this one if nobody needs it"
                f"{adoption.besides(world.document, place)}"
            )
    if waits or not world.places:
        return Plan(waits=tuple(waits), again=1.0)
    if first is not None:
        taken = adoption.first_record(world, first, incarnation(first.member, world.fresh_id), now)
        return Plan(steps=(WriteRecord(record=taken, reason=taken.reason),)) if taken else NOTHING
    primary = incarnation(world.places[0].member, world.fresh_id)
    reason = f"all {len(world.places)} volumes are empty: {world.places[0].member} begins term 1"
    record = Record(
        revision=1,
        term=1,
        primary=primary,
        claim=Claim(members=(primary,), r=1),
        lineage=(Reign(term=1, incarnation=primary, timeline=1, fork=0),),
        places=world.places,
        reason=reason,
    )
    return Plan(steps=(WriteRecord(record=record, reason=reason),))


def completed(world: World, record: Record, now: float) -> Plan:
    """What the record learns later: the system identifier once it exists, and members that were added."""
    wanted = {one.name for one in world.document.instances()} if world.document else set()
    new = [one for one in world.places if record.place(one.member) is None and one.member in wanted]
    added = tuple(one for one in new if not _still_elsewhere(world, record, one))
    if added:
        reason = ", ".join(_added(record, place) for place in added)
        # A primary that does not know of a member yet does not ask it for consent either.
        grant = Grant.ASKED if record.grant is Grant.HELD else record.grant
        taken_again = {(place.member, place.id) for place in added}
        departed = tuple(place for place in record.departed if (place.member, place.id) not in taken_again)
        changed = record.amended(reason, places=(*record.places, *added), departed=departed, grant=grant)
        return Plan(steps=(WriteRecord(record=changed, reason=reason),))
    if record.system_id:
        late = [f"{one.member} begins on {one.node_name} once its old service is gone" for one in new]
        waits = Plan(waits=tuple(late), again=1.0) if late else NOTHING
        return adoption.completed(world, record, now).and_then(waits)
    report = world.present(record.primary_member, now)
    if report is None or report.incarnation != record.primary or report.data is not Data.READY or not report.system_id:
        return NOTHING
    reason = f"{record.primary_member} has created system {report.system_id}"
    return Plan(steps=(WriteRecord(record=record.amended(reason, system_id=report.system_id), reason=reason),))


def volume_of(document: PostgresCluster, instance: Instance) -> str:
    """The volume's name: the document's, or CLUSTER_MEMBER."""
    return instance.volume or f"{document.name}_{instance.name}"


def taken(
    document: PostgresCluster, instance: Instance, node: Node, others: Sequence[Place], left: tuple[Place, ...]
) -> str:
    """Why a member cannot have its place on this node: another's data is, or lies, there. A rename looks like this."""
    place = _place(document, instance, node)
    for other in (*others, *left):
        if other.member != place.member and (other.node_id, other.volume) == (place.node_id, place.volume):
            return (
                f"{place.member}: volume {place.volume} on {place.node_name} holds the data of {other.member}, and a "
                f"member cannot be renamed: to have {place.member} in place of {other.member}, name another volume (or "
                f"none) for it; it is cloned and counted, then {other.member} leaves, and its volume is kept"
            )
    return ""


def _choose(
    document: PostgresCluster, instance: Instance, swarm: SwarmView, others: list[Place], left: tuple[Place, ...]
) -> Place | str:
    if instance.node is not None:
        node = swarm.node(instance.node)
        if node is None:
            known = ", ".join(sorted(node.name for node in swarm.nodes)) or "none"
            return f"{instance.name}: node {instance.node!r} is not one of this Swarm's nodes ({known})"
        return taken(document, instance, node, others, left) or _place(document, instance, node)
    last = next((place for place in reversed(left) if place.member == instance.name), None)
    if last is not None and not last.given_up and (node := swarm.node(last.node_id)) is not None:
        return taken(document, instance, node, others, left) or _place(document, instance, node)
    load = Counter(place.node_id for place in others)
    willing = [node for node in swarm.nodes if node.takes_tasks]
    fitting = [node for node in willing if not taken(document, instance, node, others, left)]
    if not fitting:
        why = taken(document, instance, willing[0], others, left) if willing else ""
        return why or f"{instance.name}: no node takes tasks now; see `docker node ls`"
    return _place(
        document, instance, min(fitting, key=lambda node: (load[node.id], node.is_raft_leader, node.name, node.id))
    )


def _place(document: PostgresCluster, instance: Instance, node: Node) -> Place:
    return Place(member=instance.name, node_id=node.id, node_name=node.name, volume=volume_of(document, instance))


def _added(record: Record, place: Place) -> str:
    moved = any(one.member == place.member and one.id != place.id for one in record.departed)
    return f"{place.member} begins on {place.node_name}" if moved else f"{place.member} added by the document"


def _has_left(place: Place, left: tuple[Place, ...]) -> bool:
    return any((place.member, place.id) == (one.member, one.id) for one in left)


def _still_elsewhere(world: World, record: Record, place: Place) -> bool:
    """May a container of this member still be there by Swarm's will, at the place that it has left?

    Two services of one member cannot be; and the old container is to be gone, or on a node that is known to be down,
    before another bears its name. While Swarm is not seen nobody who has lived elsewhere is added.
    """
    if isinstance(world.swarm, Unknown):
        return any(one.member == place.member for one in record.departed)
    service = world.swarm.members(world.cluster).get(place.member)
    if service is None:
        return False
    there = pinned(place.member, service, world.swarm)
    if there is None:  # somebody's hand was in it: it may be of any place that was left
        return any(one.member == place.member for one in record.departed)
    return there.id != place.id


def pinned(member: str, service: Service, swarm: SwarmView) -> Place | None:
    """The place that an existing service of ours is pinned to."""
    template = service.spec.get("TaskTemplate", {})
    for constraint in (template.get("Placement") or {}).get("Constraints") or []:
        key, _, value = constraint.partition("==")
        if key.strip() == "node.id":
            node = swarm.node(value.strip())
            mounts = (template.get("ContainerSpec") or {}).get("Mounts") or []
            volume = next((mount.get("Source", "") for mount in mounts if mount.get("Type") == "volume"), "")
            name = node.name if node else value.strip()
            return Place(member=member, node_id=value.strip(), node_name=name, volume=volume) if volume else None
    return None


def _why_silent(world: World, member: str, now: float) -> str:
    trouble = next((wanted.trouble for wanted in world.wanted.values() if wanted.member == member), "")
    return trouble or world.gone(member, now) or "no report yet"
