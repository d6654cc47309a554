"""The agent's door: the calls of wire.py, with the least that can answer them.

Whatever PostgreSQL does, this answers: nothing here waits for it, except a promise, which waits for its own end. An
authenticated request, and a stream whose bytes are acknowledged by the other side's kernel, count as having heard the
operator (law 6).
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import anyio
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pgswarm import wire
from pgswarm.core.base import Message
from pgswarm.core.orders import OrderMessage
from pgswarm.core.reports import Problem, Serving
from pgswarm.errors import Refused
from pgswarm.member.agent import Agent
from pgswarm.member.hearing import silent_for

BODY_LIMIT = 1 << 20

Sockets = Callable[[tuple[str, int]], socket.socket | None]
M = TypeVar("M", bound=Message)


class Door:
    """Answers for the agent, or, while there is none, says why there is none."""

    def __init__(self, secret: str, sockets: Sockets) -> None:
        self._secret = secret
        self._sockets = sockets
        self.agent: Agent | None = None
        self.problem = Problem(code="starting", text="the agent is starting")

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/order", self._order, methods=["PUT"]),
                Route("/promise", self._promise, methods=["POST"]),
                Route("/stream", self._stream),
                Route("/report", self._report),
                Route("/primary", self._primary),
                Route("/replica", self._replica),
                Route("/live", self._live),
            ]
        )

    async def _order(self, request: Request) -> Response:
        agent = self._admit(request)
        if isinstance(agent, Response):
            return agent
        message = await _body(request, OrderMessage)
        if isinstance(message, Response):
            return message
        answer = await agent.take_order(message)
        return _json(answer.model_dump_json(), 200 if answer.accepted else 409)

    async def _promise(self, request: Request) -> Response:
        agent = self._admit(request)
        if isinstance(agent, Response):
            return agent
        message = await _body(request, wire.PromiseRequest)
        if isinstance(message, Response):
            return message
        try:
            report = await agent.take_promise(message)
        except Refused as exc:
            answer = wire.Answer(accepted=False, reason=exc.reason, report=agent.report)
            return _json(answer.model_dump_json(), 409)
        return _json(report.model_dump_json(), 200)

    async def _report(self, request: Request) -> Response:
        agent = self._admit(request)
        return agent if isinstance(agent, Response) else _json(agent.beat().model_dump_json(), 200)

    async def _stream(self, request: Request) -> Response:
        agent = self._admit(request)
        if isinstance(agent, Response):
            return agent
        client = request.client
        connection = self._sockets((client.host, client.port)) if client else None
        lines = self._lines(agent, connection, counts=_is_operator(request))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _lines(self, agent: Agent, connection: socket.socket | None, *, counts: bool) -> AsyncIterator[bytes]:
        async for report in agent.reports():
            now = anyio.current_time()
            try:
                heard_at = now - silent_for(connection) if connection is not None else now
            except OSError:
                return
            if counts:
                agent.hearing.note_operator(heard_at)
            yield wire.encode_line(report)

    async def _primary(self, request: Request) -> Response:
        return self._may_serve(Serving.PRIMARY)

    async def _replica(self, request: Request) -> Response:
        return self._may_serve(Serving.REPLICA)

    async def _live(self, request: Request) -> Response:
        return _json('{"live": true}', 200)

    def _may_serve(self, wanted: Serving) -> Response:
        agent = self.agent
        if agent is None:
            return _json(json.dumps({"why": self.problem.text}), 503)
        serving, why = agent.serving()
        order = agent.order
        body = {
            "member": agent.config.member,
            "term": order.term if order else 0,
            "revision": order.revision if order else 0,
            "serving": serving.value,
            "why": why,
        }
        return _json(json.dumps(body), 200 if serving is wanted else 503)

    def _admit(self, request: Request) -> Agent | Response:
        if not wire.is_authorized(request.headers.get("authorization"), self._secret):
            return _json('{"why": "the control secret is missing or wrong"}', 401)
        if self.agent is None:
            refusing = request.method in ("PUT", "POST")
            answer = wire.Answer(accepted=False, reason=f"{self.problem.code}: {self.problem.text}")
            return _json(answer.model_dump_json(), 409 if refusing else 503)
        if _is_operator(request):
            self.agent.hearing.note_operator(anyio.current_time())
        return self.agent


def _is_operator(request: Request) -> bool:
    return request.headers.get(wire.CALLER, "operator") == "operator"


async def _body(request: Request, kind: type[M]) -> M | Response:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_LIMIT:
            return _json('{"why": "the body is too long"}', 413)
    try:
        return kind.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _json(json.dumps({"why": f"not a {kind.__name__}: {where}: {first['msg']}"}), 400)


def _json(text: str, status: int) -> Response:
    return Response(text, status_code=status, media_type="application/json")
