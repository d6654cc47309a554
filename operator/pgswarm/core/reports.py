"""Reports: what an agent says of itself. They carry facts, never wishes; every decision is made from them.

A member's report is also its promise: `promised` is durable on its volume before it is said, and `position` is final
for that promise once `settled` is true (the WAL receiver has stopped and the end of the valid log is known, C8).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from pgswarm.core.base import Message
from pgswarm.core.claim import Incarnation
from pgswarm.core.disk import Room
from pgswarm.core.wal import Position


class Data(StrEnum):
    """What the volume holds."""

    NONE = "none"  # nothing: may be created or cloned
    BUILDING = "building"  # initdb, clone or rewind has begun and is not complete: answers as 'no data'
    READY = "ready"  # a complete data directory with an incarnation
    FOREIGN = "foreign"  # somebody else's data, or another system's: never touched


class Postgres(StrEnum):
    """The postgres process."""

    STOPPED = "stopped"
    STARTING = "starting"  # includes crash recovery
    RUNNING = "running"
    STOPPING = "stopping"
    CRASHED = "crashed"  # ended without being asked to; the agent has not started it again


class Role(StrEnum):
    """What the running postgres is."""

    NONE = "none"
    PRIMARY = "primary"
    STANDBY = "standby"  # in recovery, following an upstream or trying to
    FENCED = "fenced"  # in recovery with no upstream, so that its position can be told


class Serving(StrEnum):
    """What clients may be sent here for: the answers of /primary and /replica in one word."""

    NONE = "none"
    PRIMARY = "primary"
    REPLICA = "replica"


REPLIED = 2.5
"""Seconds within which a standby that is there has replied: it does so at least once a second."""


class Walsender(Message):
    """One row of pg_stat_replication on a primary."""

    name: str = Field(description="application_name: member-incarnation-term for a counted stream")
    state: str = Field(description="startup, catchup, streaming, backup or stopping")
    flush: int = Field(default=0, description="LSN flushed by the standby, bytes; 0 if unknown")
    replay: int = Field(default=0, description="LSN replayed by the standby, bytes; 0 if unknown")
    replied: bool = Field(
        default=False, description="it has replied lately: the state alone outlives a standby's machine by seconds"
    )


class InForce(Message):
    """The sync setting that provably holds on a primary, and from where on.

    Said only once the setting of the order at `revision` is armed and every walsender has taken it up (C7). `since`
    is the insert LSN of the primary as of then: a standby that has flushed past it has all earlier commits too.
    """

    term: int
    revision: int
    since: int = Field(description="LSN, bytes")


class Progress(Message):
    """Long work under way."""

    what: str = Field(description="such as 'clone', 'rewind', 'initdb', 'recovery'")
    done: int = Field(default=0, description="bytes")
    total: int = Field(default=0, description="bytes; 0 if unknown")
    rate: float = Field(default=0.0, description="bytes per second")


class Problem(Message):
    """Something that this agent cannot mend alone, in one line that says what to do."""

    code: str = Field(description="stable word: disk-full, foreign-data, needs-reseed, locked, …")
    text: str


class Kept(Message):
    """Log that was on this member's disk and off the line, copied aside before it was rewound or cloned away."""

    folder: str = Field(description="in the volume")
    incarnation: Incarnation
    reigned: int = Field(default=0, description="the last term in which that data was a primary's")
    since: Position = Field(description="where it left the line; before that it is in the cluster's history")
    until: Position
    at: str = Field(description="when it was kept: UTC, as on this member's clock")
    segments: int = Field(default=0, description="files copied")
    missing: int = Field(default=0, description="files that there was no room for, or that were not there any more")

    @property
    def size(self) -> int:
        """Bytes of log that are not in the cluster's history."""
        return max(0, self.until.lsn - self.since.lsn)


class Found(Message):
    """A data directory on the volume that this agent did not make, as it lies there; it was only looked at."""

    folder: str = Field(description="in the volume; '.' is its root, where the official image has it")
    others: tuple[str, ...] = Field(default=(), description="further data directories")
    unreadable: str = Field(default="", description="why it could not be looked at, with what to do")
    major: str = Field(default="", description="what PG_VERSION says")
    system_id: str = ""
    state: str = Field(default="", description="what pg_control says: 'shut down' of a primary at rest")
    timeline: int = Field(default=1, description="the newest that it knows")
    standby: bool = Field(default=False, description="in recovery: it may lack what its primary wrote last")
    lock_file: bool = Field(default=False, description="there is a postmaster.pid")
    backup_label: bool = False
    tablespaces: int = 0
    linked_wal: bool = False
    logical_slots: tuple[str, ...] = ()


class Lent(Message):
    """What a primary said of itself when this member let it write on without an operator."""

    primary: Incarnation
    end: Position = Field(description="how far its log was, by its own last look")


