"""What an operator answers on its own port: its heartbeat to the other operators, and its view to a person's command.

GET /stream   one OperatorReport a line                        secret
GET /status   everything that this operator sees and plans     secret
GET /activity what goes on in every PostgreSQL (`pgswarm top`) secret
POST /notice  a person's word to the webhooks                  secret
GET /metrics  for Prometheus                                   no secret (or the token of `ports/scrape`)
GET /targets  what else Prometheus should ask                  the same
GET /live     200 while the loop turns                         no secret
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import anyio

from pgswarm.ports import door
from pgswarm.ports.door import Call, Handler, Lines, Reply
from pgswarm.wire import BEAT, HEARTBEAT, OperatorReport, encode_line

FAREWELL = 0.2
"""Seconds for the last word of an operator that ends."""


class Farewell:
    """The last word to the other operators: the next one acts at once, and not after the grace of a closed stream."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self._listeners = 0
        self._said = anyio.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
            if self.begun.is_set() and not self._listeners:
                self._said.set()

    async def say(self) -> None:
        """Say it to everyone who listens, within `FAREWELL`."""
        self.begun.set()
        if self._listeners:
            with anyio.move_on_after(FAREWELL):
                await self._said.wait()


def handlers(
    secret: str,
    report: Callable[[], OperatorReport],
    status: Callable[[], dict[str, Any]],
    farewell: Farewell,
    more: Mapping[tuple[str, str], Handler] = MappingProxyType({}),
) -> dict[tuple[str, str], Handler]:
    """What is answered; `report` and `status` are asked anew each time. `more` are handlers made elsewhere."""

    async def lines() -> AsyncGenerator[bytes, None]:
        told: OperatorReport | None = None
        with farewell.listening():
            while not farewell.begun.is_set():
                now = report()
                yield BEAT if now == told else encode_line(now)
                told = now
                with anyio.move_on_after(HEARTBEAT):
                    await farewell.begun.wait()
            yield encode_line(report().model_copy(update={"leaving": True}))

    async def stream(call: Call) -> Reply | Lines:
        return Lines(pieces=lines()) if call.is_authorized(secret) else _forbidden()

    async def show(call: Call) -> Reply:
        return Reply(body=json.dumps(status())) if call.is_authorized(secret) else _forbidden()

    async def live(call: Call) -> Reply:
        return Reply(body="live\n", kind="text/plain")

    return {("GET", "/stream"): stream, ("GET", "/status"): show, ("GET", "/live"): live, **more}


def _forbidden() -> Reply:
    return door.refusal(401, "the control secret is missing or wrong")
