"""What nobody hoped for: labels edited by hand, a Swarm that went back, answers that nobody foresaw."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from pgswarm.core.plan import RESTORED_AFTER
from pgswarm.core.stored import Identity, Stored
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Unknown
from pgswarm.errors import Refused
from pgswarm.loop import house as houses
from pgswarm.loop.house import House
from pgswarm.loop.listing import Listing
from pgswarm.loop.observe import Lookout
from pgswarm.loop.show import status_of_house
from tests.core.builders import record
from tests.loop.town import Town

pytestmark = pytest.mark.anyio


def stored(version: int) -> Stored:
    identity = Identity(cluster="main", id="1", createdAt="now")
    return Stored(config_id="x", version_index=version, identity=identity, record=record("ab", 2, sync="b"))


def lookout(*read: tuple[Stored | Unknown | None, float]) -> Lookout:
    """What is known after these reads, each with the time at which it was asked."""
    nobody: Any = None
    one = Lookout("main", "op", nobody, nobody, nobody)
    for what, at in read:
        one.keep(what, at)
    return one


def version(one: Lookout) -> int | None:
    return one.stored.version_index if isinstance(one.stored, Stored) else None


# Swarm went back


def test_a_read_that_is_older_or_shows_nothing_is_not_believed_at_once() -> None:
    assert version(lookout((stored(9), 1.0), (stored(5), 2.0), (stored(5), 20.0))) == 9
    assert version(lookout((stored(9), 1.0), (None, 2.0), (None, 20.0))) == 9


def test_what_is_read_to_be_older_for_longer_than_reads_can_be_stale_is_the_truth() -> None:
    reads = [(stored(5), 2.0 + seconds) for seconds in (0.0, 10.0, RESTORED_AFTER)]
    assert version(lookout((stored(9), 1.0), *reads)) == 5
    nothing = lookout((stored(9), 1.0), (None, 2.0), (None, 2.0 + RESTORED_AFTER))
    assert nothing.stored is None


def test_one_read_that_shows_what_was_known_makes_the_older_ones_stale() -> None:
    reads = [(stored(5), 2.0), (stored(9), 20.0), (stored(5), 3.0 + RESTORED_AFTER)]
    assert version(lookout((stored(9), 1.0), *reads)) == 9


def test_a_read_that_was_asked_before_the_newest_answer_says_nothing_about_it() -> None:
    reads = [(stored(5), 99.0), (stored(5), 50.0 + RESTORED_AFTER)]
    assert version(lookout((stored(9), 100.0), *reads)) == 9


async def test_an_operator_sees_by_itself_that_swarm_was_restored_and_calls_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgswarm.loop.observe.RESTORED_AFTER", 0.5)
    monkeypatch.setattr("pgswarm.core.plan.RESTORED_AFTER", 0.5)
    monkeypatch.setattr("pgswarm.loop.listing.PERIOD", 0.2)
    town = Town(tmp_path / "d")
    async with living(town) as house:
        await until(town.is_whole)
        backup = town.store["main"]
        town.members["main/a"].kill()
        await until(lambda: (town.record() or record("ab", 2)).primary_member == "b")
        town.members["main/a"].start()
        await until(town.is_whole)
        town.store["main"] = backup
        await until(lambda: "restored from a backup" in str(status(house)["waits"]), patience=20)
    assert backup.record is not None
    assert status(house)["revision"] == backup.record.revision
    assert town.store["main"] == backup, "nothing is written before a person has spoken"


# labels edited by hand


async def test_a_label_edited_into_garbage_is_told_in_the_status_and_what_was_read_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgswarm.loop.listing.PERIOD", 0.2)
    town = Town(tmp_path / "d")
    async with living(town) as house:
        await until(town.is_whole)

        async def garbage() -> dict[str, Any]:
            return {"main": Refused("label pgswarm.record of config pgswarm.main cannot be read")}

        sound, town.by_cluster = town.by_cluster, garbage  # type: ignore[method-assign]
        await until(lambda: "cannot be read (until then" in str(status(house)["errors"]))
        assert status(house)["primary"] == "a"
        town.by_cluster = sound  # type: ignore[method-assign]
        await until(lambda: not status(house)["errors"])


# answers that nobody foresaw


async def test_an_answer_that_nobody_foresaw_ends_no_operator_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgswarm.loop.listing.PERIOD", 0.2)
    town = Town(tmp_path / "d")
    async with living(town) as house:
        await until(town.is_whole)

        async def strange() -> SwarmView:
            raise KeyError("Spec")

        sound, town.view = town.view, strange  # type: ignore[method-assign, assignment]
        await until(lambda: "KeyError" in str(status(house)["errors"]))
        town.view = sound  # type: ignore[method-assign]
        await until(lambda: not status(house)["errors"])


async def test_a_part_that_fails_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(houses, "BEGIN_AGAIN", 0.05)
    town, begun = Town(tmp_path / "d"), 0

    async def events() -> AsyncIterator[None]:
        nonlocal begun
        begun += 1
        yield None
        if begun < 3:
            raise ZeroDivisionError("here")
        await anyio.sleep_forever()

    town.events = events  # type: ignore[method-assign]
    async with living(town) as house:
        await until(lambda: town.is_whole() and begun == 3)
        assert "listening to Docker's events failed: ZeroDivisionError" in str(status(house)["errors"])


async def test_a_listing_that_was_asked_earlier_and_answered_later_is_thrown_away() -> None:
    slow, newest = anyio.Event(), SwarmView()

    class Swarm:
        calls = 0

        async def view(self) -> SwarmView:
            Swarm.calls += 1
            if Swarm.calls == 1:
                await slow.wait()
                return SwarmView(secrets=())
            return newest

        async def by_cluster(self) -> dict[str, Any]:
            return {}

    swarm: Any = Swarm()
    listing = Listing(swarm, swarm, lambda: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listing.refresh)
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(0.01)
        await listing.refresh()
        slow.set()
    assert listing.view is newest


@asynccontextmanager
async def living(town: Town) -> AsyncIterator[House]:
    house = town.house()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.run)
        await until(lambda: "main" in house.workers)
        yield house
        tasks.cancel_scope.cancel()


def status(house: House) -> dict[str, Any]:
    known: list[dict[str, Any]] = status_of_house(house)["clusters"]
    return known[0] if known else {"errors": [], "waits": [], "primary": ""}


async def until(true: Callable[[], bool], patience: float = 20.0) -> None:
    with anyio.fail_after(patience):
        while not true():  # noqa: ASYNC110 - the world has no bell
            await anyio.sleep(0.02)
