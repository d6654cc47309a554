"""Calling an agent: one request over one connection, answered whole or line by line. HTTP/1.1, and no more of it.

h11 reads what comes, so nothing here guesses where an answer ends; what is sent is a handful of fixed lines. A client
library would bring connection pools, redirects, proxies, cookies and seven megabytes to every agent, and spend
several times as much on each line of a stream (decision 0007).

No connection is kept for reuse: behind a network that was cut an idle connection looks as good as new and answers
nothing, and a new one costs a third of a millisecond.

What goes wrong is told apart by what it proves. `Closed`: the other side's kernel ended, reset or refused, so that
process is gone, known in milliseconds. `Silent`: nothing came in time, or there is no way there, which proves nothing.
`Refused`: it lives and says no, or does not speak this at all.

After it: ports/agents.py makes reports of it. The other side is ports/door.py.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

import anyio
import h11
from anyio.abc import SocketStream
from pydantic import ValidationError

from pgswarm.errors import Again, Refused
from pgswarm.ports.feed import Beat, Feed
from pgswarm.wire import Answer, credentials

CONNECT = 0.5
"""Seconds to wait for a connection; more than that on an overlay is a node that is gone."""

LONGEST_ANSWER = 16 << 20
"""Bytes of one whole answer; the status of a thousand clusters is some four."""

LONGEST_LINE = 1 << 20
"""Bytes: a longer report is not one of ours."""

_FRAMED = {b"content-length", b"transfer-encoding"}
"""Headers of an answer that says itself where it ends."""

_GONE = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
"""What only a kernel that lost the process behind a socket says; everything else proves nothing."""


class Closed(Again):
    """The process at the other end is gone: its kernel said so."""


class Vacant(Closed):
    """Nobody listens there: its kernel lives and refused the connection."""


class Silent(Again):
    """No word in time, or no way there. It may live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A whole answer."""

    status: int
    body: bytes


class Line:
    """One agent's address, the secret that it wants to hear, and as whom it is called."""

    def __init__(self, address: str, port: int, secret: str, *, caller: str) -> None:
        self.name = f"{address}:{port}"
        self._address = address
        self._port = port
        self._heads = [("Host", self.name), ("Connection", "close"), *credentials(secret, caller).items()]

    async def call(
        self, verb: str, path: str, body: bytes | None = None, *, deadline: float, accept: tuple[int, ...] = (200,)
    ) -> Answered:
        """One request and its whole answer. Raises Closed, Silent or Refused."""
        try:
            with anyio.fail_after(deadline):
                async with self._asked(verb, path, body, min(CONNECT, deadline)) as talk:
                    answered = await talk.answer()
        except TimeoutError as exc:
            raise Silent(f"{self.name} did not answer {verb} {path} within {deadline:g} s") from exc
        if answered.status not in accept:
            raise _refusal(self.name, answered)
        return answered

    async def lines(self, path: str, *, silence: float, beat: Beat | None = None) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that has no end. Never ends by itself: raises Closed, Silent or Refused.

        An empty line of which `beat` says that this was all is not given out.
        """
        feed = Feed()
        async with self._asked("GET", path, None, CONNECT, feed) as talk:
            status = await talk.head(silence)
            if status != 200:
                raise _refusal(self.name, Answered(status=status, body=await talk.body(silence)))
            if talk.is_plain:
                feed.beat = beat
            rest = b""
            while (chunk := await talk.chunk(silence)) is not None:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
                if len(rest) > LONGEST_LINE:
                    raise Refused(f"{self.name} sends no reports, but lines without an end")
        raise Closed(f"{self.name} ended its stream")

    @asynccontextmanager
    async def _asked(
        self, verb: str, path: str, body: bytes | None, connect: float, feed: Feed | None = None
    ) -> AsyncIterator[_Talk]:
        """A connection on which the question has been sent; dropped at the end, without waiting for anybody."""
        stream: SocketStream | Feed
        try:
            with anyio.fail_after(connect):
                if feed is not None:
                    await feed.connect(self._address, self._port)
                    stream = feed
                else:
                    stream = await anyio.connect_tcp(self._address, self._port)
        except TimeoutError as exc:
            raise Silent(f"{self.name} is silent") from exc
        except OSError as exc:
            raise _verdict(self.name, exc) from exc
        try:
            talk = _Talk(self.name, stream)
            await talk.ask(verb, path, body, self._heads)
            yield talk
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise _verdict(self.name, exc) from exc
        finally:
            if isinstance(stream, Feed):
                stream.abort()
            else:
                await anyio.aclose_forcefully(stream)


class _Talk:
    """One question, and its answer as it comes."""

    def __init__(self, name: str, stream: SocketStream | Feed) -> None:
        self._name = name
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._rest: bytes | None = None
        """What came with the head of an answer that ends with the connection: from there on nothing is to be parsed."""

    @property
    def is_plain(self) -> bool:
        """Is what comes after the head the body itself, to the end of the connection?"""
        return self._rest is not None

    async def ask(self, verb: str, path: str, body: bytes | None, heads: list[tuple[str, str]]) -> None:
        if body is not None:
            heads = [*heads, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        message = self._http.send(h11.Request(method=verb, target=path, headers=heads)) or b""
        if body is not None:
            message += self._http.send(h11.Data(data=body)) or b""
        message += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send(message)

    async def answer(self) -> Answered:
        return Answered(status=await self.head(None), body=await self.body(None))

    async def head(self, silence: float | None) -> int:
        """The status."""
        while True:
            event = await self._next(silence)
            if isinstance(event, h11.Response):
                if not _FRAMED.intersection(name for name, _ in event.headers):
                    self._rest = self._http.trailing_data[0]
                return event.status_code
            if not isinstance(event, h11.InformationalResponse):
                raise Refused(f"{self._name} does not speak HTTP")

    async def body(self, silence: float | None) -> bytes:
        found = bytearray()
        while (chunk := await self.chunk(silence)) is not None:
            found += chunk
            if len(found) > LONGEST_ANSWER:
                raise Refused(f"{self._name} answers without an end")
        return bytes(found)

    async def chunk(self, silence: float | None) -> bytes | None:
        """The next piece of the body; None at its end."""
        if self._rest is not None:
            piece, self._rest = self._rest, b""
            return piece or await self._receive(silence) or None
        event = await self._next(silence)
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _next(self, silence: float | None) -> h11.Event:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                if self._http.trailing_data[1]:
                    raise Closed(f"{self._name} closed the connection") from exc
                raise Refused(f"{self._name} does not speak HTTP: {exc}") from exc
            if isinstance(event, h11.ConnectionClosed):
                raise Closed(f"{self._name} closed the connection")
            if isinstance(event, h11.Event):
                return event
            self._http.receive_data(await self._receive(silence))

    async def _receive(self, silence: float | None) -> bytes:
        """What comes next; nothing at the end of the connection. Raises Silent."""
        heard_at = anyio.current_time()
        while True:
            with anyio.CancelScope(deadline=inf if silence is None else heard_at + silence):
                try:
                    return await self._stream.receive()
                except anyio.EndOfStream:
                    return b""
            if not isinstance(self._stream, Feed) or self._stream.beaten_at <= heard_at:
                raise Silent(f"{self._name} is silent")
            heard_at = self._stream.beaten_at


def _refusal(name: str, answered: Answered) -> Refused:
    """The agent lives and says no; its reason if it gives one."""
    try:
        reason = Answer.model_validate_json(answered.body).reason
    except ValidationError:
        reason = answered.body.decode(errors="replace").strip()[:200]
    return Refused(f"{name} answered {answered.status}: {reason}")


def _verdict(name: str, exc: BaseException) -> Closed | Silent:
    """What a failure of the transport proves: the errno below it tells."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _GONE:
            kind = Vacant if cause.errno == errno.ECONNREFUSED else Closed
            return kind(f"{name}: {errno.errorcode[cause.errno]}")
        cause = cause.__cause__ or cause.__context__
    return Silent(f"{name} cannot be reached: {exc}")
