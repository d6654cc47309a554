"""Virtual time: a history that cannot end is said to be one, within seconds, and with the moment at which it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pgswarm.sim.clock import BEGINNING, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def test_callbacks_that_call_each_other_at_one_moment_are_a_livelock(loop: VirtualLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    loop.later(1.0, again)
    with pytest.raises(RuntimeError, match=f"livelock.* at {BEGINNING + 1:.3f}"):
        loop.run_for(5.0)


def test_timers_that_set_each_other_at_one_moment_are_a_livelock(loop: VirtualLoop) -> None:
    def again() -> None:
        loop.later(0.0, again)

    loop.later(1.0, again)
    with pytest.raises(RuntimeError, match="livelock"):
        loop.run_for(5.0)


def test_a_clock_that_only_creeps_is_a_livelock_too(loop: VirtualLoop) -> None:
    def again() -> None:
        loop.later(1e-7, again)

    loop.later(1.0, again)
    with pytest.raises(RuntimeError, match="livelock"):
        loop.run_for(5.0)


def test_much_that_happens_in_its_time_is_none(loop: VirtualLoop) -> None:
    turns = 0

    async def busy() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.0001)

    task = loop.create_task(busy())
    loop.run_for(10.0)
    task.cancel()
    loop.run_for(0.1)
    assert turns == pytest.approx(100_000, rel=0.01)
