"""What an agent may be told to do by `duty`: one action at a time, as data, each with its reason.

And how long one that failed waits before it is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from pgswarm.core.claim import Incarnation
from pgswarm.core.orders import Order
from pgswarm.core.reports import Problem

RETRY_FIRST, RETRY_LAST = 0.5, 30.0
"""Seconds between attempts at work that failed (clone, rewind, initdb, promotion): doubled from first to last."""

RETRY_STEADY = 2.0
"""Seconds at most between attempts at everything else: what it waits for is short."""


class Begin(Enum):
    """How postgres is started."""

    FENCED = auto()  # in recovery, no upstream
    FOLLOWING = auto()  # in recovery, with the upstream that this data is known to follow
    PRIMARY = auto()  # read-write, on the timeline that it had


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """What a standby is told to stream from."""

    primary: Incarnation
    term: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Nothing, until something changes or `until`."""

    reason: str
    until: float | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """initdb."""

    order: Order
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Take over the data directory that was found."""

    order: Order
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    begin: Begin
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Stop, so that it is started anew as what it was: for parameters that are read at a start only."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Receive nothing more and find the end of the valid log."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    upstream: Upstream
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewind:
    upstream: Upstream
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    upstream: Upstream
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    order: Order
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assume:
    """Go on as primary in a higher term, on the same timeline (the term was raised)."""

    term: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Jettison:
    """Give up the ballast: the volume is full, and PostgreSQL could not start."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Take the last order for confirmed: everybody in its claim agrees, and there is no operator (law 5)."""

    order: Order
    reason: str


Action = (
    Rest
    | Create
    | Adopt
    | Start
    | Stop
    | Restart
    | Settle
    | Follow
    | Rewind
    | Clone
    | Promote
    | Assume
    | Resume
    | Jettison
)


LARGE = (Create, Adopt, Clone, Rewind, Promote)
"""Work that takes its time, and of whose failure people are told at once."""


def pause_after(action: Action, failures: int, asked: float, last: float = RETRY_LAST) -> float:
    """Seconds before work that failed `failures` times in a row is tried again; `asked` is what the failure said."""
    match action:
        case Create() | Adopt() | Clone() | Rewind() | Promote():
            return max(asked, growing(RETRY_FIRST, last, failures))
        case Follow() | Start() | Stop() | Restart() | Settle() | Assume() | Resume() | Jettison() | Rest():
            return min(RETRY_STEADY, max(0.05, asked))
        case _ as never:
            assert_never(never)


def growing(first: float, last: float, times: int) -> float:
    """A pause that doubles each time, from the first to the last."""
    return float(min(last, first * 2.0 ** min(times - 1, 20)))
