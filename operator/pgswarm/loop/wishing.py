"""Speaking a wish and waiting for its answer: `pgswarm switchover`, `failover`, `restart` and `reseed`.

It is written into the record as everything is, by compare-and-set on what was read; then whichever operator acts
fulfils it, and this only watches the record for the answer. A person who goes away meanwhile changes nothing.
"""

from __future__ import annotations

import secrets
import time

import anyio

from pgswarm.core.proposal import Kind, Proposal, propose
from pgswarm.core.record import Record
from pgswarm.core.stored import Stored
from pgswarm.core.wish import Answered, Restart, Wish
from pgswarm.core.world import World
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.loop import ask, shelf
from pgswarm.loop.once import PATIENCE
from pgswarm.loop.options import Options, read_secret
from pgswarm.loop.run import build
from pgswarm.ports.records import Records

LOOK = 0.1
"""Seconds between two looks for the answer."""

GRACE = 5.0
"""Seconds after a wish's end in which an operator may still answer that it is over."""

TRIES = 5
"""Times that others may write the record first; each time it is read and looked at again."""


async def look(
    options: Options,
    cluster: str | None,
    kind: Kind,
    to: str | None,
    dead: tuple[str, ...],
    *,
    fewer_copies: bool = False,
) -> Proposal:
    """What the wish would do now. Refused if there is no such cluster, or not just one and none was named."""
    world, record = await seen(options, cluster)
    known = await _last_known(options, world.cluster) if kind == "accept-loss" else {}
    now = anyio.current_time()
    return propose(world, record, kind, to, dead, now, known=known, fewer_copies=fewer_copies)


async def seen(options: Options, cluster: str | None) -> tuple[World, Record]:
    """A cluster as an operator would see it now, and its record. Refused if there is none, or not just one."""
    house = await build(options)
    async with anyio.create_task_group() as tasks:
        await house.look_once(tasks, PATIENCE)
        worker = house.workers[shelf.chosen(house.workers, cluster)]
        world = worker.lookout.world(tasks, anyio.current_time(), None, house.began)
        tasks.cancel_scope.cancel()
    if not isinstance(world.record, Record):
        why = getattr(world.record, "why", "it has none yet")
        raise Refused(f"{world.cluster}: the record cannot be read: {why}")
    return world, world.record


async def _last_known(options: Options, cluster: str) -> dict[str, str]:
    """Where the logs of members ended that the operator beside us has heard before they went."""
    found = await ask.statuses(read_secret(options.secret_file)) or ()
    return {one.name: one.position for status in found if status.cluster == cluster for one in status.members}


async def speak(options: Options, proposal: Proposal, to: str | None, *, by: str, seconds: float) -> Answered:
    """Write the wish that was proposed, and wait for what comes of it. Raises Failure if nobody answers."""
    house = await build(options)
    cluster, kind, dead = proposal.cluster, proposal.kind, proposal.dead
    to = None if kind == "restart" else to
    return await spoken(
        house.records,
        cluster,
        kind,
        to,
        dead,
        by=by,
        seconds=seconds,
        restarts=dict(proposal.restarts),
        data=proposal.data,
        fewer_copies=proposal.fewer_copies,
    )


async def spoken(
    records: Records,
    cluster: str,
    kind: Kind,
    to: str | None,
    dead: tuple[str, ...],
    *,
    by: str,
    seconds: float,
    restarts: dict[str, Restart] | None = None,
    data: str = "",
    fewer_copies: bool = False,
) -> Answered:
    """The same, at this store."""
    ident, until = secrets.token_hex(4), time.time() + seconds
    for tried in range(TRIES):
        stored = await records.read(cluster)
        record = stored.record if isinstance(stored, Stored) else None
        if stored is None or record is None:
            raise Refused(f"there is no record of a cluster {cluster}")
        if ident in (record.wish.id if record.wish else "", record.answered.id if record.answered else ""):
            break  # a write whose outcome was not known has happened after all
        if record.wished(time.time()) is not None:
            raise Refused(f"{record.wish} is asked for already, by {record.wish.by if record.wish else 'somebody'}")
        if (pause := record.paused(time.time())) is not None:
            raise Refused(f"{pause}; `pgswarm resume` first")
        wish = Wish(
            id=ident,
            kind=kind,
            term=record.term,
            to=to,
            dead=dead,
            restarts=restarts or {},
            data=data,
            fewer_copies=fewer_copies,
            by=by,
            until=until,
        )
        try:
            await records.write(stored, record=record.amended(f"{wish}, asked for by {by}", wish=wish))
            break
        except Conflict:
            if tried == TRIES - 1:
                raise
    return await _answer(records, cluster, ident, until)


async def _answer(records: Records, cluster: str, ident: str, until: float) -> Answered:
    while True:
        try:
            stored = await records.read(cluster)
        except Again:
            stored = None  # Swarm may have no leader just now; the answer will still be there
        record = stored.record if stored is not None else None
        if record is not None and record.answered is not None and record.answered.id == ident:
            return record.answered
        if time.time() > until + GRACE:
            raise Again("nobody has answered in time: does an operator run? `pgswarm status` shows how it is now")
        await anyio.sleep(LOOK)
