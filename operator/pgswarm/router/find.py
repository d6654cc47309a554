"""Finding the members: every address where one may be is watched; who is there, its reports alone say.

Addresses come from the contacts of the last order, and from the name that resolves to all members of the cluster, so
that a router finds its way with no operator alive. Names on an overlay lie for a while (TTL 600 s, dead ones
linger, unknown ones time out), and an address is soon given to another container; so a look-up only adds places to
look at, is made in a thread with a deadline, and a report of another cluster is not heard at all.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm.core.reports import MemberReport
from pgswarm.core.routing import Seen
from pgswarm.ports.agents import Agents, Watch
from pgswarm.wire import HEARTBEAT

LOOK_UP_OFTEN, LOOK_UP_RARELY = 3.0, 30.0
"""Seconds between look-ups: while something is missing, and while everything is heard."""

LOOK_UP_LIMIT = 5.0
"""Seconds for one look-up; Docker's resolver can take longer over a name that does not exist."""

FORGET_AFTER = 60.0
"""Seconds after which an address is not watched any more that no source names and nobody answers at."""

LATE = 1.5 * HEARTBEAT
"""Seconds between two words; nobody is silent for so long that it matters who is heard sooner."""

MOST_WATCHED = 64
"""Addresses watched at once: four times the members that a cluster may have."""


class Finder:
    """Keeps one watch on every address where a member may be."""

    def __init__(
        self, agents: Agents, cluster: str, names: tuple[str, ...], port: int, changed: Callable[[], None]
    ) -> None:
        self._agents = agents
        self._cluster = cluster
        self._names = names
        self._port = port
        self._changed = changed
        self._watches: dict[str, tuple[Watch[MemberReport], anyio.CancelScope]] = {}
        self._named_at: dict[str, float] = {}
        self._contacts: dict[str, str] = {}
        self._group: TaskGroup | None = None
        self._before: dict[str, Seen] = {}

    @property
    def sightings(self) -> tuple[Seen, ...]:
        return tuple(watch.sighting for watch, _ in self._watches.values())

    def meet(self, contacts: dict[str, str]) -> None:
        """Watch these from now on; takes effect at once."""
        self._contacts = dict(contacts)
        self._look_at(contacts.values())

    async def run(self) -> None:
        """Watch, and look names up, until cancelled."""
        async with anyio.create_task_group() as group:
            self._group = group
            self._look_at(self._contacts.values())
            while True:
                self._look_at(await self._look_up())
                self._forget()
                await anyio.sleep(LOOK_UP_OFTEN if self._misses() else LOOK_UP_RARELY)

    def _misses(self) -> bool:
        """Is somebody expected who is not heard, or nobody expected at all?"""
        return not self._watches or any(not seen.connected for seen in self.sightings)

    def _look_at(self, addresses: Iterable[str]) -> None:
        now = anyio.current_time()
        for address in addresses:
            self._named_at[address] = now
            if address in self._watches or self._group is None or len(self._watches) >= MOST_WATCHED:
                continue
            watch = Watch(
                self._agents, f"member at {address}", MemberReport, self._port, self._heard, stranger=self._stranger
            )
            scope = anyio.CancelScope()
            self._watches[address] = (watch, scope)
            watch.aim(address)
            self._group.start_soon(self._watch, watch, scope)

    async def _watch(self, watch: Watch[MemberReport], scope: anyio.CancelScope) -> None:
        with scope:
            await watch.run()

    def _heard(self, name: str, seen: Seen) -> None:
        """Wake who plans; but not for a beat that comes in time, of which nothing can follow."""
        before = self._before.get(name)
        self._before[name] = seen
        if before is None or seen != replace(before, heard_at=seen.heard_at) or _was_late(before, seen):
            self._changed()

    def _stranger(self, report: MemberReport) -> str:
        return "" if report.cluster == self._cluster else f"it is {report.member} of {report.cluster}"

    def _forget(self) -> None:
        now = anyio.current_time()
        for address, (watch, scope) in list(self._watches.items()):
            seen = watch.sighting
            if seen.connected or address in self._contacts.values() or seen.silence(now) < FORGET_AFTER:
                continue
            if now - self._named_at[address] > FORGET_AFTER:
                scope.cancel()
                del self._watches[address], self._named_at[address]
                self._before.pop(watch.name, None)
                logger.info("{} is not watched any more: nobody names it and nobody answers there", address)

    async def _look_up(self) -> list[str]:
        found: list[str] = []
        for name in self._names:
            with anyio.move_on_after(LOOK_UP_LIMIT):
                found += await anyio.to_thread.run_sync(_resolve, name, abandon_on_cancel=True)
        return found


def _was_late(before: Seen, seen: Seen) -> bool:
    """Was there a silence before this word of which something may have followed?"""
    if before.heard_at is None or seen.heard_at is None:
        return True
    return seen.heard_at - before.heard_at > LATE


def _resolve(name: str) -> list[str]:
    try:
        answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        # No such name (yet), or no resolver: the next look-up will tell.
        return []
    return sorted({str(answer[4][0]) for answer in answers})
