"""How operator and routers hear and order the agents: HTTP, as wire.py says, and nothing else.

Two things are offered. `AgentClient` does the four calls of the wire; its answers are reports, its failures say what
they prove: `Closed` (EOF, reset or refused - that process is gone, known in milliseconds), `Silent` (nothing came in
time, or no way there - proves nothing), `Refused` (it lives and says no). `Watch` keeps one stream open to one agent
for as long as it runs, connects anew with a short growing pause, and publishes a `Sighting` at every change.

No connection is kept for reuse: behind a network that was cut an idle connection looks as good as new and answers
nothing, and a new one costs a third of a millisecond. For the same reason a silent stream is given up
after `SILENCE` and dialled again: after a long cut TCP itself would sleep for many seconds before it tried once more.

Times are those of `anyio.current_time()`, so the simulator's clock serves as well.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import anyio
import httpx
from loguru import logger
from pydantic import ValidationError

from pgswarm.core.base import Message
from pgswarm.core.orders import OrderMessage, RouterOrderMessage
from pgswarm.core.reports import MemberReport, RouterReport
from pgswarm.core.sightings import Sighting
from pgswarm.errors import Again, Failure, Refused
from pgswarm.wire import HEARTBEAT, Answer, OperatorReport, PromiseRequest, bearer, decode_line

AnyReport = MemberReport | RouterReport | OperatorReport

CONNECT = 0.5
"""Seconds to wait for a connection; more than that on an overlay is a node that is gone."""

SILENCE = 3 * HEARTBEAT
"""Seconds without a byte after which a stream is given up and dialled again."""

PAUSE_FIRST, PAUSE_LAST = 0.1, 1.0
"""Seconds between attempts to connect: doubled from the first to the last, back to the first with every report."""

LONGEST_LINE = 1 << 20
"""Bytes: a longer report is not one of ours."""

_GONE = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
"""What only a kernel that lost the process behind a socket says; everything else proves nothing."""


class Closed(Again):
    """The process at the other end is gone: its kernel said so."""


class Silent(Again):
    """No word in time, or no way there. It may live."""


class Agents(Protocol):
    """The narrow port behind which all agents are; the simulator has another one."""

    async def send_order(
        self, address: str, port: int, message: OrderMessage | RouterOrderMessage, *, deadline: float = 2.0
    ) -> Answer: ...

    async def ask_promise(
        self, address: str, port: int, request: PromiseRequest, *, deadline: float = 5.0
    ) -> MemberReport: ...

    async def get_report(self, address: str, port: int, *, deadline: float = 2.0) -> AnyReport: ...

    def stream(self, address: str, port: int, *, silence: float = SILENCE) -> AsyncGenerator[AnyReport, None]: ...


class AgentClient:
    """Speaks to agents over the network; one for each process, `async with` for as long as it lives."""

    def __init__(self, secret: str) -> None:
        self._http = httpx.AsyncClient(
            headers=bearer(secret),
            trust_env=False,
            follow_redirects=False,
            # No TLS on this port, so no certificates are loaded (they cost five megabytes).
            transport=httpx.AsyncHTTPTransport(
                verify=False,
                trust_env=False,
                http2=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            ),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, exc, trace)

    async def send_order(
        self, address: str, port: int, message: OrderMessage | RouterOrderMessage, *, deadline: float = 2.0
    ) -> Answer:
        """Give an order; a refusal (409) is an answer like any other. Raises Closed, Silent or Refused."""
        response = await self._call("PUT", address, port, "/order", message, deadline, accept={200, 409})
        return _parsed(response, Answer)

    async def ask_promise(
        self, address: str, port: int, request: PromiseRequest, *, deadline: float = 5.0
    ) -> MemberReport:
        """Ask for a promise; the answer is durable and settled. Raises Closed, Silent, or Refused with the reason."""
        response = await self._call("POST", address, port, "/promise", request, deadline, accept={200})
        return _parsed(response, MemberReport)

    async def get_report(self, address: str, port: int, *, deadline: float = 2.0) -> AnyReport:
        """The report of this moment. Raises Closed, Silent or Refused."""
        response = await self._call("GET", address, port, "/report", None, deadline, accept={200})
        return _decoded(response.content)

    async def stream(self, address: str, port: int, *, silence: float = SILENCE) -> AsyncGenerator[AnyReport, None]:
        """Reports as they come. Never ends by itself: raises Closed, Silent or Refused. Use it with `aclosing`."""
        timeout = httpx.Timeout(connect=CONNECT, read=silence, write=silence, pool=silence)
        try:
            async with self._http.stream("GET", _url(address, port, "/stream"), timeout=timeout) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _refusal(response)
                rest = b""
                async for chunk in response.aiter_raw():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield _decoded(line)
                    if len(rest) > LONGEST_LINE:
                        raise Refused(f"{address}:{port} sends no reports, but lines without an end")
        except httpx.HTTPError as exc:
            raise _verdict(exc, address, port) from exc
        raise Closed(f"{address}:{port} ended its stream")

    async def _call(
        self, verb: str, address: str, port: int, path: str, body: Message | None, deadline: float, accept: set[int]
    ) -> httpx.Response:
        content = None if body is None else body.model_dump_json().encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        timeout = httpx.Timeout(deadline, connect=min(CONNECT, deadline))
        response: httpx.Response | None = None
        with anyio.move_on_after(deadline):
            try:
                response = await self._http.request(
                    verb, _url(address, port, path), content=content, headers=headers, timeout=timeout
                )
            except httpx.HTTPError as exc:
                raise _verdict(exc, address, port) from exc
        if response is None:
            raise Silent(f"{address}:{port} did not answer {verb} {path} within {deadline:g} s")
        if response.status_code not in accept:
            raise _refusal(response)
        return response


R = TypeVar("R", MemberReport, RouterReport, OperatorReport)


class Watch(Generic[R]):
    """Keeps one stream open to the agent `name`, wherever it is aimed, and publishes every change of what is known.

    `run` belongs in a task group; `aim` may be called at any time and takes effect at once. A report that `stranger`
    finds to be somebody else's (an address of an overlay is soon given to another) is not published.
    """

    def __init__(
        self,
        agents: Agents,
        name: str,
        kind: type[R],
        port: int,
        publish: Callable[[str, Sighting[R]], None],
        *,
        stranger: Callable[[R], str] = lambda report: "",
        silence: float = SILENCE,
    ) -> None:
        self.name = name
        self.sighting: Sighting[R] = Sighting()
        self._agents = agents
        self._kind: type[R] = kind
        self._port = port
        self._publish: Callable[[str, Sighting[R]], None] = publish
        self._stranger: Callable[[R], str] = stranger
        self._silence = silence
        self._aimed = anyio.Event()
        self._scope = anyio.CancelScope()
        self._pause = PAUSE_FIRST

    def aim(self, address: str | None) -> None:
        """Look there from now on; None: nowhere. The same address again changes nothing."""
        if address == self.sighting.address:
            return
        why = f"no stream to {address} yet" if address else "no address known"
        self._tell(replace(self.sighting, address=address, connected=False, why=why))
        self._pause = PAUSE_FIRST
        self._aimed.set()
        self._scope.cancel()

    def hear(self, report: R) -> None:
        """Take over a report that came as the answer to a call: as good as one from the stream."""
        self._tell(replace(self.sighting, report=report, heard_at=anyio.current_time()))

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._aimed = anyio.Event()
            address = self.sighting.address
            if address is None:
                await self._aimed.wait()
                continue
            with anyio.CancelScope() as self._scope:
                await self._follow(address)
                await anyio.sleep(self._pause)
                self._pause = min(2 * self._pause, PAUSE_LAST)

    async def _follow(self, address: str) -> None:
        """Hear one stream to its end, and say how it ended."""
        try:
            async with aclosing(self._agents.stream(address, self._port, silence=self._silence)) as reports:
                async for report in reports:
                    self._hear(address, report)
        except Closed as exc:
            # The first one counts: a kernel that refuses again and again is the same death.
            closed_at = anyio.current_time() if self.sighting.closed_at is None else self.sighting.closed_at
            self._lose(replace(self.sighting, connected=False, closed_at=closed_at, why=exc.reason))
        except Failure as exc:
            self._lose(replace(self.sighting, connected=False, why=exc.reason))

    def _hear(self, address: str, report: AnyReport) -> None:
        if not isinstance(report, self._kind):
            raise Refused(f"{address}:{self._port} is a {report.kind}, not {self.name}")
        if stranger := self._stranger(report):
            raise Refused(f"{address}:{self._port} is not {self.name}: {stranger}")
        if not self.sighting.connected:
            logger.info("{}: hearing it at {}", self.name, address)
        self._pause = PAUSE_FIRST
        self._tell(Sighting(address=address, report=report, heard_at=anyio.current_time(), connected=True, why=""))

    def _lose(self, sighting: Sighting[R]) -> None:
        if self.sighting.connected:
            logger.info("{}: not heard any more: {}", self.name, sighting.why)
        elif self.sighting.why != sighting.why:
            logger.debug("{}: not heard: {}", self.name, sighting.why)
        self._tell(sighting)

    def _tell(self, sighting: Sighting[R]) -> None:
        if sighting != self.sighting:
            self.sighting = sighting
            self._publish(self.name, sighting)


def not_member(cluster: str, member: str) -> Callable[[MemberReport], str]:
    """For a Watch: why a report is not that member's; empty if it is."""

    def stranger(report: MemberReport) -> str:
        if (report.cluster, report.member) == (cluster, member):
            return ""
        return f"it is {report.member} of {report.cluster}"

    return stranger


