"""The agent as a whole: what it knows, what it says, and the one job that it has at a time.

Seven loops share this object, all in one task group: `_work` asks `duty` and does what it says, one cancellable job at
a time; `watching` looks at PostgreSQL; `ruling` keeps a primary's sync setting and roles; `slots` keeps log for others;
`neighbours` asks them where there is no operator to say; `grant` asks for leave to write; `disk` looks at the volume.
Orders and promises come in and are made durable first, then the job that they overtake is cancelled and the loops are
woken. Every change ends in `publish`, which tells every open stream at once.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.lowlevel
from anyio import to_thread
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm import wire
from pgswarm.core import duty
from pgswarm.core.memory import Memory, Verdict, accept, consent
from pgswarm.core.orders import Order, OrderMessage
from pgswarm.core.reports import Data, MemberReport, Postgres, Problem, Progress, Role, Serving
from pgswarm.core.wal import Position
from pgswarm.errors import Again, Failure, Refused
from pgswarm.member import (
    act,
    aside,
    disk,
    foreign,
    grant,
    handover,
    neighbours,
    reign,
    ruling,
    slots,
    state,
    telling,
    tuning,
    waldir,
    watching,
)
from pgswarm.member.audience import Audience
from pgswarm.member.config import Config
from pgswarm.member.facts import Observer, Sight
from pgswarm.member.files import Files
from pgswarm.member.hearing import Hearing
from pgswarm.member.postmaster import Postmaster
from pgswarm.member.setbacks import Setbacks

PROMISE_PATIENCE = 25.0
"""Seconds for the end of the log to be known before a promise is answered with 'not yet'."""


class Agent:
    """Everything one agent knows."""

    def __init__(
        self,
        config: Config,
        memory: Memory,
        files: Files,
        postmaster: Postmaster,
        *,
        version: str,
        tasks: TaskGroup,
        seal: foreign.Seal,
    ) -> None:
        self.config = config
        self.memory = memory
        self.files = files
        self.postmaster = postmaster
        self.tasks = tasks
        self.boot = secrets.token_hex(4)
        self.began_at = anyio.current_time()
        self.heeded: tuple[int, int] | None = None
        self.resumed: tuple[int, int] | None = None  # the order taken for confirmed with no operator (law 5)
        self.upstream: duty.Upstream | None = None
        self.followed_at: float | None = None  # when that was set
        self.position: Position | None = None
        self.settled = False
        self.closed = False  # it was primary and was asked to shut down: its log's end may be known without a start
        self.yields = 0
        self.leaving = self.readying = False  # told to stop, and waits for a successor; is making ready for one
        self.ascended = False  # pg_promote was sent to the postgres that is running
        self.throne: reign.Throne | None = None
        self.follow_failures = 0
        self.progress: Progress | None = None
        self.sight: Sight | None = None
        self.hearing = Hearing()
        self.ending = self.checkpoint_owed = False
        self.version, self.seal = version, seal
        self.problems: dict[str, Problem] = {}
        self.observer, self.neighbours = Observer(config), neighbours.Neighbours(config)
        self.slots: tuple[str, ...] = ()
        self.kept, self.disk = aside.kept(config), disk.Disk(config)
        self.leave = grant.Leave()
        self._audience = Audience()
        self._lock = anyio.Lock()
        self._job: anyio.CancelScope | None = None
        self._doing: duty.Action = duty.Rest(reason="")
        self._wake = anyio.Event()
        self._poke = anyio.Event()
        self._changed = anyio.Event()
        self.setbacks, self.tuning = Setbacks(), tuning.Tuning()
        self._why = ""
        if seal.text:
            logger.error("{}", seal.text)
            self.problems["sealed"] = Problem(code="foreign-data", text=seal.text)
        self._report = telling.report(self, anyio.current_time(), 1)

    # What comes in

    async def take_order(self, message: OrderMessage) -> wire.Answer:
        """Accept or refuse; an accepted order is durable when this returns, and acted upon."""
        order = message.order
        if why := self.seal.against(order):
            return wire.Answer(accepted=False, reason=why, report=self._report)
        async with self._lock:
            verdict = accept(self.memory, order)
            if verdict.ok and (why := self.leave.refused(self, order)):
                verdict = Verdict(ok=False, reason=why)
            if not verdict.ok:
                logger.warning("order refused: {}", verdict.reason)
                return wire.Answer(accepted=False, reason=verdict.reason, report=self._report)
            known = self.memory.circumstances.contacts
            renewed = act.accepted(self, order, message.circumstances)
            is_new = self.memory.order is None or order.key != self.memory.order.key
            if renewed != self.memory:
                try:
                    await self._keep(renewed)
                except Refused as exc:
                    return wire.Answer(accepted=False, reason=exc.reason, report=self._report)
            self.neighbours.told(known, message.circumstances.contacts)
            first = self.heeded != order.key
            self.heeded = order.key
            self.leave.guard(self)
        if is_new or first:
            logger.info("order accepted: {} of term {} revision {}", order.role, order.term, order.revision)
            self._overtake()
        self._wake.set()
        self._poke.set()
        self.publish()
        return wire.Answer(accepted=True, reason=verdict.reason, report=self._report)

    async def take_promise(self, request: wire.PromiseRequest) -> MemberReport:
        """Promise, durably; returns once nothing is received and the end of the log is known. Raises Refused."""
        began = anyio.current_time()
        if self.seal.text:
            raise Refused(self.seal.text)
        if request.prepare:
            return await handover.make_ready(self, request.cluster, request.term)
        if self.yields == request.term:
            await handover.greeted(self.postmaster)
        async with self._lock:
            if request.member not in ("", self.memory.member):
                raise Refused(f"this is {self.memory.member}, not {request.member}: nothing was promised")
            verdict = consent(self.memory, request.cluster, request.term, request.place)
            if not verdict.ok:
                logger.warning("promise refused: {}", verdict.reason)
                raise Refused(verdict.reason)
            if request.term > self.memory.promised:
                await self._keep(self.memory.model_copy(update={"promised": request.term}))
                logger.info("promised term {}", request.term)
                self._overtake()
        self.publish()
        with anyio.move_on_after(PROMISE_PATIENCE):
            while not (self.is_settled() and self._job is None):
                await self.changed()
            self.publish()
            took = (anyio.current_time() - began) * 1000
            logger.info("the promise of term {} holds: {} after {:.0f} ms", request.term, self.position, took)
            return self._report
        raise Refused(f"term {request.term} is promised, but the end of the log is not known yet: {self._why}")

    async def amend(self, decide: Callable[[Memory], tuple[Verdict, Memory]]) -> Verdict:
        """Put a question to the memory and make durable what it changes, with nothing in between."""
        if self.seal.text:
            return Verdict(ok=False, reason=self.seal.text)
        async with self._lock:
            verdict, renewed = decide(self.memory)
            if renewed != self.memory:
                try:
                    await self._keep(renewed)
                except Refused as exc:
                    return Verdict(ok=False, reason=exc.reason)
        return verdict

    def is_settled(self) -> bool:
        """Is the position that is told final? Without data there is nothing that could change."""
        return self.settled if self.memory.told_data is Data.READY else self.postmaster.pid is None

    # What goes out

    @property
    def report(self) -> MemberReport:
        return self._report

    async def changed(self) -> None:
        """Wait for the next change of the report or of the job."""
        await self._changed.wait()

    async def reports(self) -> AsyncIterator[MemberReport]:
        """Every change at once, and as a heartbeat the same one again."""
        with self._audience.seat() as sent:
            while True:
                change, report = self._changed, self._report
                yield report
                sent(report.sequence)
                with anyio.move_on_after(wire.HEARTBEAT):
                    await change.wait()

    def publish(self) -> None:
        """Compose the report anew; tell everybody if it says something else."""
        report = telling.report(self, anyio.current_time(), self._report.sequence + 1)
        if report == self._report.model_copy(update={"sequence": report.sequence, "clock": report.clock}):
            return
        before, self._report = self._report, report
        if (before.serving, before.postgres, before.role) != (report.serving, report.postgres, report.role):
            logger.info("PostgreSQL {} as {}, serving {}", report.postgres, report.role, report.serving)
        self.notify()

    def serving(self) -> tuple[Serving, str]:
        """What clients may be sent here for, and why not."""
        return telling.serving(self, anyio.current_time())

    def notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def stirred(self) -> None:
        """PostgreSQL changed: everybody is to look again."""
        if self.postmaster.state is not Postgres.RUNNING:
            self.sight = None
            self.observer.forget()
        self._wake.set()
        self._poke.set()
        self.publish()
        self.notify()

    # What holds

    @property
    def order(self) -> Order | None:
        """The order that holds now."""
        return self.memory.bound

    @property
    def role(self) -> Role:
        if self.postmaster.state is not Postgres.RUNNING:
            return Role.NONE
        if self.postmaster.began is duty.Begin.PRIMARY or self.ascended:
            return Role.PRIMARY
        return Role.STANDBY if self.upstream is not None else Role.FENCED

    def reigns(self) -> Order | None:
        """The order under which the running PostgreSQL is primary; None if it is not, or must not be."""
        order = self.order
        if order is None or order.role != "primary" or not self.is_confirmed(order):
            return None
        fits = self.role is Role.PRIMARY and self.memory.reigned == order.term == self.memory.promised
        is_replaying = self.sight is not None and self.sight.recovery  # a promotion's end: not read-write yet
        return order if fits and not is_replaying and self.is_begun() else None

    def is_confirmed(self, order: Order) -> bool:
        """Has an operator sent this order since the agent began, or was its reign resumed without one?"""
        return order.key in (self.heeded, self.resumed)

    @property
    def is_working(self) -> bool:
        return self._job is not None

    def poked(self) -> anyio.Event:
        """Set when PostgreSQL is to be looked at again at once; a new one at each call."""
        self._poke = anyio.Event()
        return self._poke

    def is_begun(self) -> bool:
        """Does the timeline of the last reign exist? The disk knows, should the memory not have been told."""
        memory = self.memory
        if memory.begun or not memory.timeline:
            return memory.begun
        signal = self.config.pgdata / "standby.signal"
        return not signal.exists() and waldir.knows(self.config.wal, memory.timeline)

    async def remember(self, **changes: object) -> None:
        """Change the memory, durably."""
        async with self._lock:
            await self._keep(self.memory.model_copy(update=changes))

    def tell(self, progress: Progress | None) -> None:
        self.progress = progress
        self.publish()

    def tell_slots(self, members: tuple[str, ...]) -> None:
        if members != self.slots:
            self.slots = members
            self.publish()

    def look_again(self) -> None:
        """Something was heard that may change what is to be done."""
        self._wake.set()

    def trouble(self, code: str, text: str | None) -> None:
        """Set or clear a lasting problem."""
        if text is None:
            self.problems.pop(code, None)
        else:
            self.problems[code] = Problem(code=code, text=text)
        self.publish()

    # The loops

    async def live(self) -> None:
        """Run for ever."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._work)
            tasks.start_soon(disk.watch, self)
            for part in (watching.watch, ruling.rule, slots.keep, neighbours.keep_asking, grant.keep, foreign.watch):
                tasks.start_soon(part, self)

    async def end(self) -> None:
        """SIGTERM: a successor, if there can be one; then no further work, and a fast shutdown."""
        await handover.leave(self)
        self.ending = True
        if self._job is not None:
            self._job.cancel()
        self.publish()
        await self.postmaster.stop(patience=act.LAST_STOP)
        await self._audience.has_heard(self._report.sequence)

    async def _work(self) -> None:
        while not self.ending:
            await anyio.lowlevel.checkpoint()
            self._wake = anyio.Event()
            now = anyio.current_time()
            action = duty.duty(telling.facts(self), now)
            if (until := self.setbacks.until(action, now)) is not None:
                action = duty.Rest(reason=f"{action.reason} (again in a moment)", until=until)
            if isinstance(action, duty.Rest):
                await self._rest(action, now)
            else:
                await self._do(action)

    async def _rest(self, rest: duty.Rest, now: float) -> None:
        if rest.reason != self._why:
            logger.debug("rest: {}", rest.reason)
        self._why = rest.reason
        self.problems.pop("duty", None)
        if rest.problem is not None:
            self.problems["duty"] = rest.problem
            self.problems.pop("work", None)  # what failed before is not what is waited for now
        self.publish()
        with anyio.move_on_after(3600.0 if rest.until is None else max(0.0, rest.until - now)):
            await self._wake.wait()

    async def _do(self, action: duty.Action) -> None:
        self._why = action.reason
        level = "DEBUG" if self.setbacks.is_another_try(action) else "INFO"
        logger.log(level, "{}: {}", type(action).__name__.lower(), action.reason)
        failure: Failure | None = None
        with anyio.CancelScope() as scope:
            self._job, self._doing = scope, action
            try:
                await act.perform(self, action)
            except Failure as exc:
                failure = exc
            except OSError as exc:
                failure = Again(f"{type(action).__name__.lower()} failed: {exc.strerror or exc}")
            except Exception as exc:  # a bug here must not end the agent, and PostgreSQL with it
                logger.opt(exception=exc).error("{} failed: {}", type(action).__name__.lower(), exc)
                failure = Again(f"{type(action).__name__.lower()} failed: {type(exc).__name__}: {exc}", after=2.0)
            finally:
                self._job = None
                self.progress = None
        if failure is not None:
            if (problem := self.setbacks.note(action, failure, self.disk.free)) is not None:
                self.problems["work"] = problem
        elif not scope.cancelled_caught:
            self.setbacks.clear()
            self.problems.pop("work", None)
        self.publish()
        self.notify()

    def _overtake(self) -> None:
        """A newer word: what is being done is done for an older one, and perhaps no longer wanted."""
        self.setbacks.overtaken()
        if self._job is not None and not duty.still_serves(self._doing, self.memory):
            self._job.cancel()
        self._wake.set()

    async def _keep(self, memory: Memory) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await to_thread.run_sync(state.save, self.config, memory)
            except OSError as exc:
                raise Refused(f"cannot write {self.config.state_file}: {exc.strerror}") from exc
            self.memory = memory
