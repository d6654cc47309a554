"""Metrics: what Prometheus is told, as a catalogue and as functions from what is known. Pure.

The catalogue is the contract: names, units, labels and meaning, from which `docs/reference/metrics.md` is made, and
against which a test holds every dashboard and alert. Names follow Prometheus' conventions: base units (seconds, bytes)
in the name, `_total` for what only grows, `_info` for words that are labels of a constant 1. A value that is not known
is not told, rather than told as 0.

Every series carries the cluster, and its member or router, so that it means the same however it was scraped. Of what
an operator sees of a cluster each operator tells its own view; where they differ, `pgswarm_cluster_acting` says whose
counts. The operator's part of the catalogue is `metrics_cluster`. `render/exposition` makes text of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pgswarm.core.activity import Activity
from pgswarm.core.claim import member_of, streamer
from pgswarm.core.reports import MemberReport, Postgres, Role, RouterReport, Serving

Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One name of the catalogue."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Kind = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number under one name; `labels` in the order of the metric's."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process uses, as /proc says."""

    cpu_seconds: float
    resident_bytes: int
    started: float  # seconds since the epoch
    open_files: int


_WHO = ("cluster", "member")


def _own(name: str, help: str, *labels: str, kind: Kind = "gauge") -> Metric:
    return Metric(name=f"pgswarm_member_{name}", help=help, labels=(*_WHO, *labels), kind=kind)


def _postgres(name: str, help: str, *labels: str, kind: Kind = "gauge") -> Metric:
    return Metric(name=f"pgswarm_postgres_{name}", help=help, labels=(*_WHO, *labels), kind=kind)


INFO = _own("info", "Always 1; PostgreSQL's version and the data directory.", "version", "incarnation")
ROLE = _own("role", "1 for the role that PostgreSQL has here, 0 for the others.", "role")
SERVES = _own("serves", "1 if clients may be sent here for this: primary (writers), replica (readers).", "service")
RUNNING = _own("postgres_running", "1 while PostgreSQL runs and answers its agent.")
STARTS = _own("starts_total", "Starts of PostgreSQL by this agent.", kind="counter")
TERM = _own("term", "Term of the newest order that was accepted.")
PROMISED = _own("promised_term", "Highest term that was promised.")
REVISION = _own("revision", "Revision of the newest order that was accepted.")
TIMELINE = _own("timeline", "Timeline of the log on this member.")
POSITION = _own("wal_position_bytes", "Place in the log: a primary's insert position, a standby's received one.")
STREAMS = _own("streaming", "1 while a standby streams from the primary, 0 while it does not.")
LAG = _own("replay_lag_seconds", "Seconds that a standby's data is behind.")
STREAM_LAG = _own(
    "standby_lag_bytes",
    "On a primary, for each standby that streams: bytes of log not yet on its disk (flush), not yet replayed (replay).",
    "standby",
    "stage",
)
DISK_FREE = _own("disk_free_bytes", "Free bytes on the volume's disk, to a thirtieth.")
DISK_SIZE = _own("disk_size_bytes", "Bytes of the volume's disk.")
PENDING = _own("pending_restart_parameters", "Parameters that wait for a restart of PostgreSQL.")
PROBLEM = _own("problem", "1 for a problem that the agent cannot mend alone; status says what it is.", "code")
WORK_DONE = _own("work_done_bytes", "Long work under way, such as a clone: bytes done.", "work")
WORK_SIZE = _own("work_size_bytes", "Long work under way: bytes altogether, if known.", "work")
KEPT = _own("kept_bytes", "Diverged log that lies aside on the volume, until a person removes it.")

CONNECTIONS = _postgres("connections", "Sessions of clients by what they do.", "state")
LIMIT = _postgres("max_connections", "The limit of sessions.")
OLDEST = _postgres("oldest_transaction_seconds", "Age of the oldest open transaction.")
COMMITS = _postgres("transactions_total", "Transactions by how they ended.", "database", "result", kind="counter")
BLOCKS = _postgres(
    "blocks_total", "Blocks asked for: hit in shared_buffers, or read.", "database", "how", kind="counter"
)
CHANGED = _postgres("rows_changed_total", "Rows inserted, updated and deleted.", "database", kind="counter")
TEMP = _postgres("temp_bytes_total", "Bytes written to temporary files.", "database", kind="counter")
DEADLOCKS = _postgres("deadlocks_total", "Deadlocks that were broken.", "database", kind="counter")
DATA = _postgres("data_size_bytes", "Bytes of all databases.")
WAL = _postgres("wal_size_bytes", "Bytes in pg_wal.")

MEMBER = (
    INFO, ROLE, SERVES, RUNNING, STARTS, TERM, PROMISED, REVISION, TIMELINE, POSITION, STREAMS, LAG, STREAM_LAG,
    DISK_FREE, DISK_SIZE, PENDING, PROBLEM, WORK_DONE, WORK_SIZE, KEPT, CONNECTIONS, LIMIT, OLDEST, COMMITS, BLOCKS,
    CHANGED, TEMP, DEADLOCKS, DATA, WAL,
)  # fmt: skip
"""What a member tells on port 8009."""

