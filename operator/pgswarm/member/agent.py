"""The agent as a whole: what it knows, what it says, and the one job that it has at a time.

Three loops share this object, all in one task group: `_work` asks `duty` and does what it says, one cancellable job
at a time; `_watch` looks at PostgreSQL; `_reign` keeps a primary's sync setting, slots and roles. Orders and promises
come in by `take_order` and `take_promise`: made durable first, then the job that they overtake is cancelled and the
loops are woken. Every change ends in `publish`, which tells every open stream at once.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm import wire
from pgswarm.core import duty
from pgswarm.core.claim import member_of
from pgswarm.core.memory import Memory, accept, accepted, consent
from pgswarm.core.orders import Order, OrderMessage
from pgswarm.core.reports import Data, MemberReport, Postgres, Problem, Progress, Role, Serving
from pgswarm.core.wal import Position
from pgswarm.errors import Again, Failure, Refused
from pgswarm.member import act, reign, state, waldir
from pgswarm.member.config import Config
from pgswarm.member.facts import Observer, Sight
from pgswarm.member.files import Files
from pgswarm.member.hearing import Hearing
from pgswarm.member.postmaster import Postmaster

LOOK_BUSY, LOOK_REST = 0.15, 0.5
"""Seconds between two looks at PostgreSQL while something changes, and at rest."""

HANG = 2.0
"""Seconds without an answer after which a running PostgreSQL serves nobody."""

PROMISE_PATIENCE = 25.0
"""Seconds for the end of the log to be known before a promise is answered with 'not yet'."""

CRASH_LOOP = 3
TOLD_LINES = 3


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
        sealed: str = "",
    ) -> None:
        self.config = config
        self.memory = memory
        self.files = files
        self.postmaster = postmaster
        self.tasks = tasks
        self.boot = secrets.token_hex(4)
        self.heeded: tuple[int, int] | None = None
        self.upstream: duty.Upstream | None = None
        self.position: Position | None = None
        self.settled = False
        self.ascended = False  # pg_promote was sent to the postgres that is running
        self.throne: reign.Throne | None = None
        self.follow_failures = 0
        self.progress: Progress | None = None
        self.sight: Sight | None = None
        self.hearing = Hearing()
        self.ending = False
        self.checkpoint_owed = False
        self._version = version
        self._sealed = sealed
        self._pending: tuple[str, ...] = ()
        self._problems: dict[str, Problem] = {}
        self._observer = Observer(config)
        self._lock = anyio.Lock()
        self._job: anyio.CancelScope | None = None
        self._wake = anyio.Event()
        self._poke = anyio.Event()
        self._changed = anyio.Event()
        self._failures = 0
        self._failed: type[duty.Action] | None = None
        self._not_before = 0.0
        self._refused_digest = ""
        self._why = ""
        if sealed:
            logger.error("{}", sealed)
            self._problems["sealed"] = Problem(code="foreign-data", text=sealed)
        self._report = self._compose()

    # What comes in

    async def take_order(self, message: OrderMessage) -> wire.Answer:
        """Accept or refuse; an accepted order is durable when this returns, and acted upon."""
        order = message.order
        if self._sealed:
            return wire.Answer(accepted=False, reason=self._sealed, report=self._report)
        async with self._lock:
            verdict = accept(self.memory, order)
            if not verdict.ok:
                logger.warning("order refused: {}", verdict.reason)
                return wire.Answer(accepted=False, reason=verdict.reason, report=self._report)
            renewed = accepted(self.memory, order, message.circumstances)
            is_new = self.memory.order is None or order.key != self.memory.order.key
            if renewed != self.memory:
                await self._keep(renewed)
            first = self.heeded != order.key
            self.heeded = order.key
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
        if self._sealed:
            raise Refused(self._sealed)
        async with self._lock:
            verdict = consent(self.memory, request.cluster, request.term)
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

    def is_settled(self) -> bool:
        """Is the position that is told final? Without data there is nothing that could change."""
        return self.settled if self.memory.told_data is Data.READY else self.postmaster.pid is None

    # What goes out

    @property
    def report(self) -> MemberReport:
        return self._report

    def beat(self) -> MemberReport:
        """The report of this moment, with a number of its own."""
        self._report = self._report.model_copy(update={"sequence": self._report.sequence + 1})
        return self._report

    async def changed(self) -> None:
        """Wait for the next change of the report or of the job."""
        await self._changed.wait()

    async def reports(self) -> AsyncIterator[MemberReport]:
        """Every change at once, and a heartbeat."""
        while True:
            change = self._changed
            yield self.beat()
            with anyio.move_on_after(wire.HEARTBEAT):
                await change.wait()

    def publish(self) -> None:
        """Compose the report anew; tell everybody if it says something else."""
        report = self._compose()
        if report == self._report.model_copy(update={"sequence": report.sequence}):
            return
        before, self._report = self._report, report
        if (before.serving, before.postgres, before.role) != (report.serving, report.postgres, report.role):
            logger.info("PostgreSQL {} as {}, serving {}", report.postgres, report.role, report.serving)
        self.notify()

    def notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def stirred(self) -> None:
        """PostgreSQL changed: everybody is to look again."""
        if self.postmaster.state is not Postgres.RUNNING:
            self.sight = None
            self._observer.forget()
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
        if order is None or order.role != "primary" or self.heeded != order.key:
            return None
        fits = self.role is Role.PRIMARY and self.memory.reigned == order.term == self.memory.promised
        return order if fits and self.is_begun() else None

    def serving(self) -> tuple[Serving, str]:
        """What clients may be sent here for, and why not."""
        now = anyio.current_time()
        if self.postmaster.state is not Postgres.RUNNING or self.ending:
            return Serving.NONE, f"PostgreSQL is {self.postmaster.state.value}"
        if self.sight is None or now - self.sight.at > HANG:
            return Serving.NONE, "PostgreSQL does not answer"
        if self.role is not Role.PRIMARY:
            streamed = self.hearing.streamed_at
            limit = self.memory.circumstances.settings.isolation_timeout
            if self.upstream is not None and streamed is not None and now - streamed <= limit:
                return Serving.REPLICA, "streaming"
            return Serving.NONE, "no stream from the primary"
        order = self.reigns()
        if order is None:
            return Serving.NONE, "no order holds for this reign"
        if self.throne is None or not self.throne.opened:
            return Serving.NONE, self.throne.why if self.throne else "not open yet"
        if (order.peers or order.sync.k) and self.hearing.is_isolated(
            now, self.memory.circumstances.settings.isolation_timeout
        ):
            return Serving.NONE, "isolated: neither an operator nor a streaming standby was heard"
        return Serving.PRIMARY, f"primary of term {order.term}"

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

    def trouble(self, code: str, text: str | None) -> None:
        """Set or clear a lasting problem."""
        if text is None:
            self._problems.pop(code, None)
        else:
            self._problems[code] = Problem(code=code, text=text)
        self.publish()

    async def look_now(self) -> None:
        """After a promotion: what it is now is to be known at once, not at the next turn."""
        await self._look(1)
        self.publish()

    # The loops

    async def live(self) -> None:
        """Run for ever."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._work)
            tasks.start_soon(self._watch)
            tasks.start_soon(self._reign)

    async def end(self) -> None:
        """SIGTERM: no further work, and a fast shutdown."""
        self.ending = True
        if self._job is not None:
            self._job.cancel()
        self.publish()
        await self.postmaster.stop(patience=act.LAST_STOP)

    async def _work(self) -> None:
        while not self.ending:
            self._wake = anyio.Event()
            now = anyio.current_time()
            action = duty.duty(self._facts(), now)
            if type(action) is self._failed and now < self._not_before:
                action = duty.Rest(reason=f"{action.reason} (again in a moment)", until=self._not_before)
            if isinstance(action, duty.Rest):
                await self._rest(action, now)
            else:
                await self._do(action)

    async def _rest(self, rest: duty.Rest, now: float) -> None:
        if rest.reason != self._why:
            logger.debug("rest: {}", rest.reason)
        self._why = rest.reason
        self._problems.pop("duty", None)
        if rest.problem is not None:
            self._problems["duty"] = rest.problem
        self.publish()
        with anyio.move_on_after(3600.0 if rest.until is None else max(0.0, rest.until - now)):
            await self._wake.wait()

    async def _do(self, action: duty.Action) -> None:
        self._why = action.reason
        logger.info("{}: {}", type(action).__name__.lower(), action.reason)
        failure: Failure | None = None
        with anyio.CancelScope() as scope:
            self._job = scope
            try:
                await act.perform(self, action)
            except Failure as exc:
                failure = exc
            except OSError as exc:
                failure = Again(f"{type(action).__name__.lower()} failed: {exc.strerror or exc}")
            finally:
                self._job = None
                self.progress = None
        if failure is not None:
            self._note_failure(action, failure)
        elif not scope.cancelled_caught:
            self._failures, self._failed = 0, None
            self._problems.pop("work", None)
        self.publish()
        self.notify()

    def _note_failure(self, action: duty.Action, failure: Failure) -> None:
        self._failures = self._failures + 1 if self._failed is type(action) else 1
        self._failed = type(action)
        asked = failure.after if isinstance(failure, Again) else 1.0
        pause = duty.pause_after(action, self._failures, asked)
        self._not_before = anyio.current_time() + pause
        if self._failures in (1, 10, 100):
            logger.warning("{} ({} times), again in {:.1f} s", failure.reason, self._failures, pause)
        disk = "disk full" in failure.reason
        if disk or isinstance(action, duty.Create | duty.Clone | duty.Rewind | duty.Promote) or self._failures >= 10:
            code = "disk-full" if disk else f"{type(action).__name__.lower()}-failed"
            self._problems["work"] = Problem(code=code, text=failure.reason)

    def _overtake(self) -> None:
        """A newer word: whatever is being done is done for an older one."""
        self._failures, self._failed = 0, None
        if self._job is not None:
            self._job.cancel()
        self._wake.set()

    def _facts(self) -> duty.Facts:
        order = self.order
        postmaster = self.postmaster
        contacts = self.memory.circumstances.contacts
        return duty.Facts(
            memory=self.memory,
            heeded=order is not None and self.heeded == order.key,
            postgres=postmaster.state,
            began=postmaster.began,
            role=self.role,
            position=self.position,
            settled=self.settled,
            begun=self.is_begun(),
            upstream=self.upstream,
            address=contacts.get(member_of(order.primary)) if order else None,
            trouble=postmaster.trouble,
            follow_failures=self.follow_failures,
            crashes=postmaster.crashes,
            ended_at=postmaster.ended_at,
        )

    async def _watch(self) -> None:
        """Look at PostgreSQL again and again; slow or silent, it is only a fact."""
        turn = 0
        while True:
            self._poke = anyio.Event()
            if self.postmaster.state is Postgres.RUNNING:
                try:
                    await self._look(turn)
                except Again as exc:
                    logger.debug("{}", exc)
            elif self.postmaster.state is Postgres.STARTING and self._job is None:
                waited = anyio.current_time() - self.postmaster.started_at
                self.progress = Progress(what="recovery") if waited > 1.0 else None
            if self.postmaster.crashes >= CRASH_LOOP:
                lines = " / ".join(list(self.postmaster.lines)[-TOLD_LINES:])
                self._problems["crash"] = Problem(
                    code="crash-loop", text=f"PostgreSQL ended {self.postmaster.crashes} times in a row: {lines}"
                )
            else:
                self._problems.pop("crash", None)
            self.publish()
            turn += 1
            with anyio.move_on_after(LOOK_BUSY if self._is_busy() else LOOK_REST):
                await self._poke.wait()

    def _is_busy(self) -> bool:
        if self._job is not None or self.postmaster.state not in (Postgres.RUNNING, Postgres.STOPPED):
            return True
        order = self.order
        if self.role is Role.PRIMARY:
            force = self.throne.in_force if self.throne else None
            return order is None or force is None or force.revision != order.revision
        return self.upstream is not None and (self.sight is None or not self.sight.streaming)

    async def _look(self, turn: int) -> None:
        starts = self.postmaster.starts
        sight = await self._observer.look()
        if starts != self.postmaster.starts or self.postmaster.state is not Postgres.RUNNING:
            return
        self.sight = sight
        self.hearing.note_standbys(sight.replies, sight.at)
        if sight.recovery and sight.streaming and self.upstream is not None:
            self.hearing.streamed_at = sight.at
            self.follow_failures = 0
            self.postmaster.trouble = duty.Trouble.NONE
            if sight.timeline:
                self.position = Position(timeline=sight.timeline, lsn=sight.receive)
        elif not sight.recovery and sight.timeline:
            self.position = Position(timeline=sight.timeline, lsn=sight.insert)
        if self.role is Role.PRIMARY and sight.recovery and not self.ascended:
            logger.error("PostgreSQL is in recovery though it was started as primary")
        settings = self.memory.circumstances.settings
        if settings.digest not in (self.files.digest, self._refused_digest):
            await act.adopt(self)
            self._refused_digest = settings.digest
            self._pending = await self._observer.pending_restart()
        elif turn % 20 == 0:
            self._pending = await self._observer.pending_restart()

    async def _reign(self) -> None:
        """As long as the same order reigns over the same postgres: one run of a primary's duties."""
        while True:
            order = self.reigns()
            if order is None:
                await self.changed()
                continue
            key = (self.postmaster.starts, order.key, self.memory.circumstances.settings.digest)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._rule, order)
                while (now := self.reigns()) is not None and key == (
                    self.postmaster.starts,
                    now.key,
                    self.memory.circumstances.settings.digest,
                ):
                    await self.changed()
                tasks.cancel_scope.cancel()

    async def _rule(self, order: Order) -> None:
        throne = self.throne
        if throne is None or throne.starts != self.postmaster.starts:
            return
        while True:
            try:
                await act.rule(self, throne, order)
                self._problems.pop("reign", None)
                self.publish()
                return
            except Refused as exc:
                throne.opened = False
                self.trouble("reign", exc.reason)
                logger.error("{}", exc)
                await anyio.sleep(5.0)
            except Again as exc:
                logger.warning("{}", exc)
                await anyio.sleep(max(0.1, exc.after))

    # Helpers

    async def _keep(self, memory: Memory) -> None:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(state.save, self.config, memory)
            self.memory = memory

    def _compose(self) -> MemberReport:
        memory, sight = self.memory, self.sight
        serving, _ = self.serving()
        usage = shutil.disk_usage(self.config.volume)
        streaming = self.upstream is not None and sight is not None and sight.streaming
        return MemberReport(
            cluster=memory.cluster,
            member=memory.member,
            boot=self.boot,
            sequence=self._report.sequence + 1 if hasattr(self, "_report") else 1,
            data=memory.told_data,
            incarnation=memory.incarnation,
            system_id=memory.system_id,
            promised=memory.promised,
            accepted=memory.order.key if memory.order else None,
            heeded=self.heeded,
            reigned=memory.reigned,
            postgres=self.postmaster.state,
            role=self.role,
            serving=serving,
            position=self.position,
            settled=self.is_settled(),
            in_force=self.throne.in_force if self.throne and self.role is Role.PRIMARY else None,
            walsenders=sight.walsenders if sight else (),
            upstream=self.upstream.primary if self.upstream and streaming else None,
            lag=sight.behind if sight and sight.recovery else None,
            progress=self.progress,
            problem=next(iter(self._problems.values()), None),
            pending_restart=self._pending,
            settings_digest=self.files.digest,
            version=self._version,
            disk_free=usage.free >> 20 << 20,
            disk_total=usage.total,
        )
