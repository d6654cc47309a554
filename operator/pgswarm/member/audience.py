"""Who reads an agent's reports, and whether each has been given the last word.

An agent that ends has one thing left to say: that PostgreSQL has stopped. Its process must not end, and cut the streams
off, before that is on its way to everybody who listens; and it must not wait for one that no longer reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

LAST_WORD = 0.3
"""Seconds that readers get to take the last report."""


class Audience:
    """All open streams of reports: of each, the sequence of the newest report that was sent to it whole."""

    def __init__(self) -> None:
        self._sent: dict[object, int] = {}
        self._moved = anyio.Event()

    @contextmanager
    def seat(self) -> Iterator[Callable[[int], None]]:
        """A place for as long as a stream is open; what is given is told each sequence when it was sent."""
        me = object()

        def sent(sequence: int) -> None:
            self._sent[me] = sequence
            self._moved.set()

        self._sent[me] = 0
        try:
            yield sent
        finally:
            del self._sent[me]
            self._moved.set()

    async def has_heard(self, sequence: int) -> None:
        """Return once everybody was sent the report of this sequence, or after LAST_WORD."""
        with anyio.move_on_after(LAST_WORD):
            while any(sent < sequence for sent in self._sent.values()):
                self._moved = anyio.Event()
                await self._moved.wait()
