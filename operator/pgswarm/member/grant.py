"""The grant at work: asked for, lent by the others, and enforced when it runs out (`core/grant` has the rules).

Enforced means: no client is inside a PostgreSQL that is primary while the order demands a grant and none is held. So
the doors open only under a grant, with the kernel's timer (`deadman`) set to the end of it before they do; each answer
sets it anew. When little is left the doors are closed, everybody inside is turned out, those too who are only just
coming in, and that is seen before the timer is taken away. PostgreSQL itself goes on, and its standbys with it, so that
the next grant opens the doors in milliseconds. A PostgreSQL that cannot be emptied in time is ended.

What comes in comes from `api`; `ruling` and `act` wait here before they open the doors; `keep` does the rest.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, LiteralString

import anyio
from loguru import logger
from pydantic import ValidationError

from pgswarm import wire
from pgswarm.core import grant as rules
from pgswarm.core.memory import Consented, Memory, Verdict
from pgswarm.core.orders import Order
from pgswarm.core.reports import Role
from pgswarm.errors import Again, Failure, Refused
from pgswarm.member import reign, sql
from pgswarm.member.config import secret
from pgswarm.member.deadman import Deadman, boottime
from pgswarm.ports.calls import Line

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

TICK = 0.5
"""Seconds at most between two looks at the clock while a grant is needed."""

EMPTYING = 1.2
"""Seconds to turn all clients out; then PostgreSQL is ended. Less than what is left when it is begun."""

POLL = 0.005

ASKED = 0.9
"""Seconds that one member may take to consent."""

NO_TIMER = "this kernel gives no timer that could end a primary whose grant has run out"

_INSIDE: LiteralString = """
SELECT pid, CASE WHEN backend_type = 'client backend' AND NOT (client_addr IS NULL AND application_name = %s)
                 THEN pg_terminate_backend(pid) ELSE false END
  FROM pg_stat_activity
"""


class Leave:
    """What this agent holds, and since when it has lent anything to others."""

    def __init__(self) -> None:
        self.holding = rules.Holding()
        self.began_at = boottime()
        self.node_boot = _node_boot()
        self.asks = False
        self.closed = False  # the doors were closed for want of a grant
        self.inside = False  # clients may be inside of what only a grant lets write
        try:
            self._deadman: Deadman | None = Deadman()
        except OSError as exc:
            logger.warning("durability async cannot be had here: {}: {}", NO_TIMER, exc.strerror)
            self._deadman = None

    def lets_write(self) -> bool:
        return self._deadman is not None and self.holding.lets_write(boottime())

    def consented_at(self, remembered: Consented | None) -> float:
        """When this member last consented, or may have: what is not remembered may have been lost with a volume."""
        if remembered is None or remembered.node_boot != self.node_boot:
            return self.began_at
        return remembered.at

    def guard(self, agent: Agent, *, opening: bool = False) -> None:
        """Set the kernel's timer by what could be acknowledged here now, or once the doors are opened."""
        order, throne = agent.order, agent.throne
        if opening or (_demands(order) and throne is not None and throne.opened):
            self.inside = True
        if agent.postmaster.pid is None or (order is not None and not _demands(order)):
            self.inside = False  # but not for a promise alone: PostgreSQL is still to be stopped for it
        if self._deadman is not None:
            self._deadman.set(self.holding.until - rules.END_BEFORE if self.inside else None)

    def emptied(self, agent: Agent) -> None:
        """Nobody is inside, and nobody can come in."""
        self.inside, self.closed = False, True
        self.guard(agent)

    def refused(self, agent: Agent, order: Order) -> str:
        """Why an order that demands a grant cannot be accepted yet; empty if it can."""
        if not _demands(order):
            return ""
        if self._deadman is None:
            return NO_TIMER
        if why := rules.outlasts(self.holding, agent.memory.order, order, boottime()):
            return why
        if agent.role is not Role.PRIMARY or agent.throne is None or not agent.throne.opened or self.lets_write():
            return ""
        return "no grant is held, and clients are inside: such an order is accepted as soon as one is held"


