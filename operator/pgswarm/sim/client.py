"""Clients that write through routers, one commit at a time, and give up when nothing comes back.

A commit counts as acknowledged in the ledger when PostgreSQL lets go of it (it is visible then), which is never later
than when the client hears of it. What a client does not hear of it forgets, and connects anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgswarm.sim.postgres import Postgres
from pgswarm.sim.router import Router

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

PATIENCE = 3.0
"""Seconds that a client waits for one commit."""


@dataclass(slots=True, eq=False)
class Session:
    """A connection through a router to one postmaster."""

    postgres: Postgres
    starts: int
    router: Router
    over: bool = False

    @property
    def is_good(self) -> bool:
        postgres = self.postgres
        return not self.over and postgres.starts == self.starts and postgres.is_primary and postgres.doors


class Client:
    """An application on one node."""

    def __init__(self, site: Site, name: str, node: str, pace: float) -> None:
        self.site, self.name, self.node, self.pace = site, name, node, pace
        self.acknowledged = 0
        self.failed = 0
        self.longest = 0.0
        self.idle = False
        self._last = site.loop.now
        self._session: Session | None = None
        self._turn = 0
        site.world(pace, self._go)

    def _go(self) -> None:
        """The next commit."""
        self._turn += 1
        if self.idle:
            self.site.world(0.5, self._go)
            return
        session = self._session
        if session is None or not session.is_good:
            session = self._session = self._connect()
        if session is None:
            self.site.world(0.1, self._go)
            return
        number = self.site.commit_number()
        router = session.router
        wait = 0.0005 + self.site.network.delay(router.node, session.postgres.node)
        session.postgres.process.after(wait, self._arrive, session, number, self._turn)
        self.site.world(PATIENCE, self._give_up, self._turn)

    def _connect(self) -> Session | None:
        site = self.site
        routers = [one for one in site.routers if one.alive and site.network.both_ways(self.node, one.node)]
        routers.sort(key=lambda one: one.node != self.node)
        for router in routers[:2]:
            if router.write is None or not router.process.runs or not site.is_up(router.node):
                continue
            postgres = site.postgres_at(router.write.address, router.node)
            if postgres is not None and postgres.answers and postgres.is_primary and postgres.doors:
                session = Session(postgres, postgres.starts, router)
                router.sessions.append(session)
                return session
        return None

    def _arrive(self, session: Session, number: int, turn: int) -> None:
        """The commit is in PostgreSQL."""
        if session.is_good and self._path(session):
            session.postgres.commit(number, lambda: self._told(session, turn))

    def _told(self, session: Session, turn: int) -> None:
        if session.is_good and self._path(session):
            self.site.world(0.001, self._hear, turn)

    def _hear(self, turn: int) -> None:
        if turn != self._turn:
            return
        now = self.site.loop.now
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self.acknowledged += 1
        self._turn += 1
        self.site.world(self.site.draw(0.5 * self.pace, 1.5 * self.pace), self._go)

    def _give_up(self, turn: int) -> None:
        if turn == self._turn:
            self.failed += 1
            if self._session is not None:
                self._session.over = True
            self._session = None
            self._go()

    def _path(self, session: Session) -> bool:
        network, router = self.site.network, session.router
        return network.both_ways(router.node, session.postgres.node) and network.both_ways(self.node, router.node)
