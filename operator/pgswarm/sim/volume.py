"""What outlives every process of a member: its volume, with the agent's memory, the log, and the lock.

The log is a list of records `(timeline, number)`; its length is the LSN. A positive number is a client's commit, a
negative one anything else that PostgreSQL writes (the record that begins a timeline, a canary, a shutdown). A record is
in the list once it is flushed, so a crash loses none of it and forgets everything else. Two logs are on one line as
far as their records are equal; PostgreSQL itself only looks at timelines, and `streams_on` does as it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from pgswarm.core.adoptable import AT_REST, ROOT, STANDBY_AT_REST
from pgswarm.core.disk import Room
from pgswarm.core.memory import Memory
from pgswarm.core.reports import Data, Found
from pgswarm.core.wal import Position

if TYPE_CHECKING:
    from pgswarm.sim.container import Container

Record = tuple[int, int]
Log = list[Record]


class Fit(Enum):
    """How the log of a standby fits the one that it wants to stream."""

    GOOD = auto()
    DIVERGED = auto()
    GONE = auto()  # the source no longer has what is needed
    CORRUPT = auto()  # PostgreSQL would stream, and the data would be wrong


@dataclass(slots=True)
class Volume:
    """One member's volume."""

    cluster: str
    member: str
    place: str
    memory: Memory
    log: Log = field(default_factory=list)
    system_id: str = ""
    histories: set[int] = field(default_factory=set)  # timelines that have a history file here, planted or real
    planted: set[int] = field(default_factory=set)
    shown: int = 1  # the timeline that the control file names: rewinding from here needs it to be the newest
    recovering: bool = False  # standby.signal
    kept_from: int = 0  # records before this one are gone from pg_wal
    redo: int = 0  # where recovery would begin: the last checkpoint
    closed: bool = False  # shut down in order, as a primary
    demanded: int = 0  # what a standby must have as much of (`tuning.DEMANDED`), by the control file
    slots: dict[str, int] = field(default_factory=dict)  # member → from where its log is kept
    holder: Container | None = None
    room: Room = Room.AMPLE
    ballast: bool = True
    slow: float = 0.0  # extra seconds at most for every fsync
    kept: list[Log] = field(default_factory=list)  # pieces of log that lie aside, oldest first

    @classmethod
    def empty(cls, cluster: str, member: str, place: str) -> Volume:
        memory = Memory(cluster=cluster, member=member, place=place)
        return cls(cluster=cluster, member=member, place=place, memory=memory)

    @property
    def position(self) -> Position:
        """The end of the valid log."""
        return Position(timeline=self.log[-1][0] if self.log else 1, lsn=len(self.log))

    def knows(self, timeline: int) -> bool:
        """Has this timeline begun, as far as this directory knows?"""
        return timeline == 1 or (timeline in self.histories and timeline not in self.planted)

    def made_by_hand(self, log: Log, system_id: str, *, standby: bool = False) -> None:
        """It holds the directory of a set-up that nobody here has made."""
        self.log, self.system_id, self.recovering, self.redo = log, system_id, standby, len(log)
        self.closed = not standby
        self.memory = self.memory.model_copy(update={"data": Data.FOREIGN})

    @property
    def found(self) -> Found | None:
        """The directory that could be adopted here."""
        if self.memory.data is not Data.FOREIGN or not self.log:
            return None
        state = STANDBY_AT_REST if self.recovering else AT_REST
        return Found(
            folder=ROOT,
            major="17",
            system_id=self.system_id,
            state=state,
            timeline=self.position.timeline,
            standby=self.recovering,
        )

    def jettison(self) -> None:
        """The ballast is given up: there is just enough for a PostgreSQL to start."""
        self.ballast = False
        if self.room is Room.SPENT:
            self.room = Room.FULL

    def fill(self, room: Room, slow: float | None = None) -> None:
        """Others leave it so much; with enough of it the ballast is there again. `slow`: from now on."""
        self.slow = self.slow if slow is None else slow
        self.room, self.ballast = room, self.ballast or room.want <= Room.SHORT.want

    def lose(self) -> None:
        """The disk is replaced by an empty one."""
        self.memory = Memory(cluster=self.cluster, member=self.member, place=self.place)
        self.kept = []
        self.lose_data()

    def lose_data(self) -> None:
        """An empty data directory, the agent's memory beside it untouched."""
        self.log, self.system_id = [], ""
        self.histories, self.planted = set(), set()
        self.shown, self.recovering, self.kept_from, self.redo, self.closed = 1, False, 0, 0, False
        self.slots, self.demanded = {}, 0

    def copy_from(self, source: Volume, until: int) -> None:
        """What a clone or a rewind leaves: the source's log as far as it was then."""
        self.log = source.log[:until]
        self.system_id = source.system_id
        self.histories = set(source.histories)
        self.planted = set(source.planted)
        self.shown, self.kept_from, self.recovering, self.redo = source.shown, 0, True, until
        self.closed, self.demanded = False, source.demanded
        self.slots = {}


def streams_on(mine: Log, theirs: Log, kept_from: int) -> Fit:
    """May a standby with this log stream from one with that log? By timelines, as PostgreSQL judges it."""
    end = len(mine)
    if end > len(theirs) or (end and theirs[end - 1][0] != mine[-1][0]):
        return Fit.DIVERGED
    if end < kept_from:
        return Fit.GONE
    return Fit.GOOD if not end or theirs[end - 1] == mine[-1] else Fit.CORRUPT


def common(mine: Log, theirs: Log) -> int:
    """How many records the two begin with in common."""
    low, high = 0, min(len(mine), len(theirs))
    while low < high:
        middle = (low + high + 1) // 2
        if mine[middle - 1] == theirs[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low
