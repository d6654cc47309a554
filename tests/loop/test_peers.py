"""Operators in plural: who was told to end says so with its last word, and another acts within a tenth of a second."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pgswarm.core.leadership import Candidate
from pgswarm.core.swarmview import Service, SwarmView, Task
from pgswarm.loop import api
from pgswarm.loop import peers as peers_
from pgswarm.loop.peers import Peers
from pgswarm.ports.agents import Closed
from pgswarm.ports.door import Call, Lines
from pgswarm.settings import CONTROL_NETWORK, LABEL_KIND
from pgswarm.wire import OperatorReport, credentials, decode_line

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdef"
OPERATOR = Service(id="s", version=1, name="pgswarm_operator", labels={LABEL_KIND: "operator"})
TASK = Task(
    id="t1", service_id="s", state="running", desired="running", addresses={CONTROL_NETWORK: "10.0.0.9"}, slot=1
)


class Listing:
    able, able_until = True, float("inf")
    view = SwarmView(services=(OPERATOR,), tasks=(TASK,))


class Other:
    """Another operator, whose stream ends when it is told to end."""

    def __init__(self) -> None:
        self.told = anyio.Event()
        self.says_so = True

    async def stream(
        self, address: str, port: int, *, silence: float = 1.5, beat: Callable[[], None] | None = None
    ) -> AsyncGenerator[OperatorReport, None]:
        if self.told.is_set():
            raise Closed("ECONNREFUSED")
        report = OperatorReport(operator="a", node_id="n1", boot="1", sequence=1)
        yield report
        await self.told.wait()
        if self.says_so:
            yield report.model_copy(update={"leaving": True, "sequence": 2})
        raise Closed("EOF")


async def until(true: Callable[[], bool]) -> float:
    began = anyio.current_time()
    with anyio.fail_after(20):
        while not true():  # noqa: ASYNC110 - what is looked at has no bell
            await anyio.sleep(0.002)
    return anyio.current_time() - began


@pytest.mark.parametrize(("says_so", "within"), [(True, 0.7), (False, 1.8)])
async def test_the_next_operator_acts_soon_after_the_first_was_told_to_end(
    says_so: bool, within: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once if it says so itself; else after the grace of a closed stream, here a second, and before a silence."""
    monkeypatch.setattr(peers_, "CLOSED_GRACE", 1.0)
    other, rings = Other(), 0
    other.says_so = says_so
    wire: Any = other
    listing: Any = Listing()

    def ring(clusters: frozenset[str] | None) -> None:
        nonlocal rings
        rings += 1

    peers = Peers("b", "n2", wire, listing, ring)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peers.run, tasks)
        await until(lambda: peers.leader(None) == "a")
        before = rings
        other.told.set()
        assert await until(lambda: peers.leader(None) is None and rings > before) < within
        tasks.cancel_scope.cancel()


def test_who_becomes_deaf_concerns_the_clusters_it_is_deaf_to_and_who_comes_or_goes_concerns_all() -> None:
    one = Candidate(name="a", node_id="n1", able=True, deaf=frozenset({"x", "y"}))
    other = Candidate(name="b", node_id="n2", able=True)
    concerned = peers_._concerned
    assert concerned([one, other], [replace(one, deaf=frozenset({"y", "z"})), other]) == frozenset({"x", "z"})
    assert concerned([one], [one, other]) is None
    assert concerned([one, other], [replace(one, able=False), other]) is None
    assert concerned([one], [replace(one, deaf=None)]) is None


async def test_the_last_line_of_an_operators_stream_says_that_it_leaves() -> None:
    farewell = api.Farewell()
    report = OperatorReport(operator="a", node_id="n1", boot="1", sequence=1)
    handler = api.handlers(SECRET, lambda: report, dict, farewell)["GET", "/stream"]
    authorization = credentials(SECRET)["Authorization"]
    connection: Any = None
    call = Call(
        verb="GET", path="/stream", authorization=authorization, caller="", body=b"", connection=connection
    )  # fmt: skip
    answer = await handler(call)
    assert isinstance(answer, Lines)
    said: list[bytes] = []

    async def listen() -> None:
        async for piece in answer.pieces:
            said.append(piece)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await until(lambda: bool(said))
        began = anyio.current_time()
        await farewell.say()
        assert anyio.current_time() - began < 0.1
    last = decode_line(said[-1])
    assert isinstance(last, OperatorReport)
    assert last.leaving


async def test_an_operator_that_nobody_listens_to_ends_at_once() -> None:
    began = anyio.current_time()
    await api.Farewell().say()
    assert anyio.current_time() - began < 0.05