def _url(address: str, port: int, path: str) -> str:
    return f"http://{address}:{port}{path}"


def _decoded(line: bytes) -> AnyReport:
    try:
        return decode_line(line)
    except ValidationError as exc:
        raise Refused(f"not a report: {exc.errors(include_url=False, include_input=False)[0]['msg']}") from exc


M = TypeVar("M", Answer, MemberReport)


def _parsed(response: httpx.Response, kind: type[M]) -> M:
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as exc:
        raise Refused(f"{response.url.host}:{response.url.port} answered something else than {kind.__name__}") from exc


def _refusal(response: httpx.Response) -> Refused:
    """The agent lives and says no; its reason if it gives one."""
    try:
        reason = Answer.model_validate_json(response.content).reason
    except ValidationError:
        reason = response.text.strip()[:200] or response.reason_phrase
    return Refused(f"{response.url.host}:{response.url.port} answered {response.status_code}: {reason}")


def _verdict(exc: httpx.HTTPError, address: str, port: int) -> Closed | Silent:
    """What a transport's failure proves: the errno below it tells, or that the peer ended the connection."""
    if isinstance(exc, httpx.RemoteProtocolError):
        # "Server disconnected" or an incomplete body: EOF in the middle.
        return Closed(f"{address}:{port} closed the connection")
    if isinstance(exc, httpx.TimeoutException):
        return Silent(f"{address}:{port} is silent")
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _GONE:
            return Closed(f"{address}:{port}: {errno.errorcode[cause.errno]}")
        cause = cause.__cause__ or cause.__context__
    return Silent(f"{address}:{port} cannot be reached: {exc}")
