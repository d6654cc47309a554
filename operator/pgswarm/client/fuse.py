"""Ends what outlives its deadline: a session that waits for an answer is cut off at its socket.

Not by a cancel request. Cancelling a COMMIT that waits for its standbys makes PostgreSQL show and acknowledge it
though it is on one machine only, and no deadline of an application is worth that. A closed socket leaves the server
to finish what it is at; here it is an ordinary lost connection, and the same rules say what follows.

A fuse holds a duplicate of the session's descriptor: libpq closes its own when it meets an error, and the number may
then belong to a stranger.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from pgswarm.client.failures import TransactionEnded

Session = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


class _Fuse:
    def __init__(self, session: Session, until: float) -> None:
        self.until = until
        self._socket = socket.socket(fileno=os.dup(session.fileno()))

    def burn(self) -> None:
        with contextlib.suppress(OSError):  # the other side was faster
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


class Fuses:
    """For threads: one watching thread for all sessions of one `Database`, begun with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lit: set[_Fuse] = set()
        self._wake = math.inf
        self._thread: threading.Thread | None = None
        self._ended = False

    @contextlib.contextmanager
    def lit(self, session: Session, until: float) -> Iterator[None]:
        """While inside, the session is cut off at `until` (time.monotonic). Raises OperationalError if it is closed."""
        fuse = _Fuse(session, until)
        with self._changed:
            self._lit.add(fuse)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="pgswarm-client-deadlines", daemon=True)
                self._thread.start()
            elif until < self._wake:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._lit.discard(fuse)
            fuse.close()

    def end(self) -> None:
        """No deadline is watched any more."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._ended:
                now = time.monotonic()
                for fuse in [fuse for fuse in self._lit if fuse.until <= now]:
                    fuse.burn()
                    self._lit.discard(fuse)
                self._wake = min((fuse.until for fuse in self._lit), default=math.inf)
                self._changed.wait(None if self._wake == math.inf else self._wake - now)


@contextlib.contextmanager
def lit_in_loop(session: Session, until: float) -> Iterator[_Fuse]:
    """The same on an event loop, whose clock is time.monotonic as well."""
    fuse = _Fuse(session, until)
    loop = asyncio.get_running_loop()
    timer = loop.call_later(max(0.0, until - time.monotonic()), fuse.burn)
    try:
        yield fuse
    finally:
        timer.cancel()
        fuse.close()


def look_before_commit(session: Session) -> None:
    """Is there a transaction that can be committed, on a connection that stands? Costs no round trip.

    Each session that is seen to be dead here is one whose outcome is not in doubt, because COMMIT is not sent. Raises
    OperationalError if it is dead; InFailedSqlTransaction if the function has passed over an error (COMMIT would then
    roll back and look like success); TransactionEnded if it has committed or rolled back by itself.
    """
    status = session.info.transaction_status
    if status == TransactionStatus.UNKNOWN:
        raise psycopg.OperationalError("the connection was lost, and the function has not told")
    if status == TransactionStatus.INERROR:
        raise psycopg.errors.InFailedSqlTransaction("the function went on after an error: there is nothing to commit")
    if status == TransactionStatus.IDLE:
        raise TransactionEnded("the function has ended its transaction itself; let `run` commit it")
    # A server says nothing to a session between two statements but notices and good-bye: the second look finds the end.
    for _ in range(2):
        poll = select.poll()
        poll.register(session.fileno(), select.POLLIN)
        if not poll.poll(0):
            return
        session.pgconn.consume_input()
