"""What the operator sees of Swarm at one moment, as plain values.

Docker's answers are large, change from engine to engine and mix wishes with facts; `ports/swarm` turns them into
these. Only what somebody decides by is kept, with one exception: a service keeps its raw spec, because a change of a
service must send back everything it found there.

Three facts of Swarm shape the helpers (measured, see the notes on Swarm). A task has its address before its
container starts, and gets another one each time, so addresses are read from tasks and never guessed. On a node that
went down the old task stays `running` with the wish `shutdown` while its replacement waits as `pending`: the old
address is the only one at which a living PostgreSQL may still answer, so it still counts. And after a change of the
Raft leader every node is `unknown` for some seconds: unknown is not down.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any, Literal

from pgswarm import settings
from pgswarm.core.base import Same, Value

LIVE = ("assigned", "accepted", "preparing", "ready", "starting", "running")
"""States of a task that has, or is about to have, a container with its address."""

ENDED = ("complete", "shutdown", "failed", "rejected", "remove", "orphaned")
"""States that a task never leaves."""


class Node(Value):
    id: str
    name: str
    role: Literal["manager", "worker"]
    availability: Literal["active", "pause", "drain"] = "active"
    state: Literal["ready", "down", "unknown", "disconnected"]
    is_raft_leader: bool = False
    reachability: Literal["reachable", "unreachable", "unknown", ""] = ""
    address: str = ""
    engine: str = ""
    labels: dict[str, str] = {}

    @property
    def takes_tasks(self) -> bool:
        return self.state == "ready" and self.availability == "active"


class Service(Value):
    """A Swarm service; ours if its labels say so, somebody else's if only its name looks like ours."""

    id: str
    version: int
    name: str
    labels: dict[str, str] = {}
    spec: dict[str, Any] = {}
    replicas: int | None = None  # None: global, one on each node that fits
    update_state: str = ""  # updating, paused, completed, …; empty if never updated
    update_message: str = ""

    @property
    def cluster(self) -> str | None:
        return self.labels.get(settings.LABEL_CLUSTER)

    @property
    def kind(self) -> str | None:
        return self.labels.get(settings.LABEL_KIND)

    @property
    def member(self) -> str | None:
        return self.labels.get(settings.LABEL_MEMBER)

    @property
    def wanted(self) -> str | None:
        """The hash of the spec that the operator wrote last."""
        return self.labels.get(settings.LABEL_WANTED)


class Task(Value):
    id: str
    service_id: str
    node_id: str = ""  # empty until scheduled
    slot: int = 0
    state: str
    desired: str
    message: str = ""
    error: str = ""
    exit_code: int | None = None
    addresses: dict[str, str] = {}  # network name → IPv4 without prefix
    image: str = ""
    container_id: str = ""
    created: float = 0.0  # seconds since the epoch, the manager's clock
    since: float = 0.0  # when `state` was reported, the node's clock

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def is_wanted(self) -> bool:
        return self.desired in ("running", "ready", "accepted")


class Network(Value):
    name: str
    id: str
    driver: str = ""
    scope: str = ""
    attachable: bool = False
    labels: dict[str, str] = {}


class Secret(Value):
    id: str
    name: str
    labels: dict[str, str] = {}


