"""What the tasks of a Swarm service have written, from any manager: Swarm fetches it from whichever node they are on.

Docker sends frames as for a program's output (`delegate.frames`), each a line with its time and, before the text, the
labels of the task that wrote it. Lines of one node are in order; between nodes only their times compare, so what is
read to its end is sorted by them, and what is followed is told as it comes. A node that is down does not answer, and
Docker then waits: a reading has a deadline, after which what has come is all there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio.from_thread
import anyio.to_thread

from pgswarm.errors import Failure
from pgswarm.ports.delegate import frames
from pgswarm.ports.swarm_http import Engine, failed_answer, request

QUIET = 5.0
"""Seconds without a word from Docker after which a reading that follows nothing ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, and who wrote it where and when."""

    who: str
    at: str
    node_id: str
    text: str


async def read(
    engine: Engine, service_id: str, who: str, tell: Callable[[Line], None], *, tail: int, since: float, follow: bool
) -> None:
    """Tell each line: the last `tail` of each task since then, and with `follow` those that come, until cancelled."""
    doing = f"reading the log of {who}"
    query: dict[str, Any] = {
        "stdout": 1,
        "stderr": 1,
        "timestamps": 1,
        "details": 1,
        "tail": tail,
        "follow": int(follow),
    }
    query |= {"since": int(since)} if since else {}

    def run() -> None:
        client = engine.client()
        try:
            timeout = None if follow else QUIET
            path = f"/services/{service_id}/logs"
            with request(client, "GET", path, query=query, timeout=timeout, stream=True) as response:
                if response.status_code >= 400:
                    raise failed_answer(response.status_code, response.text, is_write=False, doing=doing)
                for line in lines(who, _bytes_until(response.iter_content(chunk_size=None), None if follow else QUIET)):
                    anyio.from_thread.run_sync(tell, line)
        finally:
            client.close()

    try:
        await anyio.to_thread.run_sync(run, abandon_on_cancel=True)
    except Failure:
        raise
    except Exception as error:
        raise engine.failed(error, doing) from error


def lines(who: str, chunks: Iterable[bytes]) -> Iterator[Line]:
    """Every line in Docker's frames; a line that came in pieces is one again."""
    rest: dict[int, bytes] = {}
    for stream, data in frames(chunks):
        *whole, rest[stream] = (rest.get(stream, b"") + data).split(b"\n")
        yield from (_line(who, line) for line in whole)
    yield from (_line(who, line) for line in rest.values() if line)


def _line(who: str, raw: bytes) -> Line:
    at, _, more = raw.decode(errors="replace").rstrip("\r").partition(" ")
    details, _, text = more.partition(" ")
    labels = dict(one.partition("=")[::2] for one in details.split(","))
    return Line(who=who, at=at, node_id=labels.get("com.docker.swarm.node.id", ""), text=text)


def _bytes_until(chunks: Iterable[bytes], seconds: float | None) -> Iterator[bytes]:
    deadline = None if seconds is None else time.monotonic() + seconds
    for chunk in chunks:
        yield chunk
        if deadline is not None and time.monotonic() > deadline:
            return
