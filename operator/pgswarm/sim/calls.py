"""How processes call each other: the same port as `ports/agents`, over the network that is played.

Objects are passed as they are, no JSON and no HTTP; what an answer may say, and what the lack of one proves, is as
there: `Closed` when a kernel says that the process is gone, `Silent` when nothing comes in time, `Refused` when it says
no. A call that its caller has given up may arrive all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from pgswarm.core.orders import OrderMessage, RouterOrderMessage
from pgswarm.core.reports import MemberReport
from pgswarm.errors import Again, Failure, Refused
from pgswarm.ports.agents import SILENCE, AnyReport
from pgswarm.ports.calls import CONNECT, Silent, Vacant
from pgswarm.sim import answering, leave
from pgswarm.sim.clock import Process
from pgswarm.sim.container import Container
from pgswarm.sim.speech import Hearer
from pgswarm.wire import MEMBER_PORT, Answer, ConsentRequest, GrantRequest, PromiseRequest

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

Reply = Callable[[Any], object]


def call(site: Site, here: str, address: str, port: int, deliver: Callable[[Any, Reply], object], reply: Reply) -> None:
    """Have `deliver` called with whoever lives at the address; `reply` brings the answer back, if one comes."""
    there = site.node_of(address)

    def back(answer: Any) -> None:
        site.network.send(there, here, reply, answer)

    def arrive() -> None:
        found = site.endpoint(address, port)
        if found is not None and found.process.alive:
            found.process.after(0.0, deliver, found, back)
        elif site.refuses(address):
            back(Vacant(f"{address}:{port}: ECONNREFUSED"))

    site.network.send(here, there, arrive)


def listen(
    site: Site, here: str, address: str, port: int, hearer: Hearer, refused: Callable[[Failure], object]
) -> None:
    """Open a stream to whoever lives there."""

    def deliver(found: Any, back: Reply) -> None:
        if found.is_open:
            found.speaker.connect(hearer, found.report)
        else:
            back(Refused(f"{address}:{port} answered 503: locked"))

    call(site, here, address, port, deliver, refused)


class Calls:
    """The agents' port of one operator."""

    def __init__(self, site: Site, process: Process, node: str) -> None:
        self.is_able: Callable[[], bool] = lambda: True
        self._site, self._process, self._node = site, process, node

    async def send_order(
        self, address: str, port: int, message: OrderMessage | RouterOrderMessage, *, deadline: float = 2.0
    ) -> Answer:
        site = self._site
        if isinstance(message, OrderMessage):
            site.ledger.ordered(message.order)

        def deliver(found: Any, back: Reply) -> None:
            found.take_order(message, back)

        answer: Answer = await self._ask(address, port, deliver, deadline)
        if not answer.accepted:
            site.count("order refused")
        return answer

    async def ask_promise(
        self, address: str, port: int, request: PromiseRequest, *, deadline: float = 5.0
    ) -> MemberReport:
        def deliver(found: Container, back: Reply) -> None:
            answering.take_promise(found.agent, request, back)

        self._site.count("promise asked")
        report: MemberReport = await self._ask(address, port, deliver, deadline)
        return report

    async def send_grant(self, address: str, port: int, request: GrantRequest, *, deadline: float = 1.0) -> Answer:
        def deliver(found: Container, back: Reply) -> None:
            back(leave.take_grant(found.agent, request))

        self._site.count("grant given")
        answer: Answer = await self._ask(address, port, deliver, deadline)
        return answer

    async def get_report(self, address: str, port: int, *, deadline: float = 2.0) -> AnyReport:
        def deliver(found: Any, back: Reply) -> None:
            back(found.report)

        report: AnyReport = await self._ask(address, port, deliver, deadline)
        return report

    async def stream(
        self, address: str, port: int, *, silence: float = SILENCE, beat: Callable[[], None] | None = None
    ) -> AsyncGenerator[AnyReport, None]:
        site, loop = self._site, asyncio.get_running_loop()
        box: deque[AnyReport | Failure] = deque()
        waiting: asyncio.Future[None] | None = None

        def put(item: AnyReport | Failure) -> None:
            box.append(item)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

        hearer = Hearer(site, self._node, site.node_of(address), put, put, caller=self._calls_as)
        listen(site, self._node, address, port, hearer, put)
        patience = CONNECT
        try:
            while True:
                while box:
                    item = box.popleft()
                    if isinstance(item, Failure):
                        raise item
                    patience = silence
                    yield item
                waiting = loop.create_future()
                late = loop.call_later(patience, put, Silent(f"{address}:{port} is silent"))
                try:
                    await waiting
                finally:
                    late.cancel()
        finally:
            hearer.close()

    def _calls_as(self) -> str:
        """Asked at the hearer's end: by the operator's own clock."""
        loop = self._site.loop
        before, loop.current = loop.current, self._process
        able = self.is_able()
        loop.current = before
        return "operator" if able else "witness"

    async def _ask(self, address: str, port: int, deliver: Callable[[Any, Reply], object], deadline: float) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def reply(answer: Any) -> None:
            if not future.done():
                future.set_result(answer)

        call(self._site, self._node, address, port, deliver, reply)
        late = loop.call_later(deadline, reply, Silent(f"{address}:{port} did not answer within {deadline:g} s"))
        try:
            answer = await future
        finally:
            late.cancel()
        if isinstance(answer, Failure):
            raise answer
        return answer


def ask_consent(site: Site, here: str, address: str, request: ConsentRequest, reply: Reply) -> None:
    """A primary asks another member to let it write on."""

    def deliver(found: Container, back: Reply) -> None:
        answering.take_consent(found.agent, request, back)

    call(site, here, address, MEMBER_PORT, deliver, reply)


def ask_report(site: Site, here: str, address: str, reply: Reply) -> None:
    """One agent asks another for its report."""

    def deliver(found: Container, back: Reply) -> None:
        back(found.report if found.is_open else Again(f"the agent at {address} waits for its volume", after=0.5))

    call(site, here, address, MEMBER_PORT, deliver, reply)
