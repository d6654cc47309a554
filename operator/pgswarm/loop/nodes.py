"""`pgswarm maintenance`: a node is worked on, for every cluster that has a member there.

It is written into each cluster's record, and whichever operator acts makes another member primary where that is needed;
this only waits until nobody on the node is primary any more. The node is looked for among the places of members, for
Swarm may have forgotten it already.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import anyio

from pgswarm.core.record import Place, Record
from pgswarm.core.stored import Stored
from pgswarm.core.wish import Maintenance
from pgswarm.errors import Again, Refused
from pgswarm.loop import shelf
from pgswarm.ports.records import Records

LOOK = 0.2
"""Seconds between two looks whether a primary has moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concerned:
    """One cluster that has members on the node."""

    cluster: str
    record: Record
    members: tuple[str, ...]

    @property
    def is_primary_there(self) -> bool:
        return self.record.primary_member in self.members

    def lines(self, *, on: bool) -> Iterator[str]:
        """What it means for this cluster."""
        name = self.record.primary_member
        if (pause := self.record.paused(time.time())) is not None:
            yield f"{self.cluster}: {pause}, so no primary moves"
        for member in self.members:
            if not on:
                yield f"{self.cluster}: {member} may be primary again, and is missed when it is away"
            elif member == name:
                yield f"{self.cluster}: {name} is primary there; another is made primary first: open sessions end"
            else:
                yield f"{self.cluster}: {member} is a standby there; while it is away, it is not missed"


async def concerned(records: Records, node: str) -> tuple[Place, Sequence[Concerned]]:
    """The node, and the clusters that have members there. Refused, with the nodes there are."""
    known = [one for _, one in sorted((await records.by_cluster()).items()) if isinstance(one, Stored) and one.record]
    places = [place for one in known if one.record for place in one.record.places]
    found = {place.node_id: place for place in places if node in (place.node_id, place.node_name)}
    if not found:
        names = ", ".join(sorted({place.node_name for place in places})) or "none"
        raise Refused(f"no member lives on a node {node!r}; nodes with members: {names}")
    if len(found) > 1:
        raise Refused(f"several nodes are called {node!r}; say the id of one: {', '.join(sorted(found))}")
    place = next(iter(found.values()))
    return place, tuple(
        Concerned(cluster=one.cluster, record=one.record, members=there)
        for one in known
        if one.record and (there := _members(one.record, place.node_id))
    )


async def put(records: Records, clusters: Sequence[Concerned], place: Place, by: str, *, on: bool) -> None:
    """Write it into the record of each. Raises Failure."""
    mark = Maintenance(node_id=place.node_id, node_name=place.node_name, by=by, since=round(time.time(), 3))

    def change(record: Record) -> Record | None:
        others = tuple(one for one in record.maintenance if one.node_id != place.node_id)
        if on and len(others) < len(record.maintenance):
            return None
        if not on and len(others) == len(record.maintenance):
            return None
        reason = str(mark) if on else f"the maintenance of {place.node_name} is over, says {by}"
        return record.amended(reason, maintenance=(*others, mark) if on else others)

    for one in clusters:
        await shelf.amended(records, one.cluster, change)


async def moved(
    records: Records, clusters: Sequence[Concerned], place: Place, seconds: float | None
) -> Mapping[str, str]:
    """The primary of each, once none is on the node (None: at once). Again, with who is left, if it takes longer."""
    deadline = time.monotonic() + (seconds or 0.0)
    while True:
        primaries = {one.cluster: _primary(await records.read(one.cluster)) for one in clusters}
        left = {one.cluster for one in clusters if primaries[one.cluster] in one.members}
        if not left or seconds is None:
            return primaries
        if time.monotonic() > deadline:
            names = ", ".join(f"{cluster} ({primaries[cluster]})" for cluster in sorted(left))
            raise Again(f"still primary on {place.node_name}: {names}; `pgswarm explain` says why; it goes on trying")
        await anyio.sleep(LOOK)


def _members(record: Record, node_id: str) -> tuple[str, ...]:
    return tuple(place.member for place in record.places if place.node_id == node_id)


def _primary(stored: Stored | None) -> str:
    return stored.record.primary_member if stored is not None and stored.record is not None else ""
