"""Sightings: what is known of one agent from afar, and since when.

Whoever decides needs two words that sound alike kept apart. *Closed*: the agent's end of the stream was shut, or its
kernel refused the connection, so that process is gone; this is known in milliseconds and is proof of nothing else.
*Silent*: nothing came, which may be the agent, its node, the network between, or ourselves; this is only ever a matter
of how long. A sighting therefore carries the moments of both and judges neither; a plan does, with `now` as argument.

Made by ports/agents.py (one Watch for each agent); read by the operator's plan and by the router's.
Times are seconds of the watcher's own monotonic clock, and mean nothing on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting(Generic[R]):
    """The last word of one agent, when it was heard, and what has become of the stream since."""

    address: str | None = None
    """Where we are looking now; None while no address is known."""
    report: R | None = None
    """The last report heard, from whatever address; None if there never was one."""
    heard_at: float | None = None
    """When that report came, or was said to hold still."""
    said_at: float | None = None
    """When it came for the first time: what it says of its own moment is at least as old as this."""
    connected: bool = False
    """A stream is open from which at least one report has come."""
    closed_at: float | None = None
    """When the agent's process was seen to be gone (EOF, reset, refused); None again with its next report."""
    vacant: bool = False
    """After that end, another connection to the same address was refused: nobody listens there any more.

    It stays so when the address is forgotten or another one is named: that process is no less gone for it."""
    sought_since: float = 0.0
    """When the looking began: whoever was never heard is silent from then on, not for as long as the watcher lives."""
    dialled_at: float = 0.0
    """When the looking began at this address: another address is another container, and cannot have been heard yet."""
    why: str = "not heard yet"
    """Why there is no stream, in plain words; empty while connected."""

    @property
    def is_gone(self) -> bool:
        """Was the process seen to end, and nothing heard of it since?"""
        return self.closed_at is not None

    def silence(self, now: float) -> float:
        """Seconds since anything was heard; infinite if nothing ever was."""
        return float("inf") if self.heard_at is None else max(0.0, now - self.heard_at)

    def is_fresh(self, now: float, within: float) -> bool:
        """Is the report young enough to act upon, and its sender not gone?"""
        return self.report is not None and not self.is_gone and self.silence(now) <= within
