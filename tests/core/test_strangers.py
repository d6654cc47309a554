"""Services of others in the way: of a volume, a port, a name; and what is done beside them, which is nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core.record import Place
from pgswarm.core.steps import EnsureService
from pgswarm.core.strangers import beside_member, beside_routers, mounting
from pgswarm.core.swarmview import Network, Node, Service, SwarmView
from pgswarm.core.upkeep import upkept
from pgswarm.core.world import Wanted
from tests.core import builders
from tests.core.builders import NOW, document, world

PLACE = Place(member="a", node_id="n1", node_name="manager1", volume="postgres_primary_data")
NODES = (
    Node(id="n1", name="manager1", role="manager", state="ready", labels={"disk": "fast"}),
    Node(id="n2", name="worker01", role="worker", state="ready"),
)
NET = Network(name="webnet", id="net1", scope="swarm")


def service(name: str = "my_stack_postgres-primary", **changes: Any) -> Service:
    """One of a stack made by hand."""
    mounts = [{"Type": "volume", "Source": changes.pop("volume", "postgres_primary_data"), "Target": "/x"}]
    template = {
        "ContainerSpec": {"Mounts": mounts},
        "Placement": {"Constraints": changes.pop("constraints", [])},
        "Networks": changes.pop("networks", []),
    }
    spec = {"TaskTemplate": template, "EndpointSpec": {"Ports": changes.pop("ports", [])}}
    return Service(**{"id": name, "version": 1, "name": name, "replicas": 1, "spec": spec, **changes})


def view(*services: Service) -> SwarmView:
    return SwarmView(nodes=NODES, services=services, networks=(NET,))


def test_a_service_that_runs_on_the_volume_is_named_with_the_command_that_ends_it() -> None:
    (text,) = beside_member(document("ab"), PLACE, view(service()))
    assert "service my_stack_postgres-primary runs on its volume postgres_primary_data on manager1" in text
    assert "`docker service scale my_stack_postgres-primary=0`" in text
    (text,) = beside_member(document("ab"), PLACE, view(service(replicas=None)))
    assert "`docker service rm my_stack_postgres-primary`" in text


@pytest.mark.parametrize(
    ("constraints", "counts"),
    [
        ([], True),
        (["node.role==manager"], True),
        (["node.role == worker"], False),
        (["node.hostname==worker01"], False),
        (["node.hostname!=worker01"], True),
        (["node.id==n2"], False),
        (["node.labels.disk==fast"], True),
        (["node.labels.disk==slow"], False),
        (["node.labels.none!=x"], True),
        (["engine.labels.os==other"], True),
    ],
)
def test_only_who_may_run_where_the_volume_lies_is_in_the_way(constraints: list[str], counts: bool) -> None:
    assert bool(beside_member(document("ab"), PLACE, view(service(constraints=constraints)))) is counts


def test_who_is_scaled_to_zero_or_has_another_volume_is_not_in_the_way() -> None:
    assert beside_member(document("ab"), PLACE, view(service(replicas=0))) == ()
    assert beside_member(document("ab"), PLACE, view(service(volume="other"))) == ()
    assert [one.name for one in mounting("main", PLACE, view(service(replicas=0)))] == ["my_stack_postgres-primary"]


def test_its_own_service_is_no_stranger_and_one_of_another_cluster_is() -> None:
    labels = {"pgswarm.cluster": "main", "pgswarm.kind": "member", "pgswarm.member": "a"}
    assert beside_member(document("ab"), PLACE, view(service("main_a", labels=labels))) == ()
    (text,) = beside_member(document("ab"), PLACE, view(service("o_a", labels={**labels, "pgswarm.cluster": "other"})))
    assert "`pgswarm status other`" in text


def test_a_port_of_the_ingress_network_is_taken_on_every_node() -> None:
    ports = [{"PublishedPort": 5432, "TargetPort": 5432, "Protocol": "tcp"}]
    (text,) = beside_routers(document("ab"), view(service("old", ports=ports, constraints=["node.id==n2"])))
    assert "port 5432 (spec.router.port) is published on every node by service old" in text
    assert beside_routers(document("ab"), view(service("old", ports=ports, replicas=0))) == ()
    assert beside_routers(document("ab", router={"publish": False}), view(service("old", ports=ports))) == ()


def test_a_port_of_a_node_is_taken_there_only() -> None:
    ports = [{"PublishedPort": 8404, "TargetPort": 1, "Protocol": "tcp", "PublishMode": "host"}]
    on_worker = view(service("old", ports=ports, constraints=["node.role==worker"]))
    assert beside_routers(document("ab"), on_worker) == ()
    (text,) = beside_routers(document("ab", router={"nodes": "all"}), on_worker)
    assert "port 8404 (spec.router.statsPort) is published on worker01 by service old" in text
    (text,) = beside_routers(document("ab", router={"nodes": ["worker01"]}), on_worker)
    assert "on worker01" in text


def test_ports_of_another_cluster_of_ours_count_and_ones_own_do_not() -> None:
    ports = [{"PublishedPort": 5432, "TargetPort": 1, "Protocol": "tcp", "PublishMode": "host"}]
    labels = {"pgswarm.cluster": "other", "pgswarm.kind": "router"}
    (text,) = beside_routers(document("ab"), view(service("other_postgres-ha", ports=ports, labels=labels)))
    assert "by service other_postgres-ha: `pgswarm status other`" in text
    mine = {**labels, "pgswarm.cluster": "main"}
    assert beside_routers(document("ab"), view(service("main_postgres-ha", ports=ports, labels=mine))) == ()


def test_a_name_that_two_services_answer_to_is_told() -> None:
    networks = [{"Target": "net1", "Aliases": ["postgres-ha"]}]
    (text,) = beside_routers(document("ab"), view(service("my_stack_postgres-ha", networks=networks)))
    assert "answers to the name postgres-ha on network webnet as well" in text
    assert beside_routers(document("ab"), view(service("x", networks=[{"Target": "net2", "Aliases": ["x"]}]))) == ()


def test_no_service_is_made_beside_a_stranger_and_one_that_is_there_is_told_of() -> None:
    of = builders.record(members="ab")
    wanted = {
        "main_a": Wanted(name="main_a", spec={}, member="a", exists=False, beside=("service old runs",)),
        "main_b": Wanted(name="main_b", spec={}, member="b", exists=False),
        "main_r": Wanted(name="main_r", spec={}, member=None, exists=True, beside=("port 5432 is published",)),
    }
    plan = upkept(world(of, wanted=wanted), of, NOW)
    assert [step.name for step in plan.steps if isinstance(step, EnsureService)] == ["main_b"]
    assert plan.waits == ("service main_a is not made: service old runs", "service main_r: port 5432 is published")
