"""A writing client with a ledger: what was acknowledged, when, and whether it is still there.

Writers insert numbered rows through the routers, each on a connection of its own, and note the moment of every
acknowledgement. When a connection breaks they connect again at once and go on with the next number: a row whose
outcome is unknown is never counted. Each has a router of its own to begin with, and goes to the next one when it
fails there, as libpq does with a list of hosts; `spread` sends everybody back to their own. Two things come out:
the longest time without an acknowledged write, which is the outage that an application sees, and the acknowledged
rows that a later reading does not find, which must be none.

The writers run in a thread of their own, so that whoever breaks things may block.
"""

from __future__ import annotations

import logging
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import psycopg
from psycopg import sql

COLUMNS = "run text, writer int, number bigint, PRIMARY KEY (run, writer, number)"

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
    connect_timeout: int = 5
    """Seconds for one address of one host."""

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
            connect_timeout=self.connect_timeout,
            # A name may stand for several routers: each connection begins with another of them.
            load_balance_hosts="random" if len(hosts) == 1 else "disable",
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
    slowest: float = 0.0
    """The longest pause of one single writer, on whichever router it was: what the unluckiest client saw."""


class Ledger:
    """Writers under way. Use as a context manager; ends within PATIENCE."""

    def __init__(
        self, target: Target, writers: int = 4, table: str = "pgswarm_ledger", patience: float = PATIENCE
    ) -> None:
        self._target = target
        self._writers = writers
        self._table = sql.Identifier(*table.split("."))
        self._patience = patience
        # Columns: an hour of writing is a million rows. Times grow, because one thread notes them.
        self._times = array("d")
        self._writer = array("B")
        self._number = array("q")
        self._took = array("f")
        self._checked = 0
        self._failures: list[tuple[float, str]] = []
        self._ended = threading.Event()
        self._spreads = 0
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Ledger:
        with psycopg.connect(self._target.conninfo(), autocommit=True) as connection:
            query = sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(self._table, sql.SQL(COLUMNS))
            connection.execute(query)
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
        return len(self._times)

    @property
    def failures(self) -> Sequence[tuple[float, str]]:
        """When attempts failed, and with which words."""
        return tuple(self._failures)

    def moments(self, first: int = 0) -> list[tuple[float, float]]:
        """When each write from number `first` on was acknowledged (time.monotonic()), and after how many seconds."""
        return [(self._times[index], self._took[index]) for index in range(first, len(self._times))]

    def gap(self, since: float | None = None) -> Gap:
        """The longest pause from `since` (time.monotonic(), the beginning if None) until now."""
        start = self._began if since is None else since
        first, end, now = bisect_left(self._times, start), len(self._times), time.monotonic()
        last = dict.fromkeys(range(self._writers), start)
        longest, began, slowest, before = 0.0, start, 0.0, start
        for index in range(first, end):
            when, writer = self._times[index], self._writer[index]
            if when - before > longest:
                longest, began = when - before, before
            slowest, last[writer], before = max(slowest, when - last[writer]), when, when
        if now - before > longest:
            longest, began = now - before, before
        slowest = max(slowest, *(now - when for when in last.values()))
        failed = sum(1 for when, _ in list(self._failures) if when >= start)
        return Gap(seconds=longest, began=began, acknowledged=end - first, failed=failed, slowest=slowest)

    def wait_for_writes(self, count: int = 20, deadline: float = 60.0) -> float:
        """Wait until `count` more writes are acknowledged; the seconds it took. Raises TimeoutError."""
        start, goal = time.monotonic(), self.acknowledged + count
        while self.acknowledged < goal:
            if time.monotonic() - start > deadline:
                last = self._failures[-1][1] if self._failures else "no failure either"
                raise TimeoutError(f"not within {deadline:.0f} s: {count} acknowledged writes; last: {last}")
            self._must_live()
            self._ended.wait(0.01)
        return time.monotonic() - start

    def spread(self, deadline: float = 30.0) -> None:
        """Let every writer connect anew, to its own router, so that the next fault meets them as they began."""
        self._spreads += 1
        self.wait_for_all_writers(deadline)

    def wait_until_steady(self, span: float, longest: float, deadline: float) -> None:
        """Wait until `span` seconds in a row have had no pause longer than `longest`. Raises TimeoutError."""
        began = time.monotonic()
        while time.monotonic() - began <= deadline:
            now = time.monotonic()
            if now - began >= span and self.gap(now - span).seconds <= longest:
                return
            self._must_live()
            self._ended.wait(0.1)
        raise TimeoutError(f"not within {deadline:.0f} s: {span:g} s of writes without a pause over {longest:g} s")

    def wait_for_all_writers(self, deadline: float = 60.0) -> None:
        """Wait until each writer has had a new write acknowledged, whichever router it is on. Raises TimeoutError."""
        start, first = time.monotonic(), self.acknowledged
        while len(seen := set(self._writer[first:])) < self._writers:
            if time.monotonic() - start > deadline:
                missing = sorted(set(range(self._writers)) - seen)
                raise TimeoutError(f"not within {deadline:.0f} s: a write acknowledged to writers {missing}")
            self._must_live()
            self._ended.wait(0.01)

    def missing(self, *, newest: bool = False) -> list[tuple[int, int]]:
        """Acknowledged rows (writer, number) that the primary does not have; `newest`: of those since the last look.

        Raises TimeoutError if the primary cannot be asked.
        """
        first, end = (self._checked if newest else 0), len(self._times)
        if first == end:
            return []
        least = min(self._number[first:end])
        query = sql.SQL("SELECT writer, number FROM {} WHERE run = %s AND number >= %s").format(self._table)
        there, deadline = set[int](), 2 * PATIENCE
        give_up = time.monotonic() + deadline
        while True:
            try:
                with psycopg.connect(self._target.conninfo()) as connection, connection.cursor("ledger") as rows:
                    rows.itersize = 20_000
                    rows.execute(query, [self._name, least])
                    there.update(number << 8 | writer for writer, number in rows)
                break
            except psycopg.OperationalError as error:  # this connection may be cut by a failover like any other
                if time.monotonic() > give_up:
                    raise TimeoutError(f"not within {deadline:.0f} s: the rows that are there; {error}") from error
                threading.Event().wait(0.5)
        self._checked = end
        pairs = ((self._writer[index], self._number[index]) for index in range(first, end))
        return sorted((writer, number) for writer, number in pairs if number << 8 | writer not in there)

    def _must_live(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the writers have ended") from self._error

    @property
    def _name(self) -> str:
        return f"run-{self._began:.6f}"

    def _run(self) -> None:
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # a write that is given up is counted, not told
        try:
            anyio.run(self._write_all)
        except BaseException as error:
            self._error = error

    async def _write_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for writer in range(self._writers):
                tasks.start_soon(self._write, writer)

    async def _write(self, writer: int) -> None:
        number, attempt, spreads = 0, writer, self._spreads
        query = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(self._table)
        while not self._ended.is_set():
            if spreads != self._spreads:
                attempt, spreads = writer, self._spreads
            try:
                with anyio.fail_after(self._patience):
                    connection = await psycopg.AsyncConnection.connect(self._target.conninfo(attempt), autocommit=True)
                async with connection:
                    while not self._ended.is_set() and spreads == self._spreads:
                        number += 1
                        asked = time.monotonic()
                        with anyio.fail_after(self._patience):
                            await connection.execute(query, [self._name, writer, number])
                        self._writer.append(writer)
                        self._number.append(number)
                        self._took.append(time.monotonic() - asked)
                        self._times.append(time.monotonic())  # last: who reads from another thread counts these
                        await anyio.sleep(PACE)
            except (psycopg.Error, OSError, TimeoutError) as error:
                attempt += 1
                text = " ".join(str(error).split()) or type(error).__name__
                self._failures.append((time.monotonic(), text))
                await anyio.sleep(PAUSE)
