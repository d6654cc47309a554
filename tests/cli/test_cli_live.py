"""Looking again and again: in place on a terminal, one after another in a pipe, and Ctrl-C is a good end."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background of a script was told to ignore it
from rich.text import Text
from pgswarm.cli import live
from pgswarm.errors import Again
count = 0
def look():
    global count
    count += 1
    if count == 2:
        raise Again("nobody answers")
    return Text(f"look {count}")
live.watch(look, 0.5)
"""


def heard(read: int, until: bytes, seconds: float = 20.0) -> bytes:
    """What is written until `until` is seen, or the writer has closed."""
    said, deadline = b"", time.monotonic() + seconds
    while until not in said:
        assert time.monotonic() < deadline, said
        if not select.select([read], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(read, 65536)
        except OSError:  # a terminal whose last writer has ended
            break
        if not piece:
            break
        said += piece
    return said


def test_on_a_terminal_it_redraws_in_place_and_ends_cleanly_at_ctrl_c() -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    said = heard(ours, b"look 3")
    process.send_signal(signal.SIGINT)
    said += heard(ours, b"\0never")
    assert process.wait(10) == 0
    os.close(ours)
    entered, left = said.index(b"\x1b[?1049h"), said.index(b"\x1b[?1049l")
    assert entered < said.index(b"look 1") < said.index(b"nobody answers") < said.index(b"look 3") < left
    assert b"look 3" in said[left:], "the last picture stays"
    assert b"Traceback" not in said


def test_in_a_pipe_each_picture_follows_the_one_before() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = heard(process.stdout.fileno(), b"look 3")
    process.send_signal(signal.SIGINT)
    said += process.stdout.read()
    process.stdout.close()
    assert process.wait(10) == 0
    assert b"look 1" in said
    assert b"nobody answers" in said
    assert b"\x1b[?1049h" not in said
