"""What `pgswarm delete` removes besides services: secrets, networks, the store object, volumes of this node.

Each is idempotent: what is not there is removed already. What is in use is Docker's word for it, and tried again by
whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgswarm import settings
from pgswarm.errors import Refused
from pgswarm.ports.swarm_http import Engine, Missing


async def secret(engine: Engine, ident: str) -> None:
    await _gone(engine, f"/secrets/{ident}", f"removing secret {ident}")


async def network(engine: Engine, ident: str) -> None:
    await _gone(engine, f"/networks/{ident}", f"removing network {ident}")


async def config(engine: Engine, ident: str) -> None:
    await _gone(engine, f"/configs/{ident}", f"removing config {ident}")


async def volume(engine: Engine, name: str, cluster: str) -> None:
    """Remove a volume of this node. Refused if it does not bear the cluster's label."""
    try:
        found = await engine.get(f"/volumes/{name}", doing=f"looking at volume {name}")
    except Missing:
        return
    if (found.get("Labels") or {}).get(settings.LABEL_CLUSTER) != cluster:
        raise Refused(f"volume {name} does not bear the label {settings.LABEL_CLUSTER}={cluster}: it is not touched")
    await _gone(engine, f"/volumes/{name}", f"removing volume {name}")


async def volumes(engine: Engine, cluster: str) -> Sequence[str]:
    """The cluster's volumes on this node."""
    label = f"{settings.LABEL_CLUSTER}={cluster}"
    found = await engine.get("/volumes", doing="listing volumes", filters={"label": [label]})
    return sorted(one["Name"] for one in found.get("Volumes") or ())


async def _gone(engine: Engine, path: str, doing: str) -> None:
    try:
        await engine.delete(path, doing=doing)
    except Missing:
        return