class SwarmView(Value):
    """Everything at one moment. Services of others are listed too; tasks only of services with our labels."""

    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    tasks: tuple[Task, ...] = ()
    networks: tuple[Network, ...] = ()
    secrets: tuple[Secret, ...] = ()

    def node(self, reference: str) -> Node | None:
        """The node with this id, or the only node with this host name (two of one name are nobody)."""
        return _by_reference(Same(self.nodes)).get(reference)

    def service(self, name: str) -> Service | None:
        return _by_name(Same(self.services)).get(name)

    def network(self, name: str) -> Network | None:
        return next((network for network in self.networks if network.name == name and network.scope == "swarm"), None)

    def secret(self, name: str) -> Secret | None:
        return _secrets(Same(self.secrets)).get(name)

    def services_of(self, cluster: str, kind: str | None = None) -> tuple[Service, ...]:
        services = _by_cluster(Same(self.services)).get(cluster, [])
        return tuple(service for service in services if kind in (None, service.kind))

    def members(self, cluster: str) -> dict[str, Service]:
        """The cluster's member services by member name."""
        return {service.member: service for service in self.services_of(cluster, "member") if service.member}

    def tasks_of(self, service: Service) -> tuple[Task, ...]:
        """Newest first."""
        return _by_service(Same(self.tasks)).get(service.id, ())

    def current_task(self, service: Service) -> Task | None:
        """The newest task that Swarm wants to run; None if it wants none (scaled to zero) or has not made one yet."""
        return next((task for task in self.tasks_of(service) if task.is_wanted), None)

    def address(self, service: Service, network: str = settings.CONTROL_NETWORK) -> str | None:
        """Where the one task of this service is to be asked; None if it has no container anywhere."""
        return next(iter(self.addresses(service, network)), None)

    def addresses(self, service: Service, network: str = settings.CONTROL_NETWORK) -> tuple[str, ...]:
        """Addresses of all tasks that may have a container: those that Swarm wants to run first, then those that do
        run, then newest first. In an update neither the old task nor the new one is wanted to run until the old one has
        ended, which is told so only seconds later; meanwhile it is the old one that speaks.
        """
        live = [task for task in self.tasks_of(service) if task.is_live and network in task.addresses]
        live.sort(key=lambda task: (not (task.is_wanted and task.desired == "running"), task.state != "running"))
        return tuple(dict.fromkeys(task.addresses[network] for task in live))

    def router_addresses(self, cluster: str) -> dict[str, str | None]:
        """Every router task that has an address, by the node it runs on."""
        found: dict[str, str | None] = {}
        for service in self.services_of(cluster, "router"):
            for task in self.tasks_of(service):
                address = task.addresses.get(settings.CONTROL_NETWORK)
                if task.is_live and task.is_wanted and address:
                    node = self.node(task.node_id)
                    found[node.name if node else task.node_id] = address
        return found

    def trouble(self, service: Service) -> str | None:
        """Why this service does not run, in one line that says what to do; None if nothing is known to be wrong."""
        tasks = self.tasks_of(service)
        current = self.current_task(service)
        if current is None:
            return f"service {service.name} is scaled to {service.replicas}" if service.replicas == 0 else None
        node = self.node(current.node_id) if current.node_id else None
        if node is not None and node.state == "down" and current.is_live:
            return f"node {node.name} is down"
        if current.state == "running":
            return None
        if current.state in ("new", "pending"):
            return explain(current.error or current.message, node="", image=current.image) if current.error else None
        if current.state in ENDED:
            return explain(
                current.error or current.message, node=node.name if node else current.node_id, image=current.image
            )
        before = next(
            (task for task in tasks if task.state in ("failed", "rejected") and _in_place_of(task, current)), None
        )
        if before is None:
            return None
        at = self.node(before.node_id)
        return explain(before.error or before.message, node=at.name if at else before.node_id, image=before.image)


def _in_place_of(before: Task, task: Task) -> bool:
    """Was it there before this one? A service that is on every node knows no slots, and is told apart by its nodes."""
    return before.slot == task.slot and (bool(task.slot) or before.node_id == task.node_id)


@lru_cache(maxsize=4)
def _by_reference(nodes: Same[tuple[Node, ...]]) -> dict[str, Node]:
    names = Counter(node.name for node in nodes.value)
    named = {node.name: node for node in nodes.value if names[node.name] == 1}
    return named | {node.id: node for node in nodes.value}


@lru_cache(maxsize=4)
def _secrets(secrets: Same[tuple[Secret, ...]]) -> dict[str, Secret]:
    return {secret.name: secret for secret in reversed(secrets.value)}


@lru_cache(maxsize=4)
def _by_name(services: Same[tuple[Service, ...]]) -> dict[str, Service]:
    return {service.name: service for service in reversed(services.value)}


