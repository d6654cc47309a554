"""The operator's answer to "how is it, and why?": every cluster's status, made from the last pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
from loguru import logger

from pgswarm.core import plan as plan_
from pgswarm.core.belongings import belongings
from pgswarm.core.chronicle import Event, history
from pgswarm.core.status import Status, status_of
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Unknown, World
from pgswarm.loop.house import House
from pgswarm.loop.worker import Worker


def status_of_house(house: House) -> dict[str, Any]:
    """What GET /status answers."""
    view = house.listing.view
    errors = (*(str(error) for error in house.documents.errors), *house.broken())
    if isinstance(view, Unknown):
        errors += (f"Swarm cannot be observed: {view.why}",)
    node = house.identity.node_name
    known: list[dict[str, Any]] = []
    for cluster, worker in sorted(house.workers.items()):
        try:
            one = status_of_worker(worker, errors, node)
        except Exception as exc:  # one cluster that cannot be described hides no other
            logger.exception("{}: its status cannot be told", cluster)
            errors += (f"{cluster}: its status cannot be told: {type(exc).__name__}: {exc} (a bug; see the log)",)
        else:
            known += [one.model_dump(mode="json")] if one is not None else []
    return {
        "operator": house.identity.name,
        "node": house.identity.node_name,
        "clusters": known,
        "errors": list(errors),
        "mistakes": [str(error) for error in house.documents.errors],
        "leaders": {one["leader"]: house.peers.address_of(one["leader"]) for one in known},
    }


def status_of_worker(worker: Worker, errors: tuple[str, ...], node: str) -> Status | None:
    """One cluster's status, with the sightings of this moment; None before the first pass."""
    forgotten = worker.lookout.stored is None and worker.lookout.found is None  # it was deleted
    if worker.world is None or forgotten:
        return None
    now = anyio.current_time()
    world = worker.lookout.sighted(worker.world)
    plan = worker.plan
    if world.leader is not None:  # another operator acts; what it is about to do follows from what we see as well
        plan = plan_.plan(replace(world, leader=None), now)
    status = status_of(
        world,
        plan,
        now,
        failed=worker.failed,
        errors=(*errors, *_troubles(worker)),
        source=source_of(worker, node),
        events=_events(worker),
    )
    return status if errors else status.model_copy(update={"orphaned": _orphaned(worker, world, node)})


def _orphaned(worker: Worker, world: World, node: str) -> tuple[str, ...]:
    """What there is of a cluster whose file, on this very node, is good and no longer names it."""
    stored = worker.lookout.stored
    if not isinstance(stored, Stored) or not isinstance(world.swarm, SwarmView) or worker.lookout.found is not None:
        return ()
    if not stored.source.startswith(f"{node}:/"):
        return ()
    there = belongings(world.swarm, world.cluster, stored.record, stored.document)
    text = f"{stored.source} no longer names it; it goes on as it was; `pgswarm delete {world.cluster}` takes it down"
    return (text, *there.lines)


def _events(worker: Worker) -> tuple[Event, ...]:
    """What has happened, as far as the store tells."""
    stored = worker.lookout.stored
    return history(stored.record, stored.chronicle) if isinstance(stored, Stored) else ()


def _troubles(worker: Worker) -> tuple[str, ...]:
    """What is wrong with this cluster's passes, or with what Swarm's store says of it."""
    unreadable = worker.lookout.unreadable if isinstance(worker.lookout.stored, Stored) else ""
    kept = f"{unreadable} (until then what was read before holds)" if unreadable else ""
    return tuple(text for text in (worker.broken, kept) if text)


def source_of(worker: Worker, node: str) -> str:
    """Where the document in force came from, and whether it is still there as far as this node can see."""
    stored = worker.lookout.stored
    if not isinstance(stored, Stored):
        return ""
    if stored.source.startswith(f"{node}:") and worker.lookout.found is None:
        return f"{stored.source} (no good document is there now; what was stored stays in force)"
    return stored.source
