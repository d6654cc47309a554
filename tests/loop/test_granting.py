"""A whole operator and an async cluster: from preferred to a grant, and from a container's end to its successor."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from pgswarm.core.record import Grant, Record
from pgswarm.core.tenure import Tenure
from pgswarm.ports.tenures import Found
from tests.loop.test_tenure import Store
from tests.loop.town import Town

pytestmark = pytest.mark.anyio


def town_of(folder: Path) -> Town:
    """A town with one async cluster, whose tenure somebody has just passed on."""
    town = Town(folder)
    document = folder / "main.yaml"
    document.write_text(document.read_text().replace("spec:\n", "spec:\n  durability: async\n"))
    store = Store()
    store.there = Found(config_id="t", version=1, tenure=Tenure(number=1, holder="", token="", wait=0.0))
    town.tenures = store
    return town


def record(town: Town) -> Record:
    found = town.record()
    assert found is not None
    return found


def is_held(town: Town) -> bool:
    found = town.record()
    if found is None or found.grant is not Grant.HELD:
        return False
    said = town.members[f"main/{found.primary_member}"].report
    return said.accepted == (found.term, found.revision) and said.granted


async def test_a_new_cluster_that_shall_be_async_comes_to_write_under_a_grant(tmp_path: Path) -> None:
    town = town_of(tmp_path / "d")
    assert await town.operator("op.1", lambda: is_held(town))
    assert record(town).grantor == 2
    assert (record(town).claim.r, record(town).sync.k) == (1, 0)


async def test_an_operator_that_is_killed_anywhere_on_the_way_is_continued_by_another(tmp_path: Path) -> None:
    town = town_of(tmp_path / "d")
    effects = 0
    for turn in range(60):
        town.dies_at = len(town.effects) + 4
        if await town.operator(f"op.{turn}", lambda: is_held(town)):
            break
        effects += 1
        store = town.tenures
        assert isinstance(store, Store)
        # The next one would wait the former's tenure out; here it passed it on.
        if store.there is not None:
            passed_on = store.there.tenure.model_copy(update={"holder": "", "token": str(turn), "wait": 0.0})
            store.there = Found(config_id="t", version=store.there.version + 1, tenure=passed_on)
    assert is_held(town)
    assert effects > 2


async def test_a_container_that_ended_by_swarms_word_is_succeeded_at_once(tmp_path: Path) -> None:
    town = town_of(tmp_path / "d")

    async def blow() -> None:
        while not is_held(town):  # noqa: ASYNC110 - the world has no bell
            await anyio.sleep(0.02)
        town.members["main/a"].tell(task="t-main_a")
        await anyio.sleep(0.6)  # the tenure's own wait is over
        town.members["main/a"].kill()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(blow)
        began = anyio.current_time()
        assert await town.operator("op.1", lambda: town.record() is not None and record(town).term == 2)
        took = anyio.current_time() - began
    after = record(town)
    assert (after.primary_member, after.grant) == ("b", Grant.HELD)
    assert [loss.member for loss in after.losses] == ["a"]
    assert took < 8.0
