"""What an operator answers on its own port: its heartbeat to the other operators, and its view to a person's command.

GET /stream   one OperatorReport a line                        secret
GET /status   everything that this operator sees and plans     secret
GET /live     200 while the loop turns                         no secret
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio

from pgswarm.ports import door
from pgswarm.ports.door import Call, Handler, Lines, Reply
from pgswarm.wire import BEAT, HEARTBEAT, OperatorReport, encode_line


def handlers(
    secret: str, report: Callable[[], OperatorReport], status: Callable[[], dict[str, Any]]
) -> dict[tuple[str, str], Handler]:
    """What is answered; `report` and `status` are asked anew each time."""

    async def lines() -> AsyncIterator[bytes]:
        told: OperatorReport | None = None
        while True:
            now = report()
            yield BEAT if now == told else encode_line(now)
            told = now
            await anyio.sleep(HEARTBEAT)

    async def stream(call: Call) -> Reply | Lines:
        return Lines(pieces=lines()) if call.is_authorized(secret) else _forbidden()

    async def show(call: Call) -> Reply:
        return Reply(body=json.dumps(status())) if call.is_authorized(secret) else _forbidden()

    async def live(call: Call) -> Reply:
        return Reply(body="live\n", kind="text/plain")

    return {("GET", "/stream"): stream, ("GET", "/status"): show, ("GET", "/live"): live}


def _forbidden() -> Reply:
    return door.refusal(401, "the control secret is missing or wrong")
