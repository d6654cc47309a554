"""What an operator answers on its own port: its heartbeat to the other operators, and its view to a person's command.

GET /stream   one OperatorReport a line                        secret
GET /status   everything that this operator sees and plans     secret
GET /live     200 while the loop turns                         no secret
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pgswarm.errors import Refused
from pgswarm.wire import HEARTBEAT, OPERATOR_PORT, OperatorReport, encode_line, is_authorized

ENDING = 1.0
"""Seconds for the last answers when the operator ends."""


def app(
    secret: str, report: Callable[[], OperatorReport], status: Callable[[], dict[str, Any]], ending: anyio.Event
) -> Starlette:
    """The web application; `report` and `status` are asked anew at each request, streams end with `ending`."""

    def allowed(request: Request) -> bool:
        return is_authorized(request.headers.get("authorization"), secret)

    async def stream(request: Request) -> Response:
        if not allowed(request):
            return _forbidden()

        async def lines() -> AsyncIterator[bytes]:
            while not ending.is_set():
                yield encode_line(report())
                with anyio.move_on_after(HEARTBEAT):
                    await ending.wait()

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def show(request: Request) -> Response:
        return JSONResponse(status()) if allowed(request) else _forbidden()

    async def live(request: Request) -> Response:
        return PlainTextResponse("live\n")

    return Starlette(routes=[Route("/stream", stream), Route("/status", show), Route("/live", live)])


async def serve(application: Starlette, ending: anyio.Event, host: str = "0.0.0.0", port: int = OPERATOR_PORT) -> None:
    """Answer until cancelled; then end the streams in order. Signals stay with the caller."""
    config = uvicorn.Config(
        application, host=host, port=port, loop="none", log_config=None, access_log=False, lifespan="off", ws="none"
    )
    server = _Quiet(config)
    try:
        await server.serve()
    except SystemExit as exc:  # uvicorn's way to say that it could not listen
        raise Refused(f"cannot listen on {host}:{port}; is another operator running here?") from exc
    finally:
        ending.set()
        if server.started:
            with anyio.move_on_after(ENDING, shield=True):
                await server.shutdown()


class _Quiet(uvicorn.Server):
    """uvicorn without its own idea of signals: what SIGTERM means is decided in `run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _forbidden() -> Response:
    return JSONResponse({"reason": "the control secret is missing or wrong"}, status_code=401)
