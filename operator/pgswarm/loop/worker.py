"""One worker for each cluster: look, plan, begin what can begin, sleep until something rings.

Every step runs as a task of its own and takes only its key, so a promise never waits behind an image that is being
pulled, and a cluster whose agents hang does not delay another. A step that fails is tried again after a pause that
grows with each failure; a plan that no longer asks for it lets it be forgotten. A step that works and is wanted again
at once, word for word, did not do what it should, and pauses likewise: nobody's service is changed twenty times a
second. The worker itself never ends: what is not a `Failure` is logged with its traceback, and pauses like one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm.core import leadership, steps
from pgswarm.core import plan as plan_
from pgswarm.core.metrics_cluster import Tally
from pgswarm.core.world import CLOSED_GRACE, World
from pgswarm.errors import Again, Failure, Refused
from pgswarm.loop.act import Hands
from pgswarm.loop.clockwork import Clockwork
from pgswarm.loop.observe import Lookout
from pgswarm.loop.peers import Peers
from pgswarm.loop.tenure import Keeper, is_granted

BRIEF_TICK = 0.03
"""Seconds between two looks while a stream has just closed, and it is about to be known whether its agent is gone."""

AFTER = 0.002
"""Seconds past a deadline at which it has surely passed."""

PERIOD = 2.0
"""Seconds between two passes when nothing rings."""

PAUSE_FIRST, PAUSE_LAST, PAUSE_LAST_FAST = 0.2, 15.0, 1.0
"""Seconds before a failed step is tried again: doubled from the first to the last, which is short on the fast path.

