"""A member's agent, played: the real `duty`, `memory` and `Hearing`, around a PostgreSQL that is played as well.

What is real: every decision (`core.duty`, `core.memory`: accept, consent, pause_after) and when somebody was last heard
(`member.hearing`). What is transcribed, because the real one speaks SQL, signals and files, is on the right:

    member/agent, handover     here, answering          act, settle          acting
    telling, watching          telling                  reign, ruling        reigning
    neighbours, slots          neighbours           grant, deadman       leave          disk   disk

The order of their steps is kept, above all which word is durable before which deed; each step takes time and can be
its last. Whoever changes those modules changes these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgswarm.core import duty
from pgswarm.core.claim import Incarnation, application_name, member_of
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, InForce, MemberReport, Problem, Progress, Role, Walsender
from pgswarm.core.reports import Postgres as State
from pgswarm.core.wal import Position
from pgswarm.errors import Again, Failure
from pgswarm.member.hearing import Hearing
from pgswarm.member.neighbours import ALONE_EVERY
from pgswarm.member.watching import LOOK_BUSY, LOOK_REST
from pgswarm.sim import acting, answering, disk, leave, neighbours, reigning, telling
from pgswarm.sim.clock import Job, Running, Signal, Timer
from pgswarm.sim.postgres import Postgres
from pgswarm.sim.speech import Speaker
from pgswarm.sim.streaming import NOBODY, Setting
from pgswarm.sim.tuning import Tuning

if TYPE_CHECKING:
    from pgswarm.sim.container import Container
    from pgswarm.sim.site import Site

LOCK_POLL = 0.25
"""Seconds between two attempts to take the volume's lock."""


