"""How each action of `duty` is done: one short function each, in the order of a member's life.

Every function may be cancelled at any await by a newer order or promise, or by the end of the process; what it leaves
is then decided upon anew. So the durable word always comes first: `building` before the first byte changes, the reign
before the promotion, and nothing is undone on the way out.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import anyio
import psycopg
from anyio import to_thread
from loguru import logger

from pgswarm.core import actions, claim, duty
from pgswarm.core import memory as memory_
from pgswarm.core.disk import Room
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Circumstances, Order
from pgswarm.core.reports import Data
from pgswarm.core.wal import Position
from pgswarm.errors import Again, Refused
from pgswarm.member import (
    adopting,
    aside,
    ask,
    build,
    disk,
    grant,
    reign,
    restart,
    settle,
    sql,
    state,
    telling,
    tools,
    tuning,
    waldir,
    watching,
)
from pgswarm.member.config import secret
from pgswarm.render import postgres as render

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

LAST_STOP = 40.0
"""Seconds for a fast shutdown when the container is to end (its grace is 60)."""

PROMOTION = 60.0
"""Seconds for PostgreSQL to leave recovery once it was told to."""

TIMELINE_SHOWN = 60.0
"""Seconds for a new primary's control file to name its timeline (its first checkpoint)."""


async def perform(agent: Agent, action: duty.Action) -> None:
    """Do it. Raises Again or Refused if it cannot be done now."""
    match action:
        case duty.Create():
            await _create(agent, action.order)
        case duty.Adopt():
            await adopting.adopt(agent, action.order)
        case duty.Start():
            await _start(agent, action.begin)
        case duty.Stop():
            was_primary = agent.postmaster.began is duty.Begin.PRIMARY or agent.ascended
            await agent.postmaster.stop()
            agent.closed = was_primary
        case duty.Restart():
            await restart.perform(agent)
        case duty.Settle():
            await _settle(agent)
        case duty.Follow():
            await _follow(agent, action.upstream)
        case duty.Rewind():
            await _rewind(agent, action.upstream)
        case duty.Clone():
            await _clone(agent, action.upstream)
        case duty.Promote():
            await _promote(agent, action.order)
        case duty.Assume():
            await agent.remember(reigned=action.term)
        case duty.Resume():
            agent.resumed = action.order.key
        case duty.Jettison():
            await _jettison(agent)
        case duty.Rest():
            return
        case _ as never:
            assert_never(never)


async def _jettison(agent: Agent) -> None:
    agent.disk.jettison()
    agent.disk.look(anyio.current_time())
    if agent.disk.room is Room.SPENT:
        raise Again("disk full: the ballast was not enough", after=actions.RETRY_STEADY)


async def _create(agent: Agent, order: Order) -> None:
    config = agent.config
    await agent.remember(
        data=Data.BUILDING,
        incarnation=order.incarnation,
        system_id="",
        reigned=0,
        timeline=0,
        begun=False,
        follows=None,
    )
    await build.initdb(config)
    await build.put_in_place(config)
    control = await tools.control_data(config)
    await agent.remember(
        data=Data.READY,
        system_id=control["Database system identifier"],
        reigned=order.term,
        timeline=order.timeline,
        begun=True,
    )
    agent.tasks.start_soon(build.delete_former, config)


async def _start(agent: Agent, begin: duty.Begin) -> None:
    config, memory = agent.config, agent.memory
    order = agent.order
    begun = agent.is_begun()
    if begun and not memory.begun:
        await agent.remember(begun=True)
    agent.upstream, agent.settled, agent.ascended, agent.throne, agent.sight = None, False, False, None, None
    agent.closed = False
    upstream = await _upstream_as_before(agent) if begin is duty.Begin.FOLLOWING else None
    if begin is duty.Begin.FOLLOWING and upstream is None:
        begin = duty.Begin.FENCED
    if why := tools.of_another_major(config, agent.version):
        raise Refused(why)
    control = await tools.control_data(config)
    if control["Database system identifier"] != memory.system_id:
        raise Refused(
            f"{config.pgdata} is system {control['Database system identifier']}, this member's was {memory.system_id}: "
            "a person must look"
        )
    await tuning.prepare(agent)
    disk.prepare(agent)
    agent.tuning.pending = agent.tuning.lowered = ()
    agent.files.set_floors({} if begin is duty.Begin.PRIMARY else restart.floors(control))
    if begin is duty.Begin.PRIMARY:
        for name in ("standby.signal", "recovery.signal"):
            (config.pgdata / name).unlink(missing_ok=True)
        agent.files.lay_out(sync=render.GHOST if order and order.sync.k else "", open_to_clients=False)
        await agent.postmaster.start(begin, agent.tasks)
        agent.throne = reign.Throne(starts=agent.postmaster.starts, opened=False)
        return
    base = max(
        int(control["Latest checkpoint's TimeLineID"]), int(control.get("Min recovery ending loc's timeline", "0"))
    )
    unfinished = memory.timeline if memory.timeline and not begun else None
    waldir.tidy(config.wal, base, unfinished)
    (config.pgdata / "standby.signal").touch()
    (config.pgdata / "recovery.signal").unlink(missing_ok=True)
    agent.files.lay_out(sync="", open_to_clients=True)
    if upstream is not None and memory.incarnation is not None:
        agent.files.set_upstream(upstream.address, claim.application_name(memory.incarnation, upstream.term))
        agent.upstream, agent.followed_at = upstream, anyio.current_time()
    else:
        agent.files.clear_upstream()
    await agent.postmaster.start(begin, agent.tasks)