Swarm may have no leader for 20 s; the record must be written as soon as there is one, not 15 s later."""

REPEATED = 30.0
"""Seconds within which the same step again means that it had no effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one step."""

    at: float
    title: str
    reason: str
    worked: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """A step that worked, and how often the very same one has by now."""

    step: steps.Step
    at: float
    times: int


class Worker:
    """Reconciles one cluster for as long as it runs."""

    def __init__(
        self, lookout: Lookout, hands: Hands, peers: Peers, clockwork: Clockwork, tenure: Keeper | None = None
    ) -> None:
        self.lookout = lookout
        self.plan = steps.NOTHING
        self.world: World | None = None
        self.failed: dict[str, steps.Failed] = {}
        self.outcomes: deque[Outcome] = deque(maxlen=50)
        self.tally = Tally()
        self.passed: Callable[[World], None] = lambda world: None
        self.broken = ""
        self._worked: dict[str, Worked] = {}
        self._warned: dict[str, str] = {}
        self._hands = hands
        self._peers = peers
        self._clockwork = clockwork
        self._tenure = tenure
        self._busy: set[str] = set()
        self._log = logger.bind(cluster=lookout.cluster)

    @property
    def is_deaf(self) -> bool:
        """Can this operator not say that the primary lives?"""
        detection = self.world.detection if self.world is not None else 0.0
        return leadership.is_deaf(self.lookout.primary, detection, anyio.current_time())

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                began = anyio.current_time()
                try:
                    world = self.one_pass(tasks, began)
                    self.broken = ""
                    self.tally.took(anyio.current_time() - began)
                    self.passed(world)
                    await self._sleep(world, began)
                except Exception as exc:
                    self.broken = f"nothing is planned: {type(exc).__name__}: {exc} (a bug; see the operator's log)"
                    self._log.exception("{}: the pass failed; the next one is in {} s", self.lookout.cluster, PERIOD)
                    await anyio.sleep(PERIOD)

    def one_pass(self, tasks: TaskGroup, now: float) -> World:
        """Look, plan, and begin every step whose key is free."""
        tenure, record = self._tenure, self.lookout.record
        granted = tenure is not None and is_granted(self.lookout)
        if tenure is not None and granted:
            leader = tenure.leader()
        else:
            leader = self._peers.leader(record, self.lookout.cluster, deaf=self.is_deaf)
        standing = tenure.standing() if tenure is not None else None
        world = self.lookout.world(tasks, now, leader, self._clockwork.awake_since(now), standing)
        plan = plan_.plan(world, now)
        self._say(plan, world)
        self.world, self.plan = world, plan
        wanted = {step.key for step in plan.steps}
        for key in [key for key in self.failed if key not in wanted]:
            del self.failed[key]
        for step in steps.startable(plan, frozenset(self._busy), self.failed, now):
            if self._is_in_vain(step, now):
                continue
            self._busy.add(step.key)
            tasks.start_soon(self.do, step, name=step.key)
        return world

    async def do(self, step: steps.Step) -> bool:
        """Perform one step, note what came of it, and have everything looked at again. True if it worked.

        One that is cancelled rings for nobody: while an operator is being ended, a pass would begin the step again, it
        would be cancelled at once and ring again, and neither would ever see its end.
        """
        worked = await self._done(step)
        self.lookout.bell.ring()
        return worked

    async def _done(self, step: steps.Step) -> bool:
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
            level = "DEBUG" if isinstance(step, steps.SendGrant) else "INFO"  # every few seconds, for ever
            self._log.log(level, "{}: {}: {} ({})", self.lookout.cluster, title, text, step.reason)
            self.failed.pop(step.key, None)
            self._warned.pop(step.key, None)
            before = self._worked.get(step.key)
            times = before.times + 1 if before is not None and before.step == step else 1
            self._worked[step.key] = Worked(step=step, at=anyio.current_time(), times=times)
            self.tally.did(type(step).__name__, worked=True)
            self._note(title, step.reason, True, text)
            return True
        finally:
            self._busy.discard(step.key)

    def still_wants(self, step: steps.Step) -> bool:
        """Does the newest plan ask for exactly this? Asked by a step that has waited and is about to be felt."""
        return step in self.plan.steps

    def _is_in_vain(self, step: steps.Step, now: float) -> bool:
        """Has this very step just worked, and is wanted all the same? Then it pauses, longer each time."""
        done = self._worked.get(step.key)
        if done is None or now - done.at > REPEATED or done.step != step:
            return False
        pause = _pause(done.times, step)
        if now >= done.at + pause:
            return False
        text = f"it was done {done.times} times and is wanted again: {step.reason}"
        failed = steps.Failed(
            reason=text, times=done.times, retry_at=done.at + pause, lasting=False, kind=type(step).__name__
        )
        self.failed[step.key] = failed
        self._warn(step, f"{steps.title(step)}: {text}", done.times, pause)
        return True

    async def _sleep(self, world: World, began: float) -> None:
        """Until a ring, until the clock alone has made a difference, until a pause ends, or for the period.

        At rest nobody looks at the clock in between: it is known when the next member would have been silent for too
        long. Of another operator's silence the bell tells (`peers`).
        """
        end = began + min(PERIOD, PERIOD if self.plan.again is None else self.plan.again)
        gone = _gone(world, began)
        while True:
            now = anyio.current_time()
            fresh = self.lookout.sighted(world)
            pauses = [failure.retry_at for failure in self.failed.values() if failure.retry_at > began]
            if now >= end or any(at <= now for at in pauses) or _gone(fresh, now) != gone:
                return
            due = min([end, *pauses, *_silences(fresh, now)]) + AFTER
            if _closing(fresh, now):
                due = min(due, now + BRIEF_TICK)
            if await self.lookout.bell.wait(due - now):
                return

    def _note_failure(self, step: steps.Step, title: str, reason: str, failure: Failure | None) -> None:
        kind, before = type(step).__name__, self.failed.get(step.key)
        times = before.times + 1 if before is not None and before.kind == kind else 1
        pause = _pause(times, step)
        if isinstance(failure, Again) and times == 1:
            pause = min(pause, failure.after)
        self.failed[step.key] = steps.Failed(
            reason=reason,
            times=times,
            retry_at=anyio.current_time() + pause,
            lasting=isinstance(failure, Refused),
            kind=kind,
        )
        self._warn(step, f"{title}: {reason}", times, pause)
        self.tally.did(kind, worked=False)
        self._note(title, step.reason, False, reason)

    def _warn(self, step: steps.Step, text: str, times: int, pause: float) -> None:
        """The first time, and whenever the words change, and now and then; not each time for ever."""
        if self._warned.get(step.key) != text or times % 10 == 0:
            self._warned[step.key] = text
            self._log.warning("{}: {} (try {}, next in {:.1f} s)", self.lookout.cluster, text, times, pause)

    def _note(self, title: str, reason: str, worked: bool, text: str) -> None:
        self.outcomes.append(Outcome(at=anyio.current_time(), title=title, reason=reason, worked=worked, text=text))

    def _say(self, plan: steps.Plan, world: World) -> None:
        """Log what is waited for when it changes, so that the log reads as the story."""
        for text in plan.waits:
            if text.split(" for ")[0] not in {before.split(" for ")[0] for before in self.plan.waits}:
                self._log.info("{}: {}", self.lookout.cluster, text)
        if not plan.waits and self.plan.waits and not plan.steps and world.document is not None:
            self._log.info("{}: at rest", self.lookout.cluster)


def _pause(times: int, step: steps.Step) -> float:
    last = PAUSE_LAST_FAST if steps.is_fast(step) else PAUSE_LAST
    return min(PAUSE_FIRST * 2.0 ** min(times - 1, 16), last)


def _gone(world: World, now: float) -> frozenset[str]:
    return frozenset(name for name in world.members if world.gone(name, now) is not None)


def _silences(world: World, now: float) -> list[float]:
    """When those who can be heard now will have been silent for too long."""
    heard = [max(world.awake_since, one.heard_at) for one in world.members.values() if one.heard_at is not None]
    return [since + world.detection for since in heard if since + world.detection > now]


def _closing(world: World, now: float) -> bool:
    return any(
        not sighting.connected and sighting.closed_at is not None and now - sighting.closed_at < 2 * CLOSED_GRACE
        for sighting in world.members.values()
    )
