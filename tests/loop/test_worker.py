"""The worker: nothing waits for what hangs, failures pause and grow, and whoever is killed is continued by another."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.abc import TaskGroup

from pgswarm.core import steps
from pgswarm.core.world import Unknown, World
from pgswarm.errors import Again
from pgswarm.loop.bell import Bell
from pgswarm.loop.clockwork import GAP, TURN, Clockwork
from pgswarm.loop.worker import PAUSE_LAST, PAUSE_LAST_FAST, Worker
from tests.core.builders import record
from tests.loop.town import Town

pytestmark = pytest.mark.anyio

OF = record("ab", 2, sync="b", members="ab")
WRITE = steps.WriteRecord(record=OF, reason="x")
SERVICE = steps.EnsureService(name="main_a", spec={}, exists=True, reason="image")


def worker(perform: Any) -> Worker:
    """A worker whose hands do this, and whose world is not looked at."""

    class Hands:
        async def perform(self, step: steps.Step) -> str:
            return str(await perform(step))

    lookout: Any = type("Lookout", (), {"cluster": "main", "bell": type("Bell", (), {"ring": lambda self: None})()})()
    hands: Any = Hands()
    nobody: Any = None
    return Worker(lookout, hands, nobody, nobody)


async def test_a_step_that_hangs_delays_neither_another_key_nor_another_cluster(tmp_path: Path) -> None:
    town = Town(tmp_path / "d", "main", "other")
    town.hangs = lambda what: what == "create main_b"
    with anyio.move_on_after(30):
        await town.operator("op.1", lambda: town.is_whole("other"))
    assert town.is_whole("other")
    assert "create main_a" in town.effects
    assert "create main_b" not in town.effects


async def test_a_cluster_of_which_no_service_can_be_made_leaves_room_for_another_s(tmp_path: Path) -> None:
    town = Town(tmp_path / "d", "a-first", "main")
    town.hangs = lambda what: what.startswith("create a-first")
    with anyio.move_on_after(15):
        await town.operator("op.1", town.is_whole)
    assert town.is_whole()


async def test_an_operator_that_is_ended_while_everything_rings_begins_nothing_over_and_over() -> None:
    """Each step that is cancelled rang, the pass it woke began it again, and no task was ever found waiting by what was
    to cancel it (seed 6520). Such an operator could only be killed, and had not passed its tenure on."""

    class Eager(Worker):
        passes = 0

        def one_pass(self, tasks: TaskGroup, now: float) -> World:
            self.passes += 1
            for member in "abcd"[: self.passes]:
                step = steps.AskPromise(member=member, term=2, reason="x")
                if step.key not in self._busy:
                    self._busy.add(step.key)
                    tasks.start_soon(self.do, step)
            return World(cluster="main")

    class Lookout:
        cluster, bell = "main", Bell()

        def sighted(self, world: World) -> World:
            return world

    class Hands:
        async def perform(self, step: steps.Step) -> str:
            await anyio.sleep_forever()
            return ""

    lookout, hands, nobody = cast("Any", Lookout()), cast("Any", Hands()), cast("Any", None)
    one = Eager(lookout, hands, nobody, nobody)

    async def live() -> None:
        async with anyio.create_task_group() as house:
            house.start_soon(one.run)

    operator = asyncio.create_task(live())
    await anyio.sleep(0.01)
    operator.cancel()
    for _ in range(3):  # the streams end as well, and say so
        lookout.bell.ring()
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert operator.done()
    assert one.passes < 10


async def test_images_that_cannot_be_resolved_leave_the_way_free_for_a_failover(tmp_path: Path) -> None:
    town = Town(tmp_path / "d", "main", "other")
    assert await town.operator("op.1", lambda: town.is_whole("main") and town.is_whole("other"))
    for name in list(town.services):
        if name.startswith("other_"):
            del town.services[name]
    town.hangs = lambda what: what.startswith("resolve")
    town.members["main/a"].kill()
    assert await town.operator("op.2", lambda: (town.record() or OF).primary_member == "b", patience=10)


async def test_beside_a_cluster_of_which_everything_hangs_another_fails_over_in_the_usual_time(tmp_path: Path) -> None:
    """Its agents take no orders, its services cannot be made, and the store does not take its writes either."""
    took = []
    for number, hang in enumerate((False, True)):
        town = Town(tmp_path / f"d{number}", "main", "other")
        assert await town.operator("op.1", partial(_are_both_whole, town))
        if hang:
            for name in [name for name in town.services if name.startswith("other_")]:
                del town.services[name]
            town.members["other/a"].tell(promised=9)
            town.hangs = lambda what: what.startswith("resolve") or "other" in what
        began: list[float] = []

        def fails_over(town: Town = town, began: list[float] = began) -> bool:
            if not began and town.is_whole("main"):
                town.members["main/a"].kill()
                began.append(anyio.current_time())
            return bool(began) and (town.record() or OF).primary_member == "b"

        assert await town.operator("op.2", fails_over, patience=10)
        took.append(anyio.current_time() - began[0])
    assert took[1] < took[0] + 1.0, took


async def test_a_failed_step_pauses_longer_each_time_and_the_fast_path_never_long() -> None:
    async def fail(step: steps.Step) -> str:
        raise Again("no leader", after=60)

    one = worker(fail)
    for step, last in ((WRITE, PAUSE_LAST_FAST), (SERVICE, PAUSE_LAST)):
        pauses = []
        for _ in range(12):
            await one.do(step)
            pauses.append(one.failed[step.key].retry_at - anyio.current_time())
        assert pauses[1] > pauses[0] * 1.5
        assert pauses[-1] == pytest.approx(last, abs=0.05)


async def test_a_document_that_cannot_be_stored_gives_no_pause_to_the_record() -> None:
    failed = {"record": steps.Failed(reason="x", times=9, retry_at=100.0, lasting=True, kind="StoreDocument")}
    assert steps.startable(steps.Plan(steps=(WRITE,)), frozenset(), failed, 1.0) == (WRITE,)


async def test_a_step_that_works_and_is_wanted_again_at_once_pauses_too(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    assert await town.operator("op.1", town.is_whole)
    service = town.services["main_a"]
    town.services["main_a"] = service.model_copy(update={"replicas": 1, "spec": {**service.spec, "Mode": {}}})

    async def in_vain(service_id: str, version: int, spec: dict[str, Any]) -> None:
        await town.happen(f"update {service_id}", lambda: None)

    town.update_service = in_vain  # type: ignore[method-assign]
    with anyio.move_on_after(1.5):
        await town.operator("op.2", lambda: False)
    assert 2 <= town.effects.count("update main_a") <= 5


async def test_a_pass_that_fails_is_told_in_the_status_and_stops_no_other_cluster(tmp_path: Path) -> None:
    town = Town(tmp_path / "d", "main", "other")
    house = town.house()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.run)
        while "main" not in house.workers:  # noqa: ASYNC110 - nothing rings
            await anyio.sleep(0.01)
        one: Any = house.workers["main"]

        def broken(*_: Any) -> None:
            raise ZeroDivisionError("here")

        one.lookout.world = broken
        with anyio.fail_after(20):
            while not (town.is_whole("other") and one.broken):  # noqa: ASYNC110
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert "ZeroDivisionError" in one.broken


async def test_an_operator_killed_at_any_step_is_continued_by_another(tmp_path: Path) -> None:
    """Birth, then the loss of the primary; each operator is killed right after its n-th effect."""

    async def story(n: int) -> int:
        town = Town(tmp_path / str(n))
        town.dies_at = n
        for round_ in ("birth", "failover"):
            for name in ("op.1", "op.2"):
                if await town.operator(name, town.is_whole, patience=40):
                    break
            assert town.is_whole(), (n, round_)
            if round_ == "birth":
                town.members["main/a"].kill()
                for name in ("op.3", "op.4"):
                    if await town.operator(name, lambda: (town.record() or OF).primary_member == "b", patience=40):
                        break
                town.members["main/a"].start()
        record = town.record()
        assert record is not None
        assert record.primary_member == "b"
        reigning = [order for order in town.effects if order.startswith("write")]
        assert len(reigning) < 16, "it comes to rest"
        return len(town.effects)

    usual = await story(0)
    async with anyio.create_task_group() as tasks:
        for n in range(1, usual + 1):
            tasks.start_soon(partial(story, n))


# what was observed badly


async def test_a_record_that_cannot_be_understood_is_not_taken_for_one_that_is_not_there(tmp_path: Path) -> None:
    house = Town(tmp_path / "d").house()
    house.listing.stored, house.listing.unreadable = {}, {"main": "label edited"}
    house._listed()
    assert house.workers["main"].lookout.record == Unknown(why="label edited")


async def test_an_operator_that_was_frozen_counts_silence_from_now_whoever_asks_first() -> None:
    clock = Clockwork()
    began = clock.awake_since(anyio.current_time())
    assert clock.awake_since(began + TURN) == began
    later = began + TURN + GAP + 5.0
    assert clock.awake_since(later) == later
    assert clock.awake_since(later + TURN) == later


async def test_a_store_without_a_leader_stops_nothing_that_runs_and_restarts_nothing(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    assert await town.operator("op.1", town.is_whole)
    before, town.unreachable = len(town.effects), "the Swarm has no leader"
    with anyio.move_on_after(1.5):
        await town.operator("op.2", lambda: False)
    assert len(town.effects) == before
    town.unreachable = ""
    town.members["main/a"].kill()
    assert await town.operator("op.3", lambda: (town.record() or OF).primary_member == "b")


def _are_both_whole(town: Town) -> bool:
    return town.is_whole("main") and town.is_whole("other")
