"""What is read out of a view of Swarm: nodes, addresses, and why something does not run."""

from __future__ import annotations

import pytest

from pgswarm import settings
from pgswarm.core.swarmview import Node, Service, SwarmView, Task, explain

NET = settings.CONTROL_NETWORK


def node(ident: str = "n1", name: str = "node1", **more: object) -> Node:
    return Node.model_validate({"id": ident, "name": name, "role": "manager", "state": "ready", **more})


def service(**more: object) -> Service:
    labels = {settings.LABEL_CLUSTER: "main", settings.LABEL_KIND: "member", settings.LABEL_MEMBER: "pg-1"}
    whole = {"id": "s1", "version": 7, "name": "main_pg-1", "labels": labels, "replicas": 1, **more}
    return Service.model_validate(whole)


def task(ident: str, state: str, desired: str, created: float, address: str = "", **more: object) -> Task:
    whole = {
        "id": ident, "service_id": "s1", "node_id": "n1", "slot": 1, "state": state, "desired": desired,
        "created": created, "addresses": {NET: address} if address else {}, **more,
    }  # fmt: skip
    return Task.model_validate(whole)


def view(*tasks: Task, nodes: tuple[Node, ...] = (node(),), **more: object) -> SwarmView:
    return SwarmView(nodes=nodes, services=(service(**more),), tasks=tasks)


def test_a_node_is_found_by_id_or_by_the_only_node_of_its_name() -> None:
    both = SwarmView(nodes=(node("n1", "a"), node("n2", "b"), node("n3", "b"), node("b", "c")))
    assert both.node("n2") == both.nodes[1]
    assert both.node("a") == both.nodes[0]
    assert both.node("b") == both.nodes[3]  # an id comes before a name
    assert SwarmView(nodes=both.nodes[:3]).node("b") is None  # two of one name are nobody


def test_a_running_task_gives_the_address() -> None:
    seen = view(task("t1", "running", "running", 1, "10.0.0.3"))
    assert seen.address(service()) == "10.0.0.3"


@pytest.mark.parametrize("state", ["assigned", "accepted", "preparing", "starting"])
def test_a_task_has_its_address_before_its_container_runs(state: str) -> None:
    assert view(task("t1", state, "running", 1, "10.0.0.3")).address(service()) == "10.0.0.3"


def test_the_new_task_counts_and_not_the_one_that_is_being_stopped() -> None:
    seen = view(task("t1", "running", "shutdown", 1, "10.0.0.3"), task("t2", "starting", "running", 2, "10.0.0.9"))
    assert seen.address(service()) == "10.0.0.9"
    assert seen.addresses(service()) == ("10.0.0.9", "10.0.0.3")


def test_an_update_that_waits_for_the_old_task_to_end_leaves_it_its_address() -> None:
    old, new = task("t1", "running", "shutdown", 1, "10.0.0.3"), task("t2", "ready", "ready", 2, "10.0.0.9")
    assert view(old, new).address(service()) == "10.0.0.3"
    ended = task("t1", "complete", "shutdown", 1, "10.0.0.3")
    assert view(ended, new).address(service()) == "10.0.0.9"


def test_until_the_new_task_may_start_the_old_one_has_the_address() -> None:
    seen = view(task("t1", "running", "running", 1, "10.0.0.3"), task("t2", "ready", "ready", 2, "10.0.0.9"))
    assert seen.address(service()) == "10.0.0.3"


def test_on_a_node_that_is_down_the_last_task_still_has_the_address() -> None:
    down = node(state="down")
    seen = view(
        task("t1", "running", "shutdown", 1, "10.0.0.3"),
        task("t2", "pending", "running", 2, "10.0.0.9", node_id=""),
        nodes=(down,),
    )
    assert seen.address(service()) == "10.0.0.3"


@pytest.mark.parametrize("state", ["failed", "shutdown", "complete", "rejected", "remove", "orphaned", "pending"])
def test_a_task_without_a_container_gives_no_address(state: str) -> None:
    assert view(task("t1", state, "running", 1, "10.0.0.3")).address(service()) is None


def test_the_current_task_is_the_newest_that_swarm_wants() -> None:
    old, new = task("t1", "failed", "shutdown", 1), task("t2", "preparing", "running", 2)
    assert view(old, new).current_task(service()) == new
    assert view(old).current_task(service()) is None


