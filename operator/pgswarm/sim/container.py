"""A member's container: one agent with its postgres on one node, under one address.

While a partition heals there are two of them on one volume; only the holder of its lock lives, the other waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pgswarm import wire
from pgswarm.core.orders import OrderMessage
from pgswarm.core.reports import MemberReport
from pgswarm.sim import answering
from pgswarm.sim.agent import Agent
from pgswarm.sim.clock import Process
from pgswarm.sim.postgres import Postgres
from pgswarm.sim.speech import Speaker
from pgswarm.sim.volume import Volume

if TYPE_CHECKING:
    from pgswarm.sim.site import Site


class Container:
    """One agent and its postgres, under one address."""

    def __init__(self, site: Site, member: str, node: str, address: str, volume: Volume, task: str = "") -> None:
        self.site, self.member, self.node, self.address, self.volume = site, member, node, address, volume
        self.task = task  # Swarm's name for it
        self.agent = Agent(site, self)
        self.postgres = Postgres(site, self)
        self.postgres.changed = self.agent.stirred
        self.alive = True
        self._beginning = self.agent.process.after(site.draw(0.1, 0.4), self.agent.begin)

    def wake_up(self, *, reigns: bool) -> None:
        """Be as after a long quiet time: a history begins with it."""
        self._beginning.cancel()
        self.agent.wake_up(reigns=reigns)

    @property
    def process(self) -> Process:
        return self.agent.process

    @property
    def speaker(self) -> Speaker:
        return self.agent.speaker

    @property
    def is_open(self) -> bool:
        """Does it answer questions, or is it still waiting for the lock?"""
        return self.agent.locked

    @property
    def report(self) -> MemberReport:
        return self.agent.report

    def take_order(self, message: OrderMessage, answer: Callable[[wire.Answer], object]) -> None:
        answering.take_order(self.agent, message, answer)

    def end(self) -> None:
        """SIGTERM."""
        if self.agent.locked:
            self.agent.end()
        else:
            self.kill()

    def kill(self) -> None:
        """The agent is gone, and PostgreSQL with it (law 7)."""
        if not self.alive:
            return
        self.alive = False
        self.agent.process.kill()
        self.postgres.vanish()
        self.agent.speaker.end(said=self.site.is_up(self.node))
        if self.volume.holder is self:
            self.volume.holder = None
        self.site.swarm.ended(self)
