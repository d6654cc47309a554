"""What an agent says of itself, played: the transcript of `member/telling` and of the look in `member/watching`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgswarm.core import duty
from pgswarm.core.bootstrap import volume_of
from pgswarm.core.record import Record
from pgswarm.core.reports import REPLIED, Role, Serving, Walsender
from pgswarm.core.reports import Postgres as State
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.wal import Position
from pgswarm.member.telling import HANG

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent

VERSION = "17.6"
"""Of every PostgreSQL that is played."""


def serving(agent: Agent) -> tuple[Serving, str]:
    """What clients may be sent here for, and why not."""
    now, postgres = agent.process.now, agent.postgres
    if postgres.state is not State.RUNNING or agent.ending:
        return Serving.NONE, f"PostgreSQL is {postgres.state.value}"
    if agent.seen_at is None or now - agent.seen_at > HANG:
        return Serving.NONE, "PostgreSQL does not answer"
    timeout = agent.memory.circumstances.settings.isolation_timeout
    if agent.role is not Role.PRIMARY:
        streamed = agent.hearing.streamed_at
        fresh = agent.upstream is not None and streamed is not None and now - streamed <= timeout
        return (Serving.REPLICA, "streaming") if fresh else (Serving.NONE, "no stream from the primary")
    order = agent.reigns()
    if order is None:
        return Serving.NONE, "no order holds for this reign"
    if order.create:
        return Serving.NONE, "the record does not know this system yet"
    if agent.throne is None or not agent.throne.opened:
        return Serving.NONE, agent.throne.why if agent.throne else "not open yet"
    if agent.yields:
        return Serving.NONE, f"about to hand over to term {agent.yields}"
    if order.grant and not agent.leave.lets_write():
        return Serving.NONE, "no grant to write"
    replaceable = order.sync.k > 0 or order.grant
    if (order.peers or replaceable) and agent.hearing.is_isolated(now, timeout, replaceable=replaceable):
        return Serving.NONE, "isolated: neither an operator nor a streaming standby was heard"
    return Serving.PRIMARY, f"primary of term {order.term}"


def misplaced(record: Record, document: PostgresCluster) -> str:
    """Who does not live where the document says; empty if nobody. Of two that are not fenced none has to move."""
    if len([one for one in document.instances() if record.fence(one.name) is None]) < 3:
        return ""
    for one in document.instances():
        place = record.place(one.name) if record.fence(one.name) is None else None
        if place is not None and one.node not in (None, place.node_name):
            return f"{one.name} is on {place.node_name}, and the document says {one.node}"
        if place is not None and place.volume != volume_of(document, one):
            return f"{one.name} is on {place.volume}, and the document says {volume_of(document, one)}"
    return ""


def words(agent: Agent) -> dict[str, Any]:
    """Everything that a report says, composed anew."""
    memory, role = agent.memory, agent.role
    primary = role is Role.PRIMARY
    return {
        "cluster": memory.cluster,
        "member": memory.member,
        "place": memory.place,
        "boot": agent.boot,
        "data": memory.told_data,
        "incarnation": memory.incarnation,
        "system_id": memory.system_id,
        "promised": memory.promised,
        "accepted": memory.order.key if memory.order else None,
        "heeded": agent.heeded,
        "reigned": memory.reigned,
        "postgres": agent.postgres.state,
        "role": role,
        "serving": serving(agent)[0],
        "position": agent.position,
        "settled": agent.is_settled(),
        "answers": _answers(agent),
        "yields": agent.yields if primary else 0,
        "leaving": agent.leaving,
        "in_force": agent.throne.in_force if agent.throne and primary else None,
        "walsenders": agent.walsenders,
        "task": agent.container.task,
        "asks": agent.leave.holding.nonce if agent.leave.asks else "",
        "granted": agent.leave.lets_write(),
        "consented": agent.leave.consented_at(memory.consented),
        "lent": memory.consented.lent if memory.consented else None,
        "upstream": agent.upstream.primary if agent.upstream and agent.streaming else None,
        "found": agent.volume.found,
        "slots": agent.slots.told,
        "progress": agent.progress,
        "problem": next(iter(agent.problems.values()), None),
        "postmaster": agent.tuning.postmaster,
        "pending_restart": agent.tuning.pending if agent.postgres.answers else (),
        "lowered": agent.tuning.lowered if agent.postgres.answers else (),
        "restarting": agent.tuning.is_restarting,
        "settings_digest": agent.tuning.digest,
        "tried": agent.tuning.passed,
        "version": VERSION,
        "room": agent.disk.room,
        "ballast": agent.volume.ballast,
    }


def see(agent: Agent) -> None:
    """One look at a PostgreSQL that answers."""
    now, postgres = agent.process.now, agent.postgres
    agent.seen_at = now
    for one in postgres.senders:
        if one.is_linked and one.standby.process.runs:  # it replies every second (wal_receiver_status_interval)
            one.replied_at, agent.hearing.standby_at = agent.site.loop.now, now
    agent.walsenders = tuple(
        Walsender(
            name=one.name,
            state=one.state,
            flush=one.flush,
            replay=one.flush,
            replied=agent.site.loop.now - one.replied_at <= REPLIED,
        )
        for one in postgres.senders
    )
    receiver = postgres.receiver
    agent.streaming = postgres.recovering and receiver is not None and agent.upstream is not None
    if agent.streaming and receiver is not None:
        if receiver.is_linked and receiver.source.process.runs:
            agent.hearing.streamed_at = now
            agent.tuning.replayed(receiver.source.container.agent)
        agent.follow_failures = 0
        postgres.trouble = duty.Trouble.NONE
        agent.position = agent.volume.position
    elif not postgres.recovering:
        agent.position = Position(timeline=postgres.timeline, lsn=len(agent.volume.log))


def _answers(agent: Agent) -> bool:
    """Has a PostgreSQL that runs lately answered?"""
    if agent.postgres.state is not State.RUNNING:
        return True
    seen = agent.seen_at if agent.seen_at is not None else agent.postgres.started_at
    return agent.process.now - seen <= HANG


def streamed_at(agent: Agent) -> float | None:
    """When a standby's stream was seen last, or was begun."""
    known = [at for at in (agent.hearing.streamed_at, agent.followed_at) if at is not None]
    return max(known) if agent.upstream is not None and known else None
