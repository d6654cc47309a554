"""A reign as a task: for as long as the same order reigns over the same postgres, a primary's duties are done once.

`reign` knows how each of them is done; here is only their order, and that a failure is tried again while the reign
lasts. First what clients and standbys wait for (sync in force, doors, and as soon as commits wait the checkpoint that
a rewind asks for), then the roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from loguru import logger

from pgswarm.core import duty
from pgswarm.core.orders import Order
from pgswarm.errors import Again, Failure, Refused
from pgswarm.member import act, audit, grant, reign

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

TELL = 0.005
"""Seconds between two looks at what has been reached."""

REFUSED_PAUSE = 5.0


async def rule(agent: Agent) -> None:
    """Rule whenever there is something to rule, for ever."""
    while True:
        order = agent.reigns()
        if order is None:
            await agent.changed()
            continue
        key = _key(agent, order)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_done, agent, order)
            tasks.start_soon(audit.keep, agent)
            while (now := agent.reigns()) is not None and _key(agent, now) == key:
                await agent.changed()
            tasks.cancel_scope.cancel()


def _key(agent: Agent, order: Order) -> tuple[object, ...]:
    drifts = agent.throne.drifts if agent.throne is not None else 0
    return (agent.postmaster.starts, order.key, agent.memory.circumstances.settings.digest, drifts)


async def _until_done(agent: Agent, order: Order) -> None:
    throne = agent.throne
    if throne is None or throne.starts != agent.postmaster.starts:
        return
    while True:
        try:
            await _once(agent, throne, order)
        except Refused as exc:
            throne.opened = False
            agent.trouble("reign", exc.reason)
            logger.error("{}", exc)
            await anyio.sleep(REFUSED_PAUSE)
        except Again as exc:
            logger.warning("{}", exc)
            await anyio.sleep(max(0.1, exc.after))
        except Exception as exc:  # a bug here must not end the agent, and PostgreSQL with it
            logger.opt(exception=exc).error("a primary's duties failed: {}", exc)
            await anyio.sleep(REFUSED_PAUSE)
        else:
            agent.trouble("reign", None)
            return


async def _once(agent: Agent, throne: reign.Throne, order: Order) -> None:
    config = agent.config
    if agent.postmaster.began is duty.Begin.PRIMARY and not throne.opened and not order.sync.k:
        await act.install(agent)  # a cluster that was just created has no roles yet
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tell, agent, throne)
            await grant.until_let(agent, order)
            async with anyio.create_task_group() as work:
                work.start_soon(_checkpoint_owed, agent, throne, order)
                await reign.hold(config, agent.files, agent.postmaster, throne, order, lambda: grant.gate(agent))
            tasks.cancel_scope.cancel()
    except ExceptionGroup as group:
        # Not `except*`: what is raised there comes out in a group again, and nobody would catch it.
        failures, others = group.split(Failure)
        if failures is None or others is not None:
            raise
        raise _first(failures) from group
    agent.publish()
    await act.install(agent)


async def _checkpoint_owed(agent: Agent, throne: reign.Throne, order: Order) -> None:
    """The first checkpoint of a new timeline, beside the quarantine: the standby that would end it may have to be
    rewound first, and a rewind waits for this. Not before commits are seen to wait: it would keep the flag down.
    It is owed until the control file shows the timeline: asked of a PostgreSQL still in recovery it makes another one.
    """
    while agent.checkpoint_owed:
        if throne.armed or not order.sync.k:
            agent.checkpoint_owed = await reign.checkpoint(agent.config) < order.timeline
        if agent.checkpoint_owed:
            await anyio.sleep(TELL)


async def _tell(agent: Agent, throne: reign.Throne) -> None:
    """Report each step when it is reached, not only the last one."""
    before = (throne.opened, throne.in_force)
    while True:
        await anyio.sleep(TELL)
        now = (throne.opened, throne.in_force)
        if now != before:
            agent.publish()
            before = now


def _first(group: BaseExceptionGroup[Failure]) -> Failure:
    """The first plain failure of a group."""
    for exc in group.exceptions:
        if isinstance(exc, Failure):
            return exc
        if isinstance(exc, BaseExceptionGroup):
            return _first(exc)
    return Again("unknown failure")
