"""Work of an agent that failed: how often in a row, until when it is left alone, and when people are told."""

from __future__ import annotations

import anyio
from loguru import logger

from pgswarm.core import duty
from pgswarm.core.reports import Problem
from pgswarm.errors import Again, Failure

TOLD = (1, 10, 100)
"""The failures in a row that are logged."""

LASTING = 10
"""Failures in a row after which any work is a problem that people should know of."""


class Setbacks:
    """The last kind of action that failed."""

    def __init__(self) -> None:
        self._times = 0
        self._kind: type[duty.Action] | None = None
        self._reason = ""
        self._until = 0.0

    def clear(self) -> None:
        """Something worked, or something else is to be done."""
        self._times, self._kind = 0, None

    def until(self, action: duty.Action, now: float) -> float | None:
        """Until when this kind of action is still left alone; None: it may be tried."""
        return self._until if type(action) is self._kind and now < self._until else None

    def is_another_try(self, action: duty.Action) -> bool:
        """Has just this failed before? Then its beginning is no news."""
        return type(action) is self._kind and action.reason == self._reason

    def note(self, action: duty.Action, failure: Failure) -> Problem | None:
        """One more; what people are told, if it is worth it."""
        self._times = self._times + 1 if self._kind is type(action) else 1
        self._kind, self._reason = type(action), action.reason
        asked = failure.after if isinstance(failure, Again) else 1.0
        pause = duty.pause_after(action, self._times, asked)
        self._until = anyio.current_time() + pause
        if self._times in TOLD:
            logger.warning("{} ({} times), again in {:.1f} s", failure.reason, self._times, pause)
        disk = "disk full" in failure.reason
        large = isinstance(action, duty.LARGE)
        if not (disk or large or self._times >= LASTING):
            return None
        code = "disk-full" if disk else f"{type(action).__name__.lower()}-failed"
        return Problem(code=code, text=failure.reason)
