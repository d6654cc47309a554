"""The router as clients, operators and vandals meet it: the real agent, the real HAProxy, small members."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
import pytest

from pgswarm.core.reports import Postgres, Serving
from tests.router.world import RouterProcess, World, a_world, eventually, is_cut, is_open, is_running, settles

pytestmark = pytest.mark.haproxy


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two members that live: pg-1 leads term 1, pg-2 follows."""
    async with a_world(tmp_path, "pg-1", "pg-2") as world:
        world.members["pg-1"].lead(1)
        world.members["pg-2"].follow(1)
        yield world


@pytest.fixture
async def router(world: World) -> RouterProcess:
    """A router that has been ordered to route to pg-1, and does."""
    router = await world.start_router()
    await router.order(world.members["pg-1"], 1, contacts=world.contacts)
    await router.until(lambda report: report.primary == "pg-1/00000001" and report.replicas == ("pg-2",))
    return router


async def test_writers_reach_the_primary_and_readers_the_replica(router: RouterProcess) -> None:
    writer, _ = await router.connect("write")
    reader, _ = await router.connect("read")
    assert (writer, reader) == ("pg-1", "pg-2")


async def test_its_agent_tells_in_numbers_where_writers_go(router: RouterProcess) -> None:
    await router.connect("write")
    await router.until(lambda report: report.sessions == 1)
    async with httpx.AsyncClient(trust_env=False) as client:
        said = (await client.get(f"http://{router.address}:{router.ports['api']}/metrics")).text
    lines = [line.rpartition(" ") for line in said.splitlines() if not line.startswith("#")]
    told = {name.partition("{")[0]: float(number) for name, _, number in lines}
    assert 'member="pg-1"' in said
    assert (told["pgswarm_router_haproxy_up"], told["pgswarm_router_primary_known"]) == (1, 1)
    assert (told["pgswarm_router_sessions"], told["pgswarm_router_readers"], told["pgswarm_router_term"]) == (1, 1, 1)


async def test_readers_go_to_the_primary_when_there_is_no_replica(world: World, router: RouterProcess) -> None:
    world.members["pg-2"].turn_away()
    await router.until(lambda report: report.replicas == ())
    assert (await router.connect("read"))[0] == "pg-1"


async def test_a_switchover_refuses_no_new_connection_and_cuts_the_old_sessions(
    world: World, router: RouterProcess
) -> None:
    old, new = world.members["pg-1"], world.members["pg-2"]
    sessions = [(await router.connect())[1] for _ in range(20)]
    answers: list[tuple[str, float]] = []
    done = anyio.Event()

    async def connect_again_and_again() -> None:
        while not done.is_set():
            began = anyio.current_time()
            name, stream = await router.connect()
            answers.append((name, anyio.current_time() - began))
            await stream.aclose()

    async with anyio.create_task_group() as clients:
        for _ in range(4):
            clients.start_soon(connect_again_and_again)
        await anyio.sleep(0.2)
        old.turn_away()
        await anyio.sleep(0.2)
        assert (await router.order(new, 2)).accepted
        old.say(postgres=Postgres.STOPPED)
        await anyio.sleep(0.2)
        new.lead(2)
        await router.until(lambda report: report.primary == "pg-2/00000001" and report.heeded == (2, 1))
        await anyio.sleep(0.3)
        done.set()
    assert all([await is_cut(session) for session in sessions])
    assert {name for name, _ in answers} == {"pg-1", "pg-2"}
    assert max(pause for _, pause in answers) < 6


async def test_connections_held_by_the_gate_go_through_as_soon_as_a_primary_serves(
    world: World, router: RouterProcess
) -> None:
    world.members["pg-1"].turn_away()
    await router.until(lambda report: report.primary is None)
    through: list[float] = []

    async def wait_for_a_primary() -> None:
        name, _ = await router.connect()
        assert name == "pg-2"
        through.append(anyio.current_time())

    async with anyio.create_task_group() as clients:
        for _ in range(50):
            clients.start_soon(wait_for_a_primary)
        await anyio.sleep(0.5)
        assert not through
        await router.order(world.members["pg-2"], 2)
        opened = anyio.current_time()
        world.members["pg-2"].lead(2)
    pauses = sorted(moment - opened for moment in through)
    print(f"held connections were through after {pauses[25]:.3f} s (median), {pauses[-1]:.3f} s (last)")
    assert pauses[-1] < 5


async def test_an_order_for_a_newer_term_cuts_the_old_primary_at_once_even_if_it_says_it_serves(
    world: World, router: RouterProcess
) -> None:
    _, session = await router.connect()
    await router.order(world.members["pg-2"], 2)
    assert await is_cut(session)
    report = await router.until(lambda report: report.heeded == (2, 1))
    assert report.primary is None
    assert report.term == 2


