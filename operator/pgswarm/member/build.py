"""Making a data directory: initdb, a clone of the primary, or a rewind of what is here.

Each works so that a crash at any point leaves something that is recognised. The memory says `building`, durable,
before the first byte changes; initdb and clone work in `pgdata.new` and are renamed into place when complete; the old
directory is deleted only after the new one stands (law 10). A rewind changes PGDATA in place, so one that was cut
short is never started: it is cloned anew.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psycopg
from anyio import to_thread
from loguru import logger

from pgswarm.core.disk import size as _size
from pgswarm.core.reports import Progress
from pgswarm.errors import Again, Refused
from pgswarm.member import state, tools
from pgswarm.member.config import Config, secret
from pgswarm.render import postgres as render
from pgswarm.settings import REPLICATION_ROLE

LONG = 7 * 24 * 3600.0
"""Seconds: a clone of a big database takes its time; a newer order ends it, not this."""

ALIVE = 120.0
"""Seconds without a byte after which a clone or a rewind counts as stuck."""

RATE_WINDOW = 2.0

LOG_BESIDE = 64 << 20
"""Bytes of log that come with a clone, at least."""

COUNTING = 60.0
"""Seconds for the primary to say how large it is: it looks at every file."""

_EVERYTHING = "SELECT sum(pg_catalog.pg_database_size(oid))::int8 FROM pg_catalog.pg_database"

Tell = Callable[[Progress], None]

_AMOUNT = re.compile(r"(\d+)/(\d+) kB")


async def initdb(config: Config) -> None:
    """A new data directory in `pgdata.new`."""
    await _clear(config.fresh)
    argv = [
        config.program("initdb"), "-D", str(config.fresh), "-U", "postgres", "--data-checksums", "--encoding=UTF8",
        "--locale=C.UTF-8", "--auth-local=peer", "--auth-host=scram-sha-256", "--no-instructions",
    ]  # fmt: skip
    output = await tools.run(argv, deadline=600.0)
    if output.code != 0:
        raise _failure("initdb", output, config)


async def fits(config: Config, address: str) -> None:
    """Is there room for the data of the primary at `address`? Raises Refused('disk full …'), or Again.

    The data that is here stays until the new is complete, so both have to fit.
    """
    await _clear(config.fresh)
    try:
        with anyio.fail_after(COUNTING):
            async with source(config, address) as connection:
                row = await (await connection.execute(_EVERYTHING)).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return  # a database that shuts everybody out, and a primary of before this was asked: then it is tried
    except (psycopg.Error, TimeoutError, OSError) as exc:
        raise Again(f"the primary at {address} does not say how large it is: {str(exc).strip()}") from exc
    needs = int(str(row[0] or 0)) + LOG_BESIDE if row is not None else 0
    free = shutil.disk_usage(config.volume).free
    if free >= needs:
        return
    own = await to_thread.run_sync(_taken, config.pgdata)
    beside = f"; the data that is here takes {_size(own)} and is kept until the new is complete" if own else ""
    raise Refused(
        f"disk full before a clone was begun: it needs {_size(needs)}, {_size(free)} free on the volume, "
        f"{_size(needs - free)} are missing{beside}; make the volume larger or free space on it"
    )


@asynccontextmanager
async def source(config: Config, address: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    """A connection to the PostgreSQL there, as replication has it. Raises psycopg.Error, TimeoutError or OSError."""
    with Password(config) as passfile:
        connection = await psycopg.AsyncConnection.connect(
            hostaddr=address, port=config.postgres_port, user=REPLICATION_ROLE, dbname="postgres",
            passfile=str(passfile), connect_timeout=5, autocommit=True,
        )  # fmt: skip
    async with connection:
        yield connection


async def clone(config: Config, address: str, tell: Tell, *, slot: bool) -> None:
    """A base backup of the primary at `address` in `pgdata.new`. Raises Refused('disk-full …') or Again."""
    await _clear(config.fresh)
    meter = Meter("clone", tell)
    with Password(config) as passfile:
        source = render.conninfo(
            hostaddr=address, port=str(config.postgres_port), user=REPLICATION_ROLE, passfile=str(passfile),
            application_name=render.CLONE_NAME, connect_timeout="5", tcp_user_timeout="30000",
        )  # fmt: skip
        argv = [
            config.program("pg_basebackup"), "-d", source, "-D", str(config.fresh), "-X", "stream",
            "--checkpoint=fast", "--progress", "--no-manifest", "--no-password",
        ]  # fmt: skip
        argv += ["--slot", render.slot_name(config.member)] if slot else []
        try:
            output = await _alive(argv, meter)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _clear(config.fresh)
            raise
    if output.code != 0:
        failure = _failure("clone", output, config, meter)
        await _clear(config.fresh)
        raise failure
    (config.fresh / "standby.signal").touch()
    taken = anyio.current_time() - meter.began
    logger.info("cloned {} in {:.2f} s, {}/s", _size(meter.done), taken, _size(meter.done / max(taken, 0.001)))


async def rewind(config: Config, address: str, tell: Tell) -> bool:
    """Turn PGDATA back to where it left the line of the primary at `address`; False if that cannot be done."""
    meter = Meter("rewind", tell)
    with Password(config) as passfile:
        source = render.conninfo(
            hostaddr=address, port=str(config.postgres_port), user=REPLICATION_ROLE, passfile=str(passfile),
            dbname="postgres", application_name="pgswarm-rewind", connect_timeout="5", tcp_user_timeout="30000",
        )  # fmt: skip
        argv = [
            config.program("pg_rewind"), "-D", str(config.pgdata), f"--source-server={source}", "--progress",
            "--no-ensure-shutdown",
        ]  # fmt: skip
        output = await _alive(argv, meter)
    return output.code == 0


async def put_in_place(config: Config) -> None:
    """`pgdata.new` becomes `pgdata`; the one before becomes `pgdata.old`."""

    def swap() -> None:
        if config.pgdata.exists():
            shutil.rmtree(config.former, ignore_errors=True)
            os.rename(config.pgdata, config.former)
        os.rename(config.fresh, config.pgdata)
        state.sync_directory(config.volume)

    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(swap)


async def delete_former(config: Config) -> None:
    await _clear(config.former)


class Meter:
    """Progress lines of PostgreSQL's programs, as bytes and a rate."""

    def __init__(self, what: str, tell: Tell) -> None:
        self._what = what
        self._tell = tell
        self._mark = (anyio.current_time(), 0)
        self._rate = 0.0
        self.done = self.total = 0
        self.began = self.heard = anyio.current_time()
        tell(Progress(what=what))

    def take(self, line: str) -> None:
        self.heard = now = anyio.current_time()
        match = _AMOUNT.search(line)
        if match is None:
            return
        self.done, self.total = int(match[1]) * 1024, int(match[2]) * 1024
        since, before = self._mark
        if now - since >= RATE_WINDOW or not self._rate:
            self._rate = max(0.0, (self.done - before) / max(now - since, 0.001))
            self._mark = (now, self.done)
        self._tell(Progress(what=self._what, done=self.done, total=self.total, rate=self._rate))


