"""What an operator answers on its own port: its heartbeat to the other operators, and its view to a person's command.

GET /stream   one OperatorReport a line                        secret
GET /status   everything that this operator sees and plans     secret
GET /live     200 while the loop turns                         no secret
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pgswarm.wire import HEARTBEAT, OPERATOR_PORT, OperatorReport, encode_line, is_authorized


def app(secret: str, report: Callable[[], OperatorReport], status: Callable[[], dict[str, Any]]) -> Starlette:
    """The web application; `report` and `status` are asked anew at each request."""

    def allowed(request: Request) -> bool:
        return is_authorized(request.headers.get("authorization"), secret)

    async def stream(request: Request) -> Response:
        if not allowed(request):
            return _forbidden()

        async def lines() -> AsyncIterator[bytes]:
            while True:
                yield encode_line(report())
                await anyio.sleep(HEARTBEAT)

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def show(request: Request) -> Response:
        return JSONResponse(status()) if allowed(request) else _forbidden()

    async def live(request: Request) -> Response:
        return PlainTextResponse("live\n")

    return Starlette(routes=[Route("/stream", stream), Route("/status", show), Route("/live", live)])


async def serve(application: Starlette, host: str = "0.0.0.0", port: int = OPERATOR_PORT) -> None:
    """Answer until cancelled. Signals stay with the caller."""
    config = uvicorn.Config(
        application, host=host, port=port, log_level="warning", access_log=False, lifespan="off", ws="none"
    )
    server = _Quiet(config)
    try:
        await server.serve()
    finally:
        server.should_exit = True


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handlers."""

    def install_signal_handlers(self) -> None:
        return None


def _forbidden() -> Response:
    return JSONResponse({"reason": "the control secret is missing or wrong"}, status_code=401)
