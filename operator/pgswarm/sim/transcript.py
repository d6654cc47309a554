"""The story of a history: one line for each event, with its time, who, and what.

Lines have a weight. *Key* lines are what a reviewer reads in the expected transcript of a scenario: decisions, losses,
changes of the record, who serves. The others (each promise, each order, each start of a postgres) are there when a
failing seed is replayed. Heartbeats, looks and single bytes never are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One event."""

    at: float
    who: str
    what: str
    key: bool

    def __str__(self) -> str:
        return f"{self.at:8.3f}  {self.who:<12}  {self.what}"


class Transcript:
    """Collects lines; times count from the beginning of the history."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self.lines: list[Line] = []

    def say(self, now: float, who: str, what: str, *, key: bool = False) -> None:
        self.lines.append(Line(now - self._begin, who, what, key))

    def text(self, *, key: bool = False) -> str:
        """The whole story, or only its key lines."""
        return "\n".join(str(line) for line in self.lines if line.key or not key)
