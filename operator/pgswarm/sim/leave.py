"""Leave to write, played: what `member/grant` and `member/deadman` do, step by step, around the real `core.grant`.

A primary whose order demands a grant asks operators, then the other members, closes its doors as the grant runs out,
and is ended by a timer of the kernel should it be stopped or stuck meanwhile. That timer belongs to nobody here: it
goes off whether or not the agent runs, as SIGKILL does. Clocks are the node's (`Site.process`), as CLOCK_BOOTTIME is.

Before this: `agent`, which asks here whether an order may be taken. After it: `reigning`, which opens the doors.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

from pgswarm import wire
from pgswarm.core import grant as rules
from pgswarm.core.memory import Consented, Verdict
from pgswarm.core.orders import Order
from pgswarm.core.reports import Postgres as State
from pgswarm.core.reports import Role
from pgswarm.errors import Again, Failure, Refused
from pgswarm.member.grant import ASKED, EMPTYING, POLL, TICK
from pgswarm.sim import reigning
from pgswarm.sim.clock import Job, Running, Timer

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent


class Deadman:
    """The kernel's timer: it ends the agent at a moment, and PostgreSQL with it, whatever state they are in."""

    def __init__(self, agent: Agent) -> None:
        self.at: float | None = None
        self._agent = agent
        self._timer: Timer | None = None

    def set(self, at: float | None) -> None:
        """End it at `at` by its node's clock (at once if that is past); None: not at all."""
        if at == self.at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.at, self._timer = at, None
        if at is not None:
            process = self._agent.process
            self._timer = self._agent.site.world(max(0.0, (at - process.now) / process.rate), self._end)

    def _end(self) -> None:
        if self._agent.container.alive:
            self._agent.site.count("ended by the kernel")
            self._agent.site.story(self._agent.name, "the kernel ends it: its grant has all but run out", key=True)
            self._agent.container.kill()


class Leave:
    """What this agent holds, and since when it has lent anything to others."""

    def __init__(self, agent: Agent) -> None:
        self.holding = rules.Holding()
        self.began_at = agent.process.now
        self.asks = self.closed = self.inside = False
        self._agent = agent
        self._deadman = Deadman(agent)
        self._keeping: Running | None = None
        self._members_at = 0.0

    def lets_write(self) -> bool:
        return self.holding.lets_write(self._agent.process.now)

    def consented_at(self, remembered: Consented | None) -> float:
        """When this member last consented, or may have."""
        if remembered is None or remembered.node_boot != _node_boot(self._agent):
            return self.began_at
        return remembered.at

    def guard(self, *, opening: bool = False) -> None:
        """Set the kernel's timer by what could be acknowledged here now, or once the doors are opened."""
        agent = self._agent
        order, throne = agent.order, agent.throne
        if opening or (demands(order) and throne is not None and throne.opened):
            self.inside = True
        if agent.postgres.state in (State.STOPPED, State.CRASHED) or (order is not None and not demands(order)):
            self.inside = False
        self._deadman.set(self.holding.until - rules.END_BEFORE if self.inside else None)

    def emptied(self) -> None:
        """Nobody is inside, and nobody can come in."""
        self.inside, self.closed = False, True
        self.guard()

    def refused(self, order: Order) -> str:
        """Why an order that demands a grant cannot be accepted yet; empty if it can."""
        agent = self._agent
        if demands(order) and (why := rules.outlasts(self.holding, agent.memory.order, order, agent.process.now)):
            agent.site.count("waited for the end of a consent")
            return why
        if not demands(order) or agent.role is not Role.PRIMARY or agent.throne is None or not agent.throne.opened:
            return ""
        return "" if self.lets_write() else "no grant is held, and clients are inside"

    def turn(self) -> None:
        """Called at every change: the timer is set right, and asking begun if there is reason to."""
        self.guard()
        if self._keeping is None and needs(self._agent) is not None:
            self._keeping = self._agent.process.run(self._keep(), self._agent.site.ledger.bug)

    def _keep(self) -> Job:
        """Ask, close and open, for as long as a grant is needed."""
        agent = self._agent
        while True:
            now = agent.process.now
            self.guard()
            order = needs(agent)
            if order is None:
                self._keeping = None
                if self.asks:
                    self.asks = False
                    agent.publish()
                return
            if not self.asks or now - self.holding.asked_at >= rules.ASK_EVERY:
                self.holding = rules.asking(self.holding, f"{agent.site.rng.getrandbits(48):012x}", now)
                self.asks = True
            stage = self.holding.stage(now)
            if stage is not rules.Stage.CALM and order.grant and now - self._members_at >= rules.MEMBERS_EVERY:
                self._members_at = now
                ask_members(agent, order)
            try:
                yield from self._enforce()
            except Failure as failure:
                agent.site.story(agent.name, str(failure))
            agent.publish()
            yield (agent.changed, _pause(self.holding, agent.process.now))

    def _enforce(self) -> Job:
        agent, throne = self._agent, self._agent.throne
        if self.inside and not self.lets_write():
            agent.site.count("turned out for want of a grant")
            agent.site.story(agent.name, "the grant runs out: clients are turned out", key=True)
            if throne is not None:
                throne.opened, throne.why = False, "no grant to write"
            agent.publish()
            out = agent.process.run(empty(agent), lambda failure: None)
            until = agent.process.now + EMPTYING
            while not out.over and agent.process.now < until:
                yield POLL
            out.cancel()
            if self.inside:
                agent.site.story(agent.name, "PostgreSQL is ended, for no grant is held", key=True)
                yield from agent.postgres.stop(0.0)
        elif self.closed and self.lets_write() and throne is not None and agent.reigns() is not None:
            yield from reigning.let_in(agent, throne)
            agent.publish()