def test_services_of_somebody_else_are_in_the_view_and_belong_to_nobody() -> None:
    seen = SwarmView(services=(service(), service(id="s2", name="main_pg-2", labels={})))
    assert [one.name for one in seen.services_of("main")] == ["main_pg-1"]
    assert list(seen.members("main")) == ["pg-1"]
    stranger = seen.service("main_pg-2")
    assert stranger is not None
    assert stranger.cluster is None


def test_what_runs_is_no_trouble() -> None:
    assert view(task("t1", "running", "running", 1)).trouble(service()) is None
    assert view(task("t1", "preparing", "running", 1)).trouble(service()) is None
    assert view().trouble(service()) is None


def test_what_was_scaled_to_nothing_says_so() -> None:
    assert view().trouble(service(replicas=0)) == "service main_pg-1 is scaled to 0"


def test_a_node_that_is_down_is_the_trouble_and_unknown_is_none() -> None:
    running = task("t1", "running", "running", 1)
    assert view(running, nodes=(node(state="down"),)).trouble(service()) == "node node1 is down"
    assert view(running, nodes=(node(state="unknown"),)).trouble(service()) is None


def test_the_failure_before_is_told_while_the_next_try_begins() -> None:
    seen = view(
        task("t1", "failed", "shutdown", 1, error="task: non-zero exit (1)"), task("t2", "preparing", "running", 2)
    )
    assert str(seen.trouble(service())).startswith("the container ended with exit 1 on node node1")


def test_a_failure_on_one_node_is_no_trouble_of_another_where_the_service_is_on_every_node() -> None:
    """Such a service knows no slots: a port that was taken on one node was blamed for each start on the others."""
    failed = task("t1", "failed", "shutdown", 1, slot=0, node_id="n2", error="port is already allocated")
    running = task("t2", "running", "running", 2, slot=0, node_id="n2")
    starting = task("t3", "starting", "running", 3, slot=0)
    both = (node(), node("n2", "b"))
    assert view(failed, running, starting, nodes=both).trouble(service(replicas=None)) is None
    here = failed.model_copy(update={"node_id": "n1"})
    assert "already taken" in str(view(here, running, starting, nodes=both).trouble(service(replicas=None)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("No such image: member:17", "member:17 is neither on node a nor in a registry that can be reached"),
        ("manifest unknown: manifest unknown", "push it, or `docker load` it there"),
        ("no suitable node (host-mode port already in use on 1 node)", "already taken by another service"),
        ("driver failed programming: bind: address already in use", "by another program on node a"),
        ("no suitable node (scheduling constraints not satisfied on 3 nodes)", "no node of this Swarm fits"),
        ("no suitable node (1 node not available for new tasks; scheduling constraints not satisfied on 2 nodes)",
         "the node is drained, paused or down"),
        ("no suitable node (insufficient resources on 3 nodes)", "too little free memory or processor"),
        ("no suitable node (something new)", "no node of this Swarm can take the task"),
        ("secret reference main-owner not found", "the Swarm secret main-owner is missing"),
        ('invalid mount config for type "bind": bind source path does not exist: /srv/x', "the folder /srv/x does not"),
        ("failed to mount: no space left on device", "the disk is full on node a"),
        ("task: non-zero exit (137)", "the container was killed on node a"),
        ("task: non-zero exit (127)", "has no such program inside"),
        ("task: non-zero exit (3)", "ended with exit 3 on node a"),
        ("heartbeat failure", "the node is down on node a"),
        ("starting container failed: failed to create task for container: failed to create shim task: OCI runtime "
         "create failed: runc create failed: unable to start container process: error setting rlimit type 7: unknown",
         "Docker says on node a: error setting rlimit type 7"),
        ("", "Docker gives no reason"),
        ("braces {like} these {0}", "Docker says on node a: braces {like} these {0}"),
    ],
)  # fmt: skip
def test_an_error_of_docker_is_said_in_a_users_words(error: str, words: str) -> None:
    said = explain(error, node="a", image="member:17@sha256:abc")
    assert words in said
    assert "\n" not in said
    assert "sha256" not in said
