"""What a router answers: orders and reports on the control network, health for whoever asks.

The API is as wire.py says. The health port answers 200 while HAProxy runs and writers can be served and 503 otherwise,
with the reason as its body; the agent serves it and not HAProxy, so that it can also say that HAProxy is down.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio

from pgswarm.core import metrics
from pgswarm.core.inspection import InspectRequest
from pgswarm.core.orders import RouterOrderMessage
from pgswarm.core.reports import RouterReport
from pgswarm.ports import door, inspecting, scrape
from pgswarm.ports.door import Call, Handler, Lines, Reply
from pgswarm.ports.usage import usage
from pgswarm.render import exposition
from pgswarm.router.act import Router
from pgswarm.router.find import Finder
from pgswarm.wire import BEAT, ROUTER_HEARTBEAT, Answer, encode_line


def api(router: Router, finder: Finder, secret: str, token: str = "") -> dict[tuple[str, str], Handler]:
    """The wire, for operators; and metrics, of which HAProxy's own are on its statistics port."""

    async def order(call: Call) -> Reply:
        if not call.is_authorized(secret):
            return _unknown_caller()
        message = door.parsed(call, RouterOrderMessage)
        if isinstance(message, Reply):
            return message
        refusal = router.accept(message, finder)
        answer = Answer(accepted=not refusal, reason=refusal or "accepted", report=router.report())
        return Reply(status=409 if refusal else 200, body=answer.model_dump_json())

    async def stream(call: Call) -> Reply | Lines:
        return Lines(pieces=_lines(router)) if call.is_authorized(secret) else _unknown_caller()

    async def report(call: Call) -> Reply:
        return Reply(body=router.report().model_dump_json()) if call.is_authorized(secret) else _unknown_caller()

    async def live(call: Call) -> Reply:
        return Reply(body="the agent's loop turns\n", kind="text/plain")

    async def inspect(call: Call) -> Reply:
        if not call.is_authorized(secret):
            return _unknown_caller()
        request = door.parsed(call, InspectRequest)
        if isinstance(request, Reply):
            return request
        return Reply(body=(await inspecting.inspection(request.names)).model_dump_json())

    async def numbers(call: Call) -> str:
        return exposition.text([*metrics.of_router(router.report()), *metrics.of_process(usage())])

    return {
        ("PUT", "/order"): order,
        ("GET", "/stream"): stream,
        ("GET", "/report"): report,
        ("GET", "/live"): live,
        ("POST", "/inspect"): inspect,
        ("GET", "/metrics"): scrape.handler(secret, token, numbers),
    }


def health(router: Router) -> dict[tuple[str, str], Handler]:
    """The health port: any path."""

    async def answer(call: Call) -> Reply:
        is_healthy, reason = router.health()
        return Reply(status=200 if is_healthy else 503, body=reason + "\n", kind="text/plain")

    return {("GET", "*"): answer}


async def _lines(router: Router) -> AsyncGenerator[bytes, None]:
    said: RouterReport | None = None
    while True:
        told, report = router.told, router.report()
        yield BEAT if report is said else encode_line(report)
        said = report
        with anyio.move_on_after(ROUTER_HEARTBEAT):
            await told.wait()


def _unknown_caller() -> Reply:
    return door.refusal(401, "who are you?")
