"""Notices when this operator itself was asleep.

A process that was frozen, or starved by its machine, finds every stream silent and every timer overdue, although it
is only itself that has not listened. A small task that should turn every quarter second measures the gap; after one
that was too long, silence is counted from now.

When a frozen process goes on, nobody knows which of its tasks runs first. So whoever is about to judge a silence asks
here, and the gap is found by the first who asks: no pass ever sees an old `awake` with a new clock.
"""

from __future__ import annotations

import anyio
from loguru import logger

TURN = 0.25
GAP = 1.0
"""Seconds: a turn that took longer than this was a pause of our own."""


class Clockwork:
    """Since when this process has run without a gap."""

    def __init__(self) -> None:
        self._awake_since = self._turned_at = anyio.current_time()

    def awake_since(self, now: float) -> float:
        """The time since which there was no gap, one that ends now included."""
        gap = now - self._turned_at
        if gap > TURN + GAP:
            logger.warning("this operator was not running for {:.1f} s; silence is counted from now", gap)
            self._awake_since = self._turned_at = now
        return self._awake_since

    async def run(self) -> None:
        """Turn for ever."""
        while True:
            await anyio.sleep(TURN)
            now = anyio.current_time()
            self.awake_since(now)
            self._turned_at = now