def taken(agent: Agent, request: wire.GrantRequest) -> wire.Answer:
    """An operator's leave to write on."""
    leave, memory = agent.leave, agent.memory
    if (request.cluster, request.member) != (memory.cluster, memory.member):
        return wire.Answer(accepted=False, reason=f"this is {memory.member} of {memory.cluster}")
    before = leave.lets_write()
    leave.holding, verdict = rules.given(leave.holding, memory, term=request.term, nonce=request.nonce, ttl=request.ttl)
    leave.guard(agent)
    if not verdict.ok:
        logger.warning("grant refused: {}", verdict.reason)
    elif not before:
        logger.info("a grant is held: {}", verdict.reason)
    agent.publish()
    agent.notify()
    return wire.Answer(accepted=verdict.ok, reason=verdict.reason, report=agent.report)


async def lent(agent: Agent, request: wire.ConsentRequest) -> wire.Answer:
    """A primary asks to write on without an operator; when and that it may is durable before it is answered."""

    def decide(memory: Memory) -> tuple[Verdict, Memory]:
        if request.member != memory.member:
            return Verdict(ok=False, reason=f"this is {memory.member}"), memory
        verdict = rules.may_lend(
            memory, cluster=request.cluster, term=request.term, primary=request.primary, place=request.place
        )
        if not verdict.ok:
            return verdict, memory
        return verdict, rules.consented(memory, agent.leave.node_boot, boottime(), request.primary, request.end)

    verdict = await agent.amend(decide)
    logger.info("asked for consent: {}", verdict.reason)
    agent.publish()
    return wire.Answer(accepted=verdict.ok, reason=verdict.reason, report=agent.report)


async def until_let(agent: Agent, order: Order) -> None:
    """Wait, if this order demands a grant, until one is held."""
    if order.grant and agent.leave.refused(agent, order) == NO_TIMER:
        raise Refused(NO_TIMER)
    while order.grant and not agent.leave.lets_write():
        if agent.throne is not None and not agent.throne.opened:
            agent.throne.why = "no grant to write"
            agent.publish()
        await agent.changed()


def gate(agent: Agent) -> None:
    """May the doors be opened at this instant? If only a grant allows it, the timer is set. Raises Again."""
    order = agent.order
    if order is None:
        raise Again(f"term {agent.memory.promised} is promised")
    if _demands(order):
        if not agent.leave.lets_write():
            raise Again("no grant to write", after=0.1)
        agent.leave.guard(agent, opening=True)
        agent.leave.closed = False


async def keep(agent: Agent) -> None:
    """Ask, lend, close and open, for ever."""
    async with anyio.create_task_group() as tasks:
        members_at = 0.0
        while True:
            leave, now = agent.leave, boottime()
            leave.guard(agent)
            order = _needs(agent)
            if order is None:
                if leave.asks:
                    leave.asks = False
                    agent.publish()
                await agent.changed()
                continue
            if not leave.asks or now - leave.holding.asked_at >= rules.ASK_EVERY:
                leave.holding = rules.asking(leave.holding, secrets.token_hex(6), now)
                leave.asks = True
            stage = leave.holding.stage(now)
            if stage is not rules.Stage.CALM and order.grant and now - members_at >= rules.MEMBERS_EVERY:
                members_at = now
                tasks.start_soon(_ask_members, agent, order)
            try:
                await _enforce(agent, order)
            except Failure as exc:
                logger.warning("{}", exc)
            agent.publish()
            with anyio.move_on_after(_pause(leave.holding, boottime())):
                await agent.changed()


def _pause(holding: rules.Holding, now: float) -> float:
    """Seconds until there is something to do, should nothing be heard before: a tick, or the next turn of a grant."""
    turns = (holding.asked_at + rules.ASK_EVERY, holding.until - rules.MEMBERS_FROM, holding.until - rules.CLOSE_FROM)
    return max(POLL, min([TICK, *(turn - now for turn in turns if turn > now)]))


