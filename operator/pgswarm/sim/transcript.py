"""The story of a history: one line for each event, with its time, who, and what.

Lines have a weight. *Key* lines are what a reviewer reads in the expected transcript of a scenario: decisions, losses,
changes of the record, who serves. The others (each promise, each order, each start of a postgres) are there when a
failing seed is replayed. Heartbeats, looks and single bytes never are.

The story of the key lines leaves out what would change with any other change: fractions of seconds, places in the log,
addresses, and the random part of incarnations.
"""

from __future__ import annotations

import re
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

    def text(self) -> str:
        """The whole story."""
        return "\n".join(str(line) for line in self.lines)

    def story(self) -> str:
        """Only its key lines, in words that stay."""
        told = [f"{line.at:4.0f} s  {line.who:<9}  {_lasting(line.what)}" for line in self.lines if line.key]
        return "\n".join(told)


def _lasting(what: str) -> str:
    for pattern, words in _PASSING:
        what = pattern.sub(words, what)
    return what


_PASSING = (
    (re.compile(r"/[0-9a-f]{8}\b"), ""),
    (re.compile(r"\b[0-9A-F]+/[0-9A-F]+ on timeline"), "… on timeline"),
    (re.compile(r"\b\d+\.\d+ s\b"), "… s"),
    (re.compile(r"\b10\.\d+\.\d+(:\d+)?\b"), "its address"),
    (re.compile(r"operator\.(\d+)\.t\d+"), r"operator.\1"),
)
