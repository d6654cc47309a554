"""How operator and routers hear and order the agents: what wire.py says, and nothing else.

Two things are offered. `AgentClient` does the calls of the wire; its answers are reports, its failures say what
they prove: `Closed`, `Silent` or `Refused` (ports/calls.py). `Watch` keeps one stream open to one agent for as long as
it runs, connects anew with a short growing pause, and publishes a `Sighting` at every change.

An agent that has nothing new to say sends an empty line as its heartbeat: the report of before is heard again, the very
same object, and whoever compares need not look inside. A silent stream is given up after `SILENCE` and dialled again:
after a long cut TCP itself would sleep for many seconds before it tried once more.

Times are those of `anyio.current_time()`, so the simulator's clock serves as well.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Generic, Literal, Protocol, TypeVar

import anyio
from loguru import logger
from pydantic import ValidationError

from pgswarm.core.orders import OrderMessage, RouterOrderMessage
from pgswarm.core.reports import MemberReport, RouterReport
from pgswarm.core.sightings import Sighting
from pgswarm.errors import Failure, Refused
from pgswarm.ports.calls import Answered, Closed, Line, Silent, Vacant
from pgswarm.wire import HEARTBEAT, ROUTER_HEARTBEAT, Answer, GrantRequest, OperatorReport, PromiseRequest, decode_line

__all__ = [
    "ROUTER_SILENCE",
    "SILENCE",
    "AgentClient",
    "Agents",
    "AnyReport",
    "Closed",
    "Silent",
    "Vacant",
    "Watch",
    "not_member",
]

AnyReport = MemberReport | RouterReport | OperatorReport

SILENCE = 3 * HEARTBEAT
"""Seconds without a byte after which a stream is given up and dialled again."""

ROUTER_SILENCE = 3 * ROUTER_HEARTBEAT
"""The same for a router's."""

PAUSE_FIRST, PAUSE_LAST = 0.1, 1.0
"""Seconds between attempts to connect: doubled from the first to the last, back to the first with every report."""

PAUSE_CLOSED = 0.002
"""Seconds before the first attempt after a stream has ended: a refusal then proves that the process is gone. It can be
this short because a process that ends closes its door before its streams."""


class Agents(Protocol):
    """The narrow port behind which all agents are; the simulator has another one."""

    async def send_order(
        self, address: str, port: int, message: OrderMessage | RouterOrderMessage, *, deadline: float = 2.0
    ) -> Answer: ...

    async def ask_promise(
        self, address: str, port: int, request: PromiseRequest, *, deadline: float = 5.0
    ) -> MemberReport: ...

    async def send_grant(self, address: str, port: int, request: GrantRequest, *, deadline: float = 1.0) -> Answer: ...

    async def get_report(self, address: str, port: int, *, deadline: float = 2.0) -> AnyReport: ...

    def stream(
        self, address: str, port: int, *, silence: float = SILENCE, beat: Callable[[], None] | None = None
    ) -> AsyncGenerator[AnyReport, None]: ...


