"""Whom a new listing concerns."""

from __future__ import annotations

from pgswarm import settings
from pgswarm.core.swarmview import Network, Node, Secret, Service, SwarmView, Task
from pgswarm.core.world import Unknown
from pgswarm.loop.concerns import concerned

NODE = Node(id="n1", name="node1", role="manager", state="ready")


def service(cluster: str, version: int = 1) -> Service:
    return Service(id=f"s-{cluster}", version=version, name=f"{cluster}_a", labels={settings.LABEL_CLUSTER: cluster})


def task(cluster: str, state: str = "running") -> Task:
    return Task(id=f"t-{cluster}", service_id=f"s-{cluster}", state=state, desired="running")


TWO = SwarmView(nodes=(NODE,), services=(service("one"), service("two")), tasks=(task("one"), task("two")))


def test_a_listing_that_says_the_same_concerns_nobody() -> None:
    assert concerned(TWO, TWO.model_copy()) == frozenset()


def test_a_service_or_a_task_concerns_its_own_cluster_only() -> None:
    assert concerned(TWO, TWO.model_copy(update={"services": (service("one"), service("two", 2))})) == frozenset(
        {"two"}
    )
    assert concerned(TWO, TWO.model_copy(update={"tasks": (task("one", "failed"), task("two"))})) == frozenset({"one"})
    assert concerned(TWO, TWO.model_copy(update={"services": TWO.services[:1], "tasks": TWO.tasks[:1]})) == frozenset(
        {"two"}
    )


def test_a_generated_secret_concerns_its_own_cluster_only() -> None:
    made = Secret(id="x", name="two-owner", labels={settings.LABEL_CLUSTER: "two"})
    assert concerned(TWO, TWO.model_copy(update={"secrets": (made,)})) == frozenset({"two"})
    assert concerned(TWO, TWO.model_copy(update={"secrets": (Secret(id="x", name="pgswarm-control"),)})) is None


def test_what_is_shared_concerns_everybody() -> None:
    down = NODE.model_copy(update={"state": "down"})
    assert concerned(TWO, TWO.model_copy(update={"nodes": (down,)})) is None
    assert concerned(TWO, TWO.model_copy(update={"networks": (Network(name="webnet", id="x"),)})) is None
    stranger = Service(id="s", version=1, name="two_a")  # of somebody else, under our name
    assert concerned(TWO, TWO.model_copy(update={"services": (*TWO.services, stranger)})) is None


def test_a_swarm_that_was_not_seen_before_or_is_not_seen_any_more_concerns_everybody() -> None:
    assert concerned(Unknown(why="not yet"), TWO) is None
    assert concerned(TWO, Unknown(why="no answer")) is None
