"""The memory on the volume, and the lock that says whose volume it is.

A memory is replaced whole: written beside the old one, fsynced, renamed, and the directory fsynced, all before the
caller goes on; a crash leaves the old one or the new one. What cannot be read is never guessed at: with data on the
volume the agent then says so and touches nothing.

On a volume without a free byte a slice of the reserve is given up for it, and taken back with what the old one leaves
(`disk` makes the reserve): who can still fsync can still promise. Who cannot does not answer.

The lock is a flock on an open file that PostgreSQL inherits. It lasts until the last process of agent *and*
PostgreSQL is gone, so a second container on the same volume (Swarm runs two side by side when a partition heals)
waits for both.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from pydantic import ValidationError

from pgswarm.core.memory import Memory
from pgswarm.core.reports import Data
from pgswarm.errors import Refused
from pgswarm.member.config import Config

RESERVE = 4 << 20
"""Bytes kept aside for the agent's own files."""

SLICE = 128 << 10
"""Bytes of it that one write may take: far more than any of those files has."""


def lock(path: Path) -> int | None:
    """Take the volume for this process: the descriptor that holds the lock, or None if another has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def load(config: Config) -> Memory:
    """What this volume remembers. Raises Refused if it cannot be known."""
    empty = Memory(cluster=config.cluster, member=config.member, place=config.place)
    try:
        text = config.state_file.read_bytes()
    except FileNotFoundError:
        return empty.model_copy(update={"data": Data.FOREIGN}) if _holds_data(config) else empty
    except OSError as exc:
        raise Refused(f"cannot read {config.state_file}: {exc.strerror}; a person must look") from exc
    try:
        memory = Memory.model_validate_json(text)
    except ValidationError as exc:
        raise Refused(
            f"{config.state_file} is not readable as this agent's memory ({exc.error_count()} errors); "
            "nothing is touched: restore the file, or give this member an empty volume"
        ) from exc
    if (memory.cluster, memory.member) != (config.cluster, config.member):
        raise Refused(
            f"this volume belongs to {memory.member} of {memory.cluster}, not to {config.member} of {config.cluster}: "
            "give this member its own volume"
        )
    return memory.model_copy(update={"place": config.place})


def save(config: Config, memory: Memory) -> None:
    """Make this memory durable; when it returns, it is."""
    write(config.state_file, memory.model_dump_json(indent=1) + "\n", durable=True, reserve=config.reserve)


def write(path: Path, text: str, *, mode: int = 0o600, durable: bool = False, reserve: Path | None = None) -> None:
    """Replace a file whole; on a full volume with a slice of the reserve, if that may be taken."""
    try:
        _write(path, text, mode=mode, durable=durable)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT) or reserve is None or not _shrink(reserve):
            raise
        _write(path, text, mode=mode, durable=durable)
        _take_back(reserve)


def _write(path: Path, text: str, *, mode: int, durable: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    os.replace(beside, path)
    if durable:
        sync_directory(path.parent)


def _shrink(reserve: Path) -> bool:
    """Give up a slice of the reserve; False if nothing is left of it."""
    try:
        left = reserve.stat().st_size
        os.truncate(reserve, max(0, left - SLICE))
    except OSError:
        return False
    return left > 0


def _take_back(reserve: Path) -> None:
    """The file that was replaced has left as much room as the new one took; PostgreSQL is not to have it."""
    descriptor = os.open(reserve, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size + SLICE)
    except OSError:
        return  # there was another who was faster; what is left of the reserve is enough for many more
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _holds_data(config: Config) -> bool:
    """Is there anything in the place of a data directory, or of one that was replaced, or one anywhere else?"""
    if (config.volume / "PG_VERSION").exists():
        return True
    if any((path / "global" / "pg_control").exists() for path in config.volume.iterdir() if path != config.fresh):
        return True
    return any(path.exists() and (path.is_file() or any(path.iterdir())) for path in (config.pgdata, config.former))
