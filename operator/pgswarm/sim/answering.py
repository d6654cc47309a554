"""What comes in to an agent, played: orders, promises, and the wish to be made ready for a hand-over.

The transcript of `take_order` and `take_promise` in `member/agent`, and of `member/handover`: durable first, then
whatever is being done for an older word is cancelled, then the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pgswarm import wire
from pgswarm.core import duty
from pgswarm.core.claim import streamer
from pgswarm.core.memory import Verdict, accept, accepted, consent
from pgswarm.core.orders import OrderMessage
from pgswarm.core.reports import MemberReport
from pgswarm.core.reports import Postgres as State
from pgswarm.errors import Failure, Refused
from pgswarm.member.act import with_reign
from pgswarm.member.agent import PROMISE_PATIENCE
from pgswarm.member.handover import BEGUN, LEAVE, READY
from pgswarm.sim.clock import Job
from pgswarm.sim.leave import lend

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent


def take_order(agent: Agent, message: OrderMessage, answer: Callable[[wire.Answer], object]) -> None:
    """Accept or refuse; an accepted order is durable when it is answered, and acted upon."""
    if not agent.locked:
        answer(wire.Answer(accepted=False, reason="locked: another container holds the volume"))
        return
    agent.hearing.note_caller("operator", agent.process.now)
    agent.process.run(_take_order(agent, message, answer), agent.site.ledger.bug)


def _take_order(agent: Agent, message: OrderMessage, answer: Callable[[wire.Answer], object]) -> Job:
    order = message.order
    yield from agent.alone()
    try:
        verdict = accept(agent.memory, order)
        if verdict.ok and (why := agent.leave.refused(order)):
            verdict = Verdict(ok=False, reason=why)
        if not verdict.ok:
            answer(wire.Answer(accepted=False, reason=verdict.reason, report=agent.report))
            return
        known = agent.memory.circumstances.contacts
        renewed = accepted(agent.memory, order, message.circumstances)
        at_once = duty.duty(replace(agent.facts(), memory=renewed, heeded=True), agent.process.now)
        if isinstance(at_once, duty.Promote):
            renewed = with_reign(renewed, order)
        is_new = agent.memory.order is None or order.key != agent.memory.order.key
        if renewed != agent.memory:
            try:
                yield from agent.save(renewed)
            except Refused as exc:
                answer(wire.Answer(accepted=False, reason=exc.reason, report=agent.report))
                return
        agent.neighbours.told(known, message.circumstances.contacts)
        first = agent.heeded != order.key
        agent.heeded = order.key
        agent.leave.guard()
    finally:
        agent.release()
    agent.tuning.turn()
    if is_new or first:
        agent.site.story(agent.name, f"takes the order to be {order.role} of term {order.term}.{order.revision}")
        agent.overtake()
    agent.wake()
    agent.publish()
    answer(wire.Answer(accepted=True, reason=verdict.reason, report=agent.report))


def take_promise(
    agent: Agent, request: wire.PromiseRequest, answer: Callable[[MemberReport | Failure], object]
) -> None:
    """Promise, durably; answered once nothing is received and the end of the log is known."""
    if not agent.locked:
        answer(Refused("locked: another container holds the volume"))
        return
    agent.hearing.note_caller("operator", agent.process.now)
    if request.prepare:
        agent.process.run(_make_ready(agent, request, answer), agent.site.ledger.bug)
    else:
        agent.process.run(_take_promise(agent, request, answer), agent.site.ledger.bug)


def take_consent(agent: Agent, request: wire.ConsentRequest, answer: Callable[[wire.Answer], object]) -> None:
    """Another member's primary asks whether it may write on without an operator."""
    if not agent.locked:
        answer(wire.Answer(accepted=False, reason="locked: another container holds the volume"))
        return

    def job() -> Job:
        answer((yield from lend(agent, request)))

    agent.process.run(job(), agent.site.ledger.bug)


def _make_ready(agent: Agent, request: wire.PromiseRequest, answer: Callable[[MemberReport | Failure], object]) -> Job:
    """Before a hand-over: checkpoint, then turn new clients away for a while (member/handover)."""
    verdict = consent(agent.memory, request.cluster, request.term)
    if not verdict.ok or agent.reigns() is None:
        answer(Refused(verdict.reason if not verdict.ok else f"{agent.name} is not primary"))
        return
    agent.readying = True
    agent.notify()
    yield agent.site.draw(0.02, 0.4, rare=3.0)
    agent.readying = False
    if agent.postgres.answers:
        agent.postgres.checkpoint()
    if agent.reigns() is None or agent.memory.promised >= request.term:
        answer(Refused("the reign has ended meanwhile"))
        return
    agent.yields = request.term
    agent.site.story(agent.name, f"ready to hand over to term {request.term}", key=True)
    agent.publish()
    agent.process.after(READY, _stay, agent, request.term)
    answer(agent.report)


def leave(agent: Agent) -> Job:
    """Told to stop: stay until the next term has begun, if this one reigns and somebody could follow."""
    order = agent.reigns()
    heirs = [one for one in agent.walsenders if one.state == "streaming"]
    if order is None or not any(streamer(one.name) in order.peers for one in heirs):
        return
    agent.leaving = True
    agent.site.story(agent.name, "is told to stop: a successor is asked for", key=True)
    agent.publish()
    began = agent.process.now
    while True:
        held, over = agent.order, agent.postgres.state in (State.STOPPED, State.CRASHED)
        if held is not None and (held.role != "primary" or over):
            break
        left = began + (LEAVE if agent.readying or agent.yields or held is None else BEGUN) - agent.process.now
        if left <= 0:
            break
        yield (agent.changed, max(0.001, left))
    agent.leaving = False


def _stay(agent: Agent, term: int) -> None:
    """Nobody has gone on with the hand-over, or it is done."""
    if agent.yields == term:
        agent.yields = 0
        agent.publish()


def _take_promise(
    agent: Agent, request: wire.PromiseRequest, answer: Callable[[MemberReport | Failure], object]
) -> Job:
    until = agent.process.now + PROMISE_PATIENCE
    if agent.yields == request.term:
        yield agent.site.draw(0.005, 0.05)  # whom PostgreSQL has begun to greet it shall greet
    yield from agent.alone()
    try:
        if request.member not in ("", agent.memory.member):
            answer(Refused(f"this is {agent.memory.member}, not {request.member}: nothing was promised"))
            return
        verdict = consent(agent.memory, request.cluster, request.term, request.place)
        if not verdict.ok:
            answer(Refused(verdict.reason))
            return
        if request.term > agent.memory.promised:
            try:
                yield from agent.save(agent.memory.model_copy(update={"promised": request.term}))
            except Refused as exc:
                answer(exc)
                return
            agent.site.story(agent.name, f"promises term {request.term}")
            agent.overtake()
    finally:
        agent.release()
    agent.publish()
    while not (agent.is_settled() and agent.job is None):
        if agent.process.now >= until:
            answer(Refused(f"term {request.term} is promised, but the end of the log is not known yet: {agent.why}"))
            return
        yield (agent.changed, max(0.01, until - agent.process.now))
    agent.publish()
    answer(agent.report)
