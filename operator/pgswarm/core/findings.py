"""What a check-up knows and says: facts with *unknown* as a value, and findings with a reason and a remedy.

The checks are `swarmcheck` and `clustercheck`; `checkup` puts them in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from pgswarm.core.base import Message
from pgswarm.core.inspection import Inspection
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Unknown, World

Level = Literal["good", "note", "warn", "bad"]


class Finding(Message):
    """What one check has found."""

    check: str = Field(description="a stable word: swarm-quorum, clocks, routers-agree, …")
    level: Level
    where: str = Field(default="", description="the cluster, or empty for the Swarm")
    what: str
    why: str = Field(default="", description="why it matters; empty if it is good")
    mend: str = Field(default="", description="the command or the change that mends it; empty if it is good")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen, with *unknown* as a value."""

    view: SwarmView | Unknown
    heartbeat: float | Unknown
    """Swarm's dispatcher heartbeat, seconds."""
    worlds: Mapping[str, World] = field(default_factory=dict)
    inspections: Mapping[str, Inspection | Unknown] = field(default_factory=dict)
    """By `cluster/member` and `cluster/router`."""
    offsets: Mapping[str, float] = field(default_factory=dict)
    """Seconds by which the clock there is ahead of ours, as far as the time of the answer allows to say."""
    operators: int | Unknown = 0
    """How many operators answer, this one included."""
    local: Mapping[str, str] = field(default_factory=dict)
    """Networks that this node has for itself alone: the driver by the name."""
    document_errors: tuple[str, ...] | Unknown = ()
    now: float = 0.0


def good(check: str, what: str) -> Finding:
    return Finding(check=check, level="good", what=what)


def note(check: str, what: str, why: str, mend: str) -> Finding:
    return Finding(check=check, level="note", what=what, why=why, mend=mend)


def warn(check: str, what: str, why: str, mend: str) -> Finding:
    return Finding(check=check, level="warn", what=what, why=why, mend=mend)


def bad(check: str, what: str, why: str, mend: str) -> Finding:
    return Finding(check=check, level="bad", what=what, why=why, mend=mend)


def unknown(check: str, what: str) -> Finding:
    return Finding(
        check=check, level="warn", what=what, why="what is not known is not good", mend="ask again in a while"
    )
