"""Run a command of the papers as who reads it would: in bash, in a folder of its own, with our program on the PATH."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

from tests.papers import ROOT

TIME = r"20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ"
ANY = re.compile(rf"(?P<time>{TIME})|(?P<person>\w+@\w+)|(?P<rest>…)")


def folder(path: Path) -> Path:
    """A place to type in, with what a checkout has where the papers name it."""
    path.mkdir(parents=True, exist_ok=True)
    for name in ("stack", "crds", "docs", "Makefile", ".venv"):
        if not (path / name).exists():
            (path / name).symlink_to(ROOT / name)
    return path


def run(text: str, where: Path, environment: Mapping[str, str], seconds: float = 100) -> CompletedProcess[str]:
    """Nobody answers a question: standard input is empty. Raises TimeoutError."""
    try:
        return subprocess.run(
            ["bash", "-c", text],
            cwd=where,
            env=_with(where, environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"not within {seconds:g} s: the end of {text}") from None


def run_until(
    enough: Callable[[str], bool], text: str, where: Path, environment: Mapping[str, str], seconds: float = 60
) -> CompletedProcess[str]:
    """For what goes on until Ctrl-C: that is pressed once enough has been said, or after so many seconds."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {text}"],
        cwd=where,
        env=_with(where, environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_heeds_ctrl_c,
    )
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + seconds
    try:
        while not enough(said.decode(errors="replace")) and time.monotonic() < deadline:
            if select.select([process.stdout], [], [], 0.5)[0]:
                more = os.read(process.stdout.fileno(), 65536)
                if not more:
                    break
                said += more
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    return CompletedProcess(text, process.returncode, (said + rest).decode(errors="replace"), "")


def _heeds_ctrl_c() -> None:
    """A suite in the background of a script was told to ignore it, and so would be whom it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _with(where: Path, environment: Mapping[str, str]) -> dict[str, str]:
    words = {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}", "HOME": str(where), "COLUMNS": "400"}
    return {**os.environ, **words, "CHECKOUT": str(ROOT), **environment}


def other(text: str, given: Mapping[str, str]) -> str:
    """The text with real names in place of those of the paper."""
    for name, real in given.items():
        text = text.replace(name, real)
    return text


def shows(output: str, words: str) -> bool:
    """Does it say so? Times and people are whoever's, and … is anything."""
    parts: list[str] = []
    end = 0
    words = " ".join(words.split())
    for one in ANY.finditer(words):
        kind = str(one.lastgroup)
        parts += [re.escape(words[end : one.start()]), {"time": TIME, "person": r"\S+@\S+", "rest": ".*"}[kind]]
        end = one.end()
    return re.search("".join([*parts, re.escape(words[end:])]), " ".join(output.split())) is not None
