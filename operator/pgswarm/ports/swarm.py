"""Swarm as the operator needs it: one view, and a handful of changes.

`Swarm` is the seam: the loop, the CLI and the simulator know only these methods. `DockerSwarm` is the real one. It
lists everything at once and filters here, so that a service of somebody else that merely has one of our names is
seen, too; tasks alone are asked for by service, since a large Swarm has thousands of them.

A service is changed by sending its whole spec with the version that was read. Docker then refuses if anybody wrote in
between (`Conflict`), and nothing is merged behind our back. What the failures mean is told in `swarm_http`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol, TypeVar

import anyio
from loguru import logger

from pgswarm import settings
from pgswarm.core.base import Value
from pgswarm.core.swarmview import Network, Node, Secret, Service, SwarmView, Task
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.ports import swarm_events, swarm_images, swarm_parse
from pgswarm.ports.swarm_events import Wake
from pgswarm.ports.swarm_http import Engine, Missing

VIEW_TIMEOUT = 6.0
"""Seconds for a whole view: the lists run side by side, only the tasks wait for the services."""

Spec = dict[str, Any]
T = TypeVar("T")


class Here(Value):
    """The node behind the socket, a manager."""

    node_id: str
    node_name: str
    address: str
    engine: str
    managers: int
    nodes: int


class Swarm(Protocol):
    """What the rest of pgswarm may ask of Swarm. Failures are those of `pgswarm.errors`."""

    async def info(self) -> Here:
        """Where we are. Refused, with what to do, if this is not a Swarm manager."""
        ...

    async def view(self, cluster: str | None = None) -> SwarmView:
        """Everything now; with `cluster`, only its tasks. Raises Again rather than showing a part."""
        ...

    async def create_service(self, spec: Spec) -> str: ...

    async def update_service(self, service_id: str, version: int, spec: Spec) -> None: ...

    async def remove_service(self, service_id: str) -> None: ...

    async def ensure_network(self, name: str, labels: Mapping[str, str], *, attachable: bool = True) -> str: ...

    async def create_secret(self, name: str, data: bytes, labels: Mapping[str, str]) -> str: ...

    async def secrets(self) -> tuple[Secret, ...]: ...

    async def resolve_image(self, reference: str) -> str:
        """The reference with its digest, or a local image id. Refused if no registry and not this node has it."""
        ...

    def events(self) -> AsyncIterator[Wake]:
        """Wake-ups for ever: the first after every (re)connection says `connected`; list then."""
        ...


class DockerSwarm:
    """Swarm through the Docker socket of a manager."""

    def __init__(self, base_url: str | None = None) -> None:
        self.engine = Engine(base_url)
        self._seen: dict[str, tuple[bytes, tuple[Any, ...]]] = {}

    async def info(self) -> Here:
        raw = await self.engine.get("/info", doing="asking Docker about this node")
        swarm = raw.get("Swarm") or {}
        match swarm.get("LocalNodeState"):
            case "active":
                pass
            case "inactive" | None | "":
                raise Refused("this node is in no Swarm; run `docker swarm init` (or `docker swarm join`) first")
            case "locked":
                raise Refused("the Swarm is locked; run `docker swarm unlock` on this node")
            case state:
                raise Again(f"this node's Swarm state is {state}: {swarm.get('Error') or 'it is still joining'}")
        if not swarm.get("ControlAvailable"):
            raise Refused("this node is a worker; run this on a manager (`docker node ls` there lists them)")
        return Here(
            node_id=swarm.get("NodeID") or "",
            node_name=raw.get("Name") or "",
            address=swarm.get("NodeAddr") or "",
            engine=raw.get("ServerVersion") or "",
            managers=swarm.get("Managers") or 0,
            nodes=swarm.get("Nodes") or 0,
        )

    async def heartbeat(self) -> float:
        """Seconds between two heartbeats of a node; Swarm misses a node after three."""
        raw = await self.engine.get("/swarm", doing="asking Docker about the Swarm")
        return float(((raw.get("Spec") or {}).get("Dispatcher") or {}).get("HeartbeatPeriod") or 0) / 1e9

    async def local_networks(self) -> dict[str, str]:
        """Networks that this node has for itself alone: the driver by the name."""
        listed = await self._list("/networks", swarm_parse.network, doing="listing networks")
        return {network.name: network.driver for network in listed if network.scope == "local"}

    async def view(self, cluster: str | None = None) -> SwarmView:
        found: dict[str, tuple[Any, ...]] = {}

        async def lay(name: str, path: str, parse: Callable[[Any], object]) -> None:
            found[name] = await self._list(path, parse, doing=f"listing {name}")

        async def services_and_tasks() -> None:
            await lay("services", "/services", swarm_parse.service)
            found["tasks"] = await self._tasks(found["services"], cluster)

        try:
            with anyio.fail_after(VIEW_TIMEOUT):
                async with anyio.create_task_group() as group:
                    group.start_soon(services_and_tasks)
                    group.start_soon(lay, "nodes", "/nodes", swarm_parse.node)
                    group.start_soon(lay, "networks", "/networks", swarm_parse.network)
                    group.start_soon(lay, "secrets", "/secrets", swarm_parse.secret)
        except TimeoutError as error:
            raise Again(f"looking at the Swarm took more than {VIEW_TIMEOUT:g} s") from error
        except BaseExceptionGroup as several:
            raise _one_of(several) from several
        nodes: tuple[Node, ...] = found["nodes"]
        networks: tuple[Network, ...] = found["networks"]
        return SwarmView(
            nodes=tuple(sorted(nodes, key=lambda node: node.name)),
            services=tuple(sorted(found["services"], key=lambda service: service.name)),
            tasks=found["tasks"],
            networks=tuple(sorted((one for one in networks if one.scope == "swarm"), key=lambda one: one.name)),
            secrets=found["secrets"],
        )

    async def create_service(self, spec: Spec) -> str:
        name = spec["Name"]
        answer = await self.engine.post("/services/create", spec, doing=f"creating service {name}")
        logger.info("service {} created", name)
        return str(answer["ID"])

    async def update_service(self, service_id: str, version: int, spec: Spec) -> None:
        name = spec["Name"]
        await self.engine.post(
            f"/services/{service_id}/update", spec, doing=f"changing service {name}", version=version
        )
        logger.info("service {} changed", name)

    async def remove_service(self, service_id: str) -> None:
        try:
            await self.engine.delete(f"/services/{service_id}", doing=f"removing service {service_id}")
        except Missing:
            return
        logger.info("service {} removed", service_id)

    async def ensure_network(self, name: str, labels: Mapping[str, str], *, attachable: bool = True) -> str:
        """Its id; created if there is none. A network of that name that services cannot use is refused."""
        found = await self._network(name)
        if found is None:
            body = {"Name": name, "Driver": "overlay", "Scope": "swarm", "Attachable": attachable,
                    "Labels": dict(labels)}  # fmt: skip
            try:
                answer = await self.engine.post("/networks/create", body, doing=f"creating network {name}")
            except Conflict:
                found = await self._network(name)
                if found is None:
                    raise
            else:
                logger.info("network {} created", name)
                return str(answer["Id"])
        if found.driver not in ("overlay", ""):  # Swarm has not said yet, in the first moment of a new one
            raise Refused(f"network {name} is a {found.driver} network; services need an overlay: choose another name")
        return found.id

    async def create_secret(self, name: str, data: bytes, labels: Mapping[str, str]) -> str:
        """Its id. One that exists is left as it is: the first writer's password counts."""
        body = {"Name": name, "Labels": dict(labels), "Data": base64.b64encode(data).decode()}
        try:
            answer = await self.engine.post("/secrets/create", body, doing=f"creating secret {name}")
        except Conflict:
            found = next((secret for secret in await self.secrets() if secret.name == name), None)
            if found is None:
                raise
            return found.id
        logger.info("secret {} created", name)
        return str(answer["ID"])

    async def secrets(self) -> tuple[Secret, ...]:
        return await self._list("/secrets", swarm_parse.secret, doing="listing secrets")

    async def resolve_image(self, reference: str) -> str:
        return await swarm_images.resolve(self.engine, reference)

    def events(self) -> AsyncIterator[Wake]:
        return swarm_events.wakes(self.engine)

    async def _list(self, path: str, parse: Callable[[Any], T], *, doing: str, **query: Any) -> tuple[T, ...]:
        content = await self.engine.read(path, doing=doing, **query)
        known = self._seen.get(path)
        if known is not None and known[0] == content:
            return known[1]  # at rest most lists are as before: nothing to parse, and the same objects again
        raw = self.engine.parsed(content, doing)
        if not isinstance(raw, list):
            raise Again(f"{doing}: Docker's answer is not a list")
        found = tuple(parse(one) for one in raw)
        self._seen[path] = (content, found)
        return found

    async def _tasks(self, services: tuple[Service, ...], cluster: str | None) -> tuple[Task, ...]:
        ours = [s.id for s in services if settings.LABEL_KIND in s.labels and cluster in (None, s.cluster)]
        if not ours:
            return ()
        try:
            return await self._list("/tasks", swarm_parse.task, doing="listing tasks", filters={"service": ours})
        except Missing as gone:  # Docker looks every service up first: one was removed since the list
            raise Again(f"{gone}; it was removed a moment ago", after=0.1) from gone

    async def _network(self, name: str) -> Network | None:
        listed = await self._list("/networks", swarm_parse.network, doing="listing networks", filters={"name": [name]})
        same = [network for network in listed if network.name == name]
        return next((network for network in same if network.scope == "swarm"), next(iter(same), None))


def _one_of(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure; those beside it have the same cause or none of their own."""
    first = several.exceptions[0]
    return _one_of(first) if isinstance(first, BaseExceptionGroup) else first
