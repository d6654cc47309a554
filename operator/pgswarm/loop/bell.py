"""How one part wakes another: a bell that may be rung any number of times before somebody listens.

Sources say only *that* something may have changed, never what; whoever wakes looks at everything again. So a queue
of one place is all that is needed: rings while nobody waits are one ring.
"""

from __future__ import annotations

import anyio


class Bell:
    """A de-duplicating wake-up for one listener."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout: float) -> bool:
        """Wait for a ring, at most `timeout` seconds. True if it rang; rings until now are then used up."""
        with anyio.move_on_after(timeout):
            await self._rung.wait()
        rang = self._rung.is_set()
        if rang:
            self._rung = anyio.Event()
        return rang
