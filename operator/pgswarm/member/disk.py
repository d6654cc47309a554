"""The volume: how full it is, what is kept aside on it, and what is done so that PostgreSQL need not find it full.

`look` is asked before each report; it costs one system call, and now and then a list of the log's files. What follows
from it (core/disk says at which step) is done here: log kept sparingly, checkpoints so that it goes, transactions that
are read-only. What `duty` does at the end of the way asks for `room` and `ballast` only.

Two files are kept aside, both of them full of allocated bytes. The *ballast* is for PostgreSQL: one that has ended on a
full volume is started once more on what it gives up. The *reserve* is the agent's own, and is never given to anybody:
a promise or an order can be made durable with it on a volume without a free byte (`state.write`). Both are made again
as soon as there is room for them; what cannot be had is no reason not to live.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from loguru import logger

from pgswarm.core import disk
from pgswarm.core.disk import Room
from pgswarm.core.reports import Data, Postgres, Problem, Role
from pgswarm.errors import Again
from pgswarm.member import reign, state
from pgswarm.member.config import Config

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

EVERY, EVERY_SHORT = 1.0, 0.2
"""Seconds between two looks, at rest and while there is little room."""

WAL_EVERY, WAL_EVERY_SHORT = 15.0, 1.0
"""Seconds between two lists of the log's files, at rest and while there is little room."""

PATIENCE = 2.0
"""Seconds for which a primary whose volume is full goes on all the same: it may be about to hand over."""

CHECKPOINT_EVERY = 10.0
"""Seconds between two checkpoints that are made for the sake of room."""


