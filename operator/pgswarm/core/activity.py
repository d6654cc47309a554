"""Activity: what goes on inside one PostgreSQL at one moment, for people; gathered only when somebody asks.

A report carries what is decided from, twice a second and to everybody who listens. This is the rest: who is connected,
how far each standby is, which statements cost most, what the cache does. An agent asks PostgreSQL for it when `pgswarm
top` or Prometheus asks the agent, and otherwise never: at rest it costs nothing. Nothing decides from it.

Statements are texts of applications, so they are told only to who knows the control secret (GET /activity); the
metrics of /metrics hold numbers alone.
"""

from __future__ import annotations

from pydantic import Field

from pgswarm.core.base import Message


class Connections(Message):
    """Sessions of clients by what they do."""

    active: int = 0
    idle: int = 0
    idle_in_transaction: int = 0
    waiting: int = Field(default=0, description="active, but waiting for a lock")
    unacknowledged: int = Field(default=0, description="active, but waiting for a standby to confirm a commit")
    other: int = 0
    limit: int = Field(default=0, description="max_connections")
    oldest: float = Field(default=0.0, description="seconds for which the oldest open transaction has been open")

    @property
    def total(self) -> int:
        return self.active + self.idle + self.idle_in_transaction + self.waiting + self.unacknowledged + self.other


class Standby(Message):
    """One stream from this member, as PostgreSQL sees it."""

    name: str = Field(description="the member that streams, or the application_name of whoever else does")
    state: str = Field(default="", description="startup, catchup, streaming, backup or stopping")
    sync: str = Field(default="", description="async, potential, sync or quorum")
    sent: int = Field(default=0, description="bytes of log not sent yet")
    flushed: int = Field(default=0, description="bytes of log not on its disk yet")
    replayed: int = Field(default=0, description="bytes of log not replayed there yet")
    flush_lag: float | None = Field(
        default=None, description="seconds until its disk had the last commits; None at rest"
    )
    replay_lag: float | None = Field(default=None, description="seconds until its readers saw them; None at rest")


class Database(Message):
    """Counters of one database since they were reset."""

    name: str
    commits: int = 0
    rollbacks: int = 0
    blocks_read: int = Field(default=0, description="from outside shared_buffers")
    blocks_hit: int = 0
    rows_changed: int = 0
    temp_bytes: int = 0
    deadlocks: int = 0

    @property
    def hit_ratio(self) -> float | None:
        asked = self.blocks_hit + self.blocks_read
        return self.blocks_hit / asked if asked else None


class Statement(Message):
    """One statement as pg_stat_statements counts it: constants are replaced by $1, $2, …"""

    text: str
    database: str = ""
    calls: int = 0
    total: float = Field(default=0.0, description="seconds of all calls together")
    mean: float = Field(default=0.0, description="seconds of one call")
    rows: int = 0
    hit_ratio: float | None = None


class Activity(Message):
    """Everything, at one moment."""

    cluster: str
    member: str
    role: str = ""
    connections: Connections = Connections()
    standbys: tuple[Standby, ...] = ()
    databases: tuple[Database, ...] = ()
    statements: tuple[Statement, ...] = Field(default=(), description="the costliest, by their time altogether")
    statements_why: str = Field(default="", description="why there are no statements; empty if they are told")
    data_bytes: int = Field(default=0, description="of all databases")
    wal_bytes: int = Field(default=0, description="of pg_wal")
    disk_free: int = 0
    disk_total: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """Of all databases: how much of what was asked for was in shared_buffers."""
        hit = sum(one.blocks_hit for one in self.databases)
        asked = hit + sum(one.blocks_read for one in self.databases)
        return hit / asked if asked else None
