"""The haproxy process: written its configuration, started, started again when it dies, stopped gently.

It runs in the foreground without a master: there is never a reload, so a master would only be one more process to
watch. It is started through `setpriv --pdeathsig`, so that it never outlives its agent: an HAProxy that nobody steers
would go on sending writers to a primary of the past. A new process begins with both gates closed and no addresses;
`generation` tells whoever steers it that everything must be pushed again.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from typing import Literal

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from loguru import logger

from pgswarm.errors import Again, Refused
from pgswarm.render.haproxy import HaproxyConfig, render_config, render_lua
from pgswarm.router.socket import AdminSocket

START_LIMIT = 10.0
"""Seconds from the start to the first answer on the admin socket (measured: 0.05 s)."""

PAUSE_FIRST, PAUSE_LAST = 0.05, 2.0
"""Seconds between the death of a young process and the next start, doubled each time."""

YOUNG = 5.0
"""Seconds: one that lived longer is started again at once."""

ANSWER_LIMIT = 10.0
"""Seconds without an answer on the admin socket after which a running HAProxy counts as hung and is killed."""


OUR_DOING = ("UP/READY", "going DOWN for maintenance", "has no server available", "stopped (cumulated conns")
"""In lines of HAProxy that only repeat what the agent has just told it."""


class Haproxy:
    """Owns the process. `run` belongs in a task group; `changed` is called at every change of `status`."""

    def __init__(self, config: HaproxyConfig, directory: Path, changed: Callable[[], None]) -> None:
        self.status: Literal["starting", "running", "down"] = "starting"
        self.generation = 0
        self.problem = ""
        self.socket = AdminSocket(config.admin_socket)
        self._config = config
        self._directory = directory
        self._changed = changed
        self._process: Process | None = None
        self._stopping = False
        self._last_words = ""
        self._stop_limit = config.stop_limit

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Keep it running until `stop`."""
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/sbin")
        if program is None:
            raise Refused("no haproxy program here: install HAProxy 2.6 or newer, built with Lua")
        command = [program, "-db", "-f", self._write_files()]
        if leash := shutil.which("setpriv"):
            command = [leash, "--pdeathsig", "KILL", *command]
        else:
            logger.warning("no setpriv here: HAProxy would outlive this agent if the agent were killed")
        pause = 0.0
        while not self._stopping:
            born = anyio.current_time()
            await self._live(command)
            is_young = anyio.current_time() - born < YOUNG
            pause = min(max(2 * pause, PAUSE_FIRST), PAUSE_LAST) if is_young else 0.0
            await anyio.sleep(pause)

    async def stop(self) -> None:
        """Let it finish open sessions within the stop limit, then end it."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        logger.info("HAProxy takes no new connections and gets {:g} s for the open ones", self._stop_limit)
        self._tell("down")
        process.send_signal(signal.SIGUSR1)
        with anyio.move_on_after(self._stop_limit + 2):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()

    def kill(self, why: str) -> None:
        """End a process that does not answer; `run` starts another."""
        if self._process and self._process.returncode is None and not self._stopping:
            logger.error("HAProxy is killed: {}", why)
            self._process.kill()

    def _write_files(self) -> str:
        file = self._directory / "haproxy.cfg"
        file.write_text(render_config(self._config))
        Path(self._config.lua_file).write_text(render_lua())
        return str(file)

    async def _live(self, command: list[str]) -> None:
        """One life of the process."""
        async with await anyio.open_process(command, stdin=DEVNULL, stdout=DEVNULL) as process:
            self._process = process
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._await_birth)
                    group.start_soon(self._relay, process)
                    await process.wait()
                    group.cancel_scope.cancel()
            finally:
                if process.returncode is None:
                    process.kill()
        if not self._stopping:
            self.problem = f"HAProxy ended with {process.returncode}{self._last_words}"
            logger.error("{}; it is started again", self.problem)
        self._tell("down")

    async def _relay(self, process: Process) -> None:
        """Say in our log what it says, but for the servers' ups and downs, of which we have said more already."""
        self._last_words = ""
        if process.stderr is None:
            return
        rest = ""
        async for chunk in TextReceiveStream(process.stderr, errors="replace"):
            *lines, rest = (rest + chunk).split("\n")
            for line in filter(None, lines):
                is_ours = any(words in line for words in OUR_DOING)
                logger.log("DEBUG" if is_ours else "WARNING", "HAProxy says: {}", line)
                if "[ALERT]" in line and not is_ours:
                    self._last_words = f": {line.partition(':')[2].strip()}"

    async def _await_birth(self) -> None:
        with anyio.move_on_after(START_LIMIT):
            while True:
                try:
                    await self.socket.ask("show info")
                except Again:
                    await anyio.sleep(0.01)
                    continue
                self.generation += 1
                self.problem = ""
                logger.info("HAProxy runs (process {}, start {})", self.pid, self.generation)
                self._tell("running")
                return
        self.kill(f"it has not answered within {START_LIMIT:g} s of its start")

    def _tell(self, status: Literal["starting", "running", "down"]) -> None:
        self.status = status
        self._changed()
