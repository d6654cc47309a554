"""Reports, activity and statuses in which everything that can be told is told, so that every name is exported once."""

from __future__ import annotations

from pgswarm.core import metrics, metrics_cluster
from pgswarm.core.activity import Activity, Connections, Database, Standby
from pgswarm.core.claim import application_name
from pgswarm.core.metrics import Sample, Usage
from pgswarm.core.metrics_cluster import Self, Tally
from pgswarm.core.reports import (
    Data,
    Kept,
    MemberReport,
    Postgres,
    Problem,
    Progress,
    Role,
    RouterReport,
    Serving,
    Walsender,
)
from pgswarm.core.status import MemberStatus, RouterStatus, Status, StepStatus
from pgswarm.core.wal import Position

A, B = "a/00000001", "b/00000002"
PLACE = Position(timeline=4, lsn=0x3_4A00_01C8)

PRIMARY = MemberReport(
    cluster="main",
    member="a",
    boot="x",
    sequence=1,
    data=Data.READY,
    incarnation=A,
    promised=4,
    accepted=(4, 31),
    postgres=Postgres.RUNNING,
    role=Role.PRIMARY,
    serving=Serving.PRIMARY,
    position=PLACE,
    walsenders=(Walsender(name=application_name(B, 4), state="streaming", flush=PLACE.lsn, replay=PLACE.lsn - 128),),
    problem=Problem(code="disk-full", text='its "volume" is full'),
    pending_restart=("shared_buffers",),
    kept=(
        Kept(
            folder="kept/1",
            incarnation=A,
            since=Position(timeline=3, lsn=100),
            until=Position(timeline=3, lsn=164),
            at="2026-01-02",
        ),
    ),
    version="17.6",
    disk_free=1 << 30,
    disk_total=4 << 30,
)
STANDBY = PRIMARY.model_copy(
    update={
        "member": "b",
        "incarnation": B,
        "role": Role.STANDBY,
        "serving": Serving.REPLICA,
        "upstream": A,
        "lag": 0.25,
        "walsenders": (),
        "progress": Progress(what="clone", done=40, total=100, rate=2.0),
    }
)
ROUTER = RouterReport(
    cluster="main",
    router="postgres-ha-node1",
    boot="x",
    sequence=1,
    haproxy="running",
    primary=A,
    term=4,
    replicas=("b",),
    sessions=7,
    problem=Problem(code="haproxy", text="it was started again"),
)
ACTIVITY = Activity(
    cluster="main",
    member="a",
    role="primary",
    connections=Connections(
        active=2, idle=5, idle_in_transaction=1, waiting=1, unacknowledged=1, limit=100, oldest=3.5
    ),
    standbys=(Standby(name="b", state="streaming", sync="quorum", flushed=0, replayed=128),),
    databases=(Database(name="app", commits=10, rollbacks=1, blocks_read=3, blocks_hit=97, rows_changed=12),),
    data_bytes=9 << 20,
    wal_bytes=64 << 20,
)
STATUS = Status(
    cluster="main",
    summary="a serves; all is as the document says",
    healthy=True,
    serving=True,
    operator="node2.x1",
    leader="node2.x1",
    term=4,
    revision=31,
    primary="a",
    copies=2,
    copies_wanted=2,
    members=(MemberStatus(name="a", present=True, counted=True), MemberStatus(name="b")),
    routers=(RouterStatus(name="node1", state="running"),),
    steps=(StepStatus(step="create network webnet", reason="it is missing", state="failed 2 times"),),
)


def operator() -> list[Sample]:
    tally = Tally()
    tally.took(0.25)
    tally.did("WriteRecord", worked=True)
    tally.did("SendOrder", worked=False)
    me = Self(operator="node2.x1", node="node2", version="0.1.0", able=True, operators=3, document_errors=0)
    counts = {"delivered": 3, "failed": 1, "dropped": 0}
    return [
        *metrics_cluster.of_notices(counts),
        *metrics_cluster.of_operator(me),
        *metrics_cluster.of_cluster(STATUS, tally),
    ]


def all_samples() -> list[Sample]:
    """One sample at least of every name."""
    usage = Usage(cpu_seconds=1.5, resident_bytes=48 << 20, started=1767323045.0, open_files=17)
    return [
        *operator(),
        *metrics.of_member(PRIMARY, starts=3, activity=ACTIVITY),
        *metrics.of_member(STANDBY, starts=1, activity=None),
        *metrics.of_router(ROUTER),
        *metrics.of_process(usage),
    ]
