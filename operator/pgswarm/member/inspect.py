"""A member's inspection: its machine, its passwords, and whether applications get through each router.

A member has what an application has, the owner's password, and sits on the network on which routers answer; so a
session through a router from here goes the whole way: name and password, HAProxy, PostgreSQL, and back.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path as File

import anyio
import psycopg

from pgswarm.core.inspection import Inspection, InspectRequest, Path
from pgswarm.member.config import Config
from pgswarm.ports import inspecting

SESSION = 4
"""Seconds for one session through a router."""

SHORTEST = 12
WELL_KNOWN = frozenset({"changeme", "password", "postgres", "secret", "admin", "example", "root", "test", "pgswarm"})


async def inspect(config: Config, request: InspectRequest) -> Inspection:
    """What is found from here, within some seconds."""
    found = await inspecting.inspection(request.names)
    paths: list[Path] = []

    async def go(router: str, address: str, *, writes: bool) -> None:
        paths.append(await _session(config, request, router, address, writes=writes))

    async with anyio.create_task_group() as tasks:
        for router, address in sorted(request.routers.items()):
            for writes in (True, False):
                tasks.start_soon(partial(go, router, address, writes=writes))
    paths.sort(key=lambda one: (one.router, not one.writes))
    return found.model_copy(update={"weak": tuple(_weak(config, request)), "paths": tuple(paths)})


async def _session(config: Config, request: InspectRequest, router: str, address: str, *, writes: bool) -> Path:
    began = anyio.current_time()
    try:
        with anyio.fail_after(SESSION):
            connection = await psycopg.AsyncConnection.connect(
                host=address,
                port=request.port if writes else request.read_only_port,
                dbname=request.database,
                user=request.owner,
                password=_read(config.owner_password_file),
                connect_timeout=SESSION,
                application_name="pgswarm-doctor",
                autocommit=True,
            )
            async with connection:
                row = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    except TimeoutError:
        return Path(router=router, writes=writes, why=f"no answer within {SESSION} s")
    except (psycopg.Error, OSError) as error:
        return Path(router=router, writes=writes, why=" ".join(str(error).split()) or type(error).__name__)
    return Path(
        router=router, writes=writes, seconds=round(anyio.current_time() - began, 3), recovery=bool(row and row[0])
    )


def _weak(config: Config, request: InspectRequest) -> list[str]:
    """What the weak ones are for; the words themselves go nowhere."""
    known = {"owner": config.owner_password_file, "replication": config.replication_password_file}
    found = []
    for purpose, file in known.items():
        word = _read(file)
        if len(word) < SHORTEST or word.lower().strip("0123456789!") in WELL_KNOWN | {request.owner, request.database}:
            found.append(purpose)
    return found


def _read(file: File) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
