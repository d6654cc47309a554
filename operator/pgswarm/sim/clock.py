"""Virtual time: an event loop whose clock jumps, and processes that run on it, each with a clock of its own.

The operator's real code runs here unchanged: anyio on an asyncio loop, whose `time()` is virtual. When nothing is
ready the clock jumps to the next timer, so a minute costs what happens in it and no more; a loop that has nothing
ready and no timer is a deadlock, and one that turns without end at one moment is a livelock: both are said.

Everything else in a site (agents, PostgreSQL, routers, the network) is played by plain callbacks on the same heap,
because a history has tens of thousands of them and a task costs ten times as much. What would be a coroutine there
is a *job*: a generator that yields seconds, or a signal to wait for, and can be thrown away at any yield, which is
exactly what a crash does.

A *process* may be killed (what it had planned never happens), frozen (it happens later, in any order) and has a
monotonic clock that runs faster or slower than the world's and began elsewhere. An operator's tasks carry their
process in a context variable, so that `anyio.current_time()` and `anyio.sleep()` in them follow that clock.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable, Generator
from contextvars import Context, ContextVar
from typing import Any

BEGINNING = 1000.0
"""World seconds at which every history begins: no clock starts at nought."""

ROUNDING = 1e-7
"""Seconds: a timer that came so much too early for its own clock would be set again at the same moment, for ever."""

MOST_AT_ONCE = 2_000
"""Turns of the loop at one moment after which it is a livelock; histories have had 16."""

MOST_A_SECOND = 100_000
"""Timers that are set within a second after which it is a livelock, too: its clock creeps. Histories have had 2,000."""

Wait = "float | Signal | tuple[Signal, float]"
Job = Generator[Any, Any, Any]


class Timer:
    """One thing that is to happen later."""

    __slots__ = ("args", "fn", "process")

    def __init__(self, fn: Callable[..., object] | None, args: tuple[Any, ...], process: Process | None) -> None:
        self.fn, self.args, self.process = fn, args, process

    def cancel(self) -> None:
        self.fn = None


class Signal:
    """Something that jobs wait for; every `fire` wakes all who wait then."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Callable[[], object]] = []

    def fire(self) -> None:
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def on(self, wake: Callable[[], object]) -> None:
        self._waiting.append(wake)


