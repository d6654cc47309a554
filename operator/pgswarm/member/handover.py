"""Before a primary hands over: everything that would make its going slow or rude is done while it still serves.

It checkpoints until a checkpoint is short, so that the one at its shutdown is; then it says that it takes no new
clients (`yields`), which routers answer by holding them. Nothing is promised yet: if nobody goes on within `READY`,
it serves again by itself. Then the promise is asked for (`Agent.take_promise`), and before that is made durable the
connections that are just being made are let through: whom PostgreSQL has begun to greet it shall greet, not refuse.

Sessions that are open go on writing through all of this; they end with the shutdown.

A primary whose container is told to stop asks for all this itself (`leave`): it says so in its reports, goes on
serving, and stops once the next term has begun. Nobody need answer: if no operator begins within `BEGUN`, or nothing
has come of it within `LEAVE`, it shuts down as any member does, and its last word is where its log ends.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from loguru import logger

from pgswarm.core.claim import streamer
from pgswarm.core.memory import consent
from pgswarm.core.reports import MemberReport, Postgres
from pgswarm.errors import Again, Refused
from pgswarm.member import reign
from pgswarm.member.postmaster import Postmaster

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

READY = 1.5
"""Seconds for which new clients are turned away before they are taken again because nobody went on."""

PATIENCE = 15.0
"""Seconds for the checkpoints before; an operator that is refused asks again, and each one leaves less to do."""

SHORT = 0.5
"""Seconds: after a checkpoint that was shorter than this the shutdown's is short as well."""

BEGUN = 1.0
"""Seconds that an operator gets to begin when this primary is told to stop; it takes a tenth of that. Clients are
served meanwhile. Nobody may hear it: where Swarm has put another container in its place, operators look at that one."""

LEAVE = 10.0
"""Seconds for the whole hand-over of a primary that is told to stop: with the shutdown after it (act.LAST_STOP, and an
immediate one) less than the 60 s of grace that its service has."""

GREETING = 0.25
"""Seconds at most for connections that are being made."""

POLL = 0.004
CALM = 2
"""Looks in a row without a connection in the making: what HAProxy had passed on is then with PostgreSQL, or was not."""

_IN_THE_MAKING = (b"initializing", b"authentication", b"startup")
"""How PostgreSQL titles a process that greets a client (update_process_title is on: render/postgres)."""


async def make_ready(agent: Agent, cluster: str, term: int) -> MemberReport:
    """Checkpoint, then turn new clients away for a while. Raises Refused if it does not reign, or takes too long."""
    verdict = consent(agent.memory, cluster, term)
    if not verdict.ok:
        raise Refused(verdict.reason)
    if agent.reigns() is None:
        raise Refused(f"{agent.config.member} is not primary: there is nothing to hand over")
    began = anyio.current_time()
    agent.readying = True
    agent.notify()
    try:
        await checkpoints(agent)
    finally:
        agent.readying = False
    if agent.reigns() is None or agent.memory.promised >= term:
        raise Refused("the reign has ended meanwhile")
    logger.info("ready to hand over to term {} after {:.0f} ms", term, (anyio.current_time() - began) * 1000)
    agent.tasks.start_soon(_turn_away, agent, term)
    agent.yields = term
    agent.publish()
    return agent.report


async def leave(agent: Agent) -> None:
    """Told to stop: if it reigns and somebody could follow, stay until the next term has begun, `LEAVE` at most."""
    if agent.reigns() is None or not _has_heir(agent):
        return
    logger.info("told to stop: a successor is asked for")
    agent.leaving = True
    agent.publish()
    began = anyio.current_time()
    while not _is_over(agent):
        until = began + (LEAVE if _is_begun(agent) else BEGUN)
        if anyio.current_time() >= until:
            logger.warning("no successor after {:.1f} s: PostgreSQL is shut down without one", until - began)
            break
        with anyio.move_on_after(until - anyio.current_time()):
            await agent.changed()
    agent.leaving = False


async def greeted(postmaster: Postmaster) -> None:
    """Wait until no client is being greeted any more, `GREETING` at most."""
    calm = 0
    with anyio.move_on_after(GREETING):
        while calm < CALM and (pid := postmaster.pid) is not None:
            calm = 0 if is_greeting(pid) else calm + 1
            if calm < CALM:
                await anyio.sleep(POLL)


def _has_heir(agent: Agent) -> bool:
    """Does another member stream from here?"""
    order, sight = agent.order, agent.sight
    if order is None or sight is None:
        return False
    return any(row.state == "streaming" and streamer(row.name) in order.peers for row in sight.walsenders)


def _is_begun(agent: Agent) -> bool:
    """Has an operator taken it up: is it made ready, ready, or has it promised?"""
    return agent.readying or agent.yields > 0 or agent.memory.bound is None


def _is_over(agent: Agent) -> bool:
    """Is there nothing to wait for: another has been made primary, or PostgreSQL has ended in another way?"""
    order = agent.order
    if order is None:
        return False  # promised: where its log ends is asked for, and whoever decides says so with an order
    return order.role != "primary" or agent.postmaster.state in (Postgres.STOPPED, Postgres.CRASHED)


async def checkpoints(agent: Agent) -> None:
    """Checkpoint until one is short. Raises Refused if none is."""
    took = PATIENCE
    with anyio.move_on_after(PATIENCE):
        while took > SHORT:
            at = anyio.current_time()
            try:
                await reign.checkpoint(agent.config)
            except Again as exc:
                raise Refused(exc.reason) from exc
            took = anyio.current_time() - at
    if took > SHORT:
        raise Refused(f"checkpoints take longer than {PATIENCE:.0f} s here: a shutdown would, too")


def is_greeting(pid: int) -> bool:
    """Has this postmaster a child that is at the beginning of a connection?"""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return False
    own = _title(str(pid))  # what a child is called before it has a title of its own
    return any(title == own or title.endswith(_IN_THE_MAKING) for title in map(_title, children))


def _title(pid: str) -> bytes:
    try:
        descriptor = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096).rstrip(b"\0 ")
    except OSError:
        return b""
    finally:
        os.close(descriptor)


async def _turn_away(agent: Agent, term: int) -> None:
    """The end of it, unless the promise has come."""
    await anyio.sleep(READY)
    if agent.yields == term:
        agent.yields = 0
        if agent.memory.promised < term:
            logger.warning("nobody asked for term {} within {:.1f} s: new clients are taken again", term, READY)
        agent.publish()
