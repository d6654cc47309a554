"""What an agent may be told to do by `duty`: one action at a time, as data, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from pgswarm.core.claim import Incarnation
from pgswarm.core.orders import Order
from pgswarm.core.reports import Problem


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
class Resume:
    """Take the last order for confirmed: everybody in its claim agrees, and there is no operator (law 5)."""

    order: Order
    reason: str


Action = Rest | Create | Adopt | Start | Stop | Settle | Follow | Rewind | Clone | Promote | Assume | Resume
