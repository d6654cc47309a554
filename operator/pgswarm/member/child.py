"""A child process whose end is known at once and which never outlives the agent.

The standard library's own asyncio processes tell of an exit only when their pipes are closed as well, and a killed
postmaster's children hold those open for a while. Here the exit is read from a pidfd, in a fraction of a
millisecond, whatever the pipes do. The kernel sends the child a signal when the agent is gone, however it went.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel

CHUNK = 65536
POLL = 0.02
"""Seconds between two looks where the kernel has no pidfd."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class Child:
    """One running program; stdout and stderr come through one pipe."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        at_our_death: signal.Signals,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._read_end, write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_end, False)
        try:
            self._popen = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=write_end,
                stderr=write_end,
                env=environment(),
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=_dies_with_parent(at_our_death, os.getpid()),
            )
        except BaseException:
            os.close(self._read_end)
            raise
        finally:
            os.close(write_end)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """The exit code as last seen; negative for a signal."""
        return self._popen.returncode

    def send(self, number: signal.Signals) -> None:
        if self._popen.returncode is None:
            self._popen.send_signal(number)

    def kill_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    async def wait(self) -> int:
        """Its exit code, at once when it ends."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return await self._poll()
        try:
            while (code := self._popen.poll()) is None:
                await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        return code

    async def pump(self, take: Callable[[bytes], None]) -> None:
        """Hand on all it writes, until every process that holds the pipe is gone. Once only."""
        try:
            while True:
                try:
                    chunk = os.read(self._read_end, CHUNK)
                except BlockingIOError:
                    await anyio.wait_readable(self._read_end)
                    continue
                if not chunk:
                    return
                take(chunk)
                await anyio.lowlevel.checkpoint()
        finally:
            os.close(self._read_end)

    async def _poll(self) -> int:
        while True:
            code = self._popen.poll()
            if code is not None:
                return code
            await anyio.sleep(POLL)


def environment() -> dict[str, str]:
    """What every program gets: no PG* variable of the container reaches it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TZ") if name in os.environ}
    return {**kept, "LC_ALL": "C", "LANG": "C"}


def _dies_with_parent(number: signal.Signals, parent: int) -> Callable[[], None]:
    """For a child before exec: the kernel sends it this signal when the agent is gone."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(111)

    return prepare
