"""The receiving end of a stream that stays open: what comes is kept for its reader, and a beat is heard in passing.

Most of what an idle operator hears says "still as I said", from every agent twice a second. To wake the reader's task
for that, through a socket that is watched, unwatched and watched again and a deadline that is set anew each time, was
half of what ten clusters cost at rest. So an empty line that comes by itself is told by one call, there and then; the
reader sleeps on until there is something to read, or until nothing at all has come for too long.

A beat is only taken so if nothing is waiting to be read: it never overtakes a report. Used by ports/calls for `lines`;
everything else is asked and answered over anyio's own streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from pgswarm.wire import BEAT

MOST_KEPT = 1 << 20
"""Bytes that may wait for the reader; then the other side waits too."""

Beat = Callable[[], bool]
"""Called for each beat. True if that was all; else the reader is woken, as for anything else."""


class Feed(asyncio.Protocol):
    """One connection. `beat` may be set once the other side has begun to send lines."""

    def __init__(self) -> None:
        self.beat: Beat | None = None
        self.beaten_at = float("-inf")
        """When the last beat came that woke nobody."""
        self._transport: asyncio.Transport | None = None
        self._kept = bytearray()
        self._is_between_lines = False
        self._is_paused = False
        self._is_over = False
        self._error: Exception | None = None
        self._moved = anyio.Event()

    async def connect(self, address: str, port: int) -> None:
        """Open the connection. Raises OSError."""
        await asyncio.get_running_loop().create_connection(lambda: self, address, port)

    async def send(self, data: bytes) -> None:
        """Send some hundred bytes."""
        if self._transport is None or self._transport.is_closing():
            raise anyio.BrokenResourceError from self._error
        self._transport.write(data)

    async def receive(self) -> bytes:
        """What has come, at least a byte. Raises EndOfStream or BrokenResourceError, but not before all is read."""
        while not self._kept:
            if self._error is not None:
                raise anyio.BrokenResourceError from self._error
            if self._is_over:
                raise anyio.EndOfStream
            self._moved = anyio.Event()
            await self._moved.wait()
        data = bytes(self._kept)
        self._kept.clear()
        if self._is_paused and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._is_paused = False
        return data

    def abort(self) -> None:
        """Drop the connection, without waiting for anybody."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data == BEAT and self._is_between_lines and not self._kept and self.beat is not None:
            self.beaten_at = anyio.current_time()
            if self.beat():
                return
        self._is_between_lines = data.endswith(b"\n")
        self._kept += data
        if len(self._kept) > MOST_KEPT and self._transport is not None and not self._is_paused:
            self._transport.pause_reading()
            self._is_paused = True
        self._moved.set()

    def eof_received(self) -> None:
        self._is_over = True
        self._moved.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over, self._error = True, exc
        self._moved.set()
