"""Replication slots for all the others, kept by every member whatever its role (core/slots says which and how far).

One task, for as long as the agent lives: it looks when the role or the order changes, since a standby that is to follow
waits for its slot, and every few seconds besides. What it asks and does goes over the connection that `facts` keeps.
Only a member that has an order keeps slots: one that is merely fenced leaves everything as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from loguru import logger

from pgswarm.core import slots
from pgswarm.core.claim import member_of, streamer
from pgswarm.core.orders import Order
from pgswarm.core.reports import Postgres, Role
from pgswarm.core.wal import show_lsn
from pgswarm.errors import Again
from pgswarm.member.facts import Observer, lsn
from pgswarm.render.postgres import slot_name

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

EVERY = 5.0
"""Seconds between two looks at rest; also how much log a standby keeps for the others beyond what they need."""

AGAIN = 1.0
"""Seconds after a look that failed."""


async def keep(agent: Agent) -> None:
    """Keep slots for ever."""
    said = ""
    done: object = None
    looked = float("-inf")
    while True:
        key = _key(agent)
        if key is None:
            done = None
            agent.tell_slots(())
            await agent.changed()
            continue
        left = looked + EVERY - anyio.current_time()
        if key == done and left > 0:
            with anyio.move_on_after(left):
                await agent.changed()
            continue
        order = agent.order
        if order is None:
            continue
        looked = anyio.current_time()
        try:
            agent.tell_slots(await _look(agent, order))
        except Again as exc:
            if exc.reason != said:
                logger.warning("replication slots: {}", exc)
            said = exc.reason
            await anyio.sleep(AGAIN)
        else:
            said, done = "", key


def _key(agent: Agent) -> tuple[object, ...] | None:
    """What the slots depend on; None if they are to be left alone."""
    order = agent.order
    if order is None or agent.postmaster.state is not Postgres.RUNNING:
        return None
    if agent.role is Role.PRIMARY and agent.reigns() is None:
        return None
    return (agent.postmaster.starts, agent.role is Role.PRIMARY, order.primary, order.peers, agent.disk.room)


async def _look(agent: Agent, order: Order) -> tuple[str, ...]:
    """Put the slots right; the members that have a usable one now."""
    observer = agent.observer
    names = {slot_name(peer): peer for peer in order.peers}
    there, restartpoint = await _there(observer, names)
    own = agent.disk
    own.held = slots.held([slot for slot in there if slot.member in order.peers], restartpoint)
    wanted: list[slots.Change] = list(slots.changes(there, order.peers, room=own.room))
    needed = [member_of(name) for name in order.sync.names]
    relief = slots.relief(there, needed, restartpoint=restartpoint, room=own.room, free=own.free)
    if relief and not wanted:
        logger.warning("the disk is {} ({})", own.room.value, own.told)
        wanted += relief
        own.freed = True
    if agent.role is not Role.PRIMARY:
        wanted += slots.advances(
            [slot for slot in there if slot.member not in {change.member for change in wanted}],
            order.peers,
            primary=member_of(order.primary),
            flushed=_flushed(agent, order),
            restartpoint=restartpoint,
            room=own.room,
        )
    try:
        for change in wanted:
            await _do(observer, change)
    except Again:
        there, _ = await _there(observer, names)  # one may have been dropped before the next could not be made
        agent.tell_slots(_usable(there, order))  # what cannot be made is missed, and is seen to be
        raise
    if wanted:
        there, _ = await _there(observer, names)
    return _usable(there, order)


def _usable(there: list[slots.Slot], order: Order) -> tuple[str, ...]:
    return tuple(sorted(slot.member for slot in there if slot.member in order.peers and not slot.lost))


async def _there(observer: Observer, names: dict[str, str]) -> tuple[list[slots.Slot], int]:
    """The slots that are ours, and where this member's own recovery would begin."""
    rows = await observer.ask(
        "SELECT slot_name::text, active, coalesce(wal_status, '') = 'lost', restart_lsn::text, xmin IS NOT NULL, "
        "redo_lsn::text FROM pg_control_checkpoint() LEFT JOIN pg_replication_slots "
        "ON slot_type = 'physical' AND NOT temporary AND starts_with(slot_name::text, 'pgswarm_')"
    )
    there = []
    for name, active, lost, restart, holds_xmin, _ in rows:
        if name is not None:
            member = names.get(str(name), str(name))
            one = slots.Slot(member=member, active=active, lost=lost, restart=lsn(restart), holds_xmin=holds_xmin)
            there.append(one)
    return there, lsn(rows[0][5])


def _flushed(agent: Agent, order: Order) -> dict[str, int]:
    """What the primary of this order said last of everybody who streams from it."""
    heard = agent.neighbours.heard.get(member_of(order.primary))
    if heard is None or heard.report.incarnation != order.primary:
        return {}
    flushed: dict[str, int] = {}
    for row in heard.report.walsenders:
        member = streamer(row.name)
        flushed[member] = min(row.flush, flushed.get(member, row.flush))
    return flushed


async def _do(observer: Observer, change: slots.Change) -> None:
    match change:
        case slots.Drop(member=member, reason=reason):
            name = member if member.startswith("pgswarm_") else slot_name(member)
            await observer.ask("SELECT pg_drop_replication_slot(%s)", [name])
            logger.info("replication slot {} dropped ({})", name, reason)
        case slots.Make(member=member, reserves=reserves):
            await observer.ask("SELECT pg_create_physical_replication_slot(%s, %s)", [slot_name(member), reserves])
            logger.info("replication slot {} created{}", slot_name(member), "" if reserves else ", holding nothing yet")
        case slots.Advance(member=member, to=to):
            await observer.ask("SELECT pg_replication_slot_advance(%s, %s::pg_lsn)", [slot_name(member), show_lsn(to)])
            logger.trace("replication slot {} moved on to {}", slot_name(member), show_lsn(to))
