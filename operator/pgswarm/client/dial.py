"""Makes the pool's connections, and goes on trying with short pauses.

psycopg's pool waits a second after a connection that could not be made, then two, then four: after an outage of a third
of a second its clients would stand in line long after the database is back. So the connection class that the pool is
given tries by itself, with the pauses of `Patience`, and reads the password anew each time; what the last refusal was
is remembered, because the pool tells its clients only that time is up.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any, Self

import psycopg

from pgswarm.client.effort import Patience
from pgswarm.client.verdict import is_permanent
from pgswarm.client.where import Where

TRIES_FOR = 5.0
"""Seconds until the pool hears of a failure and may make up its mind anew."""


class Dial:
    """How one pool connects, and how it went."""

    def __init__(self, where: Where, patience: Patience) -> None:
        self.where = where
        self.patience = patience
        self.refusal: Exception | None = None
        """The last failure, unless a connection was made since."""
        self.ended = threading.Event()
        self.renewed = -1.0
        """Connections made before are not trusted (time.monotonic)."""

    def is_stale(self, born: float) -> bool:
        """Has a connection that was made then failed as the first of its generation? Then a new one begins."""
        if born <= self.renewed:
            return False
        self.renewed = time.monotonic()
        return True

    def next_pause(self, refusal: Exception, failures: int, began: float) -> float:
        """The pause before the next try. Raises the refusal if there is to be none."""
        self.refusal = refusal
        if self.ended.is_set() or is_permanent(refusal) or time.monotonic() - began > TRIES_FOR:
            raise refusal
        return self.patience.pause(failures, random.random)


class Dialled(psycopg.Connection[Any]):
    """A connection that knows when it was made; `by(dial)` gives the class that a pool can make them with."""

    dial: Dial
    born: float = 0.0

    @classmethod
    def by(cls, dial: Dial) -> type[Dialled]:
        return type("Dialled", (cls,), {"dial": dial})

    @classmethod
    def connect(cls, conninfo: str = "", **words: Any) -> Self:
        began, failures = time.monotonic(), 0
        while True:
            born = time.monotonic()
            try:
                made = super().connect(conninfo, **{**cls.dial.where.parameters(), **words})
            except (psycopg.Error, OSError, UnicodeError) as refusal:
                failures += 1
                cls.dial.ended.wait(cls.dial.next_pause(refusal, failures, began))
                continue
            made.born, cls.dial.refusal = born, None
            return made


class AsyncDialled(psycopg.AsyncConnection[Any]):
    """The same for an event loop."""

    dial: Dial
    born: float = 0.0

    @classmethod
    def by(cls, dial: Dial) -> type[AsyncDialled]:
        return type("AsyncDialled", (cls,), {"dial": dial})

    @classmethod
    async def connect(cls, conninfo: str = "", **words: Any) -> Self:
        began, failures = time.monotonic(), 0
        while True:
            born = time.monotonic()
            try:
                made = await super().connect(conninfo, **{**cls.dial.where.parameters(), **words})
            except (psycopg.Error, OSError, UnicodeError) as refusal:
                failures += 1
                await asyncio.sleep(cls.dial.next_pause(refusal, failures, began))
                continue
            made.born, cls.dial.refusal = born, None
            return made
