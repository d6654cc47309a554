"""A database for an event loop: `sync` with `await`, and one thing more, cancellation.

A task that is cancelled while its function works ends as psycopg ends it: the query is cancelled, the transaction
rolled back. While COMMIT is under way that would be wrong: a COMMIT that waits for its standbys and is cancelled is
shown to everybody though it is on one machine only. So the session is cut off instead, and the server finishes what
it is at.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import psycopg
from psycopg import IsolationLevel
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgswarm.client.dial import AsyncDialled, Dial
from pgswarm.client.effort import DURABLE, LOCK, Attempt, Effort, Patience
from pgswarm.client.fuse import lit_in_loop, look_before_commit
from pgswarm.client.sync import IDLE, LIFE, SLICE
from pgswarm.client.verdict import Stage, is_permanent
from pgswarm.client.where import Where

AsyncConnection = psycopg.AsyncConnection[Any]
T = TypeVar("T")
P = ParamSpec("P")
Landed = Callable[[AsyncConnection], Awaitable[bool]]


class AsyncDatabase:
    """Transactions against one database, on the event loop that it was opened in. As `Database`, with `await`."""

    def __init__(
        self,
        where: Where,
        *,
        min_size: int = 1,
        max_size: int = 10,
        patience: Patience | None = None,
        configure: Callable[[AsyncConnection], Awaitable[None]] | None = None,
        max_lifetime: float = LIFE,
        max_idle: float = IDLE,
    ) -> None:
        self.patience = patience or Patience()
        self._dial = Dial(where, self.patience)
        self._pool: Any = AsyncConnectionPool(
            connection_class=AsyncDialled.by(self._dial),
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

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin to connect; does not wait, and is not refused while no database is there."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection; a `run` under way ends with an error."""
        self._dial.ended.set()
        await self._pool.close()

    async def run(
        self,
        function: Callable[[AsyncConnection], Awaitable[T]],
        *,
        idempotent: bool = False,
        landed: Landed | None = None,
        read_only: bool = False,
        isolation: IsolationLevel | None = None,
        deadline: float | None = None,
    ) -> T:
        """Call `function` with a connection in a transaction, and commit it. What it returned.

        Words and errors are those of `Database.run`. Cancelled before COMMIT was sent, nothing is committed; cancelled
        later, nobody can know.
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
        return await self._run(function, effort, landed, isolation)

    def transaction(
        self, **wish: Any
    ) -> Callable[[Callable[Concatenate[AsyncConnection, P], Awaitable[T]]], Callable[P, Awaitable[T]]]:
        """A decorator: the function's first parameter is the connection, the others are the caller's. Words as in
        `run`.
        """

        def decorate(function: Callable[Concatenate[AsyncConnection, P], Awaitable[T]]) -> Callable[P, Awaitable[T]]:
            @functools.wraps(function)
            async def call(*args: P.args, **kwargs: P.kwargs) -> T:
                return await self.run(lambda connection: function(connection, *args, **kwargs), **wish)

            return call

        return decorate

    @asynccontextmanager
    async def connection(self, deadline: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection that has just answered, committed at the end; from then on every failure is the caller's.

        Raises psycopg.OperationalError if there is none within the deadline (seconds).
        """
        until = time.monotonic() + (self.patience.deadline if deadline is None else deadline)
        while True:
            connection = await self._take(until)
            try:
                with lit_in_loop(connection, until):
                    await self._pool.check_connection(connection)
                break
            except psycopg.Error:
                await self._give_back(connection)
                await self._renew(connection.born)
        try:
            async with connection:
                yield connection
        finally:
            await self._give_back(connection)

    async def _run(
        self,
        function: Callable[[AsyncConnection], Awaitable[T]],
        effort: Effort,
        landed: Landed | None,
        isolation: IsolationLevel | None,
    ) -> T:
        while True:
            attempt, kept = Attempt(), list[T]()
            try:
                return await self._once(function, effort, attempt, kept, isolation)
            except Exception as error:
                then = effort.after(error, attempt, time.monotonic())
            if then.anew:
                await self._renew(attempt.born)
            await asyncio.sleep(then.pause)
            if then.look and landed is not None:
                if await self._has_landed(landed, effort, attempt):
                    return kept[0]
                effort.looked()

    async def _once(
        self,
        function: Callable[[AsyncConnection], Awaitable[T]],
        effort: Effort,
        attempt: Attempt,
        kept: list[T],
        isolation: IsolationLevel | None,
    ) -> T:
        """One attempt. `kept` gets the function's result before COMMIT is sent."""
        connection = await self._take(effort.until)
        attempt.born, attempt.stage = connection.born, Stage.WORKING
        try:
            with lit_in_loop(connection, effort.until) as fuse:
                await connection.set_isolation_level(isolation)
                await connection.set_read_only(True if effort.read_only else None)
                async with _Committing(connection.transaction(), fuse.burn) as block:
                    if effort.can_look:
                        await connection.execute(LOCK, [attempt.key])
                    if effort.unknown is not None:
                        await connection.execute(DURABLE)
                    kept.append(await function(connection))
                    look_before_commit(connection)
                    attempt.stage = Stage.COMMITTING
                    block.is_due = True
            return kept[0] if kept else cast(T, None)
        finally:
            attempt.gone = connection.closed
            await self._give_back(connection)

    async def _has_landed(self, landed: Landed, effort: Effort, attempt: Attempt) -> bool:
        """Was the attempt in doubt committed? Raises OutcomeUnknown if that cannot be found out in time."""

        async def look(connection: AsyncConnection) -> bool:
            # Whoever holds the lock still works on it; READ COMMITTED sees in the next statement what it has left.
            await connection.execute(LOCK, [attempt.key])
            there = bool(await landed(connection))
            await connection.execute(DURABLE)
            return there

        began = time.monotonic()
        looking = Effort(patience=self.patience, began=began, until=effort.until, idempotent=True)
        try:
            return await self._run(look, looking, None, IsolationLevel.READ_COMMITTED)
        except Exception as error:  # also the caller's own: whatever ends the look, the outcome stays unknown
            effort.give_up(error, time.monotonic())

    async def _take(self, until: float) -> Any:
        """A connection of the pool. Raises why none could be made, or PoolTimeout if all are in use until then."""
        while True:
            left = until - time.monotonic()
            try:
                return await self._pool.getconn(timeout=min(SLICE, left))
            except PoolTimeout:
                refusal = self._dial.refusal
                if refusal is not None and (left <= SLICE or is_permanent(refusal)):
                    raise refusal from None
                if left <= SLICE:
                    raise

    async def _give_back(self, connection: Any) -> None:
        await self._pool.putconn(connection)

    async def _renew(self, born: float) -> None:
        """Let no connection that is as old as this one be used again."""
        if self._dial.is_stale(born):
            await self._pool.drain()


class _Committing:
    """psycopg's transaction, but that its COMMIT, once due, is not cancelled: who is cancelled cuts the session off."""

    def __init__(self, block: Any, cut: Callable[[], None]) -> None:
        self._block = block
        self._cut = cut
        self.is_due = False

    async def __aenter__(self) -> Self:
        await self._block.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> bool:
        if not self.is_due:
            return bool(await self._block.__aexit__(*failure))
        commit = asyncio.ensure_future(self._block.__aexit__(*failure))
        try:
            return bool(await asyncio.shield(commit))
        except asyncio.CancelledError:
            self._cut()
            with contextlib.suppress(psycopg.Error):
                await commit
            raise
