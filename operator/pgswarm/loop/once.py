"""One pass by hand: `pgswarm plan` and `pgswarm reconcile --once`.

The same parts as in the operator, looked at once. `plan` says what would be done and why; `reconcile` does it and
waits for each step's outcome. Both are safe beside running operators: whatever two do at once is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from pgswarm.core import plan as plan_
from pgswarm.core import steps
from pgswarm.core.world import World
from pgswarm.loop.house import House
from pgswarm.loop.options import Options
from pgswarm.loop.run import build
from pgswarm.loop.worker import Outcome

PATIENCE = 3.5
"""Seconds to wait for agents that have an address to say something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One cluster's pass: what was seen, what was planned, what came of it (empty for a plan only)."""

    world: World
    plan: steps.Plan
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """All clusters, and what is wrong with the documents."""

    clusters: tuple[Pass, ...]
    document_errors: tuple[str, ...]
    swarm_error: str = ""

    @property
    def exit_code(self) -> int:
        """0 at rest or when all steps worked, 1 when a step failed, 2 for bad input."""
        if self.document_errors:
            return 2
        failed = any(not outcome.worked for one in self.clusters for outcome in one.outcomes)
        return 1 if failed or self.swarm_error else 0


async def look(options: Options, *, act: bool) -> Passes:
    """Observe once, plan, and with `act` also do. Raises Failure if there is no way to observe at all."""
    house = await build(options)
    async with anyio.create_task_group() as tasks:
        await house.look_once(tasks, PATIENCE)
        now = anyio.current_time()
        passes = []
        for worker in list(house.workers.values()):  # a listing may find another cluster meanwhile
            world = worker.lookout.world(tasks, now, None, house.began)
            plan = plan_.plan(world, now)
            worker.world, worker.plan = world, plan
            if act:
                async with anyio.create_task_group() as doing:
                    for step in plan.steps:
                        doing.start_soon(worker.do, step)
            passes.append(Pass(world=world, plan=plan, outcomes=tuple(worker.outcomes)))
        tasks.cancel_scope.cancel()
    return Passes(
        clusters=tuple(passes),
        document_errors=tuple(str(error) for error in house.documents.errors),
        swarm_error=_swarm_error(house),
    )


def _swarm_error(house: House) -> str:
    view = house.listing.view
    return getattr(view, "why", "")