async def test_a_lower_term_is_never_routed_to_again(world: World, router: RouterProcess) -> None:
    await router.order(world.members["pg-2"], 5)
    world.members["pg-2"].lead(5)
    await router.until(lambda report: report.primary == "pg-2/00000001")
    world.members["pg-2"].die()
    await router.until(lambda report: report.primary is None)
    assert not (await router.order(world.members["pg-1"], 4)).accepted
    with pytest.raises(TimeoutError):
        await router.connect(deadline=1.5)


async def test_a_primary_that_dies_closes_the_gate_and_its_return_opens_it(world: World, router: RouterProcess) -> None:
    primary = world.members["pg-1"]
    primary.die()
    await router.until(lambda report: report.primary is None)
    status, reason = await router.health()
    assert status == 503
    assert "pg-1" in reason
    assert "is gone" in reason, "it was not only silent for too long"
    await primary.live(world.group)
    await router.until(lambda report: report.primary == "pg-1/00000001")
    assert (await router.connect())[0] == "pg-1"
    assert (await router.health())[0] == 200


async def test_a_silent_primary_keeps_its_sessions_for_a_while_but_gets_no_new_ones(
    world: World, router: RouterProcess
) -> None:
    _, session = await router.connect()
    world.members["pg-1"].is_mute = True
    await router.until(lambda report: report.primary is None)
    assert await is_open(session)
    world.members["pg-1"].is_mute = False
    await router.until(lambda report: report.primary == "pg-1/00000001")
    assert await is_open(session)


async def test_a_router_that_alone_does_not_hear_the_primary_sends_its_clients_elsewhere_at_once(
    world: World, router: RouterProcess
) -> None:
    primary = world.members["pg-1"]
    _, session = await router.connect()
    primary.is_mute = True
    await router.until(lambda report: report.primary is None)
    async with await anyio.connect_tcp(router.address, router.ports["write"]) as waiting:
        assert not await is_cut(waiting, within=1.0), "it may come back: a pause is better than an error"
        await router.order(primary, 1, contacts=world.contacts, vouched=1)
        assert await is_cut(session)
        assert await is_cut(waiting, within=10.0)
    await eventually(lambda: is_refused(router))
    status, reason = await router.health()
    assert status == 503
    assert "only this router is cut off" in reason
    assert (await router.connect("read"))[0] == "pg-2", "readers are served"
    primary.is_mute = False
    await router.until(lambda report: report.primary == "pg-1/00000001")
    await eventually(lambda: is_served(router))


async def is_refused(router: RouterProcess) -> bool:
    try:
        await anyio.aclose_forcefully(await anyio.connect_tcp(router.address, router.ports["write"]))
    except OSError:
        return True
    return False


async def is_served(router: RouterProcess) -> bool:
    try:
        return (await router.connect())[0] == "pg-1"
    except (OSError, anyio.EndOfStream):
        return False


async def test_with_no_operator_alive_the_router_finds_the_primary_by_itself(world: World) -> None:
    # A name that resolves, one that is dead, and one that another cluster's member has now.
    stranger = world.members["pg-2"]
    stranger.say(cluster="another", serving=Serving.PRIMARY, accepted=(9, 9), reigned=9)
    router = await world.start_router(members=f"{world.members['pg-1'].address},{stranger.address},dead.invalid")
    await router.until(lambda report: report.primary == "pg-1/00000001")
    assert (await router.connect())[0] == "pg-1"


async def test_a_router_that_restarts_remembers_contacts_and_floor(world: World, router: RouterProcess) -> None:
    await router.order(world.members["pg-1"], 3, contacts=world.contacts)
    await router.until(lambda report: report.heeded == (3, 1))
    router.process.kill()
    router.process.wait()
    again = await world.start_router()
    # pg-1 still serves in term 1: not good enough for a router that has heard of term 3.
    report = await again.until(lambda report: report.heeded == (3, 1) and report.replicas == ("pg-2",))
    assert report.primary is None
    world.members["pg-1"].lead(3)
    await again.until(lambda report: report.primary == "pg-1/00000001")


async def test_haproxy_killed_comes_back_with_its_state(world: World, router: RouterProcess) -> None:
    killed = router.haproxy_pid()
    os.kill(killed, signal.SIGKILL)
    await router.until(lambda report: report.haproxy == "down")
    await router.until(lambda report: report.haproxy == "running" and report.primary == "pg-1/00000001")
    assert router.haproxy_pid() != killed
    assert (await router.connect())[0] == "pg-1"
    assert (await router.connect("read"))[0] == "pg-2"


async def test_haproxy_does_not_outlive_its_agent(router: RouterProcess) -> None:
    haproxy = router.haproxy_pid()
    router.process.kill()
    router.process.wait()

    async def is_gone() -> bool:
        return not is_running(haproxy)

    await eventually(is_gone)


