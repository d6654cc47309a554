"""What a person asks for: written into the record as the command line does, by compare-and-set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pgswarm.core.wish import Wish

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

Kind = Literal["switchover", "failover", "accept-loss"]


def wish(
    site: Site, kind: Kind, to: str | None = None, *, dead: tuple[str, ...] = (), within: float = 20.0
) -> Wish | None:
    """Speak it; None if nobody leads Swarm, so that nothing can be written."""
    stored = site.swarm.store.get(site.cluster)
    if stored is None or stored.record is None or site.swarm.leader is None:
        return None
    record = stored.record
    spoken = Wish(
        id=f"{site.number():06x}", kind=kind, term=record.term, to=to, dead=dead, by="ann", until=site.loop.now + within
    )
    site.story("ann", f"wishes for a {spoken}", key=True)
    changed = record.amended(f"ann wishes for a {spoken}", wish=spoken)
    site.swarm.put(stored.model_copy(update={"record": changed}), stored.version_index)
    return spoken
