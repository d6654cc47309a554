"""A switchover by the real loop: whichever of its effects an operator is killed after, the next one ends it well."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from pgswarm.core.wish import Answered
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.loop import wishing
from pgswarm.loop.wishing import spoken
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


async def test_a_wish_is_spoken_and_its_answer_heard(tmp_path: Path) -> None:
    town = await born(tmp_path / "d")
    store: Any = town
    answers: list[Answered] = []

    async def ask() -> None:
        answers.append(await spoken(store, "main", "switchover", "b", (), by="ann", seconds=20.0))
        answers.append(await spoken(store, "main", "switchover", "b", (), by="ann", seconds=20.0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        assert await town.operator("op.2", lambda: len(answers) == 2)
    assert answers[0].done
    assert not answers[1].done
    assert "b is primary already" in answers[1].text


async def test_a_wish_whose_writing_seemed_to_fail_and_did_not_is_not_spoken_twice(tmp_path: Path) -> None:
    town = await born(tmp_path / "d")
    before, write = len(town.effects), town.write

    async def lost(stored: Any, **changes: Any) -> Any:
        await write(stored, **changes)
        raise Conflict("it is not known whether this was done; read again")

    store: Any = SimpleNamespace(read=town.read, write=lost)
    with pytest.raises(Again, match="does an operator run"):
        await spoken(store, "main", "switchover", "b", (), by="ann", seconds=0.1)
    assert [what for what in town.effects[before:] if what.startswith("write")] == ["write main"]


async def test_a_second_wish_waits_for_the_first_to_be_over_and_nobody_waits_without_an_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishing, "GRACE", 0.1)
    town = await born(tmp_path / "d")
    store: Any = town
    with pytest.raises(Again, match="does an operator run"):
        await spoken(store, "main", "switchover", "b", (), by="ann", seconds=0.2)
    town.wish("switchover", "b")
    with pytest.raises(Refused, match="is asked for already"):
        await spoken(store, "main", "failover", None, (), by="bob", seconds=0.2)
