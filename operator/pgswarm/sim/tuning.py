"""The document's settings at a member, played: the transcript of `member/tuning` and `member/restart`.

What matters here is when they are tried, taken and durable, which of them wait for a restart, and that a standby may
not have less of `DEMANDED` than its primary: it starts with as much as the log that it has says, and one whose log asks
for more starts itself anew. PostgreSQL's own judgement is played by a word: it does not take a parameter whose value is
`WRONG`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pgswarm.core.orders import Settings
from pgswarm.core.reports import Data, Role, Serving
from pgswarm.core.reports import Postgres as State
from pgswarm.errors import Failure
from pgswarm.sim import telling
from pgswarm.sim.clock import Job

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent

WRONG = "12 elephants"

DEMANDED = "max_connections"
"""What a standby must have as much of as its primary; without a word of the document it is `DEFAULT`."""

DEFAULT = 100

NEEDS_RESTART = (DEMANDED, "shared_buffers")
"""Of the parameters that histories set, those that a running PostgreSQL does not take."""

LONGEST = 10.0
"""Seconds from the stop after which a primary that does not serve again is not excused any more."""


class Tuning:
    """What one agent knows of the newest settings."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.passed = self._refused = ""
        self._trying = False
        self._runs_with: dict[str, str] = {}  # parameters as they were at PostgreSQL's start
        self._restarted = ""
        self._restarted_at = 0.0

    @property
    def digest(self) -> str:
        """Of the settings in effect."""
        settings = self._agent.memory.settings
        return settings.digest if settings is not None else ""

    @property
    def has(self) -> int:
        """How much of `DEMANDED` PostgreSQL was started with."""
        return number(self._runs_with)

    @property
    def pending(self) -> tuple[str, ...]:
        """Parameters that wait for a restart."""
        wanted = self._floored(self._agent.role is not Role.PRIMARY)
        waits = [name for name in NEEDS_RESTART if name != DEMANDED and wanted.get(name) != self._runs_with.get(name)]
        return (*waits, *([DEMANDED] if number(wanted) != self.has else []))

    @property
    def lowered(self) -> tuple[str, ...]:
        """Those of them that a standby must have as much of as this primary, which is to have less."""
        if self._agent.role is not Role.PRIMARY:
            return ()
        less = number(self._parameters()) < self.has
        return (DEMANDED,) if less else ()

    @property
    def postmaster(self) -> str:
        """A word for the PostgreSQL that runs."""
        agent = self._agent
        return f"{agent.boot}-{agent.postgres.starts}" if agent.postgres.state is State.RUNNING else ""

    @property
    def restart(self) -> str:
        """Why the PostgreSQL that runs is to be started anew; empty if it is not."""
        here, agent = self.postmaster, self._agent
        if not here:
            return ""
        if agent.role is not Role.PRIMARY and number(self._runs_with) < agent.volume.demanded:
            return "started anew: the log asks for more than it was started with"
        if agent.memory.circumstances.restart == here:
            return f"started anew for {', '.join(self.pending) or 'new settings'}"
        return ""

    def stops(self) -> None:
        """It is stopped, to be started anew."""
        self._restarted, self._restarted_at = self.postmaster, self._agent.process.now
        self._agent.publish()

    @property
    def is_restarting(self) -> bool:
        """Was it stopped to be started anew, and does not yet do again what it did?"""
        agent = self._agent
        state = agent.postgres.state
        if not self._restarted or agent.process.now - self._restarted_at > LONGEST or state is State.CRASHED:
            return False
        if state is not State.RUNNING or self.postmaster == self._restarted:
            return True
        return agent.role is Role.PRIMARY and telling.serving(agent)[0] is Serving.NONE

    def started(self, *, recovering: bool) -> None:
        """PostgreSQL starts with everything that it has been told, and in recovery with as much as its log asks for."""
        self._runs_with = self._floored(recovering)
        if not recovering:
            self._agent.volume.demanded = number(self._runs_with)

    def promoted(self) -> None:
        """What it was started with goes into the log."""
        self._agent.volume.demanded = number(self._runs_with)

    def replayed(self, source: Agent) -> None:
        """What the log of its primary asks for is known here, too."""
        if source.role is Role.PRIMARY:
            self._agent.volume.demanded = source.volume.demanded

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

    def _floored(self, recovering: bool) -> dict[str, str]:
        wanted = self._parameters()
        if recovering and number(wanted) < self._agent.volume.demanded:
            wanted[DEMANDED] = str(self._agent.volume.demanded)
        return wanted

    def _may_take(self) -> bool:
        return self._agent.memory.circumstances.adopt or self._agent.memory.settings is None


def number(parameters: Mapping[str, str]) -> int:
    """How much of it these say."""
    return int(parameters.get(DEMANDED, DEFAULT))
