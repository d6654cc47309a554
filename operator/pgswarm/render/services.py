"""From a document to Swarm services: complete specs in Docker's own JSON, every default written out.

Why complete: Docker merges what is missing with defaults of its own, which differ between engines, and a spec that
gains a default looks changed and restarts the task. What is written here comes back as it was sent, and
`render/drift` can tell a hand's edit from it field by field.

Why these shapes (measured, see the notes on Swarm):

- One service per member, one replica, pinned to a node by id, the old task stopped before the new one starts: the
  only shape in which a local volume keeps its database. Restarts are immediate; the agent decides what to do then.
- No virtual IP (`dnsrr`) and ports published by the node itself: connections through Docker's load balancer are
  dropped after 15 minutes of silence, and it does not know which member is primary.
- A member is on the control network only, so an application reaches PostgreSQL through a router or not at all.
- Docker's init is process 1: it reaps, and it forwards SIGTERM to the agent, which has 60 s for a clean shutdown.
- A router runs on all managers, or on all nodes: one global service. For a *list* of nodes there is one service per
  node, pinned by id like a member: Swarm joins several constraints by AND only, and labels on nodes would be a second
  thing to keep in step, written to objects that Swarm itself rewrites all the time.

Names of networks and secrets become ids here, for that is what Docker stores; what is missing is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from pgswarm import settings
from pgswarm.core import drilling
from pgswarm.core.record import Place
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.swarmview import SwarmView
from pgswarm.errors import Refused

Spec = dict[str, Any]

SECOND = 1_000_000_000
SHARED_MEMORY = 256 * 1024 * 1024
"""Bytes of /dev/shm in a member; Docker's 64 MB break parallel queries."""

MEMBER_GRACE = 60
ROUTER_GRACE = 30
"""Seconds from SIGTERM to SIGKILL."""

ROUTER_PACE = 10
"""Seconds between two routers in an update. Swarm counts a router as updated when its container runs; it serves one or
two seconds later, and its clients are on the others until then. One that ends within `Monitor` pauses the update."""

HOST_NAME_LENGTH = 63
RESOLVER = ["ndots:0", "timeout:1", "attempts:2"]
"""A name that nobody knows is forwarded to the host's resolver, which may be dead: give up after two seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heritage:
    """What members and routers inherit from the operator that makes them; of nothing, nothing is written."""

    log_format: str = ""
    metrics_secret: str = ""  # the Swarm secret that holds the token for metrics

    def env(self) -> dict[str, str]:
        return {"PGSWARM_LOG_FORMAT": self.log_format} if self.log_format else {}

    def secrets(self, view: SwarmView) -> list[Spec]:
        return [_secret(view, self.metrics_secret, settings.METRICS_TOKEN_FILE)] if self.metrics_secret else []


NOTHING = Heritage()


def owner_secret(document: PostgresCluster) -> str:
    """The Swarm secret with the owner's password: named by the document, or generated under this name."""
    return document.spec.postgres.passwords.owner or f"{document.name}-owner"


def replication_secret(document: PostgresCluster) -> str:
    """The Swarm secret with the replication password: named by the document, or generated under this name."""
    return document.spec.postgres.passwords.replication or f"{document.name}-replication"


def object_labels(cluster: str) -> dict[str, str]:
    """Labels of the secrets that are made for a cluster."""
    return {settings.LABEL_CLUSTER: cluster, settings.LABEL_KIND: "secret"}


def member_service(
    document: PostgresCluster,
    place: Place,
    view: SwarmView,
    *,
    image: str,
    requested: str = "",
    shared_memory: int = SHARED_MEMORY,
    heritage: Heritage = NOTHING,
) -> Spec:
    """The service of one member. `image` is what runs, `requested` the name that was resolved to it."""
    cluster, member = document.name, place.member
    container = _container(
        image=image,
        hostname=_host_name(f"{cluster}-{member}"),
        env={
            "PGSWARM_CLUSTER": cluster,
            "PGSWARM_MEMBER": member,
            "PGSWARM_PLACE": place.id,
            "PGSWARM_TASK": "{{.Task.ID}}",
            **heritage.env(),
        },
        grace=MEMBER_GRACE,
        mounts=[
            _volume(place.volume, settings.VOLUME_PATH, cluster, member),
            {"Type": "tmpfs", "Target": "/dev/shm", "TmpfsOptions": {"SizeBytes": shared_memory, "Mode": 0o1777}},
        ],
        secrets=[
            _secret(view, settings.CONTROL_SECRET, settings.CONTROL_SECRET),
            _secret(view, owner_secret(document), settings.OWNER_PASSWORD_FILE),
            _secret(view, replication_secret(document), settings.REPLICATION_PASSWORD_FILE),
            *heritage.secrets(view),
        ],
    )
    networks = [_network(view, settings.CONTROL_NETWORK, settings.members_alias(cluster))]
    return _labelled(
        {
            "Name": settings.member_service(cluster, member),
            "TaskTemplate": _task(container, _pinned(place.node_id), networks),
            "Mode": {"Replicated": {"Replicas": 1}},
            "EndpointSpec": {"Mode": "dnsrr", "Ports": []},
        },
        {settings.LABEL_KIND: "member", settings.LABEL_MEMBER: member, settings.LABEL_IMAGE: requested or image},
        cluster,
    )


