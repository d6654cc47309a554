"""What Swarm's store holds of a cluster, for a person's verb: read and written from any manager's shell.

The store is Swarm's own, so who may speak to a manager's engine may read it, and no agent, operator or control secret
is needed for that: `history` works while every operator is down. Whatever is written goes by the same compare-and-set
as the operator's writes; the operators see it by their next listing, which Docker's event brings about at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pgswarm.core.record import Record
from pgswarm.core.stored import Stored
from pgswarm.errors import Conflict, Refused
from pgswarm.ports.records import Records, SwarmRecords
from pgswarm.ports.swarm import DockerSwarm

TRIES = 5
"""Times that others may write first; each time it is read and thought about again."""


async def here() -> Records:
    """The store, through this node's engine. Refused on a worker, in words."""
    swarm = DockerSwarm()
    await swarm.info()
    return SwarmRecords(swarm.engine)


async def one(records: Records, cluster: str | None) -> Stored:
    """What is stored of this cluster, or of the only one there is."""
    found = await records.by_cluster()
    stored = found[chosen(found, cluster)]
    if isinstance(stored, Refused):
        raise stored
    return stored


def chosen(known: Mapping[str, object], cluster: str | None) -> str:
    """The cluster that is meant: the one that was named, or the only one. Refused, with the names there are."""
    if cluster is None and len(known) == 1:
        return next(iter(known))
    names = ", ".join(sorted(known)) or "none"
    if cluster is None:
        raise Refused(
            f"say which cluster you mean; there is: {names}" if known else "there is no cluster in this Swarm"
        )
    if cluster not in known:
        raise Refused(f"there is no cluster {cluster!r} in this Swarm; there is: {names}")
    return cluster


async def amended(records: Records, cluster: str | None, change: Callable[[Record], Record | None]) -> Stored:
    """Write the record as `change` makes it of the newest one; None leaves it as it is. Raises Failure."""
    for tried in range(TRIES):
        stored = await one(records, cluster)
        if stored.record is None:
            raise Refused(f"{stored.cluster} is being created: it has no record yet")
        changed = change(stored.record)
        if changed is None:
            return stored
        try:
            return await records.write(stored, record=changed)
        except Conflict:
            if tried == TRIES - 1:
                raise
    raise AssertionError("the last try ends above")
