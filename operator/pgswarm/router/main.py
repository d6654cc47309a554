"""The router's main process: reads its environment, starts the parts, and ends them in order.

    PGSWARM_CLUSTER           the cluster; needed
    PGSWARM_PORT, PGSWARM_READ_ONLY_PORT, PGSWARM_STATS_PORT, PGSWARM_HEALTH_PORT, PGSWARM_API_PORT
    PGSWARM_BIND              the address to listen on (all)
    PGSWARM_MEMBERS           names or addresses of members, by comma (the cluster's alias on the control network)
    PGSWARM_MEMBER_PORT, PGSWARM_POSTGRES_PORT
    PGSWARM_HOLD_LIMIT        seconds for which a new connection waits for a primary before it is turned away (30)
    PGSWARM_MAX_CONNECTIONS   clients at once, those that wait included (4000)
    PGSWARM_SECRET_FILE, PGSWARM_WORK

On SIGTERM HAProxy stops taking connections and gets ten seconds for those that are open; the API goes on meanwhile,
so that the operator sees what is happening. A second SIGTERM ends it at once.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from loguru import logger

from pgswarm import logs, settings, wire
from pgswarm.errors import Failure, Refused, leaves
from pgswarm.ports import door, scrape
from pgswarm.ports.agents import AgentClient
from pgswarm.render.haproxy import HaproxyConfig
from pgswarm.router import api
from pgswarm.router.act import Router
from pgswarm.router.find import Finder
from pgswarm.router.haproxy import Haproxy

SPARE_DESCRIPTORS = 200
"""What HAProxy opens beside its connections, with room to spare; a connection needs two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the environment says."""

    cluster: str
    members: tuple[str, ...]
    secret_file: Path
    work: Path
    bind: str
    port: int
    read_only_port: int
    stats_port: int
    health_port: int
    api_port: int
    member_port: int
    postgres_port: int
    hold_limit: int
    max_connections: int


def read_options(environment: Mapping[str, str]) -> Options:
    """Read the environment. Raises Refused with what to set."""
    cluster = environment.get("PGSWARM_CLUSTER", "")
    if not cluster:
        raise Refused("PGSWARM_CLUSTER is not set: give the name of the cluster whose router this is")
    members = environment.get("PGSWARM_MEMBERS") or settings.members_alias(cluster)
    return Options(
        cluster=cluster,
        members=tuple(name.strip() for name in members.split(",") if name.strip()),
        secret_file=Path(environment.get("PGSWARM_SECRET_FILE") or wire.SECRET_FILE),
        work=Path(environment.get("PGSWARM_WORK") or "/tmp/pgswarm-router"),
        bind=environment.get("PGSWARM_BIND") or "0.0.0.0",
        port=_number(environment, "PGSWARM_PORT", 5432),
        read_only_port=_number(environment, "PGSWARM_READ_ONLY_PORT", 5433),
        stats_port=_number(environment, "PGSWARM_STATS_PORT", 8404),
        health_port=_number(environment, "PGSWARM_HEALTH_PORT", 8405),
        api_port=_number(environment, "PGSWARM_API_PORT", wire.ROUTER_PORT),
        member_port=_number(environment, "PGSWARM_MEMBER_PORT", wire.MEMBER_PORT),
        postgres_port=_number(environment, "PGSWARM_POSTGRES_PORT", wire.POSTGRES_PORT),
        hold_limit=_number(environment, "PGSWARM_HOLD_LIMIT", 30, most=3600),
        max_connections=_number(environment, "PGSWARM_MAX_CONNECTIONS", 4000, most=100_000),
    )


async def run(options: Options) -> None:
    """Be a router until SIGTERM."""
    secret = _secret(options.secret_file)
    try:
        options.work.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise Refused(f"the work directory {options.work} cannot be made: {exc.strerror}") from exc
    config = HaproxyConfig(
        admin_socket=str(options.work / "admin.sock"),
        lua_file=str(options.work / "gate.lua"),
        bind=options.bind,
        port=options.port,
        read_only_port=options.read_only_port,
        stats_port=options.stats_port,
        hold_limit=options.hold_limit,
        max_connections=_allowed(options.max_connections),
    )
    router = Router(options.cluster, options.work, options.postgres_port)
    haproxy = Haproxy(config, options.work, router.wake)
    listener = await door.listen(options.bind, options.api_port)
    public = await door.listen(options.bind, options.health_port)
    async with anyio.create_task_group() as group:
        finder = Finder(
            AgentClient(secret, caller="router"), options.cluster, options.members, options.member_port, router.wake
        )
        finder.meet(router.contacts)
        group.start_soon(haproxy.run)
        group.start_soon(finder.run)
        group.start_soon(router.run, haproxy, finder)
        group.start_soon(door.serve, listener, api.api(router, finder, secret, scrape.token(os.environ)))
        group.start_soon(door.serve, public, api.health(router))
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await anext(aiter(signals))
            async with anyio.create_task_group() as ending:

                async def insist() -> None:
                    await anext(aiter(signals))
                    logger.warning("asked twice: ending at once")
                    ending.cancel_scope.cancel()

                ending.start_soon(insist)
                await haproxy.stop()
                ending.cancel_scope.cancel()
        group.cancel_scope.cancel()
    logger.info("the router has stopped")


def main(log_format: str = "") -> int:
    """The entry point: the exit code, with one line for a mistake in the set-up."""
    logs.begin("router", log_format)
    mistakes: list[BaseException] = []
    try:
        options = read_options(os.environ)
        logger.configure(extra={"cluster": options.cluster})
        anyio.run(run, options)
    except* (Failure, OSError) as failures:
        mistakes = leaves(failures)
    for mistake in mistakes:
        logger.error("{}", mistake)
    return 1 if mistakes else 0


def _number(environment: Mapping[str, str], name: str, default: int, most: int = 65535) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= most:
        raise Refused(f"{name} is {text!r}; expected a whole number, 1 to {most}")
    return int(text)


def _allowed(connections: int) -> int:
    """As many connections as this container's file descriptors suffice for; HAProxy would not start with more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = connections if hard == resource.RLIM_INFINITY else (hard - SPARE_DESCRIPTORS) // 2
    if most < connections:
        logger.warning("only {} connections at once, not {}: the limit of open files is {}", most, connections, hard)
    return max(1, min(connections, most))


def _secret(file: Path) -> str:
    try:
        secret = file.read_text().strip()
    except OSError as exc:
        raise Refused(f"the control secret {file} cannot be read: {exc.strerror}") from exc
    if not secret:
        raise Refused(f"the control secret {file} is empty")
    return secret
