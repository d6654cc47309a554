"""The postgres process: started, watched, stopped; the only place that knows its pid.

PostgreSQL inherits the lock on the volume and dies with the agent (the kernel sends it SIGQUIT when the agent is
gone). That it ended is known by the child's exit, in milliseconds, not by asking it. Its log goes through here to the
container's own: the last lines explain a crash, and two of them explain why a standby cannot stream.

Nothing here decides: `duty` says when to start and how, this says what became of it.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm import logs
from pgswarm.core.duty import Begin, Trouble
from pgswarm.core.reports import Postgres
from pgswarm.member.child import Child
from pgswarm.member.config import Config

READY_POLL = 0.005
FAST_STOP = 2.0
"""Seconds for a fast shutdown when a successor waits, before an immediate one."""
QUICK_STOP = 7.0
"""Seconds for an immediate shutdown (PostgreSQL kills its own children after 5) before everything is killed."""
QUIET = 60.0
"""Seconds of running after which earlier crashes no longer count."""
ORPHANS = 3.0
"""Seconds for the children of a killed postmaster to end."""
KEPT_LINES = 40

_TROUBLES = {
    b"has already been removed": Trouble.WAL_GONE,
    b"can no longer get changes from replication slot": Trouble.WAL_GONE,
    b"is not in this server's history": Trouble.DIVERGED,
    b"forked off current database system timeline": Trouble.DIVERGED,
    b"is ahead of the WAL flush position of this server": Trouble.DIVERGED,
}


class Postmaster:
    """One postgres at a time."""

    def __init__(self, config: Config, lock: int) -> None:
        self._config = config
        self._lock = lock
        self._changed: Callable[[], None] = _nobody
        self._process: Child | None = None
        self._asked_to_stop = False
        self.state = Postgres.STOPPED
        self.began: Begin | None = None
        self.starts = 0
        self.started_at = 0.0
        self.ended_at = 0.0
        self.crashes = 0
        self.trouble = Trouble.NONE
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def on_change(self, tell: Callable[[], None]) -> None:
        """Whom to tell of every change of `state` and `trouble`."""
        self._changed = tell

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.code is None else None

    async def start(self, begin: Begin, tasks: TaskGroup) -> None:
        """Begin a postgres; what becomes of it shows in `state`."""
        config = self._config
        if await self._bury():
            self._forget()
        self.state, self.began, self.trouble = Postgres.STARTING, begin, Trouble.NONE
        self.starts += 1
        self.started_at = anyio.current_time()
        self._asked_to_stop = False
        self.lines.clear()
        argv = [
            config.program("postgres"),
            "-D", str(config.pgdata),
            "-c", f"config_file={config.conf / 'postgresql.conf'}",
        ]  # fmt: skip
        self._process = Child(argv, at_our_death=signal.SIGQUIT, pass_fds=(self._lock,))
        logger.info("PostgreSQL starts ({}), pid {}", begin.name.lower(), self._process.pid)
        tasks.start_soon(self._watch, self._process)
        tasks.start_soon(self._await_ready, self._process)
        self._changed()

    def reload(self) -> None:
        """Have it read its configuration again."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGHUP)

    async def stop(self, *, patience: float = FAST_STOP) -> None:
        """Fast shutdown, then an immediate one, then the end of every process. Returns when nothing is left."""
        process = self._process
        if process is None:
            return
        if process.code is not None:
            self._ended(process)
            return
        self._asked_to_stop = True
        self.state = Postgres.STOPPING
        self._changed()
        with anyio.CancelScope(shield=True):
            for number, seconds in ((signal.SIGINT, patience), (signal.SIGQUIT, QUICK_STOP), (signal.SIGKILL, 30.0)):
                logger.info("PostgreSQL is sent {}", number.name)
                process.send(number)
                with anyio.move_on_after(seconds):
                    await process.wait()
                    break
            await self._bury()
        self._ended(process)

    def is_quiet(self, now: float) -> bool:
        """Has it run for so long that earlier crashes no longer count?"""
        return self.state is Postgres.RUNNING and now - self.started_at > QUIET

    def _ended(self, process: Child) -> None:
        if process is not self._process or self.state in (Postgres.STOPPED, Postgres.CRASHED):
            return
        now = anyio.current_time()
        if self.is_quiet(now):
            self.crashes = 0
        self.ended_at = now
        if self._asked_to_stop:
            self.state = Postgres.STOPPED
            logger.info("PostgreSQL has stopped")
        else:
            self.state = Postgres.CRASHED
            self.crashes += 1
            logger.error("PostgreSQL ended unasked ({})", _how(process.code))
        self._changed()

    async def _watch(self, process: Child) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_on, process)
            await process.wait()
            self._ended(process)

    async def _pass_on(self, process: Child) -> None:
        """Its log becomes the container's log."""
        rest = b""

        def take(chunk: bytes) -> None:
            nonlocal rest
            *whole, rest = (rest + chunk).split(b"\n")
            logs.pass_on("postgres", chunk, whole)
            for line in whole:
                self._note(line)

        await process.pump(take)

    def _note(self, line: bytes) -> None:
        self.lines.append(line.decode(errors="replace"))
        for words, trouble in _TROUBLES.items():
            if words in line and self.trouble is not trouble:
                self.trouble = trouble
                self._changed()

    async def _await_ready(self, process: Child) -> None:
        """Wait until it takes connections, as its own pid file says (line 8)."""
        path = self._config.pgdata / "postmaster.pid"
        while process.code is None and self._process is process and self.state is Postgres.STARTING:
            if _says_ready(path, process.pid):
                self.state = Postgres.RUNNING
                took = anyio.current_time() - self.started_at
                logger.info("PostgreSQL takes connections after {:.0f} ms", took * 1000)
                self._changed()
                return
            await anyio.sleep(READY_POLL if anyio.current_time() - self.started_at < 5.0 else 0.1)

    def _forget(self) -> None:
        """Remove the lock files of a postmaster that is dead, as the lock on the volume and `_bury` have proved.

        PostgreSQL itself asks whether a process of that number lives. In a new container the numbers begin again, and
        `kill` answers for threads too: one of our own threads was taken for a postmaster that the node's power cut
        had ended, and no start got through (measured in the soak).
        """
        config = self._config
        for path in (config.pgdata / "postmaster.pid", config.socket_dir / f".s.PGSQL.{config.postgres_port}.lock"):
            path.unlink(missing_ok=True)

    async def _bury(self) -> bool:
        """After its end: no child may live on; a killed postmaster leaves some for a moment. True if none does."""
        give_up = anyio.current_time() + ORPHANS
        while orphans := _processes_in(self._config.pgdata, besides=self.pid):
            for pid in orphans:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if anyio.current_time() > give_up:
                logger.warning("processes {} still hold {}", orphans, self._config.pgdata)
                return False
            await anyio.sleep(0.005)
        return True


def _nobody() -> None:
    return


def _says_ready(path: Path, pid: int) -> bool:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _processes_in(folder: Path, *, besides: int | None) -> list[int]:
    """Processes whose working directory is this data directory: PostgreSQL's own, whoever their parent is."""
    found = []
    me = os.getpid()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in (me, besides):
            continue
        try:
            runs = os.path.basename(os.readlink(f"/proc/{entry.name}/exe"))
            if runs.startswith("postgres") and os.readlink(f"/proc/{entry.name}/cwd") == str(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _how(code: int | None) -> str:
    if code is None:
        return "unknown"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
