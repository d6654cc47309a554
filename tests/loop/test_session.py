"""How psql reaches the database: through the member's container here, through the router elsewhere."""

from __future__ import annotations

import pytest

from pgswarm import settings
from pgswarm.core.stored import Identity, Stored
from pgswarm.core.swarmview import Network, Node, Service, SwarmView, Task
from pgswarm.errors import Refused
from pgswarm.loop.session import SOCKET, words
from pgswarm.member.config import from_environment
from tests.core.builders import document, record

IMAGE = "registry/pgswarm/member@sha256:ab"


def service(member: str) -> Service:
    labels = {settings.LABEL_KIND: "member", settings.LABEL_CLUSTER: "main", settings.LABEL_MEMBER: member}
    spec = {"TaskTemplate": {"ContainerSpec": {"Image": IMAGE}}}
    return Service(id=f"s-{member}", version=1, name=f"main_{member}", labels=labels, spec=spec)


def task(member: str, state: str = "running") -> Task:
    return Task(
        id=f"t-{member}",
        service_id=f"s-{member}",
        node_id=f"id-{member}",
        state=state,
        desired="running",
        container_id=f"c-{member}",
    )


def node(member: str) -> Node:
    return Node(id=f"id-{member}", name=f"node-{member}", role="manager", state="ready")


def view(*, attachable: bool = True, a: str = "running") -> SwarmView:
    network = Network(name="webnet", id="w", scope="swarm", attachable=attachable)
    return SwarmView(
        services=tuple(service(member) for member in "abc"),
        tasks=(task("a", a), task("b"), task("c")),
        networks=(network,),
        nodes=tuple(node(member) for member in "abc"),
    )


STORED = Stored(
    config_id="c",
    version_index=1,
    identity=Identity(cluster="main", id="1", createdAt="2026-01-02T03:04:05Z"),
    record=record(),
    document=document("abc", postgres={"database": "cnv", "owner": "cnv_user"}),
)


def asked(node: str, seen: SwarmView | None = None, *, replica: bool = False, arguments: tuple[str, ...] = ()) -> str:
    found, _ = words(seen or view(), node, STORED, replica=replica, arguments=arguments, terminal=False)
    return " ".join(found)


def test_on_the_primarys_node_psql_runs_in_its_container_and_needs_no_password() -> None:
    said = asked("id-a", arguments=("-c", "select 1"))
    assert said == f"docker exec --interactive c-a psql --host {SOCKET} --username postgres --dbname cnv -c select 1"


def test_on_another_node_it_goes_through_the_router_as_the_owner_and_no_password_is_in_the_words() -> None:
    said = asked("id-b")
    assert said == (
        f"docker run --rm --interactive --network webnet --entrypoint psql {IMAGE} "
        "--host postgres-ha --port 5432 --username cnv_user --dbname cnv"
    )


def test_where_a_password_is_asked_for_the_node_is_named_that_needs_none() -> None:
    _, where = words(view(), "id-b", STORED, replica=False, arguments=(), terminal=False)
    assert where == "the router postgres-ha:5432, as cnv_user; psql asks for the password (none is needed on node-a)"
    _, where = words(view(a="starting"), "id-b", STORED, replica=False, arguments=(), terminal=False)
    assert where.endswith("psql asks for the password")


def test_a_replica_is_one_that_runs_here_or_the_routers_port_for_readers() -> None:
    assert " c-b psql " in asked("id-b", replica=True)
    assert "--port 5433" in asked("id-a", replica=True)


def test_a_container_that_does_not_run_is_not_entered() -> None:
    assert asked("id-a", view(a="starting")).startswith("docker run ")


def test_a_terminal_is_given_on_only_where_there_is_one() -> None:
    found, where = words(view(), "id-a", STORED, replica=False, arguments=(), terminal=True)
    assert found[:4] == ["docker", "exec", "--interactive", "--tty"]
    assert where == "a, in its container on this node, as postgres"


def test_where_there_is_no_way_it_says_why() -> None:
    with pytest.raises(Refused, match="not attachable"):
        asked("id-b", view(attachable=False))
    young = STORED.model_copy(update={"record": None})
    with pytest.raises(Refused, match="being created"):
        words(view(), "id-a", young, replica=False, arguments=(), terminal=False)
    with pytest.raises(Refused, match="no network webnet"):
        asked("id-b", view().model_copy(update={"networks": ()}))


def test_the_socket_is_where_a_member_has_it_by_default() -> None:
    config = from_environment({"PGSWARM_CLUSTER": "main", "PGSWARM_MEMBER": "a", "PGSWARM_BINDIR": "/x"})
    assert str(config.socket_dir) == SOCKET
