"""The agent's door: the calls of wire.py, with the least that can answer them.

Whatever PostgreSQL does, this answers: nothing here waits for it, except a promise, which waits for its own end. An
operator's authenticated request, and its stream as long as its kernel acknowledges the bytes, count as having heard
it (law 6; of routers see `hearing`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import anyio

from pgswarm import wire
from pgswarm.core import metrics
from pgswarm.core.inspection import InspectRequest
from pgswarm.core.orders import OrderMessage
from pgswarm.core.reports import MemberReport, Problem, Serving
from pgswarm.errors import Again, Refused
from pgswarm.member import grant
from pgswarm.member.activity import Inquiry
from pgswarm.member.agent import Agent
from pgswarm.member.hearing import silent_for
from pgswarm.ports import door, scrape
from pgswarm.ports.door import Call, Handler, Lines, Reply
from pgswarm.ports.usage import usage
from pgswarm.render import exposition


class Door:
    """Answers for the agent, or, while there is none, says why there is none."""

    def __init__(self, secret: str, token: str = "") -> None:
        self._secret = secret
        self._token = token
        self.agent: Agent | None = None
        self._asking: Inquiry | None = None
        self.problem = Problem(code="starting", text="the agent is starting")

    def handlers(self) -> dict[tuple[str, str], Handler]:
        return {
            ("PUT", "/order"): self._order,
            ("POST", "/promise"): self._promise,
            ("PUT", "/grant"): self._grant,
            ("POST", "/consent"): self._consent,
            ("GET", "/stream"): self._stream,
            ("GET", "/report"): self._report,
            ("GET", "/primary"): self._primary,
            ("GET", "/replica"): self._replica,
            ("GET", "/live"): self._live,
            ("GET", "/activity"): self._activity,
            ("POST", "/inspect"): self._inspect,
            ("POST", "/drill"): self._drill,
            ("GET", "/metrics"): scrape.handler(self._secret, self._token, self._metrics),
        }

    async def _order(self, call: Call) -> Reply:
        agent = self._admit(call)
        if isinstance(agent, Reply):
            return agent
        message = door.parsed(call, OrderMessage)
        if isinstance(message, Reply):
            return message
        return _answered(await agent.take_order(message))

    async def _promise(self, call: Call) -> Reply:
        agent = self._admit(call)
        if isinstance(agent, Reply):
            return agent
        message = door.parsed(call, wire.PromiseRequest)
        if isinstance(message, Reply):
            return message
        try:
            report = await agent.take_promise(message)
        except Refused as exc:
            answer = wire.Answer(accepted=False, reason=exc.reason, report=agent.report)
            return Reply(body=answer.model_dump_json(), status=409)
        return Reply(body=report.model_dump_json())

    async def _grant(self, call: Call) -> Reply:
        agent = self._admit(call)
        if isinstance(agent, Reply):
            return agent
        request = door.parsed(call, wire.GrantRequest)
        return request if isinstance(request, Reply) else _answered(grant.taken(agent, request))

    async def _consent(self, call: Call) -> Reply:
        agent = self._admit(call)
        if isinstance(agent, Reply):
            return agent
        request = door.parsed(call, wire.ConsentRequest)
        return request if isinstance(request, Reply) else _answered(await grant.lent(agent, request))

    async def _report(self, call: Call) -> Reply:
        agent = self._admit(call)
        return agent if isinstance(agent, Reply) else Reply(body=agent.report.model_dump_json())

    async def _stream(self, call: Call) -> Reply | Lines:
        agent = self._admit(call)
        return agent if isinstance(agent, Reply) else Lines(pieces=_lines(agent, call))

    async def _primary(self, call: Call) -> Reply:
        return self._may_serve(Serving.PRIMARY)

    async def _replica(self, call: Call) -> Reply:
        return self._may_serve(Serving.REPLICA)

    async def _live(self, call: Call) -> Reply:
        return Reply(body='{"live": true}')

    async def _activity(self, call: Call) -> Reply:
        agent = self._admit(call)
        if isinstance(agent, Reply):
            return agent
        try:
            seen = await self._inquiry(agent).activity(statements=True)
        except Again as exc:
            return door.refusal(503, exc.reason)
        return Reply(body=seen.model_dump_json())

    async def _inspect(self, call: Call) -> Reply:
        agent = self._admit(call)
        if isinstance(agent, Reply):
            return agent
        request = door.parsed(call, InspectRequest)
        if isinstance(request, Reply):
            return request
        from pgswarm.member import inspect  # late: an agent is seldom asked, and lives for months

        return Reply(body=(await inspect.inspect(agent.config, request)).model_dump_json())

    async def _drill(self, call: Call) -> Reply:
        agent = self._admit(call)
        if isinstance(agent, Reply):
            return agent
        from pgswarm.core.drilling import Strike  # late, as above
        from pgswarm.member import drill

        strike = door.parsed(call, Strike)
        return strike if isinstance(strike, Reply) else _answered(drill.struck(agent, strike))

    async def _metrics(self, call: Call) -> str:
        agent = self.agent
        if agent is None:
            return exposition.text(metrics.of_process(usage()))
        try:
            seen = await self._inquiry(agent).activity(statements=False)
        except Again:  # the report says how PostgreSQL is
            seen = None
        samples = metrics.of_member(agent.report, starts=agent.postmaster.starts, activity=seen)
        return exposition.text([*samples, *metrics.of_process(usage())])

    def _inquiry(self, agent: Agent) -> Inquiry:
        """One for all callers, made when the first of them asks."""
        if self._asking is None:
            self._asking = Inquiry(agent)
        return self._asking

    def _may_serve(self, wanted: Serving) -> Reply:
        agent = self.agent
        if agent is None:
            return Reply(body=json.dumps({"why": self.problem.text}), status=503)
        serving, why = agent.serving()
        order = agent.order
        body = {
            "member": agent.config.member,
            "term": order.term if order else 0,
            "revision": order.revision if order else 0,
            "serving": serving.value,
            "why": why,
        }
        return Reply(body=json.dumps(body), status=200 if serving is wanted else 503)

    def _admit(self, call: Call) -> Agent | Reply:
        if not call.is_authorized(self._secret):
            return door.refusal(401, "the control secret is missing or wrong")
        if self.agent is None:
            status = 409 if call.verb in ("PUT", "POST") else 503
            return door.refusal(status, f"{self.problem.code}: {self.problem.text}")
        self.agent.hearing.note_caller(call.caller, anyio.current_time())
        return self.agent


def _answered(answer: wire.Answer) -> Reply:
    return Reply(body=answer.model_dump_json(), status=200 if answer.accepted else 409)


async def _lines(agent: Agent, call: Call) -> AsyncGenerator[bytes, None]:
    said: MemberReport | None = None
    async for report in agent.reports():
        agent.hearing.note_caller(call.caller, anyio.current_time() - silent_for(call.connection))
        yield wire.BEAT if report is said else wire.encode_line(report)
        said = report
