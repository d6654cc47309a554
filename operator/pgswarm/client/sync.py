"""A database for threads: `run` does a transaction until it is committed, cannot be, or its deadline passes.

What to do after a failure is decided in `effort`; here are the connection, the transaction and the waiting. A
connection is taken from psycopg's pool without a check, because BEGIN is one, and what fails there is done again
elsewhere. The first connection of a generation that breaks takes all that are as old with it: after a failover they
lead to the same dead server.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import psycopg
from psycopg import IsolationLevel
from psycopg_pool import ConnectionPool, PoolTimeout

from pgswarm.client.dial import Dial, Dialled
from pgswarm.client.effort import DURABLE, LOCK, Attempt, Effort, Patience
from pgswarm.client.fuse import Fuses, look_before_commit
from pgswarm.client.verdict import Stage, is_permanent
from pgswarm.client.where import Where

Connection = psycopg.Connection[Any]
T = TypeVar("T")
P = ParamSpec("P")
Landed = Callable[[Connection], bool]

SLICE = 0.5
"""Seconds to stand in the pool's line before asking why it takes so long."""

LIFE = 300.0
"""Seconds that a connection is used: so clients spread again over routers that were away."""

IDLE = 60.0
"""Seconds until a connection that nobody needs is closed."""


class Database:
    """Transactions against one database. Open it in the process that uses it (after a fork); threads may share it.

    Use it as a context manager, or `open` and `close`. `configure` is called with each new connection.
    """

    def __init__(
        self,
        where: Where,
        *,
        min_size: int = 1,
        max_size: int = 10,
        patience: Patience | None = None,
        configure: Callable[[Connection], None] | None = None,
        max_lifetime: float = LIFE,
        max_idle: float = IDLE,
    ) -> None:
        self.patience = patience or Patience()
        self._dial = Dial(where, self.patience)
        self._fuses = Fuses()
        self._ended = threading.Event()
        self._renewing = threading.Lock()
        self._pool: Any = ConnectionPool(
            connection_class=Dialled.by(self._dial),
            configure=configure,
            min_size=min_size,
            max_size=max_size,
            max_lifetime=max_lifetime,
            max_idle=max_idle,
            reconnect_timeout=0,  # the dial tries again by itself
            open=False,
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **words: Any) -> Self:
        """By DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASS or DB_PASS_FILE. Raises ValueError, naming the variable."""
        return cls(Where.from_environment(environ), **words)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Begin to connect; does not wait, and is not refused while no database is there."""
        self._pool.open()

    def close(self) -> None:
        """Close every connection; a `run` under way ends with an error."""
        self._ended.set()
        self._dial.ended.set()
        self._pool.close()
        self._fuses.end()

    def run(
        self,
        function: Callable[[Connection], T],
        *,
        idempotent: bool = False,
        landed: Landed | None = None,
        read_only: bool = False,
        isolation: IsolationLevel | None = None,
        deadline: float | None = None,
    ) -> T:
        """Call `function` with a connection in a transaction, and commit it. What it returned.

        It may be called several times, so it should do nothing but talk with that connection, and leave ending the
        transaction to `run`. (`psycopg.Rollback` raised in it rolls back, and None is returned.)

        `idempotent`: it may be done again though it may have been committed already, because twice is as good as once.
        `landed`: asked on another connection, once the attempt in doubt has ended there, whether it was committed.
        `read_only`: the server shall refuse to write; then every attempt may be repeated.
        `deadline`: seconds for everything; else that of the database's `patience`.

        Raises Unavailable (nothing was committed in time), OutcomeUnknown (nobody can know; only if neither
        `idempotent` nor `landed` nor `read_only` is given, or the deadline passed before it could be settled),
        TransactionEnded, and unchanged whatever PostgreSQL or the function says that another attempt would not
        change.
        """
        now = time.monotonic()
        effort = Effort(
            patience=self.patience,
            began=now,
            until=now + (self.patience.deadline if deadline is None else deadline),
            idempotent=idempotent,
            can_look=landed is not None,
            read_only=read_only,
        )
        return self._run(function, effort, landed, isolation)

    def transaction(
        self, **wish: Any
    ) -> Callable[[Callable[Concatenate[Connection, P], T]], Callable[P, T]]:  # fmt: skip
        """A decorator: the function's first parameter is the connection, the others are the caller's. Words as in
        `run`.
        """

        def decorate(function: Callable[Concatenate[Connection, P], T]) -> Callable[P, T]:
            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> T:
                return self.run(lambda connection: function(connection, *args, **kwargs), **wish)

            return call

        return decorate

    @contextmanager
    def connection(self, deadline: float | None = None) -> Iterator[Connection]:
        """A connection that has just answered, committed at the end; from then on every failure is the caller's.

        Raises psycopg.OperationalError if there is none within the deadline (seconds).
        """
        until = time.monotonic() + (self.patience.deadline if deadline is None else deadline)
        while True:
            connection = self._take(until)
            try:
                with self._fuses.lit(connection, until):
                    self._pool.check_connection(connection)
                break
            except psycopg.Error:
                self._give_back(connection)
                self._renew(connection.born)
        try:
            with connection:
                yield connection
        finally:
            self._give_back(connection)

    def _run(
        self,
        function: Callable[[Connection], T],
        effort: Effort,
        landed: Landed | None,
        isolation: IsolationLevel | None,
    ) -> T:
        while True:
            attempt, kept = Attempt(), list[T]()
            try:
                return self._once(function, effort, attempt, kept, isolation)
            except Exception as error:
                then = effort.after(error, attempt, time.monotonic())
            if then.anew:
                self._renew(attempt.born)
            self._ended.wait(then.pause)
            if then.look and landed is not None:
                if self._has_landed(landed, effort, attempt):
                    return kept[0]
                effort.looked()

    def _once(
        self,
        function: Callable[[Connection], T],
        effort: Effort,
        attempt: Attempt,
        kept: list[T],
        isolation: IsolationLevel | None,
    ) -> T:
        """One attempt. `kept` gets the function's result before COMMIT is sent."""
        connection = self._take(effort.until)
        attempt.born, attempt.stage = connection.born, Stage.WORKING
        try:
            with self._fuses.lit(connection, effort.until):
                connection.isolation_level = isolation
                connection.read_only = True if effort.read_only else None
                with connection.transaction():
                    if effort.can_look:
                        connection.execute(LOCK, [attempt.key])
                    if effort.unknown is not None:
                        connection.execute(DURABLE)
                    kept.append(function(connection))
                    look_before_commit(connection)
                    attempt.stage = Stage.COMMITTING
            return kept[0] if kept else cast(T, None)
        finally:
            attempt.gone = connection.closed
            self._give_back(connection)

    def _has_landed(self, landed: Landed, effort: Effort, attempt: Attempt) -> bool:
        """Was the attempt in doubt committed? Raises OutcomeUnknown if that cannot be found out in time."""

        def look(connection: Connection) -> bool:
            # Whoever holds the lock still works on it; READ COMMITTED sees in the next statement what it has left.
            connection.execute(LOCK, [attempt.key])
            there = bool(landed(connection))
            connection.execute(DURABLE)
            return there

        began = time.monotonic()
        looking = Effort(patience=self.patience, began=began, until=effort.until, idempotent=True)
        try:
            return self._run(look, looking, None, IsolationLevel.READ_COMMITTED)
        except Exception as error:  # also the caller's own: whatever ends the look, the outcome stays unknown
            effort.give_up(error, time.monotonic())

    def _take(self, until: float) -> Any:
        """A connection of the pool. Raises why none could be made, or PoolTimeout if all are in use until then."""
        while True:
            left = until - time.monotonic()
            try:
                return self._pool.getconn(timeout=min(SLICE, left))
            except PoolTimeout:
                refusal = self._dial.refusal
                if refusal is not None and (left <= SLICE or is_permanent(refusal)):
                    raise refusal from None
                if left <= SLICE:
                    raise

    def _give_back(self, connection: Any) -> None:
        self._pool.putconn(connection)

    def _renew(self, born: float) -> None:
        """Let no connection that is as old as this one be used again."""
        with self._renewing:
            stale = self._dial.is_stale(born)
        if stale:
            self._pool.drain()