@lru_cache(maxsize=4)
def _by_cluster(services: Same[tuple[Service, ...]]) -> dict[str, list[Service]]:
    found: dict[str, list[Service]] = {}
    for service in services.value:
        if service.cluster is not None:
            found.setdefault(service.cluster, []).append(service)
    return found


@lru_cache(maxsize=4)
def _by_service(tasks: Same[tuple[Task, ...]]) -> dict[str, tuple[Task, ...]]:
    found: dict[str, list[Task]] = {}
    for task in sorted(tasks.value, key=lambda task: (task.created, task.id), reverse=True):
        found.setdefault(task.service_id, []).append(task)
    return {service: tuple(rows) for service, rows in found.items()}


def explain(error: str, *, node: str = "", image: str = "") -> str:
    """A task's error in a user's words, with what to do; Docker's own words where nothing better is known."""
    on = f" on node {node}" if node else ""
    for pattern, words in _WORDS:
        found = re.search(pattern, error, re.IGNORECASE | re.DOTALL)
        if found:
            name = image.partition("@")[0] or "the image"
            parts = {f"g{index}": value or "" for index, value in enumerate(found.groups(), 1)}
            return words.format(on=on, image=name, **parts)
    words = _PREAMBLE.sub("", " ".join(error.split())).removesuffix(": unknown")
    return f"Docker says{on}: {words}" if words else f"the task ended{on} and Docker gives no reason"


_PREAMBLE = re.compile(
    r"(?:starting container failed|failed to create task for container|failed to create shim task|"
    r"OCI runtime create failed|runc create failed|unable to start container process|error during container init): "
)


_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"no such image|manifest unknown|pull access denied|image .*not found|reference does not",
        "{image} is neither{on} nor in a registry that can be reached: push it, or `docker load` it there",
    ),
    (
        r"no suitable node.*host-mode port already in use",
        "a published port is already taken by another service on that node: choose another port or set publish: false",
    ),
    (
        r"port is already allocated|address already in use",
        "a published port is already taken by another program{on}: choose another port or set publish: false",
    ),
    (
        r"no suitable node.*not available for new tasks",
        "the node is drained, paused or down: `docker node update --availability active` it, or wait for it",
    ),
    (
        r"no suitable node.*constraints not satisfied",
        "no node of this Swarm fits: the node is gone, or drained; see `docker node ls`",
    ),
    (r"no suitable node.*unsupported platform", "{image} is built for another processor than the node's"),
    (
        r"no suitable node.*insufficient resources",
        "the node has too little free memory or processor for what is reserved",
    ),
    (r"no suitable node.*missing plugin", "a volume or network plug-in is missing on the node"),
    (r"no suitable node.*max replicas", "the node already runs a task of this service, which has not ended yet"),
    (r"no suitable node", "no node of this Swarm can take the task; see `docker node ls`"),
    (
        r"(?:secret|config)(?: reference)? (\S+) (?:is )?not found|unable to get secret",
        "the Swarm secret {g1} is missing: create it again or name another one",
    ),
    (r"bind source path does not exist: (\S+)", "the folder {g1} does not exist{on}: create it there"),
    (r"no space left on device", "the disk is full{on}"),
    (r"heartbeat failure|node is down", "the node is down{on}"),
    (
        r"executable file not found|no such file or directory.*OCI|OCI.*no such file",
        "{image} has no such program inside",
    ),
    (r"exec format error", "{image} is built for another processor than the node's"),
    (r"non-zero exit \((137)\)", "the container was killed{on} (exit {g1}: out of memory, or by hand)"),
    (r"non-zero exit \(12[67]\)", "{image} has no such program inside, or may not run it"),
    (r"non-zero exit \((\d+)\)", "the container ended with exit {g1}{on}; `docker service logs` has its last words"),
    (r"unhealthy container", "the container was unhealthy{on}"),
    (
        r"network (\S+) not found|attaching to network failed",
        "the overlay network cannot be joined{on}; see dockerd's log",
    ),
)