_ROUTER = ("cluster", "router")
HAPROXY_UP = Metric(name="pgswarm_router_haproxy_up", help="1 while HAProxy runs.", labels=_ROUTER)
ROUTED = Metric(
    name="pgswarm_router_primary_known", help="1 while writers are sent to a primary, 0 while held.", labels=_ROUTER
)
ROUTE = Metric(name="pgswarm_router_primary_info", help="Always 1; where writers go.", labels=(*_ROUTER, "member"))
ROUTER_TERM = Metric(name="pgswarm_router_term", help="Term of the primary that writers go to.", labels=_ROUTER)
READERS = Metric(name="pgswarm_router_readers", help="Standbys that readers are sent to.", labels=_ROUTER)
SESSIONS = Metric(name="pgswarm_router_sessions", help="Open sessions of writers.", labels=_ROUTER)
ROUTER_PROBLEM = Metric(
    name="pgswarm_router_problem", help="1 for a problem that the agent cannot mend alone.", labels=(*_ROUTER, "code")
)
ROUTER = (HAPROXY_UP, ROUTED, ROUTE, ROUTER_TERM, READERS, SESSIONS, ROUTER_PROBLEM)
"""What a router's agent tells on port 8010; HAProxy's own are on its statsPort."""

CPU = Metric(name="process_cpu_seconds_total", help="Processor time of the agent or operator itself.", kind="counter")
MEMORY = Metric(name="process_resident_memory_bytes", help="Memory of the agent or operator itself.")
STARTED = Metric(name="process_start_time_seconds", help="When it was started, since the epoch.")
FILES = Metric(name="process_open_fds", help="Files and connections that it has open.")
PROCESS = (CPU, MEMORY, STARTED, FILES)
"""What each of them tells of its own process."""


def of_member(report: MemberReport, *, starts: int, activity: Activity | None) -> list[Sample]:
    """A member in numbers; `activity` where PostgreSQL could be asked."""
    who = (report.cluster, report.member)
    taken: list[Sample] = []

    def tell(metric: Metric, value: float | None, *labels: str) -> None:
        if value is not None:
            taken.append(Sample(metric=metric, labels=(*who, *labels), value=value))

    tell(INFO, 1, report.version, report.incarnation or "")
    for role in Role:
        tell(ROLE, report.role is role, role.value)
    for service in (Serving.PRIMARY, Serving.REPLICA):
        tell(SERVES, report.serving is service, service.value)
    tell(RUNNING, report.postgres is Postgres.RUNNING and report.answers)
    tell(STARTS, starts)
    tell(TERM, report.accepted[0] if report.accepted else None)
    tell(PROMISED, report.promised)
    tell(REVISION, report.accepted[1] if report.accepted else None)
    if report.position is not None:
        tell(TIMELINE, report.position.timeline)
        tell(POSITION, report.position.lsn)
    if report.role is Role.STANDBY:
        tell(STREAMS, report.upstream is not None)
        tell(LAG, report.lag)
    if report.role is Role.PRIMARY and report.position is not None:
        for row in report.walsenders:
            for stage, place in (("flush", row.flush), ("replay", row.replay)):
                behind = max(0, report.position.lsn - place) if place else None
                tell(STREAM_LAG, behind, streamer(row.name) or row.name, stage)
    tell(DISK_FREE, report.disk_free if report.disk_total else None)
    tell(DISK_SIZE, report.disk_total or None)
    tell(PENDING, len(report.pending_restart))
    tell(PROBLEM, 1 if report.problem else None, report.problem.code if report.problem else "")
    if report.progress is not None:
        tell(WORK_DONE, report.progress.done, report.progress.what)
        tell(WORK_SIZE, report.progress.total or None, report.progress.what)
    tell(KEPT, sum(one.size for one in report.kept))
    return taken + (_of_activity(activity) if activity is not None else [])


def of_router(report: RouterReport) -> list[Sample]:
    """A router in numbers."""
    who = (report.cluster, report.router)
    numbers: list[tuple[Metric, float]] = [
        (HAPROXY_UP, report.haproxy == "running"),
        (ROUTED, report.primary is not None),
        (ROUTER_TERM, report.term),
        (READERS, len(report.replicas)),
        (SESSIONS, report.sessions),
    ]
    taken = [Sample(metric=metric, labels=who, value=value) for metric, value in numbers]
    if report.primary is not None:
        taken.append(Sample(metric=ROUTE, labels=(*who, member_of(report.primary)), value=1))
    if report.problem is not None:
        taken.append(Sample(metric=ROUTER_PROBLEM, labels=(*who, report.problem.code), value=1))
    return taken


def of_process(usage: Usage) -> list[Sample]:
    """A process in numbers."""
    numbers: Iterable[tuple[Metric, float]] = (
        (CPU, usage.cpu_seconds),
        (MEMORY, usage.resident_bytes),
        (STARTED, usage.started),
        (FILES, usage.open_files),
    )
    return [Sample(metric=metric, labels=(), value=value) for metric, value in numbers]


def _of_activity(seen: Activity) -> list[Sample]:
    who = (seen.cluster, seen.member)
    taken: list[Sample] = []

    def tell(metric: Metric, value: float, *labels: str) -> None:
        taken.append(Sample(metric=metric, labels=(*who, *labels), value=value))

    for state in ("active", "idle", "idle_in_transaction", "waiting", "unacknowledged", "other"):
        tell(CONNECTIONS, getattr(seen.connections, state), state)
    tell(LIMIT, seen.connections.limit)
    tell(OLDEST, seen.connections.oldest)
    for one in seen.databases:
        tell(COMMITS, one.commits, one.name, "commit")
        tell(COMMITS, one.rollbacks, one.name, "rollback")
        tell(BLOCKS, one.blocks_hit, one.name, "hit")
        tell(BLOCKS, one.blocks_read, one.name, "read")
        tell(CHANGED, one.rows_changed, one.name)
        tell(TEMP, one.temp_bytes, one.name)
        tell(DEADLOCKS, one.deadlocks, one.name)
    tell(DATA, seen.data_bytes)
    tell(WAL, seen.wal_bytes)
    return taken