class AgentClient:
    """Speaks to agents over the network, as an operator or as a router.

    An operator that does not reach Swarm's store may be cut off together with a primary, so it cannot be the one by
    whom that primary knows that nobody has gone on without it (law 6): it calls as a `witness`, which proves nothing.
    """

    def __init__(self, secret: str, *, caller: Literal["operator", "router"] = "operator") -> None:
        self.is_able: Callable[[], bool] = lambda: True
        self._secret = secret
        self._caller = caller

    async def send_order(
        self, address: str, port: int, message: OrderMessage | RouterOrderMessage, *, deadline: float = 2.0
    ) -> Answer:
        """Give an order; a refusal (409) is an answer like any other. Raises Closed, Silent or Refused."""
        line, body = self._line(address, port), message.model_dump_json().encode()
        answered = await line.call("PUT", "/order", body, deadline=deadline, accept=(200, 409))
        return _parsed(line, answered, Answer)

    async def ask_promise(
        self, address: str, port: int, request: PromiseRequest, *, deadline: float = 5.0
    ) -> MemberReport:
        """Ask for a promise; the answer is durable and settled. Raises Closed, Silent, or Refused with the reason."""
        line, body = self._line(address, port), request.model_dump_json().encode()
        return _parsed(line, await line.call("POST", "/promise", body, deadline=deadline), MemberReport)

    async def send_grant(self, address: str, port: int, request: GrantRequest, *, deadline: float = 1.0) -> Answer:
        """Let a primary write on; a refusal (409) is an answer like any other. Raises Closed, Silent or Refused."""
        line, body = self._line(address, port), request.model_dump_json().encode()
        return _parsed(line, await line.call("PUT", "/grant", body, deadline=deadline, accept=(200, 409)), Answer)

    async def get_report(self, address: str, port: int, *, deadline: float = 2.0) -> AnyReport:
        """The report of this moment. Raises Closed, Silent or Refused."""
        return _decoded((await self._line(address, port).call("GET", "/report", deadline=deadline)).body)

    async def stream(
        self, address: str, port: int, *, silence: float = SILENCE, beat: Callable[[], None] | None = None
    ) -> AsyncGenerator[AnyReport, None]:
        """Reports as they come. Never ends by itself: raises Closed, Silent or Refused. Use it with `aclosing`.

        A report that is said to hold still is given again, or, mostly, only told by calling `beat`.
        """
        report: AnyReport | None = None
        caller = self._calls_as()

        def is_all() -> bool:
            if beat is None or report is None or self._calls_as() != caller:
                return False
            beat()
            return True

        while True:
            caller = self._calls_as()
            async with aclosing(self._line(address, port).lines("/stream", silence=silence, beat=is_all)) as lines:
                async for line in lines:
                    if line or report is None:
                        report = _decoded(line)
                    yield report
                    if self._calls_as() != caller:
                        break  # and begin another, under the other name

    def _calls_as(self) -> str:
        return self._caller if self._caller != "operator" or self.is_able() else "witness"

    def _line(self, address: str, port: int) -> Line:
        return Line(address, port, self._secret, caller=self._calls_as())


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
        self.sighting: Sighting[R] = Sighting(sought_since=anyio.current_time())
        self._agents = agents
        self._kind: type[R] = kind
        self._port = port
        self._publish: Callable[[str, Sighting[R]], None] = publish
        self._stranger: Callable[[R], str] = stranger
        self._silence = silence
        self._aimed = anyio.Event()
        self._scope = anyio.CancelScope()
        self._pause = PAUSE_FIRST
        self._ended: str | None = None
        """The address at which an open stream has ended."""

    def aim(self, address: str | None) -> None:
        """Look there from now on; None: nowhere. The same address again changes nothing."""
        if address == self.sighting.address:
            return
        why = f"no stream to {address} yet" if address else "no address known"
        at = anyio.current_time() if address else self.sighting.dialled_at
        self._tell(replace(self.sighting, address=address, connected=False, why=why, dialled_at=at))
        self._ended, self._pause = None, PAUSE_FIRST
        self._aimed.set()
        self._scope.cancel()

    def hear(self, report: R) -> None:
        """Take over a report that came as the answer to a call: as good as one from the stream."""
        now = anyio.current_time()
        self._tell(replace(self.sighting, report=report, heard_at=now, said_at=now))

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
            beat = partial(self._beat, address)
            async with aclosing(self._agents.stream(address, self._port, silence=self._silence, beat=beat)) as reports:
                async for report in reports:
                    self._hear(address, report)
        except Closed as exc:
            # The first one counts: a kernel that refuses again and again is the same death.
            known = self.sighting
            closed_at = anyio.current_time() if known.closed_at is None else known.closed_at
            vacant = known.vacant or (self._ended == address and isinstance(exc, Vacant))
            if known.connected:
                self._ended, self._pause = address, PAUSE_CLOSED
            self._lose(replace(known, connected=False, closed_at=closed_at, vacant=vacant, why=exc.reason))
        except Failure as exc:
            self._lose(replace(self.sighting, connected=False, why=exc.reason))
        except Exception as exc:  # what nobody foresaw in one stream must not end the others
            logger.opt(exception=exc).error("{}: hearing it failed: {}", self.name, exc)
            self._lose(replace(self.sighting, connected=False, why=f"{type(exc).__name__}: {exc} (a bug; see the log)"))

    def _hear(self, address: str, report: AnyReport) -> None:
        known = self.sighting
        if known.report is report and known.connected and known.address == address:
            self._beat(address)
            return
        if not isinstance(report, self._kind):
            raise Refused(f"{address}:{self._port} is a {report.kind}, not {self.name}")
        if stranger := self._stranger(report):
            raise Refused(f"{address}:{self._port} is not {self.name}: {stranger}")
        if not self.sighting.connected:
            logger.info("{}: hearing it at {}", self.name, address)
            self._ended = None
        self._pause = PAUSE_FIRST
        now = anyio.current_time()
        said_at = self.sighting.said_at if report is self.sighting.report else now
        known = self.sighting
        self._tell(
            Sighting(
                address=address,
                report=report,
                heard_at=now,
                said_at=said_at,
                connected=True,
                sought_since=known.sought_since,
                dialled_at=known.dialled_at,
                why="",
            )
        )

    def _beat(self, address: str) -> None:
        """Still as it said."""
        if self.sighting.connected and self.sighting.address == address:
            self.sighting = replace(self.sighting, heard_at=anyio.current_time())
            self._publish(self.name, self.sighting)

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


def not_member(cluster: str, member: str, place: str = "") -> Callable[[MemberReport], str]:
    """For a Watch: why a report is not that member's; empty if it is. `place`: where it lives, if that is known.

    A container of it that was left behind on a node which is cut off has its name, and perhaps its address.
    """

    def stranger(report: MemberReport) -> str:
        if (report.cluster, report.member) != (cluster, member):
            return f"it is {report.member} of {report.cluster}"
        if place and report.place not in ("", place):
            return f"it is {report.member} at {report.place}, which has moved to {place}"
        return ""

    return stranger


def _decoded(line: bytes) -> AnyReport:
    try:
        return decode_line(line)
    except ValidationError as exc:
        raise Refused(f"not a report: {exc.errors(include_url=False, include_input=False)[0]['msg']}") from exc


M = TypeVar("M", Answer, MemberReport)


def _parsed(line: Line, answered: Answered, kind: type[M]) -> M:
    try:
        return kind.model_validate_json(answered.body)
    except ValidationError as exc:
        raise Refused(f"{line.name} answered something else than {kind.__name__}") from exc
