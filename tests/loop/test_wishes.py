"""A switchover by the real loop: whichever of its effects an operator is killed after, the next one ends it well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loop.town import Town

pytestmark = pytest.mark.anyio


def answered(town: Town) -> bool:
    """Has the wish its answer, and is the cluster whole again?"""
    record = town.record()
    return record is not None and record.wish is None and record.answered is not None and town.is_whole()


async def born(folder: Path) -> Town:
    town = Town(folder, "main")
    assert await town.operator("op.1", town.is_whole)
    town.effects.clear()
    return town


async def test_a_switchover_is_asked_for_in_the_order_of_the_protocol(tmp_path: Path) -> None:
    town = await born(tmp_path / "d")
    town.wish("switchover", "b")
    assert await town.operator("op.2", lambda: answered(town))
    record = town.record()
    assert record is not None
    assert record.answered is not None
    assert record.answered.done
    assert (record.primary_member, record.term) == ("b", 2)
    asked = [what for what in town.effects if what.startswith(("ready", "promise", "order main/b 2."))]
    assert asked[:3] == ["ready main/a 2", "promise main/a 2", "promise main/b 2"], asked
    assert asked[3].startswith("order main/b 2."), asked


@pytest.mark.parametrize("last", range(1, 9))
async def test_an_operator_killed_after_any_effect_of_it_is_continued_by_the_next(tmp_path: Path, last: int) -> None:
    town = await born(tmp_path / "d")
    town.wish("switchover", "b")
    town.dies_at = last
    killed = not await town.operator("op.2", lambda: answered(town))
    town.dies_at = 0
    assert killed or len(town.effects) >= last
    assert await town.operator("op.3", lambda: answered(town))
    record = town.record()
    assert record is not None
    assert record.answered is not None
    assert record.answered.done, record.answered.text
    assert record.primary_member == "b"