@pytest.mark.parametrize(
    "vandalism",
    [
        "set server writers/primary addr {other} port {port}",
        "set server writers/primary state maint",
        "set server writers/primary state drain",
        "set server writers/primary health down",
        "set server writers/primary weight 0",
        "set server write_gate/open state maint",
        "disable frontend write",
        "set maxconn server writers/primary 1",
    ],
)
async def test_what_is_changed_by_hand_is_put_back(world: World, router: RouterProcess, vandalism: str) -> None:
    other = world.members["pg-2"]
    told = await router.admin(vandalism.format(other=other.address, port=other.postgres_port))
    assert "Unknown" not in told
    assert await settles(router, "pg-1")


async def test_sessions_sent_astray_by_hand_are_cut_when_it_is_put_back(world: World, router: RouterProcess) -> None:
    other = world.members["pg-2"]
    with anyio.fail_after(20):  # it may be put back before anybody comes
        while True:
            await router.admin(f"set server writers/primary addr {other.address} port {other.postgres_port}")
            with suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                name, session = await router.connect()
                if name == "pg-2":
                    break
    assert await is_cut(session, within=20)


async def test_a_connection_that_waits_too_long_is_closed_and_not_kept_for_ever(world: World) -> None:
    router = await world.start_router(PGSWARM_HOLD_LIMIT="2")
    began = anyio.current_time()
    async with await anyio.connect_tcp(router.address, router.ports["write"]) as session:
        assert await is_cut(session, within=15)
    assert anyio.current_time() - began > 1.5


async def test_a_connection_that_waits_longer_than_the_gate_holds_goes_through_all_the_same(
    world: World, router: RouterProcess
) -> None:
    world.members["pg-1"].turn_away()
    await router.until(lambda report: report.primary is None)
    async with anyio.create_task_group() as clients:
        clients.start_soon(router.connect)
        await anyio.sleep(2)
        world.members["pg-1"].lead(1)


async def test_a_client_that_leaves_while_it_waits_is_not_kept(world: World) -> None:
    router = await world.start_router()
    for _ in range(5):
        async with await anyio.connect_tcp(router.address, router.ports["write"]):
            pass

    async def nobody_waits() -> bool:
        return "fe=write" not in await router.admin("show sess")

    await eventually(nobody_waits)


async def test_the_admin_socket_is_on_no_network(router: RouterProcess) -> None:
    mode = (router.directory / "admin.sock").stat().st_mode
    assert mode & 0o077 == 0
    listening = (await anyio.run_process(["ss", "-Hltnp"])).stdout.decode()
    # Other HAProxies may run beside this one.
    mine = [line for line in listening.splitlines() if f"pid={router.haproxy_pid()}," in line]
    assert {int(line.split()[3].rpartition(":")[2]) for line in mine} == {
        router.ports[name] for name in ("write", "read", "stats")
    }
    for name in ("write", "read", "stats"):
        with socket.create_connection((router.address, router.ports[name]), timeout=5) as client:
            client.sendall(b"show info\n")
            client.settimeout(1)
            try:
                answer = client.recv(4096)
            except TimeoutError:
                answer = b""
            assert b"Uptime_sec" not in answer


async def test_statistics_and_metrics_are_served(router: RouterProcess) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        page = await http.get(f"http://{router.address}:{router.ports['stats']}/")
        metrics = await http.get(f"http://{router.address}:{router.ports['stats']}/metrics")
    assert "writers" in page.text
    assert 'haproxy_server_status{proxy="writers",server="primary",state="UP"} 1' in metrics.text


async def test_a_caller_without_the_secret_learns_nothing(world: World, router: RouterProcess) -> None:
    base = f"http://{router.address}:{router.ports['api']}"
    async with httpx.AsyncClient(trust_env=False) as http:
        answers = [await http.get(f"{base}/report"), await http.get(f"{base}/stream"), await http.put(f"{base}/order")]
        live = await http.get(f"{base}/live")
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert not any("pg-1" in answer.text for answer in answers)
    assert live.status_code == 200


async def test_an_order_that_contradicts_another_is_refused_with_the_reason(
    world: World, router: RouterProcess
) -> None:
    answer = await router.order(world.members["pg-2"], 1, 2)
    assert not answer.accepted
    assert "pg-1/00000001" in answer.reason
    assert answer.report is not None


async def test_sigterm_lets_open_sessions_finish_and_ends_with_zero(world: World, router: RouterProcess) -> None:
    _, session = await router.connect()
    router.process.terminate()

    async def is_leaving() -> bool:
        return (await router.health())[0] == 503

    await eventually(is_leaving)
    assert await is_open(session)
    await session.aclose()
    with anyio.fail_after(20):
        assert await anyio.to_thread.run_sync(router.process.wait) == 0


async def test_a_mistake_in_the_environment_is_one_plain_line() -> None:
    environment = {"PATH": os.environ["PATH"], "PGSWARM_CLUSTER": "main", "PGSWARM_PORT": "many"}
    ended = await anyio.run_process([sys.executable, "-m", "pgswarm.router"], env=environment, check=False)
    assert ended.returncode == 1
    assert b"PGSWARM_PORT is 'many'; expected a whole number, 1 to 65535" in ended.stderr
    assert b"Traceback" not in ended.stderr
