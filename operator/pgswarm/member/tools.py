"""PostgreSQL's programs as awaitable calls: every one has a deadline, dies with its caller, and says why it failed.

Output is read as it comes (progress lines end in a carriage return) and the last lines are kept for the reason of a
failure. No password is ever in an argument or in the environment.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from pgswarm.errors import Again
from pgswarm.member.child import Child
from pgswarm.member.config import Config

KEPT_LINES = 12
TERMINATE_PATIENCE = 2.0
"""Seconds for a cancelled program to end by SIGTERM before it is killed."""

_BREAK = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def last(self) -> str:
        """The lines that tell most, as one."""
        telling = [line for line in self.lines if "error" in line.lower() or "fatal" in line.lower()]
        return " / ".join((telling or list(self.lines))[-3:])


@dataclass(slots=True)
class Lines:
    """Bytes into lines."""

    take: Callable[[str], None]
    rest: bytes = field(default=b"")

    def feed(self, chunk: bytes) -> None:
        *whole, self.rest = _BREAK.split(self.rest + chunk)
        for raw in whole:
            if line := raw.decode(errors="replace").strip():
                self.take(line)


async def run(
    argv: Sequence[str],
    *,
    deadline: float,
    on_line: Callable[[str], None] | None = None,
    keep: int = KEPT_LINES,
    stdin: int = subprocess.DEVNULL,
) -> Output:
    """Run one program to its end. Raises Again if it takes longer than `deadline`; ends it when cancelled."""
    kept: deque[str] = deque(maxlen=keep)

    def take(line: str) -> None:
        kept.append(line)
        if on_line is not None:
            on_line(line)

    lines = Lines(take)
    child = Child(argv, at_our_death=signal.SIGKILL, stdin=stdin)
    try:
        with anyio.fail_after(deadline):
            await child.pump(lines.feed)
            code = await child.wait()
    except TimeoutError as exc:
        raise Again(f"{os.path.basename(argv[0])} took longer than {deadline:.0f} s") from exc
    finally:
        if child.code is None:
            with anyio.CancelScope(shield=True):
                await _end(child)
    lines.feed(b"\n")
    return Output(code=code, lines=tuple(kept))


async def control_data(config: Config, directory: Path | None = None) -> dict[str, str]:
    """What pg_controldata says of PGDATA, or another directory, by its (English) names."""
    output = await run(
        [config.program("pg_controldata"), "-D", str(directory or config.pgdata)], deadline=20.0, keep=200
    )
    if output.code != 0:
        raise Again(f"pg_controldata failed: {output.last}")
    pairs = (line.partition(":") for line in output.lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


async def version(config: Config) -> tuple[int, str]:
    """(17, "17.6"): of the programs here."""
    output = await run([config.program("postgres"), "--version"], deadline=20.0)
    match = re.search(r"\(PostgreSQL\)\s+((\d+)\S*)", output.text)
    if match is None:
        raise Again(f"postgres --version says {output.text!r}")
    return int(match[2]), match[1]


def of_another_major(config: Config, version: str) -> str:
    """Why these programs cannot run on the data that is here, with what to do; empty if they can."""
    try:
        made_by = (config.pgdata / "PG_VERSION").read_text().strip()
    except OSError:
        return ""  # whoever reads it next says so
    have = version.partition(".")[0]
    if not made_by or made_by == have:
        return ""
    return (
        f"{config.pgdata} was made by PostgreSQL {made_by}, and this image has {version}: a major version is not "
        f"changed in place. Name an image of {made_by} again; to move to {have}, make a new cluster of it and load a "
        "dump"
    )


async def _end(child: Child) -> None:
    for number, seconds in ((signal.SIGTERM, TERMINATE_PATIENCE), (signal.SIGKILL, 30.0)):
        child.kill_group(number)
        with anyio.move_on_after(seconds):
            await child.wait()
            return