def take_grant(agent: Agent, request: wire.GrantRequest) -> wire.Answer:
    """An operator's leave to write on."""
    leave, memory = agent.leave, agent.memory
    if not agent.locked or (request.cluster, request.member) != (memory.cluster, memory.member):
        return wire.Answer(accepted=False, reason=f"this is {memory.member} of {memory.cluster}")
    before = leave.lets_write()
    leave.holding, verdict = rules.given(leave.holding, memory, term=request.term, nonce=request.nonce, ttl=request.ttl)
    leave.guard()
    if not verdict.ok:
        agent.site.count("grant refused")
        agent.site.story(agent.name, f"grant refused: {verdict.reason}")
    elif not before:
        agent.site.story(agent.name, f"a grant is held: {verdict.reason}")
    agent.publish()
    agent.notify()
    return wire.Answer(accepted=verdict.ok, reason=verdict.reason, report=agent.report)


def lend(agent: Agent, request: wire.ConsentRequest) -> Job:
    """May that primary write on without an operator? The answer is durable before it is given; it is returned."""
    yield from agent.alone()
    try:
        memory = agent.memory
        verdict = rules.may_lend(
            memory, cluster=request.cluster, term=request.term, primary=request.primary, place=request.place
        )
        if request.member != memory.member:
            verdict = Verdict(ok=False, reason=f"this is {memory.member}")
        if verdict.ok:
            now = agent.process.now
            try:
                yield from agent.save(rules.consented(memory, _node_boot(agent), now, request.primary, request.end))
            except Refused as refusal:
                verdict = Verdict(ok=False, reason=refusal.reason)
    finally:
        agent.release()
    agent.publish()
    if not verdict.ok:
        agent.site.count("asked for consent in vain")
    agent.site.story(agent.name, f"asked for consent: {verdict.reason}")
    return wire.Answer(accepted=verdict.ok, reason=verdict.reason)


def ask_members(agent: Agent, order: Order) -> None:
    """Ask all others at once; only if every one of them consents is anything gained."""
    asked_at, said, others = agent.process.now, dict[str, bool](), must_consent(order)
    end = agent.position
    looked_at = -inf if end is None or agent.seen_at is None else agent.process.world(agent.seen_at)

    def hear(member: str, answer: wire.Answer | Failure) -> None:
        if member in said or not agent.process.alive:
            return
        agent.process.after(0.0, note, member, isinstance(answer, wire.Answer) and answer.accepted)

    def note(member: str, consents: bool) -> None:
        if agent.process.now - asked_at <= ASKED:
            said.setdefault(member, consents)
            conclude()

    def conclude() -> None:
        if agent.order != order or not all(said.get(member, False) for member in others):
            return
        agent.leave.holding = rules.extended(agent.leave.holding, asked_at)
        agent.leave.guard()
        agent.site.count("extended by consent")
        agent.site.ledger.losses.note_consent(order, agent.process.world(asked_at), looked_at)
        who = ", ".join(others) or "nobody else has a say, and all"
        agent.site.story(agent.name, f"no operator answers; {who} consent")
        agent.publish()
        agent.notify()

    for member in others:
        address = agent.neighbours.address(member, agent.memory.circumstances.contacts)
        request = wire.ConsentRequest(
            cluster=agent.memory.cluster,
            member=member,
            place=order.place_of(member),
            term=order.term,
            primary=order.primary,
            end=end,
        )
        if address is not None:
            agent.site.ask_consent(agent.node, address, request, partial(hear, member))
    if not others:
        conclude()


def must_consent(order: Order) -> tuple[str, ...]:
    """Whose consent lets a primary write on: everybody's, for one promise is then enough to end it."""
    return order.peers


def until_let(agent: Agent, order: Order) -> Job:
    """Wait, if this order demands a grant, until one is held."""
    while order.grant and not agent.leave.lets_write():
        if agent.throne is not None and not agent.throne.opened:
            agent.throne.why = "no grant to write"
            agent.publish()
        yield agent.changed


def gate(agent: Agent) -> None:
    """May the doors be opened at this instant? If only a grant allows it, the timer is set. Raises Again."""
    order = agent.order
    if order is None:
        raise Again(f"term {agent.memory.promised} is promised")
    if demands(order):
        if not agent.leave.lets_write():
            raise Again("no grant to write", after=0.1)
        agent.leave.guard(opening=True)
        agent.leave.closed = False


def empty(agent: Agent) -> Job:
    """Close the doors and see everybody out. Raises Again if PostgreSQL does not answer."""
    postgres = agent.postgres
    if not postgres.answers:
        raise Again("PostgreSQL does not answer", after=0.2)
    load = postgres.loads + 1
    postgres.reload(doors=False)
    yield from reigning.loaded(agent, load)
    agent.site.cut_sessions(postgres, "no grant is held")
    while postgres.finishing:  # who is in the middle of a commit ends it first
        yield POLL
    agent.leave.emptied()


def demands(order: Order | None) -> bool:
    return order is not None and order.grant and order.role == "primary"


def needs(agent: Agent) -> Order | None:
    """The order for which a grant is needed: it demands one, or the document says that it soon will."""
    order = agent.order
    if order is None or order.role != "primary" or agent.ending:
        return None
    soon = agent.memory.circumstances.settings.durability == "async" and agent.reigns() is not None
    return order if order.grant or soon else None


def _pause(holding: rules.Holding, now: float) -> float:
    turns = (holding.asked_at + rules.ASK_EVERY, holding.until - rules.MEMBERS_FROM, holding.until - rules.CLOSE_FROM)
    return max(POLL, min([TICK, *(turn - now for turn in turns if turn > now)]))


def _node_boot(agent: Agent) -> str:
    return str(agent.site.swarm.machines[agent.node].boot)
