"""One worker for each cluster: look, plan, begin what can begin, sleep until something rings.

Every step runs as a task of its own and takes only its key, so a promise never waits behind an image that is being
pulled, and a cluster whose agents hang does not delay another. A step that fails is tried again after a pause that
grows with each failure; a plan that no longer asks for it lets it be forgotten. The worker itself never ends: what is
not a `Failure` is logged with its traceback, and pauses like one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm.core import plan as plan_
from pgswarm.core import steps
from pgswarm.core.world import CLOSED_GRACE, World
from pgswarm.errors import Again, Failure, Refused
from pgswarm.loop.act import Hands
from pgswarm.loop.clockwork import Clockwork
from pgswarm.loop.observe import Lookout
from pgswarm.loop.peers import Peers

TICK = 0.25
"""Seconds between two looks at the clock: who has fallen silent, what may be tried again."""

BRIEF_TICK = 0.03
"""The same while a stream has just closed, and it is about to be known whether its agent is gone."""

PERIOD = 2.0
"""Seconds between two passes when nothing rings."""

PAUSE_FIRST, PAUSE_LAST = 0.2, 15.0
"""Seconds before a failed step is tried again: doubled from the first to the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one step."""

    at: float
    title: str
    reason: str
    worked: bool
    text: str


class Worker:
    """Reconciles one cluster for as long as it runs."""

    def __init__(self, lookout: Lookout, hands: Hands, peers: Peers, clockwork: Clockwork) -> None:
        self.lookout = lookout
        self.plan = steps.NOTHING
        self.world: World | None = None
        self.failed: dict[str, steps.Failed] = {}
        self.outcomes: deque[Outcome] = deque(maxlen=50)
        self._hands = hands
        self._peers = peers
        self._clockwork = clockwork
        self._busy: set[str] = set()
        self._log = logger.bind(cluster=lookout.cluster)

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                began = anyio.current_time()
                try:
                    world = self.one_pass(tasks, began)
                except Exception:
                    self._log.exception("{}: the pass failed; the next one is in {} s", self.lookout.cluster, PERIOD)
                    await anyio.sleep(PERIOD)
                    continue
                await self._sleep(world, began)

    def one_pass(self, tasks: TaskGroup, now: float) -> World:
        """Look, plan, and begin every step whose key is free."""
        leader = self._peers.leader(self.lookout.record)
        world = self.lookout.world(tasks, now, leader, self._clockwork.awake_since)
        plan = plan_.plan(world, now)
        self._say(plan)
        self.world, self.plan = world, plan
        wanted = {step.key for step in plan.steps}
        for key in [key for key in self.failed if key not in wanted]:
            del self.failed[key]
        for step in steps.startable(plan, frozenset(self._busy), self.failed, now):
            self._busy.add(step.key)
            tasks.start_soon(self.do, step, name=step.key)
        return world

    async def do(self, step: steps.Step) -> bool:
        """Perform one step and note what came of it. True if it worked."""
        title = steps.title(step)
        try:
            text = await self._hands.perform(step)
        except Failure as failure:
            self._note_failure(step, title, failure.reason, failure)
            return False
        except Exception as exc:
            self._log.exception("{} failed", title)
            self._note_failure(step, title, f"{type(exc).__name__}: {exc}", None)
            return False
        else:
            self._log.info("{}: {}: {} ({})", self.lookout.cluster, title, text, step.reason)
            self.failed.pop(step.key, None)
            self._note(title, step.reason, True, text)
            return True
        finally:
            self._busy.discard(step.key)
            self.lookout.bell.ring()

    async def _sleep(self, world: World, began: float) -> None:
        """Until a ring, until the clock alone has made a difference, until a pause ends, or for the period."""
        period = min(PERIOD, PERIOD if self.plan.again is None else self.plan.again)
        gone = _gone(world, began)
        while True:
            now = anyio.current_time()
            fresh = self.lookout.sighted(world)
            if await self.lookout.bell.wait(BRIEF_TICK if _closing(fresh, now) else TICK):
                return
            now = anyio.current_time()
            if now - began >= period or _gone(self.lookout.sighted(world), now) != gone:
                return
            if any(began < failure.retry_at <= now for failure in self.failed.values()):
                return
            if self._peers.leader(self.lookout.record) != world.leader:
                return

    def _note_failure(self, step: steps.Step, title: str, reason: str, failure: Failure | None) -> None:
        times = self.failed[step.key].times + 1 if step.key in self.failed else 1
        pause = min(PAUSE_FIRST * 2 ** (times - 1), PAUSE_LAST)
        if isinstance(failure, Again) and times == 1:
            pause = min(pause, failure.after)
        self.failed[step.key] = steps.Failed(
            reason=reason, times=times, retry_at=anyio.current_time() + pause, lasting=isinstance(failure, Refused)
        )
        if times <= 3 or times % 10 == 0:
            self._log.warning(
                "{}: {}: {} (try {}, next in {:.1f} s)", self.lookout.cluster, title, reason, times, pause
            )
        self._note(title, step.reason, False, reason)

    def _note(self, title: str, reason: str, worked: bool, text: str) -> None:
        self.outcomes.append(Outcome(at=anyio.current_time(), title=title, reason=reason, worked=worked, text=text))

    def _say(self, plan: steps.Plan) -> None:
        """Log what is waited for when it changes, so that the log reads as the story."""
        for text in plan.waits:
            if text.split(" for ")[0] not in {before.split(" for ")[0] for before in self.plan.waits}:
                self._log.info("{}: {}", self.lookout.cluster, text)
        if not plan.waits and self.plan.waits and not plan.steps and plan is not steps.NOTHING:
            self._log.info("{}: at rest", self.lookout.cluster)


def _gone(world: World, now: float) -> frozenset[str]:
    return frozenset(name for name in world.members if world.gone(name, now) is not None)


def _closing(world: World, now: float) -> bool:
    return any(
        not sighting.connected and sighting.closed_at is not None and now - sighting.closed_at < 2 * CLOSED_GRACE
        for sighting in world.members.values()
    )
