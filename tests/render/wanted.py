"""A small Swarm and what is wanted of it, for the tests of the renderer."""

from __future__ import annotations

from typing import Any

from pgswarm.core.record import Place
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.swarmview import Network, Node, Secret, SwarmView
from pgswarm.render import services

PLACE = Place(member="pg-1", node_id="n1", node_name="node1", volume="data_1")
NAMES = ("pgswarm-control", "main-owner", "main-replication", "my-own")
VIEW = SwarmView(
    nodes=tuple(Node(id=f"n{i}", name=f"node{i}", role="manager", state="ready") for i in (1, 2, 3)),
    networks=tuple(
        Network(name=name, id=f"id-{name}", driver="overlay", scope="swarm") for name in ("pgswarm-control", "webnet")
    ),
    secrets=tuple(Secret(id=f"id-{name}", name=name) for name in NAMES),
)


def document(name: str = "main", **spec: Any) -> PostgresCluster:
    return PostgresCluster.model_validate(
        {"apiVersion": "pgswarm/v1", "kind": "PostgresCluster", "metadata": {"name": name}, "spec": spec}
    )


def member(wanted: PostgresCluster | None = None, **more: Any) -> Any:
    return services.member_service(wanted or document(), PLACE, VIEW, image="member:17", **more)


def router(**spec: Any) -> Any:
    return services.router_services(document(router=spec), VIEW, image="router:1")


def container(spec: Any) -> Any:
    return spec["TaskTemplate"]["ContainerSpec"]