async def _upstream_as_before(agent: Agent) -> duty.Upstream | None:
    """Where the primary is that this standby followed, if it is there; else nothing may be received yet.

    The address may be from before an outage of everything, and somebody else's by now, even that of a primary of an
    older term, from whom nothing may be received any more (law 1).
    """
    order = agent.order
    if order is None:
        return None
    member = claim.member_of(order.primary)
    address = agent.neighbours.address(member, agent.memory.circumstances.contacts)
    if address is None:
        return None
    upstream = duty.Upstream(primary=order.primary, term=order.term, address=address)
    try:
        await _confirm(agent, upstream)
    except Again as exc:
        logger.info("{}: started without a stream", exc)
        return None
    return upstream


async def _settle(agent: Agent) -> None:
    if agent.postmaster.pid is None:
        position = await settle.end_of_closed_log(agent.config)
        agent.closed, agent.settled = False, position is not None
        if position is not None:
            agent.position = position
            logger.info("shut down in order: the log here ends at {}", position)
        return
    if agent.postmaster.trouble is duty.Trouble.DIVERGED and agent.upstream is not None:
        agent.follow_failures += 1
        await agent.remember(follows=None)
    agent.files.clear_upstream()
    agent.upstream = None
    agent.postmaster.reload()
    agent.publish()
    agent.position = await settle.end_of_log(agent.config, agent.observer)
    agent.settled = True
    agent.postmaster.trouble = duty.Trouble.NONE
    logger.info("the log here ends at {}", agent.position)
    agent.files.be_calm()
    agent.postmaster.reload()


async def _follow(agent: Agent, upstream: duty.Upstream) -> None:
    memory = agent.memory
    if memory.incarnation is None:
        raise Again("no incarnation")
    await _confirm(agent, upstream)
    if memory.follows != (upstream.primary, upstream.term):
        await agent.remember(follows=(upstream.primary, upstream.term))
    if agent.postmaster.pid is None:
        return  # its start will do the rest
    agent.settled = False
    agent.postmaster.trouble = duty.Trouble.NONE
    agent.upstream, agent.followed_at = upstream, anyio.current_time()
    agent.files.set_upstream(upstream.address, claim.application_name(memory.incarnation, upstream.term))
    agent.postmaster.reload()


async def _rewind(agent: Agent, upstream: duty.Upstream) -> None:
    config = agent.config
    await _confirm(agent, upstream)
    order = agent.order
    if order is None:
        raise Again("no order holds any more")
    await _see_timeline(agent, upstream, order.timeline)
    await agent.postmaster.stop(patience=LAST_STOP)
    control = await tools.control_data(config)
    if not control["Database cluster state"].startswith("shut down"):
        raise Again(f"PostgreSQL did not shut down cleanly ({control['Database cluster state']})")
    await _keep_aside(agent, order, control)
    fresh = claim.incarnation(config.member, secrets.token_hex(4))
    await agent.remember(data=Data.BUILDING, incarnation=fresh, reigned=0, timeline=0, begun=False, follows=None)
    agent.settled, agent.position = False, None
    if not await build.rewind(config, upstream.address, agent.tell):
        raise Again("pg_rewind could not do it (see the log): the data is made anew", after=0.0)
    (config.pgdata / "standby.signal").touch()
    state.sync_directory(config.pgdata)
    await agent.remember(data=Data.READY, follows=(upstream.primary, upstream.term))


async def _clone(agent: Agent, upstream: duty.Upstream) -> None:
    config = agent.config
    await _confirm(agent, upstream)
    order = agent.order
    if order is None:
        raise Again("no order holds any more")
    await build.fits(config, upstream.address)
    await agent.postmaster.stop(patience=LAST_STOP)
    if agent.memory.data is Data.READY:
        await _keep_aside(agent, order, await tools.control_data(config))
    fresh = claim.incarnation(config.member, secrets.token_hex(4))
    await agent.remember(
        data=Data.BUILDING, incarnation=fresh, system_id="", reigned=0, timeline=0, begun=False, follows=None
    )
    agent.settled, agent.position, agent.upstream = False, None, None
    try:
        await build.clone(config, upstream.address, agent.tell, slot=True)
    except Again as exc:
        if "slot" not in exc.reason:
            raise
        await build.clone(config, upstream.address, agent.tell, slot=False)
    system_id = (await tools.control_data(config, config.fresh))["Database system identifier"]
    if order.system_id and system_id != order.system_id:
        raise Refused(f"{upstream.primary} is system {system_id}, the cluster is {order.system_id}; nothing is used")
    await build.put_in_place(config)
    await agent.remember(data=Data.READY, system_id=system_id, follows=(upstream.primary, upstream.term))
    agent.follow_failures = 0
    agent.tasks.start_soon(build.delete_former, config)


