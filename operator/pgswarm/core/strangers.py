"""What services of others hold that a service of ours would take: a volume, a published port, a name on a network.

Swarm itself says nothing until it is too late: two services may mount one local volume, and two PostgreSQL on one data
directory destroy it; a name that two services answer to sends every second client to the wrong one. So whoever is in
the way is named before our service is made, with the command that ends it; and what appears beside one of ours later
is told for as long as it is there. Nothing here stops or changes a service of others.

A service of another cluster of ours counts like anybody's. What cannot be known (a constraint on a label of an engine)
is taken as if the service might run there. Before this: the listing of Swarm. After it: `upkeep` makes no service
beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pgswarm.core.base import Same
from pgswarm.core.record import Place
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.swarmview import Node, Service, SwarmView

_CONSTRAINT = re.compile(r"^\s*([a-zA-Z0-9._-]+)\s*(==|!=)\s*(.*?)\s*$")


def beside_member(document: PostgresCluster, place: Place, swarm: SwarmView) -> tuple[str, ...]:
    """Which services of others run on this member's volume, each with what to do."""
    adopt = document.spec.bootstrap.adopt
    if adopt is not None and place.member != adopt:
        return tuple(
            f"its volume {place.volume} on {place.node_name} is that of service {service.name}, and only the volume of "
            f"{adopt} is adopted: name another volume for {place.member}, or none; it is cloned, and the old one stays "
            "as it is"
            for service in mounting(document.name, place, swarm)
        )
    return tuple(
        f"service {service.name} runs on its volume {place.volume} on {place.node_name}, and two PostgreSQL on one "
        f"volume destroy it: `{_ending(service)}`"
        for service in mounting(document.name, place, swarm)
        if _runs(service)
    )


def beside_routers(document: PostgresCluster, swarm: SwarmView) -> tuple[str, ...]:
    """Which services of others hold a port or the name that the routers need, each with what to do."""
    router = document.spec.router
    ports = {router.port: "port", router.read_only_port: "readOnlyPort", router.stats_port: "statsPort",
             router.health_port: "healthPort"}  # fmt: skip
    nodes = [node for node in swarm.nodes if _routes(document, node)]
    found: list[str] = []
    held = _held(Same(swarm.services))
    near = {*held.names.get(router.name, ()), *(place for port in ports for place in held.ports.get(port, ()))}
    for service in (swarm.services[place] for place in sorted(near)):
        if not _runs(service) or _is_own(service, document.name):
            continue
        for port, where in _published(service, nodes) if router.publish else ():
            if port in ports:
                found.append(
                    f"port {port} (spec.router.{ports[port]}) is published {where} by service {service.name}: "
                    f"`{_ending(service)}`, or choose another port"
                )
        if _answers_to(service, router.name, router.network, swarm):
            found.append(
                f"service {service.name} answers to the name {router.name} on network {router.network} as well: "
                f"`{_ending(service)}`, or choose another name for the router"
            )
    return tuple(found)


def mounting(cluster: str, place: Place, swarm: SwarmView) -> tuple[Service, ...]:
    """The services of others that mount this volume where it lies, whether or not they run."""
    node = swarm.node(place.node_id)
    return tuple(
        service
        for service in (swarm.services[at] for at in _held(Same(swarm.services)).volumes.get(place.volume, ()))
        if not (service.cluster == cluster and service.member == place.member)
        and (node is None or _may_run_on(service, node))
    )


class _Held(NamedTuple):
    """What is held, and where in the listing those stand that hold it: every cluster asks for each of its own."""

    volumes: dict[str, list[int]]
    ports: dict[int, list[int]]
    names: dict[str, list[int]]


@lru_cache(maxsize=2)
def _held(services: Same[tuple[Service, ...]]) -> _Held:
    held = _Held({}, {}, {})
    for place, service in enumerate(services.value):
        for volume in _volumes(service):
            held.volumes.setdefault(volume, []).append(place)
        for port in (service.spec.get("EndpointSpec") or {}).get("Ports") or []:
            held.ports.setdefault(port.get("PublishedPort") or 0, []).append(place)
        for name in {service.name, *(alias for one in _attached(service) for alias in one.get("Aliases") or [])}:
            held.names.setdefault(name, []).append(place)
    return held


def _ending(service: Service) -> str:
    """How a person ends it; a global service cannot be scaled."""
    if service.cluster is not None:
        return f"pgswarm status {service.cluster}"
    if service.replicas is None:
        return f"docker service rm {service.name}"
    return f"docker service scale {service.name}=0"


def _runs(service: Service) -> bool:
    return service.replicas != 0


def _is_own(service: Service, cluster: str) -> bool:
    return service.cluster == cluster and service.kind is not None


def _template(service: Service) -> dict[str, Any]:
    found = service.spec.get("TaskTemplate")
    return found if isinstance(found, dict) else {}


def _volumes(service: Service) -> set[str]:
    mounts = (_template(service).get("ContainerSpec") or {}).get("Mounts") or []
    return {str(mount.get("Source", "")) for mount in mounts if mount.get("Type") == "volume"} - {""}


def _published(service: Service, nodes: list[Node]) -> Iterator[tuple[int, str]]:
    """The ports that it takes on any of these nodes, and where."""
    for port in (service.spec.get("EndpointSpec") or {}).get("Ports") or []:
        number = port.get("PublishedPort") or 0
        if port.get("Protocol", "tcp") != "tcp" or not number:
            continue
        if port.get("PublishMode", "ingress") != "host":
            yield number, "on every node"
            continue
        shared = [node.name for node in nodes if _may_run_on(service, node)]
        if shared:
            yield number, f"on {', '.join(shared)}"


def _answers_to(service: Service, name: str, network: str, swarm: SwarmView) -> bool:
    known = swarm.network(network)
    targets = {network, known.id if known is not None else network}
    return any(
        one.get("Target") in targets and name in (service.name, *(one.get("Aliases") or []))
        for one in _attached(service)
    )


def _attached(service: Service) -> Sequence[dict[str, Any]]:
    """The networks that it is attached to, by the old field and the new."""
    return [*(_template(service).get("Networks") or []), *(service.spec.get("Networks") or [])]


def _routes(document: PostgresCluster, node: Node) -> bool:
    """Does a router of this document run there?"""
    nodes = document.spec.router.nodes
    if nodes == "all":
        return True
    if nodes == "managers":
        return node.role == "manager"
    return node.id in nodes or node.name in nodes


def _may_run_on(service: Service, node: Node) -> bool:
    """Unless a constraint that can be judged says otherwise."""
    facts = {
        "node.id": node.id,
        "node.hostname": node.name,
        "node.role": node.role,
        **{f"node.labels.{name}": value for name, value in node.labels.items()},
    }
    for constraint in (_template(service).get("Placement") or {}).get("Constraints") or []:
        found = _CONSTRAINT.match(str(constraint))
        if found is None or (found[1] not in facts and not found[1].startswith("node.labels.")):
            continue
        if (facts.get(found[1], "").lower() == found[3].lower()) != (found[2] == "=="):
            return False
    return True
