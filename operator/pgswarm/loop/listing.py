"""What Swarm holds, listed again whenever an event says that it may have changed, and every few seconds anyway.

Swarm has no task events, keeps 256 events for replay and ends a stream without a word, so events only ring the bell;
the truth is the listing. A listing that fails leaves the last good one in force and says for how long it has failed:
*unknown* is not *absent*. One listing serves all clusters, and everybody who asks for one while another is under way:
they share the next (many clusters that begin at once would otherwise have Swarm listed for each of their services).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
from loguru import logger

from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Unknown
from pgswarm.errors import Failure, Refused
from pgswarm.loop import concerns
from pgswarm.loop.bell import Bell
from pgswarm.ports.records import Records
from pgswarm.ports.swarm import Swarm

PERIOD = 4.0
"""Seconds between listings when nothing happens."""

SETTLE = 0.05
"""Seconds to let a burst of events pass before listing."""

PATIENCE = 1.0
"""Seconds to wait for a listing that is under way, before another is begun beside it."""

STALE = 10.0
"""Seconds after which a listing that cannot be renewed counts as unknown for the upkeep of services."""


class Listing:
    """The newest view of Swarm and of the store, for all clusters."""

    def __init__(self, swarm: Swarm, records: Records, changed: Callable[[], None]) -> None:
        self.view: SwarmView | Unknown = Unknown(why="not listed yet")
        self.stored: dict[str, Stored] | Unknown = Unknown(why="not read yet")
        self.unreadable: dict[str, str] = {}
        self.read_at = 0.0
        self.able_at = float("-inf")
        self.concerns: frozenset[str] | None = None
        """The clusters of which the newest listing says something new; None: all of them."""
        self.bell = Bell()
        self._swarm = swarm
        self._records = records
        self._changed = changed
        self._listed_at = 0.0
        self._begun = self._ended = 0  # the newest listing's number
        self._under_way: anyio.Event | None = None  # set at the end of the one that began last
        self.bug = ""

    @property
    def able(self) -> bool:
        """Did Swarm's store answer lately?"""
        return anyio.current_time() < self.able_until

    @property
    def able_until(self) -> float:
        return self.able_at + 2 * PERIOD

    def of(self, cluster: str) -> Stored | Unknown | None:
        """What the newest listing says of one cluster: read, not there, or there and not to be understood."""
        if isinstance(self.stored, Unknown):
            return self.stored
        why = self.unreadable.get(cluster)
        return Unknown(why=why) if why else self.stored.get(cluster)

    async def run(self) -> None:
        """List for ever."""
        while True:
            await self.refresh()
            await self.bell.wait(PERIOD if self.able else 1.0)
            await anyio.sleep(SETTLE)

    async def events(self) -> None:
        """Turn Docker's events into rings, for ever."""
        async for _ in self._swarm.events():
            self.bell.ring()

    async def refresh(self) -> None:
        """Return once a listing that began no sooner than this call has ended. A failure is noted, never raised.

        Whoever asks while one is under way waits for its end and shares the next; one that hangs is waited for no
        longer than PATIENCE.
        """
        mine = self._begun + 1
        while self._ended < mine:
            under_way = self._under_way
            if under_way is not None:
                with anyio.move_on_after(PATIENCE) as waiting:
                    await under_way.wait()
                if not waiting.cancelled_caught or self._under_way is not under_way:
                    continue
            await self._next()

    async def _next(self) -> None:
        self._begun += 1
        number, ended = self._begun, anyio.Event()
        self._under_way = ended
        try:
            await self._list()
            self._ended = max(self._ended, number)
        finally:  # when it is given up, those who wait for it begin another
            ended.set()
            if self._under_way is ended:
                self._under_way = None

    async def _list(self) -> None:
        asked_at = anyio.current_time()
        try:
            read = await self._records.by_cluster()
            view = await self._swarm.view()
        except Failure as exc:
            self._failed(exc.reason)
            return
        except Exception as exc:  # an answer that nobody foresaw must not end the operator
            logger.exception("a listing of Swarm failed")
            self.bug = f"Swarm's answer is not understood: {type(exc).__name__}: {exc} (a bug; see the operator's log)"
            self._failed(self.bug)
            return
        self.bug = ""
        if asked_at < self.read_at:
            return  # another one, asked later, was answered sooner
        was_able, before = self.able, self.unreadable
        self.able_at = self._listed_at = anyio.current_time()
        stored = self._understood(read)
        self.concerns = self._concerned(view, stored, before) if was_able else None
        if view != self.view:
            self.view = view
        self.stored, self.read_at = stored, asked_at
        if self.concerns is None or self.concerns:
            self._changed()

    def _concerned(
        self, view: SwarmView, stored: dict[str, Stored], unreadable: Mapping[str, str]
    ) -> frozenset[str] | None:
        """Of which clusters is anything new? None: of all."""
        services = concerns.concerned(self.view, view)
        if services is None or isinstance(self.stored, Unknown):
            return None
        return services | concerns.different(self.stored, stored) | concerns.different(unreadable, self.unreadable)

    def _understood(self, read: Mapping[str, Stored | Refused]) -> dict[str, Stored]:
        """Every cluster's store object; one that cannot be understood stops its own cluster only."""
        found = {cluster: one for cluster, one in read.items() if isinstance(one, Stored)}
        unreadable = {cluster: one.reason for cluster, one in read.items() if isinstance(one, Refused)}
        for cluster, why in unreadable.items():
            if self.unreadable.get(cluster) != why:
                logger.error("{}: {}", cluster, why)
        self.unreadable = unreadable
        return found

    def _failed(self, why: str) -> None:
        now = anyio.current_time()
        if isinstance(self.view, Unknown):
            self.view = Unknown(why=why)
        elif now - self._listed_at > STALE:
            logger.warning("Swarm has not been seen for {:.0f} s: {}", now - self._listed_at, why)
            self.view, self.concerns = Unknown(why=why), None
            self._changed()
        if isinstance(self.stored, Unknown):
            self.stored = Unknown(why=why)
