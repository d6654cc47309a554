"""The log directory: which timelines it knows, on which one a place lies, and the numbers that a promotion takes.

PostgreSQL gives a promotion the first number above its current timeline that has no history file. The record has
already named the number, so the files in between are *planted*: a comment and nothing else. PostgreSQL reads such a
file as a timeline with no ancestors, so no standby takes it for a descendant of what it follows; and a standby that
fetches the histories between its own timeline and the primary's finds none missing. Planted files are removed before
a start in recovery unless a real one lies above them: a start would take the newest for its target and refuse it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pgswarm.core.wal import parse_lsn
from pgswarm.member import state

PLANTED = "# planted by pgswarm: this number belongs to another member's reign\n"

PAGE, HEADER, FIRST_HEADER, ALIGNMENT = 8192, 24, 40, 8
"""Bytes of a page of the log, of its header, of the header of a segment's first page; records are aligned."""

_NAME = re.compile(r"^([0-9A-F]{8})\.history$")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One history file: where each ancestor ends."""

    timeline: int
    ends: tuple[tuple[int, int], ...]
    planted: bool


def history(wal: Path, timeline: int) -> History | None:
    """The history of one timeline; None if there is no (readable) file."""
    try:
        text = _path(wal, timeline).read_text()
    except OSError:
        return None
    ends = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            ends.append((int(words[0]), parse_lsn(words[1])))
        except (ValueError, IndexError):
            return None
    return History(timeline=timeline, ends=tuple(ends), planted=text.startswith(PLANTED))


def knows(wal: Path, timeline: int) -> bool:
    """Has this timeline begun, as far as this directory knows? The first has no history file."""
    if timeline == 1:
        return True
    found = history(wal, timeline)
    return found is not None and not found.planted


def newest(wal: Path, base: int) -> int:
    """PostgreSQL's own rule: the last of an unbroken row of history files above `base`."""
    present = {int(match[1], 16) for path in wal.iterdir() if (match := _NAME.match(path.name))}
    last = base
    while last + 1 in present:
        last += 1
    return last


def timeline_at(wal: Path, base: int, lsn: int, segment_size: int) -> int:
    """The timeline that the byte at `lsn` of the replayed log is on; `base` is one that it surely went through.

    Recovery follows the newest timeline above `base` that descends from it, once log of it has come; so a candidate
    counts only if a segment of it that holds `lsn` is here.
    """
    for timeline in range(newest(wal, base), base, -1):
        found = history(wal, timeline)
        if found is None or found.planted or base not in [parent for parent, _ in found.ends]:
            continue
        on = next((parent for parent, end in found.ends if lsn < end), timeline)
        if on >= base and (wal / segment(on, lsn, segment_size)).exists():
            return on
    return base


def segment(timeline: int, lsn: int, size: int) -> str:
    """The name of the file that holds `lsn`."""
    number = lsn // size
    per_id = 0x100000000 // size
    return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"


def end_of_record(start: int, length: int, segment_size: int) -> int:
    """The first byte after a record and its padding: pages that it runs over begin with a header of their own."""
    left, at = -(-length // ALIGNMENT) * ALIGNMENT, start
    while left > (room := PAGE - at % PAGE):
        left -= room
        at += room
        at += FIRST_HEADER if at % segment_size == 0 else HEADER
    return at + left


def plant(wal: Path, upto: int) -> tuple[int, ...]:
    """Give every timeline below `upto` a history file; the numbers that had none."""
    missing = tuple(timeline for timeline in range(2, upto) if not _path(wal, timeline).exists())
    for timeline in missing:
        state.write(_path(wal, timeline), PLANTED)
    if missing:
        state.sync_directory(wal)
    return missing


def tidy(wal: Path, base: int, unfinished: int | None) -> None:
    """Before a start in recovery from `base`: leave no newest history that a start would refuse.

    `unfinished` is a timeline whose promotion was begun and not completed; nothing was ever written on it.
    """
    if unfinished is not None:
        _path(wal, unfinished).unlink(missing_ok=True)
    last = newest(wal, base)
    while last > base and (found := history(wal, last)) is not None and found.planted:
        _path(wal, last).unlink(missing_ok=True)
        last -= 1
    if unfinished is not None or last >= base:
        state.sync_directory(wal)


def _path(wal: Path, timeline: int) -> Path:
    return wal / f"{timeline:08X}.history"
