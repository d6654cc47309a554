"""A writing client with a ledger: what was acknowledged, when, and whether it is still there.

Writers insert numbered rows through the routers, each on a connection of its own, and note the moment of every
acknowledgement. When a connection breaks they connect again at once and go on with the next number: a row whose
outcome is unknown is never counted. Two things come out: the longest time without an acknowledged write, which is the
outage that an application sees, and the acknowledged rows that a later reading does not find, which must be none.

The writers run in a thread of their own, so that whoever breaks things may block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import psycopg
from psycopg import sql

PACE = 0.01
"""Seconds between two writes of one writer."""

PAUSE = 0.02
"""Seconds between two attempts to connect."""

PATIENCE = 15.0
"""Seconds that one write or one attempt to connect may take before the connection is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to write: the routers' addresses, tried in turn, and who writes."""

    hosts: tuple[str, ...]
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    def conninfo(self, first: int = 0) -> str:
        """libpq's connection string, with host number `first` first."""
        turn = first % len(self.hosts)
        hosts = self.hosts[turn:] + self.hosts[:turn]
        return psycopg.conninfo.make_conninfo(
            host=",".join(hosts),
            port=",".join([str(self.port)] * len(hosts)),
            dbname=self.database,
            user=self.user,
            password=self.password,
            connect_timeout=5,
            # What an application should set too: a router that died without a word is left within seconds.
            keepalives_idle=1,
            keepalives_interval=1,
            keepalives_count=3,
            tcp_user_timeout=3000,
            application_name="pgswarm-ledger",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The longest time between two acknowledged writes in a span."""

    seconds: float
    began: float  # time.monotonic()
    acknowledged: int
    failed: int


class Ledger:
    """Writers under way. Use as a context manager; ends within PATIENCE."""

    def __init__(self, target: Target, writers: int = 4, table: str = "pgswarm_ledger") -> None:
        self._target = target
        self._writers = writers
        self._table = table
        self._acknowledged: list[tuple[float, int, int]] = []
        self._failures: list[tuple[float, str]] = []
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Ledger:
        with psycopg.connect(self._target.conninfo(), autocommit=True) as connection:
            columns = "(run text, writer int, number bigint, PRIMARY KEY (run, writer, number))"
            table = sql.Identifier(self._table)
            connection.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} " + columns).format(table))
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the writers finish what they are at, and end."""
        self._ended.set()
        self._thread.join(2 * PATIENCE)
        if self._error is not None:
            raise self._error

    @property
    def acknowledged(self) -> int:
        return len(self._acknowledged)

    @property
    def failures(self) -> Sequence[tuple[float, str]]:
        """When attempts failed, and with which words."""
        return tuple(self._failures)

    def gap(self, since: float | None = None) -> Gap:
        """The longest pause from `since` (time.monotonic(), the beginning if None) until now."""
        start = self._began if since is None else since
        times = sorted(when for when, _, _ in list(self._acknowledged) if when >= start)
        longest, began = 0.0, start
        for earlier, later in zip([start, *times], [*times, time.monotonic()], strict=True):
            if later - earlier > longest:
                longest, began = later - earlier, earlier
        failed = sum(1 for when, _ in list(self._failures) if when >= start)
        return Gap(seconds=longest, began=began, acknowledged=len(times), failed=failed)

    def wait_for_writes(self, count: int = 20, deadline: float = 60.0) -> float:
        """Wait until `count` more writes are acknowledged; the seconds it took. Raises TimeoutError."""
        start, goal = time.monotonic(), len(self._acknowledged) + count
        while len(self._acknowledged) < goal:
            if time.monotonic() - start > deadline:
                last = self._failures[-1][1] if self._failures else "no failure either"
                raise TimeoutError(f"no {count} acknowledged writes within {deadline:.0f} s; last: {last}")
            if not self._thread.is_alive():
                raise RuntimeError("the writers have ended") from self._error
            self._ended.wait(0.01)
        return time.monotonic() - start

    def missing(self) -> list[tuple[int, int]]:
        """Acknowledged rows (writer, number) that the primary does not have."""
        query = sql.SQL("SELECT writer, number FROM {} WHERE run = %s").format(sql.Identifier(self._table))
        with psycopg.connect(self._target.conninfo(), autocommit=True) as connection:
            there = set(connection.execute(query, [self._name]).fetchall())
        return sorted({(writer, number) for _, writer, number in list(self._acknowledged)} - there)

    @property
    def _name(self) -> str:
        return f"run-{self._began:.6f}"

    def _run(self) -> None:
        try:
            anyio.run(self._write_all)
        except BaseException as error:
            self._error = error

    async def _write_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for writer in range(self._writers):
                tasks.start_soon(self._write, writer)

    async def _write(self, writer: int) -> None:
        number, attempt = 0, writer
        query = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(sql.Identifier(self._table))
        while not self._ended.is_set():
            try:
                with anyio.fail_after(PATIENCE):
                    connection = await psycopg.AsyncConnection.connect(self._target.conninfo(attempt), autocommit=True)
                async with connection:
                    while not self._ended.is_set():
                        number += 1
                        with anyio.fail_after(PATIENCE):
                            await connection.execute(query, [self._name, writer, number])
                        self._acknowledged.append((time.monotonic(), writer, number))
                        await anyio.sleep(PACE)
            except (psycopg.Error, OSError, TimeoutError) as error:
                attempt += 1
                text = " ".join(str(error).split()) or type(error).__name__
                self._failures.append((time.monotonic(), text))
                await anyio.sleep(PAUSE)
