"""The tenure in one operator's hands: taken, kept, lost, and passed on, against a store with compare-and-set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from pgswarm.core import tenure as rules
from pgswarm.core.leadership import Candidate
from pgswarm.core.record import Grant
from pgswarm.core.tenure import LENGTH, Tenure
from pgswarm.core.world import Granted
from pgswarm.errors import Again, Conflict
from pgswarm.loop.tenure import Keeper
from pgswarm.ports.tenures import Found
from tests.core.builders import document, record

pytestmark = pytest.mark.anyio

HELD = record("a", 1, sync="", grant=Grant.HELD, grantor=2)


class Store:
    """One object with a version; may fail, before the write or after it."""

    def __init__(self) -> None:
        self.there: Found | None = None
        self.fails = ""
        self.reads = 0

    async def read(self) -> Found | None:
        self.reads += 1
        await anyio.lowlevel.checkpoint()
        if self.fails:
            raise Again(self.fails)
        return self.there

    async def write(self, before: Found | None, tenure: Tenure) -> Found:
        await anyio.lowlevel.checkpoint()
        if self.fails:
            raise Conflict(self.fails)
        if before != self.there:
            raise Conflict("update out of sequence")
        self.there = Found(config_id="t", version=(before.version if before else 0) + 1, tenure=tenure)
        return self.there


class Scene:
    """A keeper with its surroundings."""

    def __init__(self, name: str = "op1", store: Store | None = None) -> None:
        self.store = store or Store()
        self.candidates = [Candidate(name=name, node_id="n1", able=True)]
        self.lookout: Any = SimpleNamespace(record=HELD, document=document("ab", durability="async"), granted=Granted())
        self.rings = 0
        self.asleep = 0.0
        peers: Any = SimpleNamespace(candidates=lambda: self.candidates)
        self.keeper = Keeper(
            name, self.store, peers, lambda: {"main": self.lookout}, self.ring, slept=lambda: self.asleep
        )

    def ring(self) -> None:
        self.rings += 1

    async def turn(self, times: int = 3) -> None:
        for _ in range(times):
            await self.keeper._turn()


async def test_while_no_cluster_is_async_nothing_is_read_or_written() -> None:
    scene = Scene()
    scene.lookout = SimpleNamespace(record=record("a", 1, sync=""), document=document("ab"), granted=Granted())
    await scene.turn()
    assert (scene.store.reads, scene.store.there) == (0, None)
    assert scene.keeper.standing() is None


async def test_it_is_taken_above_every_number_that_a_record_names() -> None:
    scene = Scene()
    before = anyio.current_time()
    await scene.turn()
    standing = scene.keeper.standing()
    assert standing is not None
    assert standing.number == 3
    assert before + LENGTH <= standing.until <= anyio.current_time() + LENGTH
    assert standing.over > anyio.current_time() + LENGTH
    assert scene.keeper.leader() is None
    assert scene.rings


async def test_a_cluster_that_shall_be_async_needs_it_already() -> None:
    scene = Scene()
    scene.lookout = SimpleNamespace(
        record=record("ab", 2, sync="b"), document=document("ab", durability="async"), granted=Granted()
    )
    await scene.turn()
    assert scene.keeper.standing() is not None


async def test_a_second_operator_leaves_it_to_the_first_while_that_one_is_seen() -> None:
    one = Scene("op1")
    await one.turn()
    two = Scene("op2", one.store)
    two.candidates = [Candidate(name=name, node_id="n1", able=True) for name in ("op1", "op2")]
    await two.turn()
    assert two.keeper.standing() is None
    assert two.keeper.leader() == "op1"
    two.candidates = two.candidates[1:]
    assert two.keeper.leader() is None
    await two.turn()
    standing = two.keeper.standing()
    assert standing is not None
    assert standing.number == 4


async def test_who_lost_it_learns_that_at_its_next_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Scene("op1")
    await one.turn()
    two = Scene("op2", one.store)
    await two.turn()
    assert two.keeper.standing() is not None
    monkeypatch.setattr(rules, "RENEW", 0.0)
    one.candidates = [Candidate(name=name, node_id="n1", able=True) for name in ("op1", "op2")]
    await one.turn()
    assert one.keeper.standing() is None
    assert one.keeper.leader() == "op2"


async def test_a_renewal_extends_it_from_before_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    await scene.turn()
    first = scene.keeper.standing()
    monkeypatch.setattr(rules, "RENEW", 0.0)
    await scene.turn()
    later = scene.keeper.standing()
    assert first is not None
    assert later is not None
    assert later.until > first.until
    assert (later.number, later.over) == (first.number, first.over), "no other could grant in between"


async def test_while_the_store_is_out_of_reach_it_runs_out_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    await scene.turn()
    first = scene.keeper.standing()
    assert first is not None
    scene.store.fails = "the swarm does not have a leader"
    monkeypatch.setattr(rules, "RENEW", 0.0)
    await scene.turn()
    assert scene.keeper.standing() == first, "nothing was extended"
    scene.store.fails = ""
    await scene.turn()
    again = scene.keeper.standing()
    assert again is not None
    assert again.number == first.number


async def test_a_machine_that_slept_grants_nothing_from_before() -> None:
    scene = Scene()
    await scene.turn()
    first = scene.keeper.standing()
    scene.asleep = 30.0
    assert scene.keeper.standing() is None
    await scene.turn()
    again = scene.keeper.standing()
    assert first is not None
    assert again is not None
    assert again.number == first.number + 1


async def test_an_operator_that_ends_passes_it_on_with_what_its_grants_still_count() -> None:
    scene = Scene()
    passed_on = Tenure(number=2, holder="", token="", wait=0.0)
    scene.store.there = Found(config_id="t", version=1, tenure=passed_on)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.keeper.run)
        with anyio.fail_after(20):
            while scene.keeper.standing() is None:  # noqa: ASYNC110 - the keeper rings nobody here
                await anyio.sleep(0.01)
        scene.lookout.granted = Granted(boots={"b": anyio.current_time() + 7.0})
        tasks.cancel_scope.cancel()
    left = scene.store.there
    assert left is not None
    assert left.tenure.holder == ""
    assert 7.0 < left.tenure.wait < 7.6
    other = Scene("op2", scene.store)
    await other.turn()
    standing = other.keeper.standing()
    assert standing is not None
    assert standing.over < anyio.current_time() + 9.0
