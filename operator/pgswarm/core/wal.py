"""Places in the write-ahead log, and which of them lie on the line that the record names.

An LSN is a byte address in the log (64 bits, written by PostgreSQL as two hexadecimal halves). It means something
only together with a timeline: after every promotion the log forks, and equal numbers on two timelines are different
bytes. So nothing here compares bare LSNs across timelines; it asks the *lineage*, the record's list of reigns, each
with the timeline it began and the LSN at which that timeline left its parent (PROTOCOL, C10).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pgswarm.core.base import Value


def parse_lsn(text: str) -> int:
    """Turn PostgreSQL's `16/B374D848` into bytes. Raises ValueError for anything else."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not an LSN; expected two hexadecimal halves such as 16/B374D848")
    return (int(high, 16) << 32) + int(low, 16)


def show_lsn(lsn: int) -> str:
    """Write bytes the way PostgreSQL does: `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class Position(Value):
    """The end of the valid log of one member: everything before `lsn` on `timeline` is on its disk."""

    timeline: int = Field(ge=1)
    lsn: int = Field(ge=0, description="bytes")

    def __str__(self) -> str:
        return f"{show_lsn(self.lsn)} on timeline {self.timeline}"


class Reign(Value):
    """One entry of the lineage: who began which term, on which new timeline, forked where."""

    term: int = Field(ge=1)
    incarnation: str
    timeline: int = Field(ge=1)
    fork: int = Field(ge=0, description="LSN in bytes at which this timeline left the one before")


Lineage = Sequence[Reign]


def lies_on(position: Position, lineage: Lineage) -> bool:
    """Is everything this member has part of the line's history, so that it can follow without rewinding?

    True if the position's timeline is one of the lineage's and the position does not reach past the LSN at which
    the line left that timeline.
    """
    return _rank(position, lineage) is not None


def progress(position: Position, lineage: Lineage) -> tuple[int, int]:
    """How far along the line a position is, as a key to compare by; off the line counts as behind everything."""
    rank = _rank(position, lineage)
    return (-1, 0) if rank is None else (rank, position.lsn)


def _rank(position: Position, lineage: Lineage) -> int | None:
    """Index of the last reign on this timeline (a raised term keeps its timeline), or None if off the line.

    A later reign may have forked below an earlier fork (loss accepted by a person): the lowest of them counts.
    """
    on_it = [index for index, reign in enumerate(lineage) if reign.timeline == position.timeline]
    if not on_it:
        return None
    left_at = min((reign.fork for reign in lineage[on_it[-1] + 1 :]), default=position.lsn)
    return on_it[-1] if position.lsn <= left_at else None


def leaves_at(position: Position, ends: Sequence[tuple[int, int]], lineage: Lineage) -> Position | None:
    """Where a log leaves the line; None if it lies on it. `ends`: each earlier timeline of this log and where it ended.

    Of a log that has nothing in common with the line it is the very beginning.
    """
    fork: Position | None = None
    for timeline, end in (*ends, (position.timeline, position.lsn)):
        on_it = [index for index, reign in enumerate(lineage) if reign.timeline == timeline]
        if not on_it:
            return fork or Position(timeline=timeline, lsn=0)
        left_at = min((reign.fork for reign in lineage[on_it[-1] + 1 :]), default=end)
        if left_at < end:
            return Position(timeline=timeline, lsn=left_at)
        fork = Position(timeline=timeline, lsn=end)
    return None


def next_timeline(position: Position, lineage: Lineage) -> int:
    """The number of the timeline that a promotion from here must begin: above any that anyone may have used."""
    return max([position.timeline, *(reign.timeline for reign in lineage)]) + 1
