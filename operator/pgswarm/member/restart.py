"""Settings that a running PostgreSQL does not take: which of them wait, and its restart inside the container.

PostgreSQL alone is stopped and started, not the container around it: the data directory and the agent with its word to
the operator stay, it takes half a second in place of Swarm's ten, and what is started is what was stopped - a primary
in its own term and timeline, behind the same quarantine as after a crash, a standby on the line that it followed
(decision 0018). When it is a member's turn is the operator's to say (`core/turns`), by naming the very postmaster that
shall end, so a word that comes twice or late does nothing.

Hot standby makes an order of its own: of `DEMANDED` a standby may not have less than its primary. So a standby's
configuration has as much as its log asks for (the control file says it), whatever the document says: it starts in any
order of things, and a parameter that was lowered waits for nothing there until the primary has less. A primary to which
that happened says so in `lowered`: it cannot hand over, because nobody can take its place with less than it has. And a
standby whose replay has paused for want of more starts itself anew.

Before this: `tuning` has taken settings. After it: `duty` starts what was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
from loguru import logger

from pgswarm.core.reports import Postgres, Role, Serving
from pgswarm.member import handover, tools

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

CONTROL: Mapping[str, str] = {
    "max_connections": "max_connections setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_worker_processes": "max_worker_processes setting",
}
"""What pg_controldata calls them: on a standby, what its primary had by the log that is replayed."""

STOP = 20.0
"""Seconds for the fast shutdown before an immediate one; a checkpoint has just made it short."""

LONGEST = 10.0
"""Seconds from the stop after which a primary that does not serve again is not excused any more."""


def postmaster(agent: Agent) -> str:
    """A word for the PostgreSQL that runs; empty if none does."""
    running = agent.postmaster.state is Postgres.RUNNING
    return f"{agent.boot}-{agent.postmaster.starts}" if running else ""


def wanted(agent: Agent) -> str:
    """Why the PostgreSQL that runs is to be started anew; empty if it is not."""
    here = postmaster(agent)
    if not here:
        return ""
    if agent.tuning.short == here:
        return "the log asks for more than PostgreSQL was started with"
    if agent.memory.circumstances.restart == here:
        return f"started anew for {', '.join(agent.tuning.pending) or 'new settings'}"
    return ""


def floors(control: Mapping[str, str]) -> dict[str, int]:
    """Of the parameters that hot standby compares: what a standby with this control file must have."""
    return {name: int(control[said]) for name, said in CONTROL.items() if control.get(said, "").isdigit()}


async def perform(agent: Agent) -> None:
    """Checkpoint, so that it is short, and stop; `duty` then starts it. Raises Refused if checkpoints take too long."""
    began = anyio.current_time()
    if agent.role is Role.PRIMARY:
        await handover.checkpoints(agent)
    agent.tuning.restarted, agent.tuning.restarted_at = postmaster(agent), anyio.current_time()
    agent.publish()
    await agent.postmaster.stop(patience=STOP)
    logger.info("stopped after {:.0f} ms, to be started anew", (anyio.current_time() - began) * 1000)


def is_under_way(agent: Agent, now: float) -> bool:
    """Was it stopped to be started anew, and does not yet do again what it did?"""
    tuning, state = agent.tuning, agent.postmaster.state
    if not tuning.restarted or now - tuning.restarted_at > LONGEST or state is Postgres.CRASHED:
        return False
    if state is not Postgres.RUNNING or postmaster(agent) == tuning.restarted:
        return True
    return agent.role is Role.PRIMARY and agent.serving()[0] is Serving.NONE


def is_unsure(agent: Agent, now: float) -> bool:
    """Was PostgreSQL told of other settings, and has not said yet what they leave waiting?"""
    tuning = agent.tuning
    return bool(tuning.reloaded_at) and now < tuning.eager_until and bool(postmaster(agent))


async def look(agent: Agent) -> None:
    """Ask PostgreSQL what waits for a restart, and keep a standby's floors. Raises Again if it does not answer."""
    tuning, here = agent.tuning, postmaster(agent)
    rows, loaded = await agent.observer.pending_restart()
    if postmaster(agent) != here:
        return
    asked = agent.files.demanded()
    tuning.pending = tuple(name for name, _ in rows)
    if loaded >= tuning.reloaded_at:
        tuning.reloaded_at = 0.0
    is_primary = agent.role is Role.PRIMARY
    tuning.lowered = tuple(
        name for name, has in rows if is_primary and name in asked and has.isdigit() and asked[name] < int(has)
    )
    if agent.files.is_floored:
        await keep_floors(agent)


async def keep_floors(agent: Agent) -> None:
    """As much as the log asks for by now, and on a primary what the document says."""
    found: Mapping[str, int] = {}
    if agent.role is not Role.PRIMARY:
        found = floors(await tools.control_data(agent.config))
    if agent.files.set_floors(found):
        agent.tuning.be_eager()
        agent.files.rewrite()
        agent.postmaster.reload()


async def note_pause(agent: Agent) -> None:
    """Replay has paused, which nobody here asks for: is it for want of more than PostgreSQL was started with?"""
    here = postmaster(agent)
    if not here or agent.tuning.short == here:
        return
    has = dict(await agent.observer.settings(tuple(CONTROL)))
    asked = floors(await tools.control_data(agent.config))
    short = [f"{name} {has[name]}, {need} needed" for name, need in asked.items() if name in has and has[name] < need]
    if short and postmaster(agent) == here:
        logger.warning("replay has paused: {}", "; ".join(short))
        agent.tuning.short = here
        agent.look_again()
