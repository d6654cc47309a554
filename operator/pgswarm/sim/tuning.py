"""The document's settings at a member, played: the transcript of `member/tuning`.

What matters here is when they are tried, taken and durable, and which of them wait for a restart. PostgreSQL's own
judgement is played by a word: it does not take a parameter whose value is `WRONG`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgswarm.core.orders import Settings
from pgswarm.core.reports import Data
from pgswarm.errors import Failure
from pgswarm.sim.clock import Job

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent

WRONG = "12 elephants"

NEEDS_RESTART = ("max_connections", "shared_buffers")
"""Of the parameters that histories set, those that a running PostgreSQL does not take."""


class Tuning:
    """What one agent knows of the newest settings."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.passed = self._refused = ""
        self._trying = False
        self._runs_with: dict[str, str] = {}  # parameters as they were at PostgreSQL's start

    @property
    def digest(self) -> str:
        """Of the settings in effect."""
        settings = self._agent.memory.settings
        return settings.digest if settings is not None else ""

    @property
    def pending(self) -> tuple[str, ...]:
        """Parameters that wait for a restart."""
        wanted = self._parameters()
        return tuple(name for name in NEEDS_RESTART if wanted.get(name) != self._runs_with.get(name))

    def started(self) -> None:
        """PostgreSQL starts with everything that it has been told."""
        self._runs_with = self._parameters()

    def turn(self) -> None:
        """Is there something to be tried or taken?"""
        agent, wanted = self._agent, self._agent.memory.circumstances
        digest = wanted.settings.digest
        if digest == self.digest and self._refused:
            self._refused = ""
            agent.trouble("bad-parameter", None)
        if self._trying or agent.memory.data is not Data.READY or agent.memory.order is None:
            return
        if digest in (self.digest, self._refused) or (digest == self.passed and not self._may_take()):
            return
        self._trying = True
        agent.process.run(self._consider(wanted.settings), self._over)

    def _consider(self, settings: Settings) -> Job:
        agent = self._agent
        yield agent.site.draw(0.05, 0.2)
        if WRONG in settings.parameters.values():
            self._refused = settings.digest
            agent.trouble("bad-parameter", f"PostgreSQL does not take the document's settings: {WRONG}")
            agent.site.story(agent.name, "refuses the document's settings", key=True)
            return
        self.passed, self._refused = settings.digest, ""
        agent.trouble("bad-parameter", None)
        if self._may_take() and settings == agent.memory.circumstances.settings:
            yield from agent.remember(settings=settings)
            agent.site.story(agent.name, "takes the document's settings")

    def _over(self, failure: BaseException | None) -> None:
        self._trying = False
        if failure is None:
            self._agent.publish()
            self.turn()
        elif not isinstance(failure, Failure):
            self._agent.site.ledger.broke(failure)

    def _parameters(self) -> dict[str, str]:
        settings = self._agent.memory.settings
        return dict(settings.parameters) if settings is not None else {}

    def _may_take(self) -> bool:
        return self._agent.memory.circumstances.adopt or self._agent.memory.settings is None
