"""Docker's events as wake-ups: something with this name may have changed, go and look.

Nothing is ever read out of an event. Swarm sends none for tasks, each engine remembers only the last 256, a slow
reader loses some, and a stream may end without a word. So the reader subscribes first and lists then (`connected`),
polls as well, and an ended stream is simply opened again.

The stream blocks a thread of its own; ending the iteration shuts the socket, and so the thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from docker.types.daemon import CancellableStream
from loguru import logger

from pgswarm.errors import Failure
from pgswarm.ports.swarm_http import Engine, failed_answer, request

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds before opening the stream again; the last one for ever. A stream that brought something starts anew."""

SILENCE = 60.0
"""Seconds without any event after which the stream is opened again: an idle one would never say that it is dead."""

KINDS = ("service", "node", "config", "secret", "network", "container")
ACTIONS = ("create", "update", "remove", "start", "die", "oom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Something happened to an object: its kind, what, and its name (of a container: its service's name)."""

    kind: str
    action: str
    name: str


CONNECTED = Wake(kind="events", action="connected", name="")


async def wakes(engine: Engine) -> AsyncIterator[Wake]:
    """Wake-ups until the iteration is closed or cancelled."""
    limiter = CapacityLimiter(2)  # one that reads, one abandoned that is about to notice
    failures = 0
    told = ""
    while True:
        try:
            lines = await anyio.to_thread.run_sync(_open, engine, abandon_on_cancel=True, limiter=limiter)
        except Failure as failure:
            if failure.reason != told:
                logger.warning("no events from Docker: {}", failure.reason)
                told = failure.reason
            await anyio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1
            continue
        told = ""
        try:
            yield CONNECTED
            while True:
                line = await anyio.to_thread.run_sync(_next, lines, abandon_on_cancel=True, limiter=limiter)
                if line is None:
                    break
                failures = 0
                wake = wake_of(line)
                if wake is not None:
                    yield wake
        finally:
            lines.shut()
        await anyio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
        failures += 1


def wake_of(line: bytes) -> Wake | None:
    """The wake-up in one event; None for what belongs to nobody in Swarm, and for what cannot be read."""
    try:
        event: Mapping[str, Any] = json.loads(line)
        attributes = event["Actor"].get("Attributes") or {}
        kind, action = str(event["Type"]), str(event["Action"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    name = attributes.get("com.docker.swarm.service.name" if kind == "container" else "name", "")
    return None if kind == "container" and not name else Wake(kind=kind, action=action.partition(":")[0], name=name)


class _Lines:
    """The lines of one open stream, and the way to shut it from another thread."""

    def __init__(self, lines: Iterator[bytes], shut: Callable[[], None]) -> None:
        self._lines = lines
        self._shut = shut

    def next(self) -> bytes | None:
        return next(self._lines, None)

    def shut(self) -> None:
        try:
            self._shut()
        except (OSError, AttributeError):  # it has ended already
            return


def _open(engine: Engine) -> _Lines:
    doing = "listening to Docker's events"
    try:
        client = engine.client()
        response = request(
            client,
            "GET",
            "/events",
            # From a second ago: Docker answers a moment before it subscribes.
            query={"since": f"{time.time() - 1:.3f}", "filters": {"type": list(KINDS), "event": list(ACTIONS)}},
            timeout=SILENCE,
            stream=True,
        )
    except Exception as error:
        raise engine.failed(error, doing) from error
    if response.status_code >= 400:
        raise failed_answer(response.status_code, response.text, is_write=False, doing=doing)
    lines = response.iter_lines(chunk_size=None)

    def shut() -> None:
        CancellableStream(lines, response).close()
        client.close()

    return _Lines(lines, shut)


def _next(lines: _Lines) -> bytes | None:
    """The next line; None when the stream has ended, was shut, or was silent for too long."""
    try:
        return lines.next()
    except Exception as error:
        logger.debug("the stream of events broke off: {}", error)
        return None
