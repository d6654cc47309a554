"""For how long nodes have been away, as far as one operator has seen it without a gap.

Swarm says that a node is down, not since when. So it is counted here, from the first listing that said so; and counted
anew when a listing says anything else, when Swarm cannot be seen, while any node is unknown (after every change of
its Raft leader all are, for some seconds), and when this operator itself was asleep. So it is never counted too long.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgswarm.core.record import Record
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Unknown


class Away:
    """Since when nodes on which members of one cluster live, or lived, are down, or not in Swarm's list at all."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def seen(
        self, record: Record | Unknown | None, swarm: SwarmView | Unknown, now: float, awake_since: float
    ) -> Mapping[str, float]:
        """Node id → seconds for which it has been away."""
        if isinstance(swarm, Unknown) or not isinstance(record, Record) or not awake_since:
            self._since.clear()
            return {}
        if any(node.state in ("unknown", "disconnected") for node in swarm.nodes) or not swarm.nodes:
            self._since.clear()
            return {}
        states = {node.id: node.state for node in swarm.nodes}
        nodes = {place.node_id for place in (*record.places, *record.departed)}
        away = {node for node in nodes if states.get(node, "down") == "down"}
        self._since = {node: max(self._since.get(node, now), awake_since) for node in away}
        return {node: now - since for node, since in self._since.items()}
