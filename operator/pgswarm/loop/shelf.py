"""What Swarm's store holds of a cluster, for a person's verb: read and written from any manager's shell.

The store is Swarm's own, so who may speak to a manager's engine may read it, and no agent, operator or control secret
is needed for that: `history` works while every operator is down. Whatever is written goes by the same compare-and-set
as the operator's writes; the operators see it by their next listing, which Docker's event brings about at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgswarm.core.stored import Stored
from pgswarm.errors import Refused
from pgswarm.ports.records import Records, SwarmRecords
from pgswarm.ports.swarm import DockerSwarm


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