class Agent:
    """Everything one agent knows."""

    def __init__(self, site: Site, container: Container) -> None:
        self.site, self.container = site, container
        self.name, self.node, self.volume = container.member, container.node, container.volume
        self.process = site.process(f"agent {self.name}", self.node)
        self.speaker = Speaker(site, self.node, self._heard_by)
        self.boot = f"{site.rng.getrandbits(32):08x}"
        self.memory: Memory = container.volume.memory
        self.locked = False  # holds the volume's lock
        self.began_at = 0.0
        self.heeded: tuple[int, int] | None = None
        self.resumed: tuple[int, int] | None = None
        self.yields = 0
        self.upstream: duty.Upstream | None = None
        self.followed_at: float | None = None  # when that was set
        self.position: Position | None = None
        self.settled = self.closed = self.ascended = self.ending = self.checkpoint_owed = False
        self.leaving = self.readying = False
        self.throne: reigning.Throne | None = None
        self.follow_failures = 0
        self.progress: Progress | None = None
        self.problems: dict[str, Problem] = {}
        self.hearing = Hearing()
        self.neighbours = neighbours.Neighbours(self)
        self.slots = neighbours.Slots(self)
        self.leave, self.disk = leave.Leave(self), disk.Disk(self)
        self.seen_at: float | None = None
        self.streaming = False
        self.walsenders: tuple[Walsender, ...] = ()
        self.tuning = Tuning(self)
        self.changed = Signal()
        self.job: Running | None = None
        self._doing: duty.Action = duty.Rest(reason="")
        self.reign = reigning.Rule(self)
        self._keeping = False
        self._kept = Signal()
        self._waking: Timer | None = None
        self._looking: Timer | None = None
        self._resting: Timer | None = None
        self._failures, self._not_before = 0, 0.0
        self._failed: type[duty.Action] | None = None
        self.why = ""
        self._report: MemberReport | None = None
        self._words: dict[str, Any] = {}  # what it says

    @property
    def postgres(self) -> Postgres:
        return self.container.postgres

    # Life

    def begin(self) -> None:
        """Take the volume's lock, as soon as it can be had; then live."""
        if not acting.takes_lock(self):
            self.problems["locked"] = Problem(code="locked", text="another container holds the volume")
            self.process.after(LOCK_POLL, self.begin)
            return
        self.problems.pop("locked", None)
        self.locked = True
        self.memory = self.volume.memory
        self.began_at = self.leave.began_at = self.process.now
        self.site.story(self.name, f"agent begins at {self.container.address}: {_held(self.memory)}")
        self.look()
        self.wake()
        self._second()

    def wake_up(self, *, reigns: bool) -> None:
        """Begin in the middle of a healthy life: PostgreSQL runs, the order is heeded, the doors are open."""
        self.begin()
        order, postgres = self.memory.order, self.postgres
        if order is None or self.memory.incarnation is None:
            return
        self.heeded = order.key
        self.tuning.started(recovering=not reigns)
        self.position = self.volume.position
        if reigns:
            setting = Setting.of(order.sync, order.term)
            postgres.appear(duty.Begin.PRIMARY, setting)
            force = InForce(term=order.term, revision=order.revision, since=len(self.volume.log))
            self.throne = reigning.Throne(
                starts=postgres.starts, opened=True, armed=bool(setting.k), in_force=force, setting=setting
            )
        else:
            postgres.appear(duty.Begin.FOLLOWING, NOBODY)
            address = self.memory.circumstances.contacts[member_of(order.primary)]
            self.upstream = duty.Upstream(primary=order.primary, term=order.term, address=address)
            self.followed_at = self.process.now
            postgres.follow(address, application_name(self.memory.incarnation, order.term))

    def end(self) -> None:
        """SIGTERM: a successor, if there can be one; then no further work, a fast shutdown, and the process ends."""
        if not self.ending and not self.leaving:
            self.process.run(answering.leave(self), lambda failure: self._end())

    def _end(self) -> None:
        self.ending = True
        if self.job is not None:
            self.job.cancel()
            self.job = None
        self.publish()
        self.process.run(self.postgres.stop(acting.LAST_STOP), lambda failure: self.container.kill())

    # What comes in: see `answering`

    def is_settled(self) -> bool:
        """Is the position that is told final? Without data there is nothing that could change."""
        if self.memory.told_data is Data.READY:
            return self.settled
        return self.postgres.state in (State.STOPPED, State.CRASHED)

    # What goes out

    @property
    def report(self) -> MemberReport:
        if self._report is None:
            self._words = telling.words(self)
            self._report = MemberReport(sequence=1, clock=self.process.now, **self._words)
        return self._report

    def publish(self) -> None:
        """Compose the report anew; tell everybody if it says something else."""
        if not self.locked:
            return
        before = self.report
        words = telling.words(self)
        if words == self._words:
            return
        self._words = words
        moment = {"sequence": before.sequence + 1, "clock": self.process.now}
        self._report = report = before.model_copy(update={**words, **moment})
        if before.serving is not report.serving:
            self.site.story(self.name, f"serves {report.serving.value} ({report.role.value})", key=True)
        self.speaker.say(self._report)
        self.notify()

    def notify(self) -> None:
        self.changed.fire()
        self.reign.follow()
        self.slots.turn()
        self.neighbours.turn()
        self.leave.turn()

    def stirred(self) -> None:
        """PostgreSQL changed: everybody is to look again."""
        if self.postgres.state is not State.RUNNING:
            self.seen_at, self.walsenders, self.streaming = None, (), False
        if self.process.alive and self.locked:
            self.process.after(0.0, self._stirred)

    def _stirred(self) -> None:
        self.wake()
        self.look()
        self.notify()

    def _heard_by(self, caller: str) -> None:
        """What was said has arrived, as far as the kernel there acknowledges it."""
        if self.process.runs:
            self.hearing.note_caller(caller, self.process.now)

    # What holds

    @property
    def order(self) -> Order | None:
        """The order that holds now."""
        return self.memory.bound

    @property
    def role(self) -> Role:
        if self.postgres.state is not State.RUNNING:
            return Role.NONE
        if self.postgres.began is duty.Begin.PRIMARY or self.ascended:
            return Role.PRIMARY
        return Role.STANDBY if self.upstream is not None else Role.FENCED

    def reigns(self) -> Order | None:
        """The order under which the running PostgreSQL is primary; None if it is not, or must not be."""
        order = self.order
        if order is None or order.role != "primary" or not self.is_confirmed(order):
            return None
        fits = self.role is Role.PRIMARY and self.memory.reigned == order.term == self.memory.promised
        return order if fits and self.is_begun() else None

    def is_confirmed(self, order: Order) -> bool:
        """Has an operator sent this order since the agent began, or was its reign resumed without one?"""
        return order.key in (self.heeded, self.resumed)

    def is_begun(self) -> bool:
        memory = self.memory
        if memory.begun or not memory.timeline:
            return memory.begun
        return not self.volume.recovering and self.volume.knows(memory.timeline)

    def trouble(self, code: str, text: str | None) -> None:
        if text is None:
            self.problems.pop(code, None)
        else:
            self.problems[code] = Problem(code=code, text=text)
        self.publish()

    # Memory: durable before it is acted upon or answered (law 2)

    def remember(self, **changes: object) -> Job:
        """Change the memory, durably."""
        yield from self.alone()
        try:
            yield from self.save(self.memory.model_copy(update=changes))
        finally:
            self.release()

    def save(self, memory: Memory) -> Job:
        """Written, fsynced, renamed; cut short by a newer word it is completed all the same, by a crash it is not."""
        was = self.memory.incarnation
        took = self.site.draw(0.001, 0.004) + self.volume.slow * self.site.rng.random()
        try:
            yield took / 2
            acting.make_durable(self, memory)
            yield took / 2
        finally:
            if self.process.alive:
                acting.make_durable(self, memory)
                self.memory = memory
                self.site.ledger.renewed(self, was)

    def alone(self) -> Job:
        while self._keeping:
            yield self._kept
        self._keeping = True

    def release(self) -> None:
        self._keeping = False
        self._kept.fire()

    # Work: one duty at a time

    def wake(self) -> None:
        if self._waking is None and self.process.alive:
            self._waking = self.process.after(0.0, self._work)

    def _work(self) -> None:
        self._waking = None
        if self.ending or self.job is not None or not self.locked:
            return
        now = self.process.now
        action = duty.duty(self.facts(), now)
        if type(action) is self._failed and now < self._not_before:
            action = duty.Rest(reason=f"{action.reason} (again in a moment)", until=self._not_before)
        self.why = action.reason
        if self._resting is not None:
            self._resting.cancel()
        if isinstance(action, duty.Rest):
            self.problems.pop("duty", None)
            if action.problem is not None:
                self.problems["duty"] = action.problem
            self.publish()
            if action.until is not None:
                self._resting = self.process.after(max(0.001, action.until - now), self.wake)
            return
        self.site.story(self.name, f"{type(action).__name__.lower()}: {action.reason}")
        self._doing = doing = action
        self.job = self.process.run(acting.perform(self, action), lambda failure: self._done(doing, failure))

    def _done(self, action: duty.Action, failure: BaseException | None) -> None:
        self.job = None
        self.progress = None
        if failure is None:
            self._failures, self._failed = 0, None
            self.problems.pop("work", None)
        elif isinstance(failure, Failure):
            self._note_failure(action, failure)
        else:
            self.site.ledger.broke(failure)
        self.publish()
        self.notify()
        self.wake()

    def _note_failure(self, action: duty.Action, failure: Failure) -> None:
        self._failures = self._failures + 1 if self._failed is type(action) else 1
        self._failed = type(action)
        asked = failure.after if isinstance(failure, Again) else 1.0
        self._not_before = self.process.now + duty.pause_after(action, self._failures, asked)
        if self._failures == 1:
            self.site.story(self.name, f"{type(action).__name__.lower()} failed: {failure.reason}")
        full = "disk full" in failure.reason
        if full or isinstance(action, duty.LARGE) or self._failures >= 10:
            code = "disk-full" if full else f"{type(action).__name__.lower()}-failed"
            self.problems["work"] = Problem(code=code, text=failure.reason)

    def overtake(self) -> None:
        """A newer word: what is being done is done for an older one, and perhaps no longer wanted."""
        self._failures, self._failed = 0, None
        if self.job is not None and not duty.still_serves(self._doing, self.memory):
            self.job.cancel()
            self.job = None
            self.progress = None
        self.wake()

    def facts(self) -> duty.Facts:
        order, postgres = self.order, self.postgres
        contacts = self.memory.circumstances.contacts
        return duty.Facts(
            memory=self.memory,
            heeded=order is not None and self.heeded == order.key,
            resumed=order is not None and self.resumed == order.key,
            heard=self.neighbours.heard,
            began_at=self.began_at,
            postgres=postgres.state,
            began=postgres.began,
            role=self.role,
            position=self.position,
            settled=self.settled,
            closed=self.closed,
            begun=self.is_begun(),
            upstream=self.upstream,
            address=self.neighbours.address(member_of(order.primary), contacts) if order else None,
            trouble=postgres.trouble,
            follow_failures=self.follow_failures,
            streamed_at=telling.streamed_at(self),
            restart=self.tuning.restart,
            crashes=postgres.crashes,
            ended_at=postgres.ended_at,
            room=self.disk.room, ballast=self.volume.ballast,
        )  # fmt: skip

    # The look at PostgreSQL, again and again

    def look(self) -> None:
        """Look now, and again after a while."""
        if self._looking is not None:
            self._looking.cancel()
        if self.postgres.answers:
            telling.see(self)
        self.disk.look()
        self.publish()
        due = self.speaker.beat(self.report)
        self._looking = self.process.after(LOOK_BUSY if self._is_busy() else min(LOOK_REST, due), self.look)

    def _second(self) -> None:
        self.tuning.turn()
        self.slots.turn()
        self.neighbours.turn()
        self.process.after(ALONE_EVERY, self._second)

    def _is_busy(self) -> bool:
        if self.job is not None or self.postgres.state not in (State.RUNNING, State.STOPPED):
            return True
        order = self.order
        if self.role is Role.PRIMARY:
            force = self.throne.in_force if self.throne else None
            return order is None or force is None or force.revision != order.revision
        return self.upstream is not None and not self.streaming


def _held(memory: Memory) -> str:
    data: Incarnation | Data = memory.incarnation if memory.incarnation else memory.data
    return f"{data}, promised {memory.promised}"