def router_services(
    document: PostgresCluster, view: SwarmView, *, image: str, requested: str = "", heritage: Heritage = NOTHING
) -> tuple[Spec, ...]:
    """The service of the routers; several, one per node, if the document lists nodes."""
    nodes = document.spec.router.nodes
    requested = requested or image
    if nodes == "managers":
        return (_router(document, view, image, requested, heritage, constraints=["node.role==manager"]),)
    if nodes == "all":
        return (_router(document, view, image, requested, heritage, constraints=[]),)
    found = {}
    for reference in nodes:
        node = view.node(reference)
        if node is None:
            known = ", ".join(one.name for one in view.nodes) or "none"
            raise Refused(f"spec.router.nodes: there is no node {reference!r} in this Swarm; there are {known}")
        found[node.id] = _router(document, view, image, requested, heritage, node=(node.id, node.name))
    return tuple(found.values())


def drill_service(document: PostgresCluster, view: SwarmView, *, node_id: str, image: str, seconds: float) -> Spec:
    """The writing client of a drill: on the applications' network only, with the owner's password, run once."""
    cluster, router, postgres = document.name, document.spec.router, document.spec.postgres
    container = _container(
        image=image,
        hostname=_host_name(f"drill-{cluster}"),
        env={},
        grace=ROUTER_GRACE,
        mounts=[],
        secrets=[_secret(view, owner_secret(document), settings.OWNER_PASSWORD_FILE)],
    )
    words = ["--host", router.name, "--port", str(router.port), "--database", postgres.database]
    container["Command"] = ["pgswarm", "drill-writer", *words, "--user", postgres.owner, "--seconds", f"{seconds:g}"]
    task = _task(container, _pinned(node_id), [_network(view, router.network, f"drill-{cluster}")])
    return {
        "Name": drilling.service_name(cluster),
        "Labels": {settings.LABEL_KIND: "drill", drilling.LABEL: cluster},
        "TaskTemplate": {
            **task,
            "RestartPolicy": {"Condition": "none"},
            # Whatever the engine's default is, this is what `docker service logs` can read.
            "LogDriver": {"Name": "json-file"},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def resolved(spec: Spec, image: str, label: str) -> Spec:
    """The same spec with its image resolved, remembered in its label, and hashed anew."""
    container = {**spec["TaskTemplate"]["ContainerSpec"], "Image": image}
    labels = {**spec["Labels"], settings.LABEL_IMAGE: label}
    whole = {**spec, "Labels": labels, "TaskTemplate": {**spec["TaskTemplate"], "ContainerSpec": container}}
    labels[settings.LABEL_WANTED] = wanted_hash(whole)
    return whole


def wanted_hash(spec: Spec) -> str:
    """What the label says that the operator wanted: a hash of everything but that label."""
    labels = {name: value for name, value in spec.get("Labels", {}).items() if name != settings.LABEL_WANTED}
    text = json.dumps({**spec, "Labels": labels}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _router(
    document: PostgresCluster,
    view: SwarmView,
    image: str,
    requested: str,
    heritage: Heritage,
    *,
    constraints: list[str] | None = None,
    node: tuple[str, str] | None = None,
) -> Spec:
    cluster, router = document.name, document.spec.router
    ports = {
        "PGSWARM_PORT": router.port,
        "PGSWARM_READ_ONLY_PORT": router.read_only_port,
        "PGSWARM_STATS_PORT": router.stats_port,
        "PGSWARM_HEALTH_PORT": router.health_port,
    }
    names = [one.name for one in view.nodes]
    longest = len(router.name) + 1 + max((len(name) for name in names), default=0)
    host = "{{.Node.Hostname}}" if longest <= HOST_NAME_LENGTH else "{{.Node.ID}}"
    container = _container(
        image=image,
        hostname=f"{_host_name(router.name, HOST_NAME_LENGTH - 26)}-{host}",
        env={"PGSWARM_CLUSTER": cluster, **{name: str(port) for name, port in ports.items()}, **heritage.env()},
        grace=ROUTER_GRACE,
        mounts=[],
        secrets=[_secret(view, settings.CONTROL_SECRET, settings.CONTROL_SECRET), *heritage.secrets(view)],
    )
    networks = [
        _network(view, settings.CONTROL_NETWORK, f"{cluster}-routers"),
        _network(view, router.network, router.name),
    ]
    placement = _pinned(node[0]) if node else {"Constraints": constraints or [], "MaxReplicas": 0, "Preferences": []}
    name = settings.router_service(cluster, router.name)
    return _labelled(
        {
            "Name": f"{name}_{re.sub(r'[^A-Za-z0-9]+', '-', node[1]).strip('-')}" if node else name,
            "TaskTemplate": _task(container, placement, networks),
            "Mode": {"Replicated": {"Replicas": 1}} if node else {"Global": {}},
            "EndpointSpec": {
                "Mode": "dnsrr",
                "Ports": [_port(port) for port in ports.values()] if router.publish else [],
            },
        },
        {settings.LABEL_KIND: "router", settings.LABEL_IMAGE: requested},
        cluster,
        ROUTER_PACE,
    )


def _labelled(spec: Spec, labels: dict[str, str], cluster: str, delay: int = 0) -> Spec:
    """The spec with what is the same for all services, its labels, and among them the hash of it all."""
    policy = {
        "Parallelism": 1, "Delay": delay * SECOND, "FailureAction": "pause", "Monitor": 5 * SECOND,
        "MaxFailureRatio": 0, "Order": "stop-first",
    }  # fmt: skip
    whole = {
        **spec,
        "Labels": {settings.LABEL_CLUSTER: cluster, **labels},
        "UpdateConfig": policy,
        "RollbackConfig": dict(policy),
    }
    whole["Labels"][settings.LABEL_WANTED] = wanted_hash(whole)
    return whole


def _task(container: Spec, placement: Spec, networks: list[Spec]) -> Spec:
    return {
        "ContainerSpec": container,
        "Resources": {"Limits": {}, "Reservations": {}},
        "RestartPolicy": {"Condition": "any", "Delay": 0, "MaxAttempts": 0, "Window": 0},
        "Placement": placement,
        "Networks": networks,
    }


def _container(
    *, image: str, hostname: str, env: dict[str, str], grace: int, mounts: list[Spec], secrets: list[Spec]
) -> Spec:
    """A container; what is empty here means: nothing of the kind, and is looked for by `render/drift`."""
    return {
        "Image": image,
        "Command": [],
        "Args": [],
        "Hostname": hostname,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Dir": "",
        "User": "",
        "Groups": [],
        "StopSignal": "SIGTERM",
        "StopGracePeriod": grace * SECOND,
        "Init": True,
        "TTY": False,
        "OpenStdin": False,
        "ReadOnly": False,
        "Mounts": mounts,
        "Secrets": secrets,
        "Configs": [],
        "Hosts": [],
        "DNSConfig": {"Nameservers": [], "Search": [], "Options": RESOLVER},
        "Sysctls": {},
        "CapabilityAdd": [],
        "CapabilityDrop": [],
        "Ulimits": [],  # none: an engine that may not raise a limit does not start the container at all
    }


def _pinned(node_id: str) -> Spec:
    return {"Constraints": [f"node.id=={node_id}"], "MaxReplicas": 1, "Preferences": []}


def _volume(name: str, target: str, cluster: str, member: str) -> Spec:
    labels = {settings.LABEL_CLUSTER: cluster, settings.LABEL_MEMBER: member}
    options = {"Labels": labels, "DriverConfig": {"Name": "local"}}
    return {"Type": "volume", "Source": name, "Target": target, "VolumeOptions": options}


def _network(view: SwarmView, name: str, alias: str) -> Spec:
    found = view.network(name)
    if found is None:
        raise Refused(f"the overlay network {name} does not exist yet")
    return {"Target": found.id, "Aliases": [alias]}


def _secret(view: SwarmView, name: str, path: str) -> Spec:
    found = view.secret(name)
    if found is None:
        raise Refused(
            f"the Swarm secret {name} does not exist: create it, `openssl rand -hex 32 | docker secret create {name} -`"
        )
    file = {"Name": path.rpartition("/")[2], "UID": "0", "GID": "0", "Mode": 0o444}
    return {"SecretID": found.id, "SecretName": name, "File": file}


def _port(port: int) -> Spec:
    return {"Protocol": "tcp", "TargetPort": port, "PublishedPort": port, "PublishMode": "host"}


def _host_name(name: str, longest: int = HOST_NAME_LENGTH) -> str:
    return name[:longest].rstrip("-")
