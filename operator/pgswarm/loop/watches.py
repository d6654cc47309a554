"""The streams that an operator keeps open to the agents of one cluster (or to the other operators).

A set of watches is *kept* to a wanted list of names and addresses: missing ones are begun, superfluous ones ended,
moved ones aimed anew. What they hear is kept here as sightings. A bell is rung only when something worth a pass has
changed: a heartbeat that says the same again, or a log position that moved on, wakes nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from pgswarm.core.reports import MemberReport, RouterReport
from pgswarm.core.sightings import Sighting
from pgswarm.loop.bell import Bell
from pgswarm.ports.agents import SILENCE, Agents, Watch
from pgswarm.wire import OperatorReport

R = TypeVar("R", MemberReport, RouterReport, OperatorReport)

QUIET = {
    "sequence", "disk_free", "wal_size", "held", "lag", "position", "walsenders", "sessions", "progress", "clock",
    "consented", "lent",
}  # fmt: skip
"""Fields that change all the time and of which a change alone is no reason to think again."""

TELLING = {kind: tuple(kind.model_fields.keys() - QUIET) for kind in (MemberReport, RouterReport, OperatorReport)}
"""The others. Compared one by one: at rest this is most of what an operator does."""


class Watches(Generic[R]):
    """One watch for each wanted name."""

    def __init__(
        self,
        agents: Agents,
        kind: type[R],
        port: int,
        bell: Bell,
        *,
        stranger: Callable[[str], Callable[[R], str]] | None = None,
        hear: Callable[[str, R], None] | None = None,
        silence: float = SILENCE,
    ) -> None:
        self.sightings: dict[str, Sighting[R]] = {}
        self._agents = agents
        self._kind: type[R] = kind
        self._port = port
        self._bell = bell
        self._stranger: Callable[[str], Callable[[R], str]] | None = stranger
        self._hear: Callable[[str, R], None] | None = hear
        self._silence = silence
        self._running: dict[str, tuple[Watch[R], anyio.CancelScope]] = {}
        self.places: Mapping[str, str] = {}

    def keep(self, wanted: Mapping[str, str | None], tasks: TaskGroup, places: Mapping[str, str] | None = None) -> None:
        """Watch exactly these names, each at its address (None: not known now, keep what was heard).

        Who has another of the `places` than before is somebody else of the same name: what was heard is forgotten.
        """
        before, self.places = self.places, places or {}
        moved = {name for name, place in self.places.items() if before.get(name, place) != place}
        for name in [name for name in self._running if name not in wanted or name in moved]:
            _, scope = self._running.pop(name)
            scope.cancel()
            self.sightings.pop(name, None)
        for name, address in wanted.items():
            if name not in self._running:
                self._begin(name, tasks)
            self._running[name][0].aim(address)

    def take(self, name: str, report: R) -> None:
        """Take over a report that came as an answer to a call, if it is newer than what the stream has brought.

        One of another boot is left to the stream: an answer cannot say which of two processes came later. One of
        somebody else is none: an address is soon given to another, which then must not speak for this one.
        """
        known = self.sightings.get(name)
        if known is None or (self._stranger is not None and self._stranger(name)(report)):
            return
        before = known.report
        if isinstance(before, OperatorReport) or isinstance(report, OperatorReport):
            return  # no call is answered with one
        if before is None or (before.boot == report.boot and before.sequence < report.sequence):
            self._running[name][0].hear(report)

    def _begin(self, name: str, tasks: TaskGroup) -> None:
        stranger = self._stranger(name) if self._stranger else (lambda report: "")
        watch = Watch(
            self._agents, name, self._kind, self._port, self._publish, stranger=stranger, silence=self._silence
        )
        scope = anyio.CancelScope()
        self._running[name] = (watch, scope)
        self.sightings[name] = watch.sighting

        async def run() -> None:
            with scope:
                await watch.run()

        tasks.start_soon(run, name=f"watch {name}")

    def _publish(self, name: str, sighting: Sighting[R]) -> None:
        before = self.sightings.get(name)
        self.sightings[name] = sighting
        if sighting.report is not None and self._hear is not None:
            self._hear(name, sighting.report)
        if before is None or is_news(before, sighting):
            self._bell.ring()


def is_news(before: Sighting[R], after: Sighting[R]) -> bool:
    """Does this change deserve a pass?"""
    if (before.connected, before.closed_at, before.address) != (after.connected, after.closed_at, after.address):
        return True
    if before.vacant != after.vacant:
        return True
    old, new = before.report, after.report
    if old is new:
        return False  # a heartbeat
    if old is None or new is None:
        return True
    return (
        type(old) is not type(new)
        or any(getattr(old, name) != getattr(new, name) for name in TELLING[type(new)])
        or _streams(old) != _streams(new)
    )


def _streams(report: MemberReport | RouterReport | OperatorReport) -> list[tuple[str, str, bool]]:
    return [(row.name, row.state, row.replied) for row in report.walsenders] if isinstance(report, MemberReport) else []