def _demands(order: Order | None) -> bool:
    return order is not None and order.grant and order.role == "primary"


def _needs(agent: Agent) -> Order | None:
    """The order for which a grant is needed: it demands one, or the document says that it soon will."""
    order = agent.order
    if order is None or order.role != "primary":
        return None
    soon = agent.memory.circumstances.settings.durability == "async" and agent.reigns() is not None
    return order if order.grant or soon else None


async def _enforce(agent: Agent, order: Order) -> None:
    leave, throne = agent.leave, agent.throne
    if leave.inside and not leave.lets_write():
        logger.warning("the grant runs out: clients are turned out")
        if throne is not None:
            throne.opened, throne.why = False, "no grant to write"
        agent.publish()
        why = f"it was not empty within {EMPTYING:g} s"
        with anyio.move_on_after(EMPTYING):
            try:
                await empty(agent)
                why = ""
            except Again as exc:
                why = exc.reason
        if why:
            logger.error("PostgreSQL is ended, for no grant is held: {}", why)
            await agent.postmaster.stop(patience=0.0)
        else:
            logger.info("no client is inside")
    elif leave.closed and leave.lets_write() and throne is not None and agent.reigns() is not None:
        await reign.let_in(agent.config, agent.files, agent.postmaster, throne, lambda: gate(agent))
        agent.publish()


async def empty(agent: Agent) -> None:
    """Close the doors and see everybody out. Raises Again if PostgreSQL does not answer."""
    connection = await sql.connect(agent.config)
    try:
        await reign.close_doors(agent.config, agent.files, agent.postmaster, connection)
        while True:
            rows = await sql.ask(connection, _INSIDE, [sql.AGENT_NAME])
            known = {pid for pid, _ in rows}
            # Who is still proving who it is comes in by the doors of before, and is in no list yet.
            coming = [pid for pid in _children(agent.postmaster.pid) if pid not in known]
            for pid in coming:
                _terminate(pid)
            if not coming and not any(ended for _, ended in rows):
                agent.leave.emptied(agent)
                return
            await anyio.sleep(POLL)
    finally:
        sql.drop(connection)


async def _ask_members(agent: Agent, order: Order) -> None:
    """Ask all others at once; only if every one of them consents is anything gained."""
    asked_at = boottime()
    said: dict[str, str] = {}

    async def ask(member: str) -> None:
        address = agent.neighbours.address(member, agent.memory.circumstances.contacts)
        said[member] = await _consent(agent, order, member, address) if address else "no address of it is known"

    async with anyio.create_task_group() as tasks:
        for member in order.peers:
            tasks.start_soon(ask, member)
    refusals = [f"{member}: {why}" for member, why in sorted(said.items()) if why]
    if refusals:
        logger.info("no consent: {}", "; ".join(refusals))
        return
    if agent.order != order:
        return
    agent.leave.holding = rules.extended(agent.leave.holding, asked_at)
    agent.leave.guard(agent)
    logger.info("no operator answers; {} consent", ", ".join(order.peers) or "nobody else has a say, and all")
    agent.publish()
    agent.notify()


async def _consent(agent: Agent, order: Order, member: str, address: str) -> str:
    """One member's answer: why not, or empty."""
    config, place = agent.config, order.place_of(member)
    request = wire.ConsentRequest(
        cluster=config.cluster,
        member=member,
        place=place,
        term=order.term,
        primary=order.primary,
        end=agent.position,
    )
    line = Line(address, config.port, secret(config.secret_file), caller="member")
    body = request.model_dump_json().encode()
    try:
        answered = await line.call("POST", "/consent", body, deadline=ASKED, accept=(200, 409))
        answer = wire.Answer.model_validate_json(answered.body)
    except Failure as exc:
        return exc.reason
    except ValidationError:
        return "what answers there is no member's agent"
    return answer.reason if not answer.accepted else rules.elsewhere(place, answer.report)


def _children(parent: int | None) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, 15)
    except ProcessLookupError:
        return


def _node_boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
