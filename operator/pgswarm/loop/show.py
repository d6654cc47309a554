"""The operator's answer to "how is it, and why?": every cluster's status, made from the last pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio

from pgswarm.core import plan as plan_
from pgswarm.core.status import Status, status_of
from pgswarm.core.stored import Stored
from pgswarm.core.world import Unknown
from pgswarm.loop.house import House
from pgswarm.loop.worker import Worker


def status_of_house(house: House) -> dict[str, Any]:
    """What GET /status answers."""
    view = house.listing.view
    errors = tuple(str(error) for error in house.documents.errors)
    if isinstance(view, Unknown):
        errors += (f"Swarm cannot be observed: {view.why}",)
    clusters = [status_of_worker(worker, errors) for _, worker in sorted(house.workers.items())]
    known = [one.model_dump(mode="json") for one in clusters if one is not None]
    return {
        "operator": house.identity.name,
        "node": house.identity.node_name,
        "clusters": known,
        "errors": list(errors),
        "leaders": {one["leader"]: house.peers.address_of(one["leader"]) for one in known},
    }


def status_of_worker(worker: Worker, errors: tuple[str, ...]) -> Status | None:
    """One cluster's status, with the sightings of this moment; None before the first pass."""
    if worker.world is None:
        return None
    stored = worker.lookout.stored
    now = anyio.current_time()
    world = worker.lookout.sighted(worker.world)
    plan = worker.plan
    if world.leader is not None:  # another operator acts; what it is about to do follows from what we see as well
        plan = plan_.plan(replace(world, leader=None), now)
    return status_of(
        world,
        plan,
        now,
        failed=worker.failed,
        errors=(*errors, worker.broken) if worker.broken else errors,
        source=stored.source if isinstance(stored, Stored) else "",
    )
