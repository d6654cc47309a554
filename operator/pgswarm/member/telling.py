"""What the agent says of itself: the report, whether clients may be sent here and why, the facts for its next duty.

Nothing is asked here and nothing waits: everything is what the agent knows at this moment, so the door can answer
whatever PostgreSQL does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgswarm.core import duty
from pgswarm.core.claim import member_of
from pgswarm.core.disk import LEAST_HELD, roughly
from pgswarm.core.reports import MemberReport, Postgres, Role, Serving
from pgswarm.member import restart
from pgswarm.member.deadman import boottime

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

SEGMENT = 16 << 20
"""Bytes of log that are no news."""

HANG = 2.0
"""Seconds without an answer after which a running PostgreSQL serves nobody."""


def serving(agent: Agent, now: float) -> tuple[Serving, str]:
    """What clients may be sent here for, and why not."""
    if agent.postmaster.state is not Postgres.RUNNING or agent.ending:
        return Serving.NONE, f"PostgreSQL is {agent.postmaster.state.value}"
    if agent.sight is None or now - agent.sight.at > HANG:
        return Serving.NONE, "PostgreSQL does not answer"
    if agent.role is Role.PRIMARY:
        return _as_primary(agent, now)
    streamed = agent.hearing.streamed_at
    limit = agent.memory.circumstances.settings.isolation_timeout
    if agent.upstream is not None and streamed is not None and now - streamed <= limit:
        return Serving.REPLICA, "streaming"
    return Serving.NONE, "no stream from the primary"


def answers(agent: Agent, now: float) -> bool:
    """Has a PostgreSQL that runs lately answered?"""
    if agent.postmaster.state is not Postgres.RUNNING:
        return True
    heard = agent.sight.at if agent.sight is not None else agent.postmaster.started_at
    return now - heard <= HANG


def report(agent: Agent, now: float, sequence: int) -> MemberReport:
    """Everything, composed anew."""
    memory, sight = agent.memory, agent.sight
    streaming = agent.upstream is not None and sight is not None and sight.streaming
    return MemberReport(
        cluster=memory.cluster,
        member=memory.member,
        place=memory.place,
        boot=agent.boot,
        sequence=sequence,
        data=memory.told_data,
        incarnation=memory.incarnation,
        system_id=memory.system_id,
        promised=memory.promised,
        accepted=memory.order.key if memory.order else None,
        heeded=agent.heeded,
        reigned=memory.reigned,
        postgres=agent.postmaster.state,
        role=agent.role,
        serving=serving(agent, now)[0],
        position=agent.position,
        settled=agent.is_settled(),
        answers=answers(agent, now),
        yields=agent.yields if agent.role is Role.PRIMARY else 0,
        leaving=agent.leaving,
        in_force=agent.throne.in_force if agent.throne and agent.role is Role.PRIMARY else None,
        walsenders=sight.walsenders if sight else (),
        task=agent.config.task,
        asks=agent.leave.holding.nonce if agent.leave.asks else "",
        granted=agent.leave.lets_write(),
        clock=boottime(),
        consented=agent.leave.consented_at(memory.consented),
        lent=memory.consented.lent if memory.consented else None,
        upstream=agent.upstream.primary if agent.upstream and streaming else None,
        found=agent.seal.found,
        slots=agent.slots,
        lag=sight.behind if sight and sight.recovery else None,
        progress=agent.progress,
        problem=next(iter(agent.problems.values()), None),
        kept=agent.kept,
        postmaster=restart.postmaster(agent),
        pending_restart=agent.tuning.pending,
        lowered=agent.tuning.lowered,
        unsure=restart.is_unsure(agent, now),
        restarting=restart.is_under_way(agent, now),
        settings_digest=agent.files.digest,
        tried=agent.tuning.passed,
        version=agent.version,
        disk_free=roughly(agent.disk.free),
        disk_total=agent.disk.total,
        room=agent.disk.room,
        ballast=agent.disk.ballast,
        wal_size=roughly(agent.disk.wal, SEGMENT),
        held={name: roughly(count, SEGMENT) for name, count in agent.disk.held.items() if count >= LEAST_HELD},
    )


def facts(agent: Agent) -> duty.Facts:
    """What its next duty follows from."""
    order = agent.order
    postmaster = agent.postmaster
    contacts = agent.memory.circumstances.contacts
    return duty.Facts(
        memory=agent.memory,
        heeded=order is not None and agent.heeded == order.key,
        resumed=order is not None and agent.resumed == order.key,
        heard=agent.neighbours.heard,
        began_at=agent.began_at,
        postgres=postmaster.state,
        began=postmaster.began,
        role=agent.role,
        position=agent.position,
        settled=agent.settled,
        closed=agent.closed,
        begun=agent.is_begun(),
        upstream=agent.upstream,
        address=agent.neighbours.address(member_of(order.primary), contacts) if order else None,
        trouble=postmaster.trouble,
        follow_failures=agent.follow_failures,
        streamed_at=_streamed_at(agent),
        restart=restart.wanted(agent),
        crashes=postmaster.crashes,
        ended_at=postmaster.ended_at,
        room=agent.disk.room,
        ballast=agent.disk.ballast,
    )


def _streamed_at(agent: Agent) -> float | None:
    """When a standby's stream was seen last, or was begun."""
    known = [at for at in (agent.hearing.streamed_at, agent.followed_at) if at is not None]
    return max(known) if agent.upstream is not None and known else None


def _as_primary(agent: Agent, now: float) -> tuple[Serving, str]:
    order = agent.reigns()
    if order is None:
        return Serving.NONE, "no order holds for this reign"
    if order.create:
        # A volume lost now would be made anew under the same incarnation: nothing may be acknowledged before.
        return Serving.NONE, "the record does not know this system yet"
    if agent.throne is None or not agent.throne.opened:
        return Serving.NONE, agent.throne.why if agent.throne else "not open yet"
    if agent.yields:
        return Serving.NONE, f"about to hand over to term {agent.yields}"
    if order.grant and not agent.leave.lets_write():
        return Serving.NONE, "no grant to write"
    timeout = agent.memory.circumstances.settings.isolation_timeout
    is_replaceable = order.sync.k > 0 or order.grant
    if (order.peers or is_replaceable) and agent.hearing.is_isolated(now, timeout, replaceable=is_replaceable):
        return Serving.NONE, "isolated: neither an operator nor a streaming standby was heard"
    return Serving.PRIMARY, f"primary of term {order.term}"
