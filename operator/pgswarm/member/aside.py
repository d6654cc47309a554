"""Diverged log, kept aside before a rewind or a clone throws it away.

What lies beyond the fork is in nobody's history: commits that no client was told of, or, in `async` and after a person
accepted a loss, some that a client was told of. It cannot be merged by a machine, but a person may want to look at it
(`pg_waldump`), so the files of the log from the fork on are copied to `kept/` on the volume, each time with a text that
says what they are. The report names them, and the status shows it.

The copy is complete and durable before the data directory is touched. A crash in between leaves a folder that ends in
`.part`, which the next attempt begins anew. Room is bounded: MOST_PIECES, MOST_BYTES and a sixteenth of the volume
together, and never more than half of what is free; the oldest go first, and what did not fit is counted as missing. A
rewind never fails for want of room, but is not begun on a volume that is full.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger
from pydantic import ValidationError

from pgswarm.core.claim import Incarnation
from pgswarm.core.reports import Kept
from pgswarm.core.wal import Lineage, Position, leaves_at, show_lsn
from pgswarm.member import state, waldir
from pgswarm.member.config import Config

MOST_PIECES = 4
MOST_BYTES = 1 << 30
"""Of all pieces together, on a volume that is large enough for it."""

SHARE = 16
"""The part of a volume (1/n) that they may take together at most."""

_SEGMENT = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?$")
_ABOUT, _FACTS = "about.txt", "facts.json"


def kept(config: Config) -> tuple[Kept, ...]:
    """What lies aside, oldest first."""
    found = []
    for path in config.aside.glob(f"*/{_FACTS}"):
        try:
            found.append(Kept.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as exc:
            logger.warning("{} cannot be read: {}", path, str(exc).splitlines()[0])
    return tuple(sorted(found, key=lambda one: (one.at, one.folder)))


def keep(
    config: Config,
    held: Incarnation,
    reigned: int,
    until: Position,
    lineage: Lineage,
    line_end: Position | None,
    segment_size: int,
) -> Kept | None:
    """Copy the log that ends at `until` from where it leaves the line; None if all of it lies on it.

    `line_end` is where the primary's own log ends, if that is known: there is no line beyond it. PostgreSQL must not be
    running. Raises OSError if the volume cannot be written at all.
    """
    history = waldir.history(config.wal, until.timeline)
    since = leaves_at(until, history.ends if history else (), lineage)
    if since is None and line_end is not None and line_end.timeline == until.timeline and line_end.lsn < until.lsn:
        since = line_end
    if since is None:
        return None
    ident = held.rpartition("/")[2]
    folder = config.aside / f"{ident}-{until.timeline}-{show_lsn(until.lsn).replace('/', '-')}"
    for one in kept(config):
        if one.folder == str(folder.relative_to(config.volume)):
            return one
    wanted = list(_segments(config.wal, since, until, segment_size))
    room = _room(config, segment_size * len(wanted))
    taken = wanted[: room // segment_size]
    last = until.lsn // segment_size - since.lsn // segment_size + 1
    facts = Kept(
        folder=str(folder.relative_to(config.volume)),
        incarnation=held,
        reigned=reigned,
        since=since,
        until=until,
        at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        segments=len(taken),
        missing=max(0, max(last, len(wanted)) - len(taken)),
    )
    _write(config, folder, taken, facts)
    logger.warning("kept aside in {}: {} bytes of log from {} to {}", folder, facts.size, since, until)
    return facts


def _segments(wal: Path, since: Position, until: Position, size: int) -> Iterator[Path]:
    """The files from the fork on, on the timeline that was left there and on those begun after it, in order."""
    per_id = 0x100000000 // size
    for path in sorted(wal.iterdir(), key=lambda one: (one.name[8:], one.name)):
        match = _SEGMENT.match(path.name)
        if match is None or not since.timeline <= int(match[1], 16) <= until.timeline:
            continue
        number = int(match[2], 16) * per_id + int(match[3], 16)
        if since.lsn // size <= number <= until.lsn // size:
            yield path


def _room(config: Config, wanted: int) -> int:
    """Make room by deleting the oldest pieces; the bytes that may be taken."""
    pieces = list(kept(config))
    usage = shutil.disk_usage(config.volume)
    most = min(MOST_BYTES, usage.total // SHARE)
    for path in config.aside.glob("*.part"):
        shutil.rmtree(path, ignore_errors=True)
    while pieces and (len(pieces) >= MOST_PIECES or _size(config.aside) + wanted > most):
        oldest = pieces.pop(0)
        logger.warning("{} is deleted to make room: {} bytes from {}", oldest.folder, oldest.size, oldest.since)
        shutil.rmtree(config.volume / oldest.folder, ignore_errors=True)
    free = shutil.disk_usage(config.volume).free // 2
    return max(0, min(most - _size(config.aside), free))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write(config: Config, folder: Path, segments: list[Path], facts: Kept) -> None:
    part = folder.with_name(folder.name + ".part")
    part.mkdir(mode=0o700, parents=True)
    for source in (*segments, *config.wal.glob("*.history")):
        shutil.copyfile(source, part / source.name)
        _sync(part / source.name)
    state.write(part / _ABOUT, _about(config, facts), durable=True)
    state.write(part / _FACTS, facts.model_dump_json(indent=1) + "\n", durable=True)
    os.rename(part, folder)
    state.sync_directory(config.aside)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _about(config: Config, facts: Kept) -> str:
    start, end = show_lsn(facts.since.lsn), show_lsn(facts.until.lsn)
    return f"""\
Log of cluster {config.cluster} that is in nobody's history any more.

member       {config.member}
incarnation  {facts.incarnation}{f", primary last in term {facts.reigned}" if facts.reigned else ""}
from         {facts.since}: up to there it is in the cluster's history
to           {facts.until}
bytes        {facts.size}
files        {facts.segments} copied{f", {facts.missing} missing" if facts.missing else ""}
kept         {facts.at}, before the data directory was rewound or replaced

What was committed in it was never acknowledged to a client, unless the cluster was `async` or a person had accepted a
loss. To read it: pg_waldump --path=. --timeline={facts.until.timeline} --start={start} --end={end}
Nothing needs these files; delete the folder when nobody wants them.
"""
