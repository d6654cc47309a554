"""`pgswarm fence` and `unfence`: a member's PostgreSQL is stopped until somebody takes that back.

What it would mean is looked at with the same eyes and rules as the operator's; then it is one write of the record, by
compare-and-set, and whichever operator acts does the rest in ordinary passes. This only watches until it is so. A
person who goes away meanwhile changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio

from pgswarm.core.fencing import Proposed, proposed
from pgswarm.core.record import Record
from pgswarm.core.status import Status
from pgswarm.core.stored import Stored
from pgswarm.core.wish import Fence
from pgswarm.errors import Again, Failure, Refused
from pgswarm.loop import ask, shelf, wishing
from pgswarm.loop.options import Options, read_secret
from pgswarm.ports.records import Records

LOOK = 0.3
"""Seconds between two looks whether it is so."""


async def look(
    options: Options, cluster: str | None, member: str, *, fewer_copies: bool, nobody_follows: bool
) -> Proposed:
    """What fencing this member would do now."""
    world, record = await wishing.seen(options, cluster)
    now = anyio.current_time()
    return proposed(world, record, member, now, fewer_copies=fewer_copies, nobody_follows=nobody_follows)


async def put_up(proposal: Proposed, member: str, by: str, why: str) -> None:
    """Write what was proposed into the record. Raises Failure."""
    fence = Fence(
        member=member,
        by=by,
        why=why,
        since=round(time.time(), 3),
        fewer_copies=proposal.fewer_copies,
        no_primary=proposal.no_primary,
    )

    def change(record: Record) -> Record:
        if (pause := record.paused(time.time())) is not None:
            raise Refused(f"{pause}; `pgswarm resume` first")
        if record.place(member) is None:
            raise Refused(f"{member} has just left the record")
        others = tuple(one for one in record.fences if one.member != member)
        return record.amended(str(fence), fences=(*others, fence))

    await shelf.amended(await shelf.here(), proposal.cluster, change)


async def stopped(options: Options, cluster: str, member: str, seconds: float) -> str:
    """Wait until an operator says that it is stopped; in words. Raises Again if that takes longer."""
    deadline, records, why = time.monotonic() + seconds, await shelf.here(), ""
    while time.monotonic() < deadline:
        known = await _known(options, cluster)
        state = next((one.state for status in known for one in status.members if one.name == member), "")
        if state == "fenced":
            return f"{member} is fenced: its PostgreSQL is stopped until `pgswarm unfence {member}`"
        why = next((text for status in known for text in status.waits if member in text), "")
        if not known and (record := await _record(records, cluster)) is not None and record.keeps_down(member):
            return f"{member} is to be fenced, says the record; no operator beside this shell has seen it stopped yet"
        await anyio.sleep(LOOK)
    raise Again(
        f"{member} is not stopped yet{': ' + why if why else ''}; it goes on, until `pgswarm unfence {member}`",
    )


async def taken_back(cluster: str | None, member: str, by: str) -> tuple[Stored, str]:
    """The record without the fence, and what it was; empty if there was none. Raises Failure."""
    before: list[str] = []

    def change(record: Record) -> Record | None:
        if record.place(member) is None:
            raise Refused(f"there is no member {member}; there is: {', '.join(record.members)}")
        fence = record.fence(member)
        if fence is None:
            return None
        before.append(str(fence))
        return record.amended(
            f"{member} is unfenced by {by}", fences=tuple(one for one in record.fences if one.member != member)
        )

    stored = await shelf.amended(await shelf.here(), cluster, change)
    return stored, before[-1] if before else ""


async def _known(options: Options, cluster: str) -> Sequence[Status]:
    """What the operator beside us says of this cluster; nothing if there is none."""
    try:
        found = await ask.statuses(read_secret(options.secret_file)) or ()
    except Failure:
        return ()
    return [one for one in found if one.cluster == cluster]


async def _record(records: Records, cluster: str) -> Record | None:
    try:
        stored = await records.read(cluster)
    except Again:
        return None
    return stored.record if stored is not None else None
