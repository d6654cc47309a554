"""A person's verb at Swarm's store: the cluster that is meant, and a write that is thought about again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgswarm.core import chronicle
from pgswarm.core.record import Record
from pgswarm.core.wish import Pause
from pgswarm.errors import Conflict, Refused
from pgswarm.loop import shelf
from pgswarm.loop.wishing import spoken
from tests.configs import Configs
from tests.core.builders import document, record

pytestmark = pytest.mark.anyio

PAUSE = Pause(by="ann", since=1.0)


async def stored() -> Configs:
    configs = Configs()
    records = configs.records()
    made = await records.create("main", document(), edited_at=1.0, source="m1:main.yaml")
    await records.write(made, record=record(revision=1))
    return configs


def pausing(of: Record) -> Record:
    return of.amended("paused by ann", pause=PAUSE)


async def test_a_pause_is_written_and_is_an_event_of_its_history() -> None:
    configs = await stored()
    after = await shelf.amended(configs.records(), "main", pausing)
    assert after.record is not None
    assert after.record.pause == PAUSE
    over = await shelf.amended(configs.records(), None, lambda of: of.amended("resumed by bob", pause=None))
    told = chronicle.events(over.chronicle)
    assert [(one.kind, one.text) for one in told[1:]] == [("paused", "paused by ann"), ("resumed", "resumed by bob")]


async def test_whoever_writes_first_the_other_thinks_again_of_what_is_there_then() -> None:
    configs = await stored()
    configs.before_write = _once(configs.touched)
    after = await shelf.amended(configs.records(), "main", pausing)
    assert after.record is not None
    assert after.record.pause == PAUSE


async def test_somebody_who_is_always_first_ends_in_a_conflict_and_not_in_an_endless_loop() -> None:
    configs = await stored()
    configs.before_write = configs.touched
    with pytest.raises(Conflict):
        await shelf.amended(configs.records(), "main", pausing)


async def test_what_needs_no_change_writes_nothing() -> None:
    configs = await stored()
    before = configs.writes
    await shelf.amended(configs.records(), "main", lambda of: None)
    assert configs.writes == before


async def test_a_cluster_without_a_record_cannot_be_paused_yet() -> None:
    configs = Configs()
    await configs.records().create("main", document(), edited_at=1.0, source="m1:main.yaml")
    with pytest.raises(Refused, match="being created"):
        await shelf.amended(configs.records(), "main", pausing)


async def test_nobody_is_guessed_at_when_there_are_several() -> None:
    configs = await stored()
    await configs.records().create("other", document(), edited_at=1.0, source="m1:other.yaml")
    with pytest.raises(Refused, match="say which cluster you mean; there is: main, other"):
        await shelf.one(configs.records(), None)
    with pytest.raises(Refused, match="there is no cluster 'mian' in this Swarm; there is: main, other"):
        await shelf.one(configs.records(), "mian")
    with pytest.raises(Refused, match="there is no cluster in this Swarm"):
        await shelf.one(Configs().records(), None)
    assert (await shelf.one(configs.records(), "other")).cluster == "other"


async def test_one_cluster_that_cannot_be_read_hides_no_other() -> None:
    configs = await stored()
    await configs.records().create("other", document(), edited_at=1.0, source="m1:other.yaml")
    configs.labels("other")["pgswarm.spec"] = "nonsense"
    assert (await shelf.one(configs.records(), "main")).cluster == "main"
    with pytest.raises(Refused, match="cannot be read"):
        await shelf.one(configs.records(), "other")


async def test_a_wish_is_not_even_written_while_it_is_paused() -> None:
    configs = await stored()
    await shelf.amended(configs.records(), "main", pausing)
    with pytest.raises(Refused, match="paused by ann; `pgswarm resume` first"):
        await spoken(configs.records(), "main", "switchover", None, (), by="bob", seconds=1.0)


def _once(effect: Callable[[], None]) -> Callable[[], None]:
    waiting = [effect]

    def doing() -> None:
        while waiting:
            waiting.pop()()

    return doing
