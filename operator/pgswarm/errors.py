"""The ways in which work can fail, named by what should happen next.

    Failure
     ├── Again      not yet: expected, try again after a while, nothing is wrong
     ├── Refused    not like this: a person or a newer document must change something first
     └── Conflict   somebody else wrote first: look again and decide anew

Anything else that is raised is a bug or an outage; the loop gives it a growing pause and goes on. The text of a
failure is one line in plain words that says what to do: it is the log line, the status line and the test's
assertion at once.
"""

from __future__ import annotations


class Failure(Exception):
    """Work that ended without its effect, for a known reason."""

    @property
    def reason(self) -> str:
        return str(self)


class Again(Failure):
    """The effect cannot be had yet; try again after `after` seconds."""

    def __init__(self, reason: str, after: float = 1.0) -> None:
        super().__init__(reason)
        self.after = after


class Refused(Failure):
    """The effect cannot be had until a person or a newer document changes something."""


class Conflict(Failure):
    """A compare-and-set lost, or its outcome is unknown: read the record again before anything else."""


def leaves(failures: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """What task groups have wrapped, taken apart again: nobody has a use for the shape of our tasks."""
    found: list[BaseException] = []
    for failure in failures.exceptions:
        found += leaves(failure) if isinstance(failure, BaseExceptionGroup) else [failure]
    return found
