"""Hearing agents: what a stream's end proves, and what a Watch makes of it. Real sockets, no router."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from pgswarm.core.reports import MemberReport
from pgswarm.core.sightings import Sighting
from pgswarm.errors import Refused
from pgswarm.ports.agents import SILENCE, Closed, Silent, Watch, not_member
from tests.router.world import CLUSTER, Member, World, a_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path, "pg-1", "pg-2") as world:
        yield world


@pytest.fixture
def member(world: World) -> Member:
    return world.members["pg-1"]


class Notes:
    """Keeps every sighting that is published, and wakes whoever waits for one."""

    def __init__(self) -> None:
        self.all: list[Sighting[MemberReport]] = []
        self._more = anyio.Event()

    def publish(self, name: str, sighting: Sighting[MemberReport]) -> None:
        self.all.append(sighting)
        self._more.set()
        self._more = anyio.Event()

    async def until_connected(self, wanted: bool = True) -> Sighting[MemberReport]:
        with anyio.fail_after(20):
            while not self.all or self.all[-1].connected is not wanted:
                await self._more.wait()
        return self.all[-1]

    async def until_why(self, words: str) -> None:
        with anyio.fail_after(20):
            while words not in self.all[-1].why:
                await self._more.wait()


@pytest.fixture
async def notes() -> Notes:
    return Notes()


@pytest.fixture
async def watch(world: World, member: Member, notes: Notes) -> Watch[MemberReport]:
    watch = Watch(
        world.client, "pg-1", MemberReport, member.api_port, notes.publish, stranger=not_member(CLUSTER, "pg-1")
    )
    world.group.start_soon(watch.run)
    watch.aim(member.address)
    await notes.until_connected()
    return watch


async def test_every_change_of_a_member_is_heard_at_once(member: Member, watch: Watch[MemberReport]) -> None:
    member.say(promised=7)
    with anyio.fail_after(0.4):  # less than a heartbeat
        while not watch.sighting.report or watch.sighting.report.promised != 7:
            await anyio.lowlevel.checkpoint()


async def test_a_killed_process_is_known_to_be_gone_before_its_silence_could_tell(
    member: Member, watch: Watch[MemberReport], notes: Notes
) -> None:
    killed_at = anyio.current_time()
    member.die()
    sighting = await notes.until_connected(False)
    assert sighting.closed_at is not None
    assert sighting.closed_at - killed_at < SILENCE
    assert sighting.report is not None
    assert sighting.is_gone


async def test_the_first_end_of_a_process_is_the_one_that_is_told_however_often_it_refuses_after(
    member: Member, watch: Watch[MemberReport], notes: Notes
) -> None:
    member.die()
    first = await notes.until_connected(False)
    await notes.until_why("ECONNREFUSED")
    assert watch.sighting.closed_at == first.closed_at
    assert watch.sighting.vacant


async def test_a_refusal_at_another_address_proves_nothing_of_the_one_that_was_heard(
    member: Member, watch: Watch[MemberReport], notes: Notes
) -> None:
    """Swarm has made a new container, whose agent does not listen yet."""
    watch.aim("127.0.0.1")
    await notes.until_why("ECONNREFUSED")
    await anyio.sleep(0.5)  # several attempts
    assert watch.sighting.is_gone
    assert not watch.sighting.vacant


async def test_another_address_is_another_container_which_is_dialled_from_now_on(world: World, notes: Notes) -> None:
    watch = Watch(world.client, "pg-9", MemberReport, 9, notes.publish)
    watch.aim("127.0.0.1")
    first = watch.sighting
    await anyio.sleep(0.01)
    watch.aim("127.0.0.1")
    assert watch.sighting == first
    watch.aim("127.0.0.2")
    assert watch.sighting.dialled_at > first.dialled_at
    assert watch.sighting.sought_since == first.sought_since


async def test_silence_is_not_taken_for_an_end(member: Member, watch: Watch[MemberReport], notes: Notes) -> None:
    member.is_mute = True
    sighting = await notes.until_connected(False)
    assert sighting.closed_at is None
    assert not sighting.is_gone
    assert "silent" in sighting.why
    assert sighting.silence(anyio.current_time()) > 1


async def test_a_member_that_comes_back_is_heard_within_a_second_or_so(
    world: World, member: Member, watch: Watch[MemberReport], notes: Notes
) -> None:
    member.die()
    await notes.until_connected(False)
    await member.live(world.group)
    back_at = anyio.current_time()
    sighting = await notes.until_connected()
    assert anyio.current_time() - back_at < 3
    assert sighting.closed_at is None
    assert sighting.why == ""


async def test_a_new_address_takes_effect_at_once_and_keeps_the_last_report(
    world: World, member: Member, watch: Watch[MemberReport], notes: Notes
) -> None:
    elsewhere = world.members["pg-2"]
    elsewhere.say(member="pg-1", boot="2")
    watch.aim(elsewhere.address)
    assert not watch.sighting.connected
    assert watch.sighting.report is not None
    with anyio.fail_after(5):
        assert (await notes.until_connected()).report.boot == "2"  # type: ignore[union-attr]
    watch.aim(None)
    assert watch.sighting.address is None
    assert watch.sighting.why == "no address known"


async def test_another_member_at_the_address_is_not_heard(
    world: World, watch: Watch[MemberReport], notes: Notes
) -> None:
    watch.aim(world.members["pg-2"].address)
    await notes.until_why("it is pg-2")
    assert not watch.sighting.connected
    assert watch.sighting.report is not None
    assert watch.sighting.report.member == "pg-1"


async def test_a_refused_connection_and_one_that_gets_no_answer_are_told_apart(world: World, member: Member) -> None:
    member.die()
    await anyio.wait_all_tasks_blocked()
    with pytest.raises(Closed, match="ECONNREFUSED"):
        await world.client.get_report(member.address, member.api_port)
    # A listener that nobody accepts from: the kernel says yes, and then nothing comes.
    async with await anyio.create_tcp_listener(local_host=member.address, local_port=member.api_port):
        with pytest.raises(Silent):
            await world.client.get_report(member.address, member.api_port, deadline=0.3)


async def test_what_is_no_report_is_refused(world: World, member: Member) -> None:
    async def babble(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno\n")

    member.die()
    await anyio.wait_all_tasks_blocked()
    listener = await anyio.create_tcp_listener(local_host=member.address, local_port=member.api_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, babble)
        with pytest.raises(Refused, match="not a report"):
            await world.client.get_report(member.address, member.api_port)
        group.cancel_scope.cancel()