class Password:
    """A password file for one program, gone when it is."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._path = config.agent / "pgpass-tool"

    def __enter__(self) -> Path:
        password = secret(self._config.replication_password_file)
        state.write(self._path, render.pgpass(password), reserve=self._config.reserve)
        return self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)


async def _alive(argv: list[str], meter: Meter) -> tools.Output:
    """Run it for as long as it says something now and then."""
    output: tools.Output | None = None

    async def watch() -> None:
        while True:
            await anyio.sleep(1.0)
            if anyio.current_time() - meter.heard > ALIVE:
                tasks.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        output = await tools.run(argv, deadline=LONG, on_line=meter.take)
        tasks.cancel_scope.cancel()
    if output is None:
        raise Again(f"{os.path.basename(argv[0])} said nothing for {ALIVE:.0f} s")
    return output


def _failure(what: str, output: tools.Output, config: Config, meter: Meter | None = None) -> Again | Refused:
    if "No space left on device" in output.text:
        free = shutil.disk_usage(config.volume).free
        needs = f", needs {_size(meter.total)}" if meter and meter.total else ""
        here = f"{_size(free)} free on the volume{needs}"
        return Refused(f"disk full while {what} was running: {here}; make the volume larger or free space on it")
    return Again(f"{what} failed: {output.last}")


async def _clear(path: Path) -> None:
    await to_thread.run_sync(lambda: shutil.rmtree(path, ignore_errors=True))


def _taken(folder: Path) -> int:
    """Bytes that a folder takes."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