class MemberReport(Message):
    """What a member agent says of itself; sent whole at every change and as a heartbeat."""

    kind: Literal["member"] = "member"
    cluster: str
    member: str
    place: str = Field(default="", description="where it lives (`Place.id`), as its service says; empty if it does not")
    boot: str = Field(description="random, anew at each start of the agent")
    sequence: int = Field(description="grows with every report of one boot")
    data: Data
    incarnation: Incarnation | None = None
    system_id: str = ""
    promised: int = Field(default=0, description="the highest term promised, durable")
    accepted: tuple[int, int] | None = Field(
        default=None,
        description="(term, revision) of the newest order accepted and durable; survives restarts of the agent",
    )
    heeded: tuple[int, int] | None = Field(
        default=None,
        description="(term, revision) of the newest order received since this boot: what the agent acts upon now",
    )
    reigned: int = Field(default=0, description="the highest term in which this data directory was made primary")
    postgres: Postgres = Postgres.STOPPED
    role: Role = Role.NONE
    serving: Serving = Serving.NONE
    position: Position | None = Field(
        default=None,
        description="a primary's insert position, a standby's received one, else the last one known",
    )
    settled: bool = Field(
        default=False,
        description="position is the end of the valid log and no WAL is received: the answer that a promise gives",
    )
    answers: bool = Field(
        default=True, description="a running PostgreSQL has lately answered its agent: it does not hang"
    )
    yields: int = Field(
        default=0,
        description="the term for which it is about to hand over: checkpointed, and new clients are turned away",
    )
    leaving: bool = Field(
        default=False,
        description="it reigns and was told to stop (SIGTERM), and waits a while for another to be made primary",
    )
    in_force: InForce | None = None
    walsenders: tuple[Walsender, ...] = ()
    task: str = Field(default="", description="the Swarm task that this agent's container belongs to")
    asks: str = Field(default="", description="it asks for a grant: a word that the answer must repeat")
    granted: bool = Field(default=False, description="it holds a grant that has not run out")
    clock: float = Field(default=0.0, description="this node's CLOCK_BOOTTIME when this was said, seconds")
    consented: float | None = Field(
        default=None,
        description="when, by that clock, it last let a primary write on without an operator, or may have",
    )
    lent: Lent | None = Field(
        default=None, description="how far a primary was when it did; None: never, or it did not say"
    )
    upstream: Incarnation | None = Field(
        default=None, description="the primary that WAL is being streamed from now; None if no stream is up"
    )
    found: Found | None = Field(default=None, description="with foreign data: the directory that could be adopted")
    slots: tuple[str, ...] = Field(default=(), description="members for which log is kept here, in a slot of theirs")
    lag: float | None = Field(default=None, description="seconds behind the upstream in replay; None if unknown")
    progress: Progress | None = None
    problem: Problem | None = None
    kept: tuple[Kept, ...] = Field(default=(), description="diverged log that lies aside on the volume, oldest first")
    postmaster: str = Field(default="", description="the PostgreSQL that runs: another word after each start of it")
    pending_restart: tuple[str, ...] = Field(default=(), description="parameters that wait for a restart")
    lowered: tuple[str, ...] = Field(
        default=(),
        description="those of them that a primary is to have less of, while its standbys may not have less than it",
    )
    unsure: bool = Field(
        default=False, description="settings were taken a moment ago: what they leave waiting is not known yet"
    )
    restarting: bool = Field(default=False, description="it was told to start its PostgreSQL anew, and is about it")
    settings_digest: str = Field(default="", description="of the settings that are in effect")
    tried: str = Field(default="", description="digest of the newest settings that PostgreSQL would take here")
    version: str = Field(default="", description="PostgreSQL's version, such as 17.6")
    disk_free: int = Field(default=0, description="bytes")
    disk_total: int = Field(default=0, description="bytes")
    room: Room = Field(default=Room.AMPLE, description="what that comes to")
    ballast: bool = Field(default=False, description="it could give up its ballast to start a PostgreSQL that ended")
    wal_size: int = Field(default=0, description="bytes of log on the volume, roughly")
    held: dict[str, int] = Field(
        default_factory=dict, description="by absent members: bytes of log that are kept for them alone, roughly"
    )


class RouterReport(Message):
    """What a router agent says of itself."""

    kind: Literal["router"] = "router"
    cluster: str
    router: str = Field(description="the container's host name: routers have no identity that outlives them")
    boot: str
    sequence: int
    heeded: tuple[int, int] | None = None
    haproxy: Literal["running", "starting", "down"] = "starting"
    primary: Incarnation | None = Field(default=None, description="where writers are sent; None: they are held")
    term: int = Field(default=0, description="the term of that primary")
    address: str = ""
    replicas: tuple[str, ...] = Field(default=(), description="members that readers are sent to")
    sessions: int = Field(default=0, description="open write sessions")
    problem: Problem | None = None


Report = MemberReport | RouterReport
