"""The loop's parts: bell."""

from __future__ import annotations

import anyio
import pytest

from pgswarm.loop.bell import Bell

pytestmark = pytest.mark.anyio


async def test_rings_while_nobody_listens_are_one_ring() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    assert await bell.wait(5)
    assert not await bell.wait(0.01)


async def test_a_listener_wakes_at_the_ring_and_not_at_the_deadline() -> None:
    bell = Bell()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_ring_soon, bell)
        with anyio.fail_after(20):
            assert await bell.wait(60)


async def _ring_soon(bell: Bell) -> None:
    bell.ring()