class Disk:
    """What is known of the volume."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.free = self.total = 0
        self.room = Room.AMPLE
        self.since = 0.0  # in that step
        self.ballast = False
        self.wal = 0
        self.held: Mapping[str, int] = {}
        self.freed = False  # a slot was dropped: what it held can go
        self._wal_at = self._kept_at = float("-inf")
        self._checkpoint_at = float("-inf")
        self._checkpoints = False
        self.look(0.0)

    def look(self, now: float) -> bool:
        """Look at the volume; has the step changed?"""
        config = self._config
        usage = shutil.disk_usage(config.volume)
        self.free, self.total = usage.free, usage.total
        room = disk.room(self.free, self.total, self.room)
        if now - self._wal_at >= (WAL_EVERY if room is Room.AMPLE else WAL_EVERY_SHORT):
            self._wal_at = now
            self.wal = _size(config.wal)
        if room is self.room:
            return False
        self.room, self.since = room, now
        return True

    @property
    def told(self) -> str:
        return disk.told(self.free, self.total)

    def is_kept(self, now: float) -> bool:
        """Is it too early to look at what is kept aside?"""
        return now - self._kept_at < WAL_EVERY

    def keep(self, now: float) -> None:
        """Have reserve and ballast as large as they should be, if there is room. Blocks."""
        self._kept_at = now
        config = self._config
        wanted = disk.ballast(self.total)
        if self.room is not Room.SPENT:
            _allocate(config.reserve, state.RESERVE if wanted > 4 * state.RESERVE else wanted // 4)
        if _size_of(config.ballast) < wanted and self.free > wanted + disk.limit(Room.TIGHT, self.total) * disk.BACK:
            _allocate(config.ballast, wanted)
        self.ballast = _size_of(config.ballast) > 0

    def jettison(self) -> None:
        """Give up the ballast."""
        before = _size_of(self._config.ballast)
        self._config.ballast.unlink(missing_ok=True)
        self.ballast = False
        logger.warning("the volume is full ({}): the ballast of {} is given up", self.told, disk.size(before))

    def owes_checkpoint(self, now: float) -> bool:
        """Is one due, for the sake of room?"""
        changed = self.since > self._checkpoint_at or self.freed
        return self.room is not Room.AMPLE and changed and now - self._checkpoint_at >= CHECKPOINT_EVERY

    def begin_checkpoint(self, now: float) -> bool:
        """Begin one, unless one is under way."""
        if self._checkpoints:
            return False
        self._checkpoints, self._checkpoint_at, self.freed = True, now, False
        return True

    def end_checkpoint(self) -> None:
        self._checkpoints = False


async def watch(agent: Agent) -> None:
    """Look for ever, and more often while there is little room: a volume fills as fast as PostgreSQL writes."""
    while True:
        await _heed(agent, anyio.current_time())
        await anyio.sleep(EVERY if agent.disk.room is Room.AMPLE else EVERY_SHORT)


def prepare(agent: Agent) -> None:
    """Before PostgreSQL is started: what it is to be told from its first moment on."""
    room = agent.disk.room
    agent.files.save_room(room, read_only=not disk.lets_write(room, refused=agent.files.read_only))


async def _heed(agent: Agent, now: float) -> None:
    own = agent.disk
    was = own.room
    if own.look(now):
        (logger.info if own.room.want < was.want else logger.warning)("the disk is {}: {}", own.room.value, own.told)
        agent.look_again()
        agent.publish()
    if agent.setbacks.note_room(own.free):
        agent.look_again()
    try:
        if agent.memory.data is not Data.FOREIGN and not own.is_kept(now):
            await to_thread.run_sync(own.keep, now)
    except OSError as exc:
        logger.warning("nothing can be kept aside: {}", exc.strerror or exc)
    _tell_postgres(agent, now)
    _tell_people(agent)
    runs = agent.postmaster.state is Postgres.RUNNING and agent.memory.data is Data.READY and not agent.is_working
    if runs and own.owes_checkpoint(now) and own.begin_checkpoint(now):
        agent.tasks.start_soon(_checkpoint, agent)


def _tell_postgres(agent: Agent, now: float) -> None:
    """Keep log sparingly, and refuse to write, as the room asks for it."""
    own, files = agent.disk, agent.files
    refused = files.read_only
    refuses = not disk.lets_write(own.room, refused=refused)
    if refuses and not refused and own.room is Room.FULL and now - own.since < PATIENCE:
        refuses = False
    try:
        changed = files.save_room(own.room, read_only=refuses)
    except OSError as exc:
        logger.warning("the settings cannot be written: {}", exc.strerror or exc)
        return
    if not changed or agent.postmaster.state is not Postgres.RUNNING:
        return
    agent.postmaster.reload()
    if refuses != refused and agent.role is Role.PRIMARY:
        what = "read-only from now on, unless they say otherwise" if refuses else "as before"
        logger.warning("the disk is {} ({}): transactions are {}", own.room.value, own.told, what)


def _tell_people(agent: Agent) -> None:
    own = agent.disk
    reigns = agent.role is Role.PRIMARY and agent.files.read_only
    waits = agent.role in (Role.STANDBY, Role.FENCED) and own.room is Room.SPENT and "duty" not in agent.problems
    if not reigns and not waits:
        if "disk" in agent.problems:
            agent.trouble("disk", None)
        return
    what = (
        "transactions are read-only, unless they say BEGIN READ WRITE"
        if reigns
        else "nothing is received until there is room"
    )
    wanted = disk.size(disk.limit(Room.TIGHT, own.total) * disk.BACK)
    text = f"disk full, {own.told}: {what}; it ends by itself once {wanted} are free"
    known = agent.problems.get("disk")
    if known is None or not known.text.endswith(text.partition(": ")[2]):
        agent.problems["disk"] = Problem(code="disk-full", text=text)
        agent.publish()


async def _checkpoint(agent: Agent) -> None:
    """Log that nobody needs any more goes with the next checkpoint, on a standby with its own kind of it."""
    try:
        await reign.checkpoint(agent.config)
    except Again as exc:
        logger.info("a checkpoint for the sake of room failed: {}", exc)
    finally:
        agent.disk.end_checkpoint()


def _allocate(path: Path, wanted: int) -> None:
    """A file of that size that needs no room any more to be written. Raises OSError."""
    if _size_of(path) == wanted:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = min(_size_of(path), wanted)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, before)
        if wanted:
            os.posix_fallocate(descriptor, 0, wanted)
    except OSError:
        os.ftruncate(descriptor, before)  # what was had is kept
        raise
    finally:
        os.close(descriptor)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, as far as they are still there."""
    total = 0
    try:
        for entry in os.scandir(folder):
            try:
                total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    except FileNotFoundError:
        return 0
    return total
