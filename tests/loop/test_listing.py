"""A listing that fails removes nothing, and one serves all who ask while another is under way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from pgswarm.core.swarmview import Node, SwarmView
from pgswarm.core.world import Unknown
from pgswarm.errors import Again, Refused
from pgswarm.loop.listing import Listing

pytestmark = pytest.mark.anyio


class Moody:
    """A Swarm and its store that answer until they are told not to."""

    def __init__(self) -> None:
        self.broken = False

    async def view(self) -> SwarmView:
        if self.broken:
            raise Again("the swarm has no leader")
        return SwarmView(nodes=(Node(id="n", name="node1", role="manager", state="ready"),))

    async def by_cluster(self) -> dict[str, Any]:
        if self.broken:
            raise Again("the swarm has no leader")
        return {"odd": Refused("label pgswarm.record of config pgswarm.odd cannot be read")}

    async def events(self) -> AsyncIterator[None]:
        yield None


async def test_a_failed_listing_leaves_the_last_one_in_force() -> None:
    swarm: Any = Moody()
    rings: list[int] = []
    listing = Listing(swarm, swarm, lambda: rings.append(1))
    await listing.refresh()
    before = listing.view
    swarm.broken = True
    await listing.refresh()
    assert listing.view is before
    assert listing.stored == {}
    assert "odd" in listing.unreadable
    assert len(rings) == 1


async def test_before_the_first_listing_everything_is_unknown() -> None:
    swarm: Any = Moody()
    swarm.broken = True
    listing = Listing(swarm, swarm, lambda: None)
    await listing.refresh()
    assert isinstance(listing.view, Unknown)
    assert isinstance(listing.stored, Unknown)
    assert not listing.able


class Counted(Moody):
    """One that takes its time, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    async def view(self) -> SwarmView:
        self.begun += 1
        await anyio.sleep(0.05)
        return await super().view()


async def test_all_who_ask_while_one_is_under_way_share_the_next() -> None:
    swarm: Any = Counted()
    listing = Listing(swarm, swarm, lambda: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listing.refresh)
        await anyio.wait_all_tasks_blocked()
        for _ in range(20):
            tasks.start_soon(listing.refresh)
    assert swarm.begun == 2  # the first had begun before the twenty asked, so it may not show what they have done


async def test_whoever_waits_for_a_listing_that_is_given_up_has_another() -> None:
    swarm: Any = Counted()
    listing, given_up = Listing(swarm, swarm, lambda: None), anyio.CancelScope()

    async def first() -> None:
        with given_up:
            await listing.refresh()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(listing.refresh)
        await anyio.wait_all_tasks_blocked()
        given_up.cancel()
    assert swarm.begun == 2
    assert isinstance(listing.view, SwarmView)