class Process:
    """One operating-system process: it can be killed and frozen, and reads a clock of its own."""

    def __init__(self, loop: VirtualLoop, name: str, *, rate: float = 1.0, offset: float = 0.0) -> None:
        self.loop, self.name, self.rate, self.offset = loop, name, rate, offset
        self.alive = True
        self.frozen = False
        self.held: list[Timer | asyncio.Handle] = []

    @property
    def now(self) -> float:
        """What its own monotonic clock says."""
        return self.loop.now * self.rate + self.offset

    @property
    def runs(self) -> bool:
        return self.alive and not self.frozen

    def world(self, own: float) -> float:
        """When, on the world's clock, this one will surely have come to `own`."""
        return (own - self.offset) / self.rate + ROUNDING

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Call `fn` after so many seconds of its own clock, unless it has died by then; later if it is frozen then."""
        timer, loop = Timer(fn, args, self), self.loop
        loop._count += 1
        heapq.heappush(loop._heap, (loop.now + seconds / self.rate, loop._count, timer))
        return timer

    def kill(self) -> None:
        """The end: nothing that it had planned happens. (Its tasks, if it has some, are left to unwind.)"""
        self.alive = False
        self.frozen = False
        held, self.held = self.held, []
        for one in held:
            if not isinstance(one, Timer):
                self.loop.append(one)

    def freeze(self) -> None:
        self.frozen = self.alive

    def thaw(self, shuffle: Callable[[list[Any]], None]) -> None:
        """Go on: whatever was due meanwhile happens now, and nobody knows in which order."""
        if not self.frozen:
            return
        self.frozen = False
        held, self.held = self.held, []
        shuffle(held)
        for one in held:
            if isinstance(one, Timer):
                self.loop.later(0.0, _run, one, process=self)
            else:
                self.loop.append(one)

    def run(self, job: Job, ended: Callable[[BaseException | None], object]) -> Running:
        """Drive a job to its end: `ended` is told None, or the exception that it let rise."""
        return Running(self, job, ended)


class Running:
    """A job under way."""

    __slots__ = ("_ended", "_job", "_process", "_stepping", "_turn", "over")

    def __init__(self, process: Process, job: Job, ended: Callable[[BaseException | None], object]) -> None:
        self._process, self._job, self._ended = process, job, ended
        self._turn = 0
        self.over = self._stepping = False
        process.after(0.0, self._step, 0, None)

    def cancel(self) -> None:
        """End it where it is, or at its next yield if it is this very job that asks; `ended` is not called."""
        if not self.over:
            self.over = True
            if not self._stepping:
                self._job.close()

    def _was_cancelled(self) -> bool:
        """By itself, in the step that it has just made?"""
        if self.over:
            self._job.close()
        return self.over

    def _step(self, turn: int, value: object) -> None:
        if self.over or turn != self._turn:
            return
        self._turn += 1
        self._stepping = True
        try:
            wanted = self._job.send(value)
        except (StopIteration, Exception) as end:
            if not self.over:
                self.over = True
                self._ended(None if isinstance(end, StopIteration) else end)
            return
        finally:
            self._stepping = False
        if self._was_cancelled():
            return
        turn, process = self._turn, self._process
        if isinstance(wanted, (float, int)):
            process.after(wanted, self._step, turn, None)
            return
        signal, limit = wanted if isinstance(wanted, tuple) else (wanted, None)
        signal.on(lambda: process.after(0.0, self._step, turn, True))
        if limit is not None:
            process.after(limit, self._step, turn, False)


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's loop without a selector: time is a number that jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGINNING
        self.failure: BaseException | None = None
        self.current: Process | None = None
        self._heap: list[tuple[float, int, Timer | asyncio.TimerHandle]] = []
        self._count = 0
        self._turns = 0
        self._second = (0.0, 0)  # when this second of the world began, and how many timers had been set by then

    # What asyncio asks of a loop

    def time(self) -> float:
        process = self.current
        return self.now if process is None else self.now * process.rate + process.offset

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = events.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        process = self.current
        handle = events.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._heap, (when if process is None else process.world(when), self._count, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: object) -> None:
        return

    def _write_to_self(self) -> None:
        raise RuntimeError("no thread may take part in a history")

    def _process_events(self, event_list: object) -> None:
        return

    def _run_once(self) -> None:
        """One turn: everything that is ready, or else a jump to the next timer."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        ready = self._ready  # type: ignore[attr-defined]
        if ready:
            self._turns += 1
            if self._turns > MOST_AT_ONCE:
                raise RuntimeError(f"livelock: {MOST_AT_ONCE} turns at {self.now:.3f}; next: {ready[0]!r}")
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    self._run_handle(handle)
            return
        heap, pop = self._heap, heapq.heappop
        while heap:
            when, _, due = pop(heap)
            if isinstance(due, Timer):
                if due.fn is None:
                    continue
                if when > self.now:
                    self._advance(when)
                self._turns += 1
                if self._turns > MOST_AT_ONCE:
                    raise RuntimeError(f"livelock: {MOST_AT_ONCE} timers at {self.now:.3f}; next: {due.fn!r}")
                _run(due)
                if ready or self._stopping or self.failure is not None:  # type: ignore[attr-defined]
                    return
            elif not due._cancelled:
                if when > self.now:
                    self._advance(when)
                ready.append(due)
                return
        raise RuntimeError(f"deadlock: nothing is ready at {self.now:.3f}, and nothing will be")

    def _advance(self, when: float) -> None:
        self.now, self._turns = when, 0
        began, count = self._second
        if when - began >= 1.0:
            self._second = (when, self._count)
        elif self._count - count > MOST_A_SECOND:
            raise RuntimeError(f"livelock: {MOST_A_SECOND} timers set between {began:.3f} and {when:.3f}")

    def _run_handle(self, handle: asyncio.Handle) -> None:
        process: Process | None = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None and process.frozen:
            process.held.append(handle)
            return
        self.current = process
        handle._run()
        self.current = None

    # What the played part asks of it

    def append(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)  # type: ignore[attr-defined]

    def later(self, seconds: float, fn: Callable[..., object], *args: Any, process: Process | None = None) -> Timer:
        """Call `fn` after so many world seconds."""
        timer = Timer(fn, args, process)
        self._count += 1
        heapq.heappush(self._heap, (self.now + seconds, self._count, timer))
        return timer

    def run_for(self, seconds: float) -> None:
        """Let so much world time pass. Raises what was found wrong meanwhile."""
        self.later(seconds, self.stop)
        self.run_forever()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure


def _run(timer: Timer) -> None:
    process = timer.process
    if process is not None and (process.frozen or not process.alive):
        if process.frozen:
            process.held.append(timer)
    elif timer.fn is not None:
        timer.fn(*timer.args)
