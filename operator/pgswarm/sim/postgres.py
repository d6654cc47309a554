"""A PostgreSQL, as far as high availability can feel it.

Played after what was measured and read in its source (facts, and the tags of docs/protocol.md):

- A commit is appended and flushed, then waits if the *shared flag* says that commits wait at all. Only the
  checkpointer raises or lowers the flag, when it gets to it, seconds late in the middle of a checkpoint (C12).
- Each walsender takes up a new setting when it gets to it. A reply makes *its* walsender evaluate: with its own k, and
  with those candidates that each believe themselves to be named (C6, C7).
- A start after a crash shows every record of the log, also commits that nobody was told of (C11).
- Streaming is judged by timelines; a standby that follows one that is itself in recovery is served as well.
- A fast shutdown ships everything to the standbys that are connected; an immediate one ships nothing.
- What a full disk does is in `disk`.

What clients were told is noted in the ledger at the moment in which the commit becomes visible, whether or not the
answer still reaches anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pgswarm.core.disk import Room
from pgswarm.core.duty import Begin, Trouble
from pgswarm.core.reports import Postgres as State
from pgswarm.core.slots import Slot
from pgswarm.sim import disk, streaming
from pgswarm.sim.clock import Job, Process, Signal
from pgswarm.sim.streaming import NOBODY, Sender, Setting, Waiter
from pgswarm.sim.volume import Fit, streams_on

if TYPE_CHECKING:
    from pgswarm.sim.container import Container
    from pgswarm.sim.site import Site

RETRY = 0.2
"""Seconds between two attempts of a standby to stream (wal_retrieve_retry_interval)."""


class Postgres:
    """The postgres of one container: at most one postmaster at a time."""

    def __init__(self, site: Site, container: Container) -> None:
        self.site, self.container, self.loop = site, container, site.loop
        self.node, self.volume = container.node, container.volume
        self.name = container.member
        self.changed: Callable[[], object] = lambda: None
        self.state = State.STOPPED
        self.began: Begin | None = None
        self.starts = self.crashes = 0
        self.started_at = self.ended_at = 0.0  # by the agent's clock
        self.trouble = Trouble.NONE
        self.process = Process(self.loop, f"postgres {self.name}")
        self.process.kill()
        self.recovering = True
        self.replayed = 0
        self.timeline = 1
        self.written = NOBODY  # in the configuration file
        self.setting = NOBODY  # as the postmaster has loaded it
        self.loads = 0
        self.flag = self.read_only = False
        self.flagged, self.loaded, self.adopted, self.stopped = Signal(), Signal(), Signal(), Signal()
        self.senders: list[Sender] = []
        self.waiters: list[Waiter] = []
        self.doors = self.doors_written = False  # as they are; as the configuration file says
        self.finishing = 0  # commits that wait for nobody and whose answer is still to come
        self.upstream: tuple[str, str] | None = None  # address, application_name
        self.receiver: Sender | None = None
        self._dialling = False

    # Life

    @property
    def is_primary(self) -> bool:
        """Read-write, this very moment."""
        return self.state in (State.RUNNING, State.STOPPING) and not self.recovering and self.process.alive

    @property
    def answers(self) -> bool:
        return self.state is State.RUNNING and self.process.runs

    def start(self, begin: Begin, setting: Setting, *, doors: bool) -> None:
        """Begin a postmaster; `state` says what became of it."""
        agent = self.container.agent
        self.site.ledger.started(self.container)
        self.process = Process(self.loop, f"postgres {self.name}")
        self.state, self.began, self.trouble = State.STARTING, begin, Trouble.NONE
        self.starts += 1
        self.started_at = agent.process.now
        self.recovering = begin is not Begin.PRIMARY
        self.volume.recovering, self.volume.closed = self.recovering, False
        self.written = self.setting = setting
        self.loads += 1
        self.flag = False
        self.doors = self.doors_written = doors
        self.finishing = 0
        self.senders, self.waiters, self.receiver, self._dialling = [], [], None, False
        self.timeline = self.volume.position.timeline
        self.replayed = 0
        self.process.after(self.site.draw(0.04, 0.3, rare=1.5), self._ready)
        self.changed()

    def appear(self, begin: Begin, setting: Setting) -> None:
        """Be there, as after a long quiet time."""
        self.process = Process(self.loop, f"postgres {self.name}")
        self.state, self.began, self.starts = State.RUNNING, begin, 1
        self.started_at = self.container.agent.process.now
        self.recovering = self.volume.recovering = begin is not Begin.PRIMARY
        self.written = self.setting = setting
        self.loads, self.flag = 1, bool(setting.k)
        self.doors = self.doors_written = True
        self.timeline, self.replayed = self.volume.position.timeline, len(self.volume.log)

    def _ready(self) -> None:
        if self.state is not State.STARTING:
            return  # it was told to stop before it was there
        if self.volume.room is Room.SPENT and not self.recovering:
            self.crash("its disk is full")
            return
        self.state = State.RUNNING
        self.process.after(self.site.draw(0.0, 0.05, rare=0.8), self._replay)
        if not self.recovering:
            self.replayed = len(self.volume.log)
            self.volume.shown = self.timeline  # crash recovery ends with a checkpoint
            self.site.story(self.name, f"PostgreSQL runs read-write on timeline {self.timeline}, doors shut")
            self._raise_flag()
        self.changed()
        if self.recovering:
            self.dial()

    def _replay(self) -> None:
        self.replayed = len(self.volume.log)
        self.changed()

    def arrived(self) -> None:
        """More log was received."""
        self.replayed = len(self.volume.log)
        for sender in self.senders:
            sender.pump()

    def crash(self, why: str = "killed") -> None:
        """The postmaster and all its children end at once."""
        if self.state in (State.STOPPED, State.CRASHED):
            return
        self._end()
        self.state = State.CRASHED
        self.crashes += 1
        self.site.story(self.name, f"PostgreSQL has crashed: {why}", key=True)
        self.changed()

    def vanish(self) -> None:
        """The container is gone: nobody is left to be told."""
        if self.state not in (State.STOPPED, State.CRASHED):
            self._end()
            self.state = State.STOPPED

    def stop(self, patience: float) -> Job:
        """Fast shutdown, and an immediate one if that takes too long. Once begun it goes on to its end."""
        if self.state in (State.STOPPED, State.CRASHED):
            self.state = State.STOPPED
            return
        if self.state is not State.STOPPING:
            self.state = State.STOPPING
            self.container.agent.process.run(self._stop(patience), self.site.ledger.bug)
        while self.state is State.STOPPING:
            yield (self.stopped, 1.0)

    def _stop(self, patience: float) -> Job:
        self.doors = False
        if not self.recovering:
            self.waiters.clear()  # ended with a warning that nobody who matters reads
        self.changed()
        process, recovering = self.process, self.recovering
        if process.frozen:
            yield patience + 7.0
        else:
            yield self.site.draw(0.01, 0.1)
            if not recovering and process.runs and self.process is process:
                self.append(-1)
                left = patience
                while left > 0 and any(one.is_linked and one.flush < len(self.volume.log) for one in self.senders):
                    yield 0.05
                    left -= 0.05
                self.volume.closed = left > 0
        if self.process is process and process.alive:
            self._end()
        if self.state is State.STOPPING:
            self.state = State.STOPPED
        self.stopped.fire()
        self.changed()

    def _end(self) -> None:
        self.process.kill()
        self.ended_at = self.container.agent.process.now
        self.waiters.clear()
        self.flag = self.doors = False
        if self.receiver is not None:
            self._hang_up()
        for sender in self.senders:
            sender.over = True
            standby = sender.standby
            if self.site.is_up(self.node):  # its kernel says so to the other end, if it can
                self.site.network.send(self.node, standby.node, streaming.lost, sender)
            self.site.world(streaming.DEAD_LINK, streaming.lost, sender)
        self.senders = []
        self.upstream = None

    # Writing

    def append(self, number: int) -> int:
        """Write one record, flushed; the answer is where it ends."""
        log = self.volume.log
        log.append((self.timeline, number if number > 0 else -self.site.number()))
        self.replayed = len(log)
        for sender in self.senders:
            sender.pump()
        return len(log)

    def commit(self, number: int, told: Callable[[], object] | None = None) -> bool:
        """A commit by a client (a positive number) or by the agent; True if it has to wait."""
        if not disk.lets_commit(self, number):
            return True
        lsn = self.append(number)
        written = self.volume.log[-1][1]
        if not self.flag:
            self.finishing += 1
            if self.volume.slow and number > 0:  # flushed, and the answer is not there yet
                self.process.after(self.volume.slow * self.site.rng.random(), self._finish, Waiter(lsn, written, told))
            else:
                self._finish(Waiter(lsn, written, told))
            return False
        self.waiters.append(Waiter(lsn, written, told))
        return True

    def _finish(self, one: Waiter) -> None:
        self.finishing -= 1
        self._acknowledge(one)

    def evaluate(self, sender: Sender) -> None:
        """A walsender had news: release what its own setting allows."""
        if sender.name not in sender.setting.names or not self.waiters:
            return
        places = sorted((one.flush for one in self.senders if one.name in one.setting.names), reverse=True)
        if len(places) >= sender.setting.k:
            self._release(places[sender.setting.k - 1])

    def _release(self, upto: int | None) -> None:
        free = [one for one in self.waiters if upto is None or one.lsn <= upto]
        if free:
            self.waiters = [one for one in self.waiters if upto is not None and one.lsn > upto]
            for one in free:
                self._acknowledge(one)

    def _acknowledge(self, one: Waiter) -> None:
        if one.number > 0:
            self.site.ledger.acknowledged(self, one.lsn, one.number)
        if one.told is not None:
            one.told()

    # Settings

    def reload(self, setting: Setting | None = None, *, doors: bool | None = None) -> None:
        """Have every process read the configuration again, each when it gets to it."""
        if setting is not None:
            self.written = setting
        if doors is not None:
            self.doors_written = doors
        self.process.after(self.site.draw(0.002, 0.01), self._load)

    def _load(self) -> None:
        self.setting = self.written
        self.loads += 1
        if self.doors and not self.doors_written:
            self.doors = False
        elif self.doors_written and self.state is State.RUNNING:
            self.open_doors()
        for sender in self.senders:
            self.process.after(self.site.draw(0.0005, 0.01, rare=0.7), self._adopt, sender)
        self._raise_flag()
        self.loaded.fire()

    def _adopt(self, sender: Sender) -> None:
        sender.setting, sender.adopted = self.written, self.loads
        self.evaluate(sender)
        self.adopted.fire()

    def _raise_flag(self) -> None:
        self.process.after(self.site.checkpointer(self.name), self._set_flag)

    def _set_flag(self) -> None:
        """The checkpointer has come to it. Lowering the flag frees whoever waits."""
        flag = bool(self.written.k)
        if flag != self.flag:
            self.flag = flag
            if not flag:
                self._release(None)
        self.flagged.fire()

    def checkpoint(self) -> None:
        self.volume.shown = self.timeline
        self.volume.redo = len(self.volume.log)
        keep = max(0, len(self.volume.log) - self.site.wal_keep)
        needed = [one.restart for one in self.slots()]
        self.volume.kept_from = max(self.volume.kept_from, min([keep, *needed]))

    def slots(self) -> list[Slot]:
        """Those that are there; one that is streamed through moves with what its standby has flushed."""
        flushed = {one.standby.name: one.flush for one in self.senders}
        for name, flush in flushed.items():
            if name in self.volume.slots:
                self.volume.slots[name] = max(flush, self.volume.slots[name])
        return [
            Slot(member=name, active=name in flushed, restart=restart)
            for name, restart in sorted(self.volume.slots.items())
        ]

    def open_doors(self) -> None:
        """Clients are inside from now on: whatever is in the log and waits for nobody is visible to them."""
        self.doors_written = True
        if not self.doors:
            self.doors = True
            self.site.ledger.shown(self)

    # Receiving

    def follow(self, address: str, name: str) -> None:
        """primary_conninfo is this from now on."""
        if self.receiver is not None:
            self._hang_up()
        self.upstream = (address, name)
        self.dial()

    def unfollow(self) -> None:
        """Nothing is received from now on."""
        self.upstream = None
        if self.receiver is not None:
            self.process.after(self.site.draw(0.0, 0.02, rare=0.6), self._end_receiver, self.receiver)

    def _end_receiver(self, receiver: Sender) -> None:
        if self.receiver is receiver:
            self._hang_up()

    def dial(self) -> None:
        if not self._dialling and self.upstream is not None and self.receiver is None:
            self._dialling = True
            self.process.after(self.site.draw(0.003, 0.01), self._connect)

    def _connect(self) -> None:
        self._dialling = False
        if self.upstream is None or self.receiver is not None or self.state is not State.RUNNING or not self.recovering:
            return
        address, name = self.upstream
        source = self.site.postgres_at(address, self.node)
        if source is not None and source.answers:
            if source.volume.system_id != self.volume.system_id:
                self.site.story(self.name, f"{address} is another system")
            elif self.name in source.volume.slots:
                fit = streams_on(self.volume.log, source.volume.log, source.volume.kept_from)
                if fit is Fit.CORRUPT:
                    self.site.ledger.fail(f"C10: {self.name} streams from {source.name}, and their logs differ before")
                if fit is Fit.GOOD:
                    self.receiver = Sender(source, self, name)
                    source.senders.append(self.receiver)
                    self.receiver.pump()
                    self.changed()
                    return
                self.trouble = Trouble.DIVERGED if fit is Fit.DIVERGED else Trouble.WAL_GONE
                self.changed()
        self._dialling = True
        self.process.after(RETRY, self._connect)

    def _hang_up(self) -> None:
        """Our end is closed; the other learns of it when the network tells."""
        sender, self.receiver = self.receiver, None
        if sender is None:
            return
        if self.site.is_up(self.node):
            self.site.network.send(self.node, sender.source.node, sender.end)
        self.site.world(streaming.DEAD_LINK, sender.end)

    def stream_ended(self) -> None:
        if self.process.alive:
            self.changed()
            self.dial()

    def link_was_cut(self) -> None:
        """Both ends of a stream over a link that is cut give it up after a while."""
        if self.receiver is not None and not self.receiver.is_linked:
            self.site.world(streaming.DEAD_LINK, streaming.give_up, self.receiver)

    def promote(self, timeline: int) -> None:
        """Recovery ends: the first number without a history file, and the record that begins it."""
        number = self.timeline = max(self.volume.position.timeline, self.timeline)
        while number in self.volume.histories or number <= self.timeline:
            number += 1
        self.timeline = number
        self.recovering = self.volume.recovering = False
        self.volume.histories.add(number)
        self.append(-1)
        self.process.after(self.site.draw(1.0, 6.0), self.checkpoint)  # its own, which takes its time
