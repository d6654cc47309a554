"""What belongs to a cluster in this Swarm, and what only looks as if it did: before anything of it is removed.

Ours is what bears the cluster's label and the kind that we give; a name alone says nothing. A stranger with one of our
names is told, and never touched. Volumes are on the nodes, where only these know them: what the record remembers of
places is listed, with the one first that holds the newest data.

Read by `pgswarm delete` and by `status`, which says it of a cluster that no document names any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgswarm import settings
from pgswarm.core.record import Place, Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.swarmview import Network, Secret, Service, SwarmView


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """Everything of one cluster; members in the order in which they are to be stopped."""

    cluster: str
    routers: tuple[Service, ...]
    members: tuple[Service, ...]
    secrets: tuple[Secret, ...]
    network: Network | None
    volumes: tuple[Place, ...]
    kept: tuple[str, ...]  # what is not touched, and why
    has_record: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """What is there, for people."""
        named = (
            ("routers", ", ".join(one.name for one in self.routers)),
            ("members, the primary last", ", ".join(one.name for one in self.members)),
            ("secrets", ", ".join(one.name for one in self.secrets)),
            ("network", self.network.name if self.network else ""),
            ("record", settings.record_name(self.cluster) if self.has_record else ""),
        )
        volumes = ", ".join(f"{place.volume} on {place.node_name}" for place in self.volumes)
        return (
            *(f"{what}: {names}" for what, names in named if names),
            *([f"volumes, the newest data first: {volumes}"] if volumes else []),
            *(f"not touched: {text}" for text in self.kept),
        )


def belongings(
    swarm: SwarmView, cluster: str, record: Record | None, document: PostgresCluster | None, *, exists: bool = True
) -> Belongings:
    """Everything in this Swarm that belongs to the cluster."""
    primary = record.primary_member if record is not None else ""
    ours = swarm.services_of(cluster)
    members = [one for one in ours if one.kind == "member" and one.member]
    secrets, kept = _secrets(swarm, cluster, document)
    network, why = _network(swarm, ours, document)
    strangers = [
        f"service {one.name}: it has our name and not our label, so it is somebody else's"
        for one in swarm.services
        if one.name.startswith(f"{cluster}_") and one not in ours
    ]
    places = (*record.places, *reversed(record.departed)) if record is not None else ()
    return Belongings(
        cluster=cluster,
        routers=tuple(one for one in ours if one.kind == "router"),
        members=tuple(sorted(members, key=lambda one: (one.member == primary, one.name))),
        secrets=secrets,
        network=network,
        volumes=tuple(sorted(dict.fromkeys(places), key=lambda one: one.member != primary)),
        kept=(*strangers, *kept, *([why] if why else [])),
        has_record=exists,
    )


def is_live(swarm: SwarmView, service: Service) -> str:
    """Where a container of it may still run, on a node that could say otherwise; empty if nowhere."""
    for task in swarm.tasks_of(service):
        node = swarm.node(task.node_id) if task.node_id else None
        if task.is_live and node is not None and node.state != "down":
            return node.name
    return ""


def _secrets(
    swarm: SwarmView, cluster: str, document: PostgresCluster | None
) -> tuple[tuple[Secret, ...], tuple[str, ...]]:
    ours = tuple(one for one in swarm.secrets if one.labels.get(settings.LABEL_CLUSTER) == cluster)
    names = {f"{cluster}-{purpose}" for purpose in ("owner", "replication")}
    named = document.spec.postgres.passwords if document is not None else None
    given = {name for name in (named.owner, named.replication) if name} if named is not None else set()
    kept = [f"secret {name}: the document names it, so it is yours" for name in sorted(given)]
    kept += [
        f"secret {one.name}: it has our name and not our label, so it is somebody else's"
        for one in swarm.secrets
        if one.name in names - given and one not in ours
    ]
    return tuple(one for one in ours if one.name not in given), tuple(kept)


def _network(
    swarm: SwarmView, ours: tuple[Service, ...], document: PostgresCluster | None
) -> tuple[Network | None, str]:
    """The network of its routers, if we made it and nobody else uses it; and why not, if not."""
    found = swarm.network(document.spec.router.network) if document is not None else None
    if found is None or found.name == settings.CONTROL_NETWORK:
        return None, ""
    if found.labels.get(settings.LABEL_KIND) != "network":
        return None, f"network {found.name}: pgswarm has not made it"
    others = [one.name for one in swarm.services if one not in ours and _is_on(one, found)]
    if others:
        return None, f"network {found.name}: {', '.join(others)} is on it"
    return found, ""


def _is_on(service: Service, network: Network) -> bool:
    wanted = service.spec.get("TaskTemplate", {}).get("Networks") or []
    return any(one.get("Target") in (network.id, network.name) for one in wanted)
