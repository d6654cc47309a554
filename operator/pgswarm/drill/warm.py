"""`pgswarm status` in an operator's container, kept started: what waits for a cluster looks at it again and again.

A start of the program costs half a second of a processor, mostly Python's own imports, and a busy machine then spends
more on looking than on what is looked for. So one process stays in the container, which reads the words of one look
from each line, runs the very verb, and answers with a line. It ends with its input, thus with us.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from pgswarm.errors import Failure

LOOP = """
import contextlib, io, json, sys
from pgswarm import cli
for line in sys.stdin:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            cli.app(json.loads(line), standalone_mode=False)
        reason = ""
    except Exception as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
    print(json.dumps([said.getvalue(), reason]), flush=True)
"""


class Cold(Failure):
    """The process is gone, or does not answer; whoever asks begins another."""


class Warm:
    """One such process. Several threads may ask; one at a time is answered."""

    def __init__(self, client: Sequence[str], environment: Mapping[str, str], container: str) -> None:
        """`client` and `environment`: how the container's engine is spoken to. Raises Cold."""
        self._asking = threading.Lock()
        command = [*client, "exec", "-i", container, "python", "-c", LOOP]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={**os.environ, **environment},
            )
        except OSError as error:
            raise Cold(f"{command[0]}: {error.strerror}") from error

    def ask(self, *words: str, deadline: float) -> str:
        """What the verb prints. Raises Cold if it did not, and Failure with the verb's own reason."""
        with self._asking:
            reads, writes = self._process.stdout, self._process.stdin
            assert reads is not None
            assert writes is not None
            try:
                writes.write(json.dumps(words).encode() + b"\n")
            except OSError as error:
                raise Cold("it has ended") from error
            line, until = b"", time.monotonic() + deadline
            while not line.endswith(b"\n"):
                if not select.select([reads], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise Cold(f"no answer to `pgswarm {' '.join(words)}` within {deadline:.0f} s")
                some = os.read(reads.fileno(), 1 << 16)
                if not some:
                    raise Cold("it has ended")
                line += some
        said, reason = json.loads(line)
        if reason:
            raise Failure(reason)
        return str(said)

    def end(self) -> None:
        """The client goes, its container's process reads the end of its input, and goes too."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
