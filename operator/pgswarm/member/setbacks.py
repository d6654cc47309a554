"""Work of an agent that failed: how often in a row, until when it is left alone, and when people are told."""

from __future__ import annotations

import anyio
from loguru import logger

from pgswarm.core import duty
from pgswarm.core.actions import RETRY_LAST
from pgswarm.core.reports import Problem
from pgswarm.errors import Again, Failure

TOLD = (1, 10, 100)
"""The failures in a row that are logged."""

LASTING = 10
"""Failures in a row after which any work is a problem that people should know of."""


FULL_LAST = 300.0
"""Seconds at most between two attempts at work that filled the disk: each of them may copy for an hour first."""

CAME = 16 << 20
"""Bytes that have become free since, after which it is tried again at once."""


class Setbacks:
    """The last kind of action that failed."""

    def __init__(self) -> None:
        self._times = 0
        self._kind: type[duty.Action] | None = None
        self._reason = ""
        self._until = 0.0
        self._free: int | None = None  # the least since the disk was full for this work

    def clear(self) -> None:
        """Something worked, or something else is to be done."""
        self._times, self._kind, self._free = 0, None, None

    def overtaken(self) -> None:
        """A newer word may want it otherwise; but no word makes a disk larger."""
        if self._free is None:
            self.clear()

    def note_room(self, free: int) -> bool:
        """So much is free now: if it has become more, work that the disk was too small for may be tried again."""
        if self._free is None:
            return False
        if free < self._free + CAME:
            self._free = min(free, self._free)
            return False
        self.clear()
        return True

    def until(self, action: duty.Action, now: float) -> float | None:
        """Until when this kind of action is still left alone; None: it may be tried."""
        return self._until if type(action) is self._kind and now < self._until else None

    def is_another_try(self, action: duty.Action) -> bool:
        """Has just this failed before? Then its beginning is no news."""
        return type(action) is self._kind and action.reason == self._reason

    def note(self, action: duty.Action, failure: Failure, free: int) -> Problem | None:
        """One more; what people are told, if it is worth it."""
        self._times = self._times + 1 if self._kind is type(action) else 1
        self._kind, self._reason = type(action), action.reason
        asked = failure.after if isinstance(failure, Again) else 1.0
        disk = "disk full" in failure.reason
        self._free = free if disk else None
        pause = duty.pause_after(action, self._times, asked, last=FULL_LAST if disk else RETRY_LAST)
        self._until = anyio.current_time() + pause
        if self._times in TOLD:
            logger.warning("{} ({} times), again in {:.1f} s", failure.reason, self._times, pause)
        large = isinstance(action, duty.LARGE)
        if not (disk or large or self._times >= LASTING):
            return None
        code = "disk-full" if disk else f"{type(action).__name__.lower()}-failed"
        return Problem(code=code, text=failure.reason)
