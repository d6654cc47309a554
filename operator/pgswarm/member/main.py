"""`pgswarm member`: the entry of a member's container.

The door opens first, so that anybody who asks hears why there is no agent yet; then the volume is locked (another
container on it is waited for, however long), the memory read, and the agent lives until SIGTERM, which becomes a fast
shutdown of PostgreSQL and exit code 0.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm import logs
from pgswarm.core.memory import Memory
from pgswarm.core.reports import Data, Problem
from pgswarm.errors import Failure, Refused, leaves
from pgswarm.member import build, state, tools
from pgswarm.member import config as configuration
from pgswarm.member.agent import Agent
from pgswarm.member.api import Door
from pgswarm.member.config import Config
from pgswarm.member.files import Files
from pgswarm.member.foreign import Seal, owner
from pgswarm.member.postmaster import Postmaster
from pgswarm.ports import door as serving
from pgswarm.ports import scrape

LOCK_POLL = 0.5
SLOT_SHARE, SLOT_MOST = 4, 10 << 30
"""A slot of an absent member may hold back a quarter of the disk, at most 10 GB, unless the document says otherwise."""


def main(log_format: str = "") -> int:
    """Be the agent until SIGTERM: the exit code, with one line for a mistake in the set-up."""
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # a cancelled question is no news
    logs.begin("member", log_format)
    mistakes: list[str] = []
    try:
        config = configuration.from_environment(os.environ)
        anyio.run(_main, config, configuration.secret(config.secret_file))
    except* Failure as failures:
        mistakes = [str(failure) for failure in leaves(failures)]
    for mistake in mistakes:
        logger.error("{}", mistake)
    return 2 if mistakes else 0


async def _main(config: Config, secret: str) -> None:
    door = Door(secret, scrape.token(os.environ))
    listener = await serving.listen(config.bind, config.port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.serve, listener, door.handlers())
        tasks.start_soon(_until_told, tasks, door)
        await _live(config, door)


async def _live(config: Config, door: Door) -> None:
    lock = await _locked(config, door)
    memory, seal = _remembered(config)
    major, version = await tools.version(config)
    async with anyio.create_task_group() as tasks:
        postmaster = Postmaster(config, lock)
        usage = shutil.disk_usage(config.volume)
        keep = min(usage.total // SLOT_SHARE, SLOT_MOST) >> 20
        files = Files(config, major, f"{keep}MB")
        if memory.settings is not None:
            files.take(memory.settings)
        if memory.data is Data.READY:
            tasks.start_soon(build.delete_former, config)  # a crash may have come between
        agent = Agent(config, memory, files, postmaster, version=version, tasks=tasks, seal=seal)
        postmaster.on_change(agent.stirred)
        door.agent = agent
        logger.info("member {} of {}: data {}, {}", config.member, config.cluster, memory.data, memory.incarnation)
        await agent.live()


async def _locked(config: Config, door: Door) -> int:
    """Hold the volume's lock, as soon as it can be had."""
    said = False
    while True:
        try:
            lock = state.lock(config.lock_file)
        except OSError as exc:
            lock, why = None, f"cannot open {config.lock_file}: {exc.strerror}"
            if isinstance(exc, PermissionError):
                why = f"cannot write to {config.volume}: {owner(config.volume) or exc.strerror}"
        else:
            why = f"another process holds {config.lock_file}: two containers are on this volume; waiting for its end"
        if lock is not None:
            return lock
        door.problem = Problem(code="locked", text=why)
        if not said:
            logger.warning("{}", why)
        said = True
        await anyio.sleep(LOCK_POLL)


def _remembered(config: Config) -> tuple[Memory, Seal]:
    """The memory, and why nothing may be done with this volume, if that is so."""
    try:
        memory = state.load(config)
    except Refused as exc:
        return Memory(cluster=config.cluster, member=config.member, data=Data.FOREIGN), Seal(text=exc.reason)
    if memory.data is not Data.FOREIGN:
        return memory, Seal()
    text = (
        f"the volume holds data that pgswarm did not make ({config.pgdata} or beside it), and no memory of this agent; "
        "nothing is touched: give this member an empty volume, or move that data away if nobody needs it"
    )
    return memory, Seal(text=text, looks=True)


async def _until_told(tasks: TaskGroup, door: Door) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("{}: PostgreSQL is shut down, then this ends", number.name)
            if door.agent is not None:
                await door.agent.end()
            tasks.cancel_scope.cancel()
            return
