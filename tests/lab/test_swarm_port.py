"""The Swarm port on a real Swarm: what is seen, what is changed, how drift and failures are said."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from pgswarm import settings
from pgswarm.core.record import Place
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.swarmview import Service, SwarmView
from pgswarm.drill.stage import Broken
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.ports.swarm_events import CONNECTED, Wake
from pgswarm.render import drift, services

pytestmark = pytest.mark.lab

SLEEP = ["sleep", "1000000"]


def document(cluster: str, **router: Any) -> PostgresCluster:
    return PostgresCluster.model_validate(
        {
            "apiVersion": "pgswarm/v1",
            "kind": "PostgresCluster",
            "metadata": {"name": cluster},
            "spec": {
                "instances": [{"name": "pg-1", "node": "node1"}],
                "router": {"name": f"{cluster}-ha", "network": f"{cluster}-net", "publish": False, **router},
            },
        }
    )


async def prepared(swarm: DockerSwarm, cluster: str, **router: Any) -> tuple[PostgresCluster, SwarmView]:
    """A document whose networks and secrets exist."""
    wanted = document(cluster, **router)
    labels = services.object_labels(cluster)
    await swarm.ensure_network(wanted.spec.router.network, labels)
    for name in (services.owner_secret(wanted), services.replication_secret(wanted)):
        await swarm.create_secret(name, b"only a test", labels)
    return wanted, await swarm.view(cluster)


def member(wanted: PostgresCluster, view: SwarmView, image: str, *, node: str = "node1", run: bool = True) -> Any:
    at = view.node(node)
    assert at is not None
    place = Place(member="pg-1", node_id=at.id, node_name=at.name, volume=f"{wanted.name}_pg-1")
    spec = services.member_service(wanted, place, view, image=image)
    return sleeping(spec) if run else spec


def sleeping(spec: Any) -> Any:
    """The same service, whose program only sleeps."""
    spec["TaskTemplate"]["ContainerSpec"]["Command"] = SLEEP
    spec["Labels"][settings.LABEL_WANTED] = services.wanted_hash(spec)
    return spec


async def seen(
    swarm: DockerSwarm, cluster: str, name: str, condition: Callable[[SwarmView, Service], Any], seconds: float = 30.0
) -> tuple[SwarmView, Service]:
    """The view in which the condition holds for the service. Raises Broken."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            view = await swarm.view(cluster)
        except Again as again:  # as an operator would: no leader at this moment, or a slow one
            looks = str(again)
        else:
            service = view.service(name)
            if service is not None and condition(view, service):
                return view, service
            looks = f"{view.tasks} {service}"
        if time.monotonic() > deadline:
            raise Broken(f"not within {seconds:g} s: {name} as it should be; {looks}")
        await anyio.sleep(0.1)


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """What is awaited inside is there in time. Raises Broken."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise Broken(f"not within {seconds:g} s: {what}") from None


def runs(view: SwarmView, service: Service) -> bool:
    task = view.current_task(service)
    return task is not None and task.state == "running"


async def test_a_manager_knows_where_it_is(swarm: DockerSwarm) -> None:
    here = await swarm.info()
    view = await swarm.view()
    node = view.node(here.node_id)
    assert node is not None
    assert (node.name, node.role, node.state) == (here.node_name, "manager", "ready")
    assert (here.managers, here.nodes) == (3, 3)
    assert [one.name for one in view.nodes if one.is_raft_leader]
    assert {one.reachability for one in view.nodes} == {"reachable"}
    assert all(one.address.count(".") == 3 and one.engine for one in view.nodes)


async def test_without_a_socket_the_user_is_told_so() -> None:
    with pytest.raises(Refused, match="there is no Docker socket at unix:///nowhere"):
        await DockerSwarm("unix:///nowhere").info()
    with pytest.raises(Again, match="is dockerd running"):
        await DockerSwarm("tcp://127.0.0.1:9").view()


@pytest.mark.usefixtures("control")
async def test_a_new_member_has_no_drift_and_its_address_is_seen(swarm: DockerSwarm, cluster: str, stub: str) -> None:
    wanted, before = await prepared(swarm, cluster)
    spec = member(wanted, before, stub)
    await swarm.create_service(spec)
    view, service = await seen(swarm, cluster, f"{cluster}_pg-1", runs)
    assert drift.drift(service, spec) == ()
    assert (service.cluster, service.kind, service.member, service.replicas) == (cluster, "member", "pg-1", 1)
    assert service.wanted == services.wanted_hash(spec)
    address = view.address(service)
    assert address is not None
    assert address.count(".") == 3
    assert view.trouble(service) is None


@pytest.mark.usefixtures("control")
@pytest.mark.parametrize("nodes", ["managers", "all", ["node1", "node3"]])
async def test_new_routers_have_no_drift_and_run_where_they_should(
    swarm: DockerSwarm, cluster: str, stub: str, nodes: Any
) -> None:
    wanted, before = await prepared(swarm, cluster, nodes=nodes)
    specs = [sleeping(spec) for spec in services.router_services(wanted, before, image=stub)]
    for spec in specs:
        await swarm.create_service(spec)
    expected = {"node1", "node3"} if isinstance(nodes, list) else {"node1", "node2", "node3"}
    with within(30, f"routers on {expected}"):
        while True:
            view = await swarm.view(cluster)
            names = {node.id: node.name for node in view.nodes}
            where = {names[task.node_id] for task in view.tasks if task.state == "running"}
            if where == expected:
                break
            await anyio.sleep(0.1)
    for spec in specs:
        service = view.service(spec["Name"])
        assert service is not None
        assert drift.drift(service, spec) == ()
        assert all(len(task.addresses) == 2 for task in view.tasks_of(service))


def container(spec: Any) -> Any:
    return spec["TaskTemplate"]["ContainerSpec"]


EDITS: list[tuple[str, Callable[[Any], object], str]] = [
    ("scale", lambda s: s["Mode"]["Replicated"].update(Replicas=0), "it is scaled to 0, wanted is 1"),
    ("env", lambda s: container(s)["Env"].append("X=secret"), "environment: X was added"),
    ("image", lambda s: container(s).update(Image="other:1"), "its image is other:1, wanted is"),
    ("node", lambda s: s["TaskTemplate"]["Placement"].update(Constraints=["node.id==x"]), "it is bound to node.id=="),
    ("label", lambda s: s["Labels"].pop("pgswarm.member"), "label pgswarm.member is missing"),
    ("command", lambda s: container(s).update(Command=["cat"]), "ContainerSpec.Command is cat"),
    ("mount", lambda s: container(s)["Mounts"].pop(), "ContainerSpec.Mounts lacks /dev/shm"),
    ("secret", lambda s: container(s)["Secrets"].pop(), "ContainerSpec.Secrets lacks"),
    ("user", lambda s: container(s).update(User="root"), "ContainerSpec.User is root"),
    ("restart", lambda s: s["TaskTemplate"]["RestartPolicy"].update(Condition="none"), "Condition is none"),
    ("delay", lambda s: s["TaskTemplate"]["RestartPolicy"].pop("Delay"), "RestartPolicy.Delay is 5000000000"),
    ("limit", lambda s: s["TaskTemplate"]["Resources"]["Limits"].update(MemoryBytes=10**8), "Resources.Limits is"),
    ("grace", lambda s: container(s).update(StopGracePeriod=10**9), "StopGracePeriod is 1000000000"),
    ("network", lambda s: s["TaskTemplate"]["Networks"][0].update(Aliases=["db"]), "Networks has"),
    ("order", lambda s: s["UpdateConfig"].update(Order="start-first"), "UpdateConfig.Order is start-first"),
]  # fmt: skip


@pytest.mark.usefixtures("control")
async def test_every_edit_by_hand_is_said_and_can_be_put_back(swarm: DockerSwarm, cluster: str, stub: str) -> None:
    wanted, before = await prepared(swarm, cluster)
    spec = member(wanted, before, stub)
    ident = await swarm.create_service(spec)
    for name, edit, words in EDITS:
        await changed(swarm, ident, edit)
        service = (await swarm.view()).service(spec["Name"])  # the whole view: a lost label must not hide it
        assert service is not None
        said = drift.drift(service, spec)
        assert len(said) == 1, (name, said)
        assert words in said[0], name
        assert "X=secret" not in said[0]
        assert drift.was_edited(service, spec), name
        await changed(swarm, ident, lambda found: found.update(drift.merged(found, spec)))
        mended = (await swarm.view()).service(spec["Name"])
        assert mended is not None
        assert drift.drift(mended, spec) == (), name


async def changed(swarm: DockerSwarm, ident: str, edit: Callable[[Any], object]) -> None:
    """Read, edit, write; again while Swarm itself writes to the service (the state of its update)."""
    with within(30, "a write between those of Swarm"):
        while True:
            raw = await swarm.engine.get(f"/services/{ident}", doing="reading")
            edit(raw["Spec"])
            try:
                await swarm.update_service(ident, raw["Version"]["Index"], raw["Spec"])
            except Conflict:
                continue
            return


@pytest.mark.usefixtures("control")
async def test_putting_back_a_label_does_not_restart_the_task(swarm: DockerSwarm, cluster: str, stub: str) -> None:
    wanted, before = await prepared(swarm, cluster)
    spec = member(wanted, before, stub)
    ident = await swarm.create_service(spec)

    def force(found: Any) -> None:
        found["TaskTemplate"]["ForceUpdate"] = 3  # as `docker service update --force` leaves it
        found["Labels"]["pgswarm.member"] = "somebody"

    await changed(swarm, ident, force)

    def is_updated(view: SwarmView, service: Service) -> bool:
        return runs(view, service) and len(view.tasks_of(service)) == 2

    view, service = await seen(swarm, cluster, spec["Name"], is_updated)
    await changed(swarm, ident, lambda found: found.update(drift.merged(found, spec)))
    task = view.current_task(service)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        view, service = await seen(swarm, cluster, spec["Name"], runs)
        assert view.current_task(service) == task
        await anyio.sleep(0.25)
    assert drift.drift(service, spec) == ()


@pytest.mark.usefixtures("control")
async def test_a_service_is_only_changed_over_the_version_that_was_read(
    swarm: DockerSwarm, cluster: str, stub: str
) -> None:
    wanted, before = await prepared(swarm, cluster)
    spec = member(wanted, before, stub)
    ident = await swarm.create_service(spec)
    _, service = await seen(swarm, cluster, spec["Name"], lambda *_: True)
    await swarm.update_service(ident, service.version, spec)
    with pytest.raises(Conflict, match="somebody else wrote first"):
        await swarm.update_service(ident, service.version, spec)
    with pytest.raises(Conflict, match="already exists"):
        await swarm.create_service(spec)
    await swarm.remove_service(ident)
    await swarm.remove_service(ident)  # gone is gone


@pytest.mark.usefixtures("control")
async def test_a_missing_image_is_said_in_words(swarm: DockerSwarm, cluster: str) -> None:
    wanted, before = await prepared(swarm, cluster)
    spec = member(wanted, before, "pgswarm-nowhere:1@sha256:" + "0" * 64)
    await swarm.create_service(spec)
    view, service = await seen(swarm, cluster, spec["Name"], lambda view, service: view.trouble(service), 60)
    words = view.trouble(service)
    assert words is not None
    assert words.startswith("pgswarm-nowhere:1 is neither on node node1 nor in a registry that can be reached"), words


@pytest.mark.usefixtures("control")
async def test_a_taken_port_is_said_in_words(swarm: DockerSwarm, cluster: str, stub: str) -> None:
    ports = {"port": 25432, "readOnlyPort": 25433, "statsPort": 28404, "healthPort": 28405}
    wanted, before = await prepared(swarm, cluster, nodes=["node2"], publish=True, **ports)
    first = sleeping(services.router_services(wanted, before, image=stub)[0])
    second = {**copy.deepcopy(first), "Name": f"{first['Name']}-too"}
    await swarm.create_service(first)
    await seen(swarm, cluster, first["Name"], runs)
    await swarm.create_service(second)
    view, service = await seen(swarm, cluster, second["Name"], lambda view, service: view.trouble(service))
    assert "port is already taken by another service" in str(view.trouble(service))


@pytest.mark.usefixtures("control")
async def test_a_node_that_is_gone_is_said_in_words(swarm: DockerSwarm, cluster: str, stub: str) -> None:
    wanted, before = await prepared(swarm, cluster)
    place = Place(member="pg-1", node_id="a" * 25, node_name="old", volume="v")
    spec = sleeping(services.member_service(wanted, place, before, image=stub))
    await swarm.create_service(spec)
    view, service = await seen(swarm, cluster, spec["Name"], lambda view, service: view.trouble(service))
    assert "no node of this Swarm fits" in str(view.trouble(service))
    with pytest.raises(Refused, match="there is no node 'node9' in this Swarm; there are node1, node2, node3"):
        services.router_services(document(cluster, nodes=["node9"]), view, image=stub)


@pytest.mark.usefixtures("control")
async def test_a_program_that_fails_is_said_while_it_is_restarted(swarm: DockerSwarm, cluster: str, stub: str) -> None:
    wanted, before = await prepared(swarm, cluster)
    spec = member(wanted, before, stub)
    spec["TaskTemplate"]["ContainerSpec"]["Command"] = ["sh", "-c", "exit 7"]
    await swarm.create_service(spec)
    _, service = await seen(
        swarm, cluster, spec["Name"], lambda view, service: "exit 7 on node node1" in str(view.trouble(service))
    )
    spec["TaskTemplate"]["ContainerSpec"]["Command"] = ["no-such-program"]
    await changed(swarm, service.id, lambda found: found.update(drift.merged(found, spec)))
    await seen(swarm, cluster, spec["Name"], lambda view, service: "no such program" in str(view.trouble(service)))


async def test_a_service_of_somebody_else_is_seen_under_our_name(
    swarm: DockerSwarm, client: Any, cluster: str, stub: str
) -> None:
    ident = client.create_service({"ContainerSpec": {"Image": stub, "Command": SLEEP}}, name=f"{cluster}_pg-1")["ID"]
    try:
        service = (await swarm.view(cluster)).service(f"{cluster}_pg-1")
        assert service is not None
        assert (service.cluster, service.kind) == (None, None)
    finally:
        client.remove_service(ident)


async def test_networks_and_secrets_are_made_once(swarm: DockerSwarm, cluster: str) -> None:
    labels = services.object_labels(cluster)
    first = await swarm.ensure_network(f"{cluster}-net", labels)
    assert await swarm.ensure_network(f"{cluster}-net", labels) == first
    secret = await swarm.create_secret(f"{cluster}-owner", b"one", labels)
    assert await swarm.create_secret(f"{cluster}-owner", b"two", labels) == secret
    view = await swarm.view(cluster)
    network, kept = view.network(f"{cluster}-net"), view.secret(f"{cluster}-owner")
    assert network is not None
    assert (network.id, network.driver, network.attachable) == (first, "overlay", True)
    assert kept is not None
    assert kept.labels[settings.LABEL_CLUSTER] == cluster
    with pytest.raises(Refused, match="bridge is a bridge network"):
        await swarm.ensure_network("bridge", labels)


async def test_images_become_something_that_cannot_change(swarm: DockerSwarm, stub: str, registry: str) -> None:
    pushed = await swarm.resolve_image(f"{registry}/pgswarm-stub:2")
    assert pushed.startswith(f"{registry}/pgswarm-stub:2@sha256:")
    assert await swarm.resolve_image(pushed) == pushed
    assert await swarm.resolve_image(stub) == stub
    assert await swarm.resolve_image("pgswarm-stub:2") == stub
    started = time.monotonic()
    with pytest.raises(Refused, match=r"image pgswarm-nowhere:7 is .*not.* on this node.*docker load"):
        await swarm.resolve_image("pgswarm-nowhere:7")
    assert time.monotonic() - started < 10


async def test_changes_wake_the_listener_and_a_new_stream_is_opened(
    swarm: DockerSwarm, client: Any, cluster: str
) -> None:
    async def until(wanted: Wake) -> None:
        async for wake in wakes:
            if wake == wanted:
                return

    wakes = swarm.events()
    name = settings.record_name(cluster)
    with within(20, "the stream, and what woke it"):
        await until(CONNECTED)
        await anyio.to_thread.run_sync(lambda: client.create_config(name, json.dumps({}).encode()))
        await until(Wake(kind="config", action="create", name=name))


async def test_a_listener_that_is_cancelled_leaves_no_thread_behind(swarm: DockerSwarm) -> None:
    async def listen() -> None:
        async for _ in swarm.events():
            connected.set()

    before = threading.active_count()
    connected = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        with within(30, "a stream of events"):
            await connected.wait()
        group.cancel_scope.cancel()
    with within(15, "no thread left behind"):  # an idle worker thread of anyio ends after ten seconds
        while threading.active_count() > before + 1:  # noqa: ASYNC110 (threads tell nobody that they end)
            await anyio.sleep(0.1)
