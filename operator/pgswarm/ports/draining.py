"""Draining a node and giving it back: the only change that pgswarm ever makes to a node, and only in a drill.

The same write that drains it puts a label on it, so that whoever comes after a drill that was killed can tell a node
that a drill has left drained from one that a person wants so. A node is changed as a service is: its whole spec is sent
back with the version that was read, and Docker refuses if anybody wrote in between; then it is read again.
"""

from __future__ import annotations

from typing import Any

import anyio

from pgswarm.core.drilling import LABEL
from pgswarm.core.swarmview import Node, SwarmView
from pgswarm.errors import Again, Conflict
from pgswarm.ports.swarm_http import Engine

PATIENCE = 60.0
"""Seconds for which it is tried: Swarm may be without a leader for 20 s."""

PAUSE = 0.5
"""Seconds between two tries."""


async def drain(engine: Engine, node_id: str, cluster: str) -> None:
    """Have Swarm stop every task there, in a drill of this cluster. Tried for PATIENCE. Raises Failure."""
    await _changed(engine, node_id, "drain", cluster)


async def give_back(engine: Engine, node_id: str) -> None:
    """Make it active again, and forget that a drill had drained it. Tried for PATIENCE. Raises Failure."""
    await _changed(engine, node_id, "active", "")


def left_drained(view: SwarmView, cluster: str) -> tuple[Node, ...]:
    """Nodes that a drill of this cluster has drained and not given back."""
    return tuple(node for node in view.nodes if node.labels.get(LABEL) == cluster and node.availability == "drain")


async def _changed(engine: Engine, node_id: str, availability: str, cluster: str) -> None:
    """A write of which it is not known whether it was made is made again: it says the same."""
    deadline = anyio.current_time() + PATIENCE
    while True:
        try:
            return await _change(engine, node_id, availability, cluster)
        except (Again, Conflict):
            if anyio.current_time() > deadline:
                raise
            await anyio.sleep(PAUSE)


async def _change(engine: Engine, node_id: str, availability: str, cluster: str) -> None:
    doing = f"making node {node_id} {availability}"
    raw = await engine.get(f"/nodes/{node_id}", doing=doing)
    spec: dict[str, Any] = dict(raw["Spec"])
    labels = {name: value for name, value in (spec.get("Labels") or {}).items() if name != LABEL}
    spec["Labels"] = {**labels, LABEL: cluster} if cluster else labels
    spec["Availability"] = availability
    await engine.post(f"/nodes/{node_id}/update", spec, doing=doing, version=raw["Version"]["Index"])
