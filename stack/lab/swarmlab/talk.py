"""Speak to the person, run a command, wait for a condition: the three verbs that every other module needs.

Progress goes to standard error with the seconds since the start, so that `eval $(lab env 1)` and `lab status`
keep standard output to themselves. Waits look at a condition until a deadline, never sleep for a fixed time,
and say on failure what they waited for together with whatever the caller can show of the state (a log's last
lines, mostly).
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO

STARTED = time.monotonic()
LOOK_EVERY = 0.02  # seconds between two looks at a condition; the look itself is the expensive part


class LabError(Exception):
    """The lab cannot do what was asked; the text is for a person and complete."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def run(argv: Sequence[str], *, deadline: float = 60.0, log: pathlib.Path | None = None, name: str = "") -> str:
    """Run to the end and return what it printed; a failure becomes a LabError that carries the output's end.

    With a log the output goes there as it comes. `name` stands in messages for a command line too long to read.
    """
    name = name or " ".join(argv)
    with contextlib.ExitStack() as stack:
        out: int | IO[bytes] = subprocess.PIPE if log is None else stack.enter_context(log.open("ab"))
        errors = subprocess.PIPE if log is None else subprocess.STDOUT
        try:
            nothing = subprocess.DEVNULL
            done = subprocess.run(argv, stdin=nothing, stdout=out, stderr=errors, timeout=deadline, check=False)
        except subprocess.TimeoutExpired as slow:
            raise LabError(f"`{name}` was not done after {deadline:g} s\n{tail(log) if log else ''}".rstrip()) from slow
    if done.returncode != 0:
        shown = tail(log) if log else (done.stderr + done.stdout).decode(errors="replace").strip()
        raise LabError(f"`{name}` ended with {done.returncode}:\n{shown}")
    return "" if log else str(done.stdout.decode(errors="replace"))


def works(argv: Sequence[str], *, deadline: float = 60.0) -> bool:
    """Is the answer of this command yes? Its output is of no interest."""
    quiet = subprocess.DEVNULL
    return subprocess.run(argv, stdin=quiet, stdout=quiet, stderr=quiet, timeout=deadline, check=False).returncode == 0


def until(holds: Callable[[], bool], *, what: str, deadline: float, show: Callable[[], str] = lambda: "") -> None:
    """Return as soon as `holds()`; after `deadline` seconds raise with what was waited for and what `show()` says."""
    end = time.monotonic() + deadline
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"waited {deadline:g} s in vain for: {what}\n{show()}".rstrip())
        time.sleep(LOOK_EVERY)


def tail(file: pathlib.Path, lines: int = 25) -> str:
    try:
        text = file.read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return f"--- last lines of {file}\n" + "\n".join(text.splitlines()[-lines:])
