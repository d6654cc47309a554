"""Being called: the small HTTP server of operator, members and routers. One request a connection, answered or streamed.

h11 reads the requests; the answers are a few fixed lines. A web framework and its server would be five megabytes and
most of the processor time of an idle agent (decision 0007), and would have their own ideas of signals, of what to do
with a stream that nobody reads, and of which socket a request came by.

Who calls has `REQUEST` seconds to say what he wants, within `LONGEST_BODY`; who does not read his stream is left after
`UNREAD`; and at most `MOST_CALLERS` are served at a time, so that nobody can use up this container. Nothing here ends
the process: a handler that fails is logged, and its caller is answered 500.

Before it: ports/calls.py on the other side. After it: member/api.py, router/api.py, loop/api.py.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.stapled import MultiListener
from loguru import logger
from pydantic import ValidationError

from pgswarm import wire
from pgswarm.core.base import Message
from pgswarm.errors import Refused

REQUEST = 5.0
"""Seconds for a whole request."""

UNREAD = 10.0
"""Seconds for which an answer may wait to be read; then the caller is gone, or as good as gone."""

LONGEST_BODY = 1 << 20
"""Bytes: an order is some hundred."""

MOST_CALLERS = 500
"""At one port at a time, streams included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    verb: str
    path: str
    authorization: str | None
    caller: str
    body: bytes
    connection: socket.socket

    def is_authorized(self, secret: str) -> bool:
        return wire.is_authorized(self.authorization, secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer."""

    body: bytes | str
    status: int = 200
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """An answer that has no end: the pieces are sent as they come."""

    pieces: AsyncGenerator[bytes, None]


Handler = Callable[[Call], Awaitable[Reply | Lines]]
Handlers = Mapping[tuple[str, str], Handler]
"""By verb and path; the path `*` is any."""


async def listen(address: str, port: int) -> MultiListener[SocketStream]:
    """Open the port. Raises Refused if it is taken."""
    try:
        return await anyio.create_tcp_listener(local_host=address, local_port=port, backlog=128, reuse_port=False)
    except OSError as exc:
        raise Refused(
            f"cannot listen on {address}:{port}: {exc.strerror or exc}; is another one running here?"
        ) from exc


async def serve(listener: MultiListener[SocketStream], handlers: Handlers) -> None:
    """Answer until cancelled."""
    callers = 0

    async def welcome(stream: SocketStream) -> None:
        nonlocal callers
        if callers >= MOST_CALLERS:
            await anyio.aclose_forcefully(stream)
            return
        callers += 1
        try:
            await _serve_one(stream, handlers)
        finally:
            callers -= 1

    async with listener:
        await listener.serve(welcome)


M = TypeVar("M", bound=Message)


def parsed(call: Call, kind: type[M]) -> M | Reply:
    """The body as what it should be, or the answer that says what is wrong with it."""
    try:
        return kind.model_validate_json(call.body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return refusal(422, f"not a {kind.__name__}: {where + ': ' if where else ''}{first['msg']}")


def refusal(status: int, reason: str) -> Reply:
    """An answer that says no, as wire.py says it."""
    return Reply(status=status, body=wire.Answer(accepted=False, reason=reason).model_dump_json())


async def _serve_one(stream: SocketStream, handlers: Handlers) -> None:
    try:
        call: Call | Reply | None = None
        with anyio.move_on_after(REQUEST):
            call = await _heard(stream)
        if call is None:
            return
        reply = call if isinstance(call, Reply) else await _handled(call, handlers)
        is_short = isinstance(call, Call) and call.verb == "HEAD"
        if isinstance(reply, Reply):
            await _send(stream, _whole(reply, is_short=is_short))
            await _see_off(stream)
            return
        await _send(stream, _head(200, "application/x-ndjson"))
        async with aclosing(reply.pieces) as pieces:
            async for piece in pieces:
                await _send(stream, piece)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError):
        return  # the caller has left
    except Exception as exc:  # a bug here must not end the process, and PostgreSQL with it
        logger.opt(exception=exc).error("a caller was not answered: {}", exc)
    finally:
        await anyio.aclose_forcefully(stream)


async def _heard(stream: SocketStream) -> Call | Reply | None:
    """The whole request; None if the caller left; an answer if it is none."""
    http = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = bytearray()
    while True:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as exc:
            return refusal(exc.error_status_hint, f"this is not HTTP: {exc}")
        match event:
            case h11.Request():
                request = event
            case h11.Data():
                body += event.data
                if len(body) > LONGEST_BODY:
                    return refusal(413, "nobody says that much here")
            case h11.EndOfMessage() if request is not None:
                given = {name: value.decode(errors="replace") for name, value in request.headers}
                return Call(
                    verb=request.method.decode(),
                    path=request.target.partition(b"?")[0].decode(errors="replace"),
                    authorization=given.get(b"authorization"),
                    caller=given.get(wire.CALLER.lower().encode(), ""),
                    body=bytes(body),
                    connection=stream.extra(SocketAttribute.raw_socket),
                )
            case h11.ConnectionClosed():
                return None
            case _:
                if http.they_are_waiting_for_100_continue:
                    await stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                    http.send(h11.InformationalResponse(status_code=100, headers=[]))
                try:
                    http.receive_data(await stream.receive())
                except anyio.EndOfStream:
                    http.receive_data(b"")


async def _handled(call: Call, handlers: Handlers) -> Reply | Lines:
    verb = "GET" if call.verb == "HEAD" else call.verb
    handler = handlers.get((verb, call.path)) or handlers.get((verb, "*"))
    if handler is None:
        known = any(call.path == path for _, path in handlers)
        return refusal(405 if known else 404, f"{call.verb} {call.path} is nothing that is answered here")
    try:
        return await handler(call)
    except Exception as exc:  # as above
        logger.opt(exception=exc).error("{} {} failed: {}", call.verb, call.path, exc)
        return refusal(500, f"{type(exc).__name__}: {exc} (a bug; see the log)")


def _whole(reply: Reply, *, is_short: bool) -> bytes:
    body = reply.body.encode() if isinstance(reply.body, str) else reply.body
    return _head(reply.status, reply.kind, len(body), reply.headers) + (b"" if is_short else body)


def _head(status: int, kind: str, length: int | None = None, more: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Without a length the answer ends with the connection."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {kind}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


async def _see_off(stream: SocketStream) -> None:
    """Wait until the caller has read all and closed: what is thrown away with a connection may not be sent yet."""
    await stream.send_eof()
    with anyio.move_on_after(UNREAD):
        while True:
            await stream.receive()


async def _send(stream: SocketStream, data: bytes) -> None:
    sent = False
    with anyio.move_on_after(UNREAD):
        await stream.send(data)
        sent = True
    if not sent:
        raise anyio.BrokenResourceError
