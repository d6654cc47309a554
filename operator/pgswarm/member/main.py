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
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import uvicorn
from anyio.abc import TaskGroup
from loguru import logger
from uvicorn.protocols.http.h11_impl import H11Protocol

from pgswarm import logs
from pgswarm.core.memory import Memory
from pgswarm.core.reports import Data, Problem
from pgswarm.errors import Refused
from pgswarm.member import config as configuration
from pgswarm.member import state, tools
from pgswarm.member.agent import Agent
from pgswarm.member.api import Door
from pgswarm.member.config import Config
from pgswarm.member.files import Files
from pgswarm.member.postmaster import Postmaster

LOCK_POLL = 0.5
SLOT_SHARE, SLOT_MOST = 4, 10 << 30
"""A slot of an absent member may hold back a quarter of the disk, at most 10 GB, unless the document says otherwise."""

_sockets: dict[tuple[str, int], socket.socket] = {}


class _Protocol(H11Protocol):
    """uvicorn's HTTP, remembering the socket behind each client address."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        self._peer = transport.get_extra_info("peername")
        if self._peer is not None and connection is not None:
            _sockets[self._peer[:2]] = connection

    def connection_lost(self, exc: Exception | None) -> None:
        _sockets.pop((self._peer or ("", 0))[:2], None)
        super().connection_lost(exc)


def run(cluster: str | None = None, member: str | None = None) -> None:
    """Be the agent until SIGTERM."""
    names = {"PGSWARM_CLUSTER": cluster, "PGSWARM_MEMBER": member}
    environment = {**os.environ, **{name: value for name, value in names.items() if value}}
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # a cancelled question is no news
    logs.begin("member")
    try:
        config = configuration.from_environment(environment)
        secret = configuration.secret(config.secret_file)
    except Refused as exc:
        logger.error("{}", exc)
        raise SystemExit(2) from exc
    anyio.run(_main, config, secret)


async def _main(config: Config, secret: str) -> None:
    door = Door(secret, lambda address: _sockets.get(address))
    listener = _listen(config)
    server = _Server(
        uvicorn.Config(
            door.application(),
            http=_Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=0,
            timeout_keep_alive=30,
        )
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        tasks.start_soon(_until_told, tasks, door, server)
        await _live(config, door)


async def _live(config: Config, door: Door) -> None:
    lock = await _locked(config, door)
    memory, sealed = _remembered(config)
    major, version = await tools.version(config)
    async with anyio.create_task_group() as tasks:
        postmaster = Postmaster(config, lock)
        usage = shutil.disk_usage(config.volume)
        keep = min(usage.total // SLOT_SHARE, SLOT_MOST) >> 20
        files = Files(config, major, f"{keep}MB")
        agent = Agent(config, memory, files, postmaster, version=version, tasks=tasks, sealed=sealed)
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
        else:
            why = f"another process holds {config.lock_file}: two containers are on this volume; waiting for its end"
        if lock is not None:
            return lock
        door.problem = Problem(code="locked", text=why)
        if not said:
            logger.warning("{}", why)
        said = True
        await anyio.sleep(LOCK_POLL)


def _remembered(config: Config) -> tuple[Memory, str]:
    """The memory, and why nothing may be done with this volume (empty if something may)."""
    try:
        memory = state.load(config)
    except Refused as exc:
        return Memory(cluster=config.cluster, member=config.member, data=Data.FOREIGN), exc.reason
    if memory.data is not Data.FOREIGN:
        return memory, ""
    return memory, (
        f"the volume holds data that pgswarm did not make ({config.pgdata} or beside it), and no memory of this agent; "
        "nothing is touched: give this member an empty volume, or move that data away if nobody needs it"
    )


def _listen(config: Config) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((config.bind, config.port))
    listener.listen(64)
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _until_told(tasks: TaskGroup, door: Door, server: uvicorn.Server) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("{}: PostgreSQL is shut down, then this ends", number.name)
            if door.agent is not None:
                await door.agent.end()
            tasks.cancel_scope.cancel()
            return
