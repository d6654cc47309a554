"""Notices when this operator itself was asleep.

A process that was frozen, or starved by its machine, finds every stream silent and every timer overdue, although it
is only itself that has not listened. A small task that should turn every quarter second measures the gap; after one
that was too long, silence is counted from now.
"""

from __future__ import annotations

import anyio
from loguru import logger

TURN = 0.25
GAP = 1.0
"""Seconds: a turn that took longer than this was a pause of our own."""


class Clockwork:
    """`awake_since` is the time since which this process has run without a gap."""

    def __init__(self) -> None:
        self.awake_since = anyio.current_time()

    async def run(self) -> None:
        last = anyio.current_time()
        while True:
            await anyio.sleep(TURN)
            now = anyio.current_time()
            if now - last > TURN + GAP:
                logger.warning("this operator was not running for {:.1f} s; silence is counted from now", now - last)
                self.awake_since = now
            last = now
