"""The router's two web servers: orders and reports on the control network, health for whoever asks.

The API is as wire.py says. The health port answers 200 while HAProxy runs and writers can be served and 503 otherwise,
with the reason as its body; the agent serves it and not HAProxy, so that it can also say that HAProxy is down.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import anyio
import uvicorn
from loguru import logger
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pgswarm.core.orders import RouterOrderMessage
from pgswarm.router.act import Router
from pgswarm.router.find import Finder
from pgswarm.wire import HEARTBEAT, Answer, encode_line, is_authorized

LONGEST_BODY = 1 << 20
"""Bytes: an order is some hundred."""


def api(router: Router, finder: Finder, secret: str) -> Starlette:
    """The wire, for operators."""

    async def order(request: Request) -> Response:
        if not is_authorized(request.headers.get("authorization"), secret):
            return _unknown_caller()
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_BODY:
                return _answer(413, "an order is never that long")
        try:
            message = RouterOrderMessage.model_validate_json(body)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            return _answer(422, f"not an order: {'.'.join(map(str, first['loc']))}: {first['msg']}")
        if refusal := router.accept(message, finder):
            return _answer(409, refusal, router)
        return _answer(200, "accepted", router)

    async def stream(request: Request) -> Response:
        if not is_authorized(request.headers.get("authorization"), secret):
            return _unknown_caller()
        return StreamingResponse(_reports(router), media_type="application/x-ndjson")

    async def report(request: Request) -> Response:
        if not is_authorized(request.headers.get("authorization"), secret):
            return _unknown_caller()
        return Response(router.report().model_dump_json(), media_type="application/json")

    async def live(request: Request) -> Response:
        return PlainTextResponse("the agent's loop turns\n")

    return Starlette(
        routes=[
            Route("/order", order, methods=["PUT"]),
            Route("/stream", stream),
            Route("/report", report),
            Route("/live", live),
        ]
    )


def health(router: Router) -> Starlette:
    """The health port: any path."""

    async def answer(request: Request) -> Response:
        is_healthy, reason = router.health()
        return PlainTextResponse(reason + "\n", status_code=200 if is_healthy else 503)

    return Starlette(routes=[Route("/{path:path}", answer)])


async def serve(app: Starlette, address: str, port: int) -> None:
    """Serve until cancelled."""
    config = uvicorn.Config(
        app,
        host=address,
        port=port,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    try:
        await server.serve()
    except SystemExit as exc:
        # uvicorn's way to say that it could not listen.
        raise OSError(f"cannot listen on {address}:{port}; is another router running here?") from exc
    logger.debug("port {} is closed", port)


class _Server(uvicorn.Server):
    """Leaves signals alone: the agent has its own idea of SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _reports(router: Router) -> AsyncIterator[bytes]:
    while True:
        told = router.told
        yield encode_line(router.report())
        with anyio.move_on_after(HEARTBEAT):
            await told.wait()


def _answer(status: int, reason: str, router: Router | None = None) -> Response:
    answer = Answer(accepted=status == 200, reason=reason, report=router.report() if router else None)
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json")


def _unknown_caller() -> Response:
    return JSONResponse(json.loads(Answer(accepted=False, reason="who are you?").model_dump_json()), status_code=401)
