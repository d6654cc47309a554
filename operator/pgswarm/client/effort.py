"""One `run` from its first attempt to its end: what follows from each failure, without I/O and without a clock.

`sync` and `aio` do the work and ask here what to do next; the rules exist once. Two of them are easily got wrong. After
an attempt whose outcome is unknown no later failure may be told as "nothing was committed", and no later success may
rest on a commit that is only on the primary's disk; so an effort remembers it until somebody has looked. And a pause
never reaches beyond the deadline: the error is told then, not after it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import psycopg

from pgswarm.client.failures import OutcomeUnknown, Unavailable
from pgswarm.client.verdict import Stage, Verdict, judge

DURABLE = "SELECT pg_logical_emit_message(true, 'pgswarm.client', '')"
"""Makes a transaction write a little log, so that its COMMIT waits for the standbys and for every commit before it."""

LOCK = "SELECT pg_advisory_xact_lock(%s)"
"""Held by a transaction that can be looked for, until its outcome can be seen; taken by who looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long, and how often, to try. Seconds."""

    deadline: float = 30.0
    """For all attempts of one `run` and the pauses between them."""
    first: float = 0.05
    """The pause after the first failure; each further one doubles it."""
    longest: float = 1.0
    """The longest pause."""

    def __post_init__(self) -> None:
        """Raises ValueError for a time that is not positive."""
        if min(self.deadline, self.first, self.longest) <= 0:
            raise ValueError("the deadline and the pauses must be longer than 0 seconds")

    def pause(self, failures: int, dice: Callable[[], float]) -> float:
        """The pause after that many failures in a row; between half and all of it, so that clients come back one by
        one.
        """
        return float(min(self.longest, self.first * 2 ** min(failures - 1, 20)) * (0.5 + dice() / 2))


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What is known of one attempt; filled in while it goes on."""

    stage: Stage = Stage.CONNECTING
    gone: bool = False
    """The connection does not stand any more."""
    born: float = 0.0
    """When its connection was made."""
    key: int = field(default_factory=lambda: random.SystemRandom().getrandbits(63))
    """The advisory lock by which it is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What to do after a failure."""

    pause: float
    anew: bool
    """Connections as old as the failed one are not to be used again."""
    look: bool
    """First find out whether it was committed."""


@dataclass(slots=True, kw_only=True)
class Effort:
    """One `run`."""

    patience: Patience
    began: float
    until: float
    """When the deadline passes, on the same clock as `began`."""
    idempotent: bool = False
    can_look: bool = False
    read_only: bool = False
    dice: Callable[[], float] = random.random
    failures: int = 0
    unknown: BaseException | None = None
    """The error of an attempt of which nobody knows yet whether it was committed."""

    def after(self, error: BaseException, attempt: Attempt, now: float) -> Next:
        """What to do now. Raises the error itself where it is the answer, else `Unavailable` or `OutcomeUnknown`."""
        self.failures += 1
        verdict = judge(error, attempt.stage, gone=attempt.gone, read_only=self.read_only)
        if verdict is Verdict.UNKNOWN:
            self.unknown = error
            if not (self.idempotent or self.can_look):
                self.give_up(error, now)
        if verdict is Verdict.FINAL:
            if self.unknown is not None and isinstance(error, psycopg.Error):
                self.give_up(error, now)
            raise error
        pause = self.patience.pause(self.failures, self.dice)
        if now + pause >= self.until:
            self.give_up(error, now)
        look = verdict is Verdict.UNKNOWN and self.can_look
        return Next(pause=pause, anew=verdict is not Verdict.AGAIN, look=look)

    def looked(self) -> None:
        """Somebody has looked: the attempt in doubt was not committed, and never will be."""
        self.unknown = None

    def give_up(self, error: BaseException, now: float) -> NoReturn:
        """Raises what is true of all attempts together."""
        told = f"after {now - self.began:.1f} s and {_times(self.failures)}: {_line(error)}"
        if self.unknown is not None:
            raise OutcomeUnknown(f"it may have been committed, {told}", self.failures) from error
        raise Unavailable(f"nothing was committed, {told}", self.failures) from error


def _times(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
