"""The hands: what is done late, twice, from an old view or at a stranger's door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from pgswarm.core import steps
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import SwarmView
from pgswarm.errors import Again, Conflict
from pgswarm.loop.house import House
from tests.loop.town import Town

pytestmark = pytest.mark.anyio


async def looked(town: Town, tasks: Any) -> House:
    """An operator that has seen everything once and does nothing by itself."""
    house = town.house()
    await house.look_once(tasks, 1.0)
    return house


async def test_a_stale_view_and_a_stale_store_change_nothing(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    town.dies_at = 9
    assert not await town.operator("op.1", town.is_whole)
    old_store, town.dies_at = dict(town.store), 0
    assert await town.operator("op.2", town.is_whole)
    services, store, members = dict(town.services), dict(town.store), {k: m.report for k, m in town.members.items()}

    async def old_view(cluster: str | None = None) -> SwarmView:
        return SwarmView(nodes=(), networks=tuple(town.networks.values()))

    async def stale() -> dict[str, Stored]:
        return old_store

    async def said_old(cluster: str) -> Stored | None:
        return old_store.get(cluster)

    town.view, town.by_cluster, town.read = old_view, stale, said_old  # type: ignore[method-assign]
    with anyio.move_on_after(2.0):
        await town.operator("op.3", lambda: False)
    assert (town.services, town.store) == (services, store)
    for key, report in members.items():
        assert town.members[key].report.incarnation == report.incarnation
        assert town.members[key].report.promised == report.promised


async def test_an_answer_from_a_stranger_at_the_members_address_is_not_its_promise(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    assert await town.operator("op.1", town.is_whole)
    async with anyio.create_task_group() as tasks:
        house = await looked(town, tasks)
        worker = house.workers["main"]
        before = worker.lookout.sighted(worker.lookout.world(tasks, anyio.current_time(), None, house.began))
        town.members["main/a"], town.members["main/b"] = town.members["main/b"], town.members["main/a"]
        with pytest.raises(Again, match="b of main answers at the address of a"):
            await worker._hands.perform(steps.AskPromise(member="a", term=9, reason="x"))
        worker.lookout.take("a", town.members["main/a"].report)
        after = worker.lookout.sighted(before)
        said = after.report("a")
        assert said is not None
        assert said.member == "a"
        assert said.promised < 9
        tasks.cancel_scope.cancel()


async def test_a_restart_that_waited_for_its_image_is_not_done_if_the_plan_has_changed(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    assert await town.operator("op.1", town.is_whole)
    async with anyio.create_task_group() as tasks:
        worker = (await looked(town, tasks)).workers["main"]
        spec = {**town.services["main_b"].spec, "Labels": {**town.services["main_b"].labels, "pgswarm.image": "m:2"}}
        step = steps.EnsureService(name="main_b", spec=spec, exists=True, reason="its image")
        worker.plan = steps.Plan(steps=(step,))
        seen = len(town.effects)

        async def slowly(reference: str) -> str:
            worker.plan = steps.NOTHING  # the other standby has died meanwhile, say
            return f"{reference}@sha256:1"

        town.resolve_image = slowly  # type: ignore[method-assign]
        with pytest.raises(Again, match="planned anew"):
            await worker._hands.perform(step)
        assert len(town.effects) == seen
        tasks.cancel_scope.cancel()


async def test_a_record_planned_from_an_older_one_is_not_written_and_the_new_one_is_read_at_once(
    tmp_path: Path,
) -> None:
    town = Town(tmp_path / "d")
    assert await town.operator("op.1", town.is_whole)
    async with anyio.create_task_group() as tasks:
        worker = (await looked(town, tasks)).workers["main"]
        record = town.record()
        assert record is not None
        ours, theirs = record.amended("ours"), record.amended("theirs")
        await town.write(town.store["main"], record=theirs)
        with pytest.raises(Conflict):
            await worker._hands.perform(steps.WriteRecord(record=ours, reason="x"))
        assert worker.lookout.record == theirs
        with pytest.raises(Conflict, match="planned revision"):
            await worker._hands.perform(steps.WriteRecord(record=ours, reason="x"))
        assert town.record() == theirs
        tasks.cancel_scope.cancel()


async def test_an_older_edit_never_replaces_a_newer_one_that_came_between(tmp_path: Path) -> None:
    town = Town(tmp_path / "d")
    assert await town.operator("op.1", town.is_whole)
    async with anyio.create_task_group() as tasks:
        worker = (await looked(town, tasks)).workers["main"]
        found = worker.lookout.found
        assert found is not None
        old = replace(found, edited_at=1.0)
        step = steps.StoreDocument(document=old.document, edited_at=1.0, source="x", reason="edited")
        with pytest.raises(Conflict, match="newer edit"):
            await worker._hands.perform(step)
        tasks.cancel_scope.cancel()


async def test_the_service_of_a_member_that_has_left_is_removed_only_while_the_newest_plan_says_so(
    tmp_path: Path,
) -> None:
    town = Town(tmp_path / "d")
    assert await town.operator("op.1", town.is_whole)
    async with anyio.create_task_group() as tasks:
        worker = (await looked(town, tasks)).workers["main"]
        stop = steps.RemoveService(name="main_b", member="b", first=True, reason="it has left")
        with pytest.raises(Again, match="planned anew"):
            await worker._hands.perform(stop)
        assert town.services["main_b"].replicas != 0
        remove = steps.RemoveService(name="main_b", member="b", first=False, reason="it has left")
        worker.plan = steps.Plan(steps=(stop, remove))
        assert await worker._hands.perform(stop) == "scaled to zero"
        assert town.services["main_b"].replicas == 0
        assert await worker._hands.perform(remove) == "removed"
        assert await worker._hands.perform(remove) == "it is not there any more"
        assert "main_b" not in town.services
        tasks.cancel_scope.cancel()