async def _keep_aside(agent: Agent, order: Order, control: Mapping[str, str]) -> None:
    """Before this data is rewound or replaced: what of its log is on nobody's line stays on the volume."""
    memory, until = agent.memory, agent.position
    if until is None or memory.incarnation is None:
        return
    heard = agent.neighbours.heard.get(claim.member_of(order.primary))
    line_end = heard.report.position if heard is not None and heard.report.incarnation == order.primary else None
    found = await to_thread.run_sync(
        aside.keep, agent.config, memory.incarnation, memory.reigned, until, order.lineage, line_end,
        int(control["Bytes per WAL segment"]),
    )  # fmt: skip
    if found is not None:
        agent.kept = await to_thread.run_sync(aside.kept, agent.config)
        agent.publish()


def accepted(agent: Agent, order: Order, circumstances: Circumstances) -> Memory:
    """The memory with this order. Of one that leads straight to a promotion the reign is in it, too: one durable write
    between a primary's end and the next one's beginning, and not two; a crash between leaves what it left before.
    """
    renewed = memory_.accepted(agent.memory, order, circumstances)
    at_once = duty.duty(replace(telling.facts(agent), memory=renewed, heeded=True), anyio.current_time())
    return with_reign(renewed, order) if isinstance(at_once, duty.Promote) else renewed


def with_reign(memory: Memory, order: Order) -> Memory:
    """The same, with the reign that this order begins: durable before the promotion, complete after it."""
    return memory.model_copy(update=_reign(order))


def _reign(order: Order) -> dict[str, object]:
    return {"reigned": order.term, "timeline": order.timeline, "begun": False, "follows": None}


async def _promote(agent: Agent, order: Order) -> None:
    config = agent.config
    began = anyio.current_time()
    let = not order.grant or agent.leave.lets_write()
    if order.sync.k:
        await reign.shut_out(config, agent.files, agent.postmaster)
    elif not let:
        await grant.empty(agent)
    elif order.grant:
        agent.leave.guard(agent, opening=True)
    planted = waldir.plant(config.wal, order.timeline)
    if planted:
        logger.info("planted history files of timelines {}", planted)
    if with_reign(agent.memory, order) != agent.memory:
        await agent.remember(**_reign(order))
    agent.ascended, agent.settled, agent.checkpoint_owed = True, False, True
    agent.throne = reign.Throne(starts=agent.postmaster.starts, opened=let and not order.sync.k)
    ask = agent.observer.ask  # the connection that is kept: a new one takes its time on a busy machine
    await ask("SELECT pg_promote(false)")
    with anyio.move_on_after(PROMOTION) as patience:
        while True:
            [[recovering]] = await ask("SELECT pg_is_in_recovery()")
            if not recovering:
                break
            await anyio.sleep(0.005)
    if patience.cancelled_caught:
        raise Again(f"PostgreSQL is still in recovery after {PROMOTION:.0f} s")
    [[file, end]] = await ask("SELECT pg_walfile_name(lsn), lsn - '0/0' FROM pg_current_wal_insert_lsn() AS lsn")
    timeline = int(file[:8], 16)
    if timeline != order.timeline:
        raise Refused(f"the promotion began timeline {timeline}, not {order.timeline} as the record says; not serving")
    agent.position = Position(timeline=timeline, lsn=int(end))  # the first word of the reign names its own timeline
    watching.note_promoted(agent)
    logger.info("promoted: timeline {} after {:.0f} ms", timeline, (anyio.current_time() - began) * 1000)
    agent.publish()  # routers wait for nothing else
    try:
        await watching.look(agent, settings_too=False)
    except Again as exc:
        logger.debug("{}", exc)
    agent.publish()
    await agent.remember(begun=True)


async def _confirm(agent: Agent, upstream: duty.Upstream) -> None:
    config = agent.config
    await ask.confirm(
        upstream, member=config.member, cluster=config.cluster, port=config.port, secret=secret(config.secret_file)
    )


async def _see_timeline(agent: Agent, upstream: duty.Upstream, timeline: int) -> None:
    """Wait for the primary's first checkpoint on its timeline: before it, pg_rewind takes it for its own."""
    query = "SELECT timeline_id FROM pg_control_checkpoint()"
    try:
        with anyio.fail_after(TIMELINE_SHOWN):
            async with build.source(agent.config, upstream.address) as connection:
                while True:
                    row = await (await connection.execute(query)).fetchone()
                    if row is not None and int(str(row[0])) >= timeline:
                        return
                    await anyio.sleep(0.1)
    except (psycopg.Error, TimeoutError, OSError) as exc:
        raise Again(f"{upstream.primary} does not show timeline {timeline} yet: {exc}") from exc


async def install(agent: Agent) -> None:
    """Roles, database and passwords, put right."""
    config = agent.config
    await sql.install(
        config,
        agent.memory.circumstances.settings,
        secret(config.owner_password_file),
        secret(config.replication_password_file),
    )
    await sql.count_statements(config, agent.memory.circumstances.settings.database)
