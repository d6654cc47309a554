"""The look at PostgreSQL, again and again: quickly while something changes, rarely at rest.

A look that gets no answer is a fact like any other (a report without a fresh one serves nobody). That there are new
settings is noticed here too; they are tried and taken beside (`tuning`), for a look must not wait for that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
from loguru import logger

from pgswarm.core import duty
from pgswarm.core.reports import Postgres, Problem, Progress, Role
from pgswarm.core.wal import Position
from pgswarm.errors import Again
from pgswarm.member import reign, restart, tuning
from pgswarm.member.facts import Sight

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

LOOK_BUSY, LOOK_REST = 0.15, 0.5
"""Seconds between two looks while something changes, and at rest."""

PENDING_EVERY, FLOORED_EVERY = 20, 4
"""Looks between two questions for parameters that wait for a restart; and while a standby has more of something than
the document says."""

SLOW_START = 1.0
"""Seconds of starting after which it is told as recovery."""

CRASH_LOOP = 3
TOLD_LINES = 3


async def watch(agent: Agent) -> None:
    """Look for ever."""
    turn = 0
    while True:
        poked = agent.poked()
        tuning.glance(agent)
        if agent.postmaster.state is Postgres.RUNNING:
            eager = anyio.current_time() < agent.tuning.eager_until
            every = FLOORED_EVERY if agent.files.is_floored else PENDING_EVERY
            try:
                await look(agent, settings_too=eager or turn % every == 0)
            except Again as exc:
                logger.debug("{}", exc)
            except Exception as exc:  # a bug here must not end the agent, and PostgreSQL with it
                logger.opt(exception=exc).error("a look at PostgreSQL failed: {}", exc)
        if not agent.is_working:
            agent.progress = _recovery(agent)
        _note_crashes(agent, anyio.current_time())
        agent.publish()
        turn += 1
        with anyio.move_on_after(LOOK_BUSY if _is_busy(agent) else LOOK_REST):
            await poked.wait()


async def look(agent: Agent, *, settings_too: bool = True) -> None:
    """One look. Raises Again if PostgreSQL does not answer."""
    starts = agent.postmaster.starts
    throne = agent.throne
    in_force = throne.setting if throne is not None else None
    sight = await agent.observer.look()
    if starts != agent.postmaster.starts or agent.postmaster.state is not Postgres.RUNNING:
        return
    rows = agent.hearing.note_standbys(zip(sight.walsenders, sight.replies, strict=True), sight.at)
    agent.sight = sight = replace(sight, walsenders=rows)
    if throne is not None and throne is agent.throne and throne.setting == in_force:
        _note_drift(agent, throne, sight)
    if sight.recovery and sight.streaming and agent.upstream is not None:
        agent.hearing.streamed_at = sight.at
        agent.follow_failures = 0
        agent.postmaster.trouble = duty.Trouble.NONE
        if sight.timeline:
            agent.position = Position(timeline=sight.timeline, lsn=sight.receive)
    elif not sight.recovery and sight.timeline:
        agent.position = Position(timeline=sight.timeline, lsn=sight.insert)
    if settings_too:
        await restart.look(agent)
    if sight.paused:
        await restart.note_pause(agent)


def note_promoted(agent: Agent) -> None:
    """PostgreSQL has said that it is out of recovery: the reign need not wait for the next look."""
    if agent.sight is not None:
        agent.sight = replace(agent.sight, at=anyio.current_time(), recovery=False, streaming=False, behind=None)
    agent.notify()


def _note_drift(agent: Agent, throne: reign.Throne, sight: Sight) -> None:
    """Somebody has changed by hand what commits wait for: from then on they may have been acknowledged alone."""
    if throne.setting is None or sight.recovery or sight.sync == throne.setting:
        return
    logger.error(
        "durability incident: synchronous_standby_names was changed by hand to {!r}; put back to {!r}. Commits that "
        "were acknowledged meanwhile may be on one member only", sight.sync, throne.setting,
    )  # fmt: skip
    agent.files.put_back()
    throne.armed, throne.setting, throne.in_force = False, None, None
    throne.drifts += 1
    agent.publish()
    agent.notify()


def _recovery(agent: Agent) -> Progress | None:
    """A start that takes long replays the log; one that is over tells nothing any more."""
    starting = agent.postmaster.state is Postgres.STARTING
    slow = starting and anyio.current_time() - agent.postmaster.started_at > SLOW_START
    return Progress(what="recovery") if slow else None


def _is_busy(agent: Agent) -> bool:
    if agent.is_working or agent.postmaster.state not in (Postgres.RUNNING, Postgres.STOPPED):
        return True
    order = agent.order
    if agent.role is Role.PRIMARY:
        force = agent.throne.in_force if agent.throne else None
        return order is None or force is None or force.revision != order.revision
    return agent.upstream is not None and (agent.sight is None or not agent.sight.streaming)


def _note_crashes(agent: Agent, now: float) -> None:
    """Tell of a PostgreSQL that ends again and again, in its words of then, until it has run quietly."""
    postmaster = agent.postmaster
    if postmaster.crashes < CRASH_LOOP or postmaster.is_quiet(now):
        agent.problems.pop("crash", None)
        return
    began = f"PostgreSQL ended {postmaster.crashes} times in a row: "
    told = agent.problems.get("crash")
    if told is None or not told.text.startswith(began):
        lines = " / ".join(list(postmaster.lines)[-TOLD_LINES:])
        agent.problems["crash"] = Problem(code="crash-loop", text=f"{began}{lines}")
