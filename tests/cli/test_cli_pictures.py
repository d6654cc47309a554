"""What people see, as pictures of 80 columns that are kept beside this file: a change of them is seen in the diff.

`PGSWARM_PICTURES=draw pytest tests/cli/test_cli_pictures.py` draws them anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from pgswarm.cli import figures, show, top
from pgswarm.core.activity import Activity, Connections, Database, Standby, Statement
from pgswarm.core.chronicle import Event
from pgswarm.core.reports import Progress
from pgswarm.core.status import MemberStatus, RouterStatus, Status, StepStatus

PICTURES = Path(__file__).parent / "pictures"


def drawn(what: RenderableType, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(what)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def compare(name: str, text: str) -> None:
    """With the picture that is kept."""
    file = PICTURES / f"{name}.txt"
    if os.environ.get("PGSWARM_PICTURES") == "draw":
        file.write_text(text)
    assert text == file.read_text()


GIB = 1 << 30
PRIMARY = MemberStatus(
    name="postgres-primary",
    node="manager1",
    role="primary",
    state="serving",
    counted=True,
    position="3/4A0001C8 tl 4",
    version="17.6",
    disk_free=31 * GIB,
    disk_total=60 * GIB,
)
STANDBY = MemberStatus(
    name="postgres-secondary",
    node="worker01",
    role="standby",
    state="streaming",
    counted=True,
    position="3/4A000148 tl 4",
    lag=0.2,
    behind=128,
    follows="postgres-primary",
    version="17.6",
    disk_free=30 * GIB,
    disk_total=60 * GIB,
)
SEEDING = MemberStatus(
    name="postgres-third",
    node="worker02",
    role="none",
    state="clone 40 %",
    work=Progress(what="clone", done=4 * GIB, total=10 * GIB, rate=52 << 20),
    disk_free=50 * GIB,
    disk_total=60 * GIB,
)
ROUTERS = tuple(
    RouterStatus(
        name=f"postgres-ha-manager{n}",
        state="running",
        primary="postgres-primary",
        readers=("postgres-secondary",),
        sessions=4 * n,
    )
    for n in (1, 2)
)
EVENTS = (
    Event(
        at=1767323045.0, term=3, primary="postgres-secondary", timeline=3, kind="new primary", text="a node was lost"
    ),
    Event(at=1767326645.0, term=4, primary="postgres-primary", timeline=4, kind="new primary", text="ann asked for it"),
    Event(at=1767326700.0, term=4, primary="postgres-primary", timeline=4, kind="refused", text="no standby streams"),
)
WELL = Status(
    cluster="main",
    summary="postgres-primary serves; all is as the document says",
    healthy=True,
    leader="manager2.x1",
    term=4,
    revision=31,
    primary="postgres-primary",
    durability="survives the loss of: any one member (postgres-primary, postgres-secondary)",
    document="manager1:/etc/pgswarm/main.yaml",
    members=(STANDBY, PRIMARY),
    routers=ROUTERS,
    last_change="postgres-secondary streams: it is counted too",
    events=EVENTS,
)
GROWING = WELL.model_copy(
    update={
        "summary": "postgres-primary serves; not yet as the document says",
        "healthy": False,
        "members": (
            PRIMARY.model_copy(update={"pending_restart": ("max_connections", "shared_buffers")}),
            STANDBY,
            SEEDING,
        ),
        "waits": ("postgres-third is cloned from postgres-primary: it is counted when it streams",),
        "steps": (
            StepStatus(
                step="create network webnet",
                reason="the document names it and it is missing",
                state="failed 2 times: Swarm has no leader; again in 3 s",
            ),
        ),
    }
)
LOST = WELL.model_copy(
    update={
        "summary": "postgres-primary does not serve: no failover: postgres-primary has been silent for 9.1 s, and 1 of "
        "the members that hold every acknowledged commit must promise; missing: postgres-secondary (not heard)",
        "healthy": False,
        "members": (
            MemberStatus(
                name="postgres-primary",
                node="manager1",
                state="gone",
                counted=True,
                problem="postgres-primary has been silent for 9.1 s",
            ),
            MemberStatus(
                name="postgres-secondary",
                node="worker01",
                state="not heard",
                counted=True,
                problem="postgres-secondary has not been heard yet (no route to host)",
            ),
        ),
        "routers": (RouterStatus(name="postgres-ha-manager1", state="running"),),
        "events": (),
    }
)


@pytest.mark.parametrize(("name", "one"), [("well", WELL), ("growing", GROWING), ("lost", LOST)])
def test_a_status_in_80_columns(name: str, one: Status) -> None:
    text = drawn(show.statuses([one]))
    assert max(map(len, text.splitlines())) <= 80
    compare(f"status-{name}", text)


def test_a_wide_status() -> None:
    compare("status-wide", drawn(show.statuses([GROWING], wide=True), width=140))


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (16 << 20, "16 MB"), (5 << 40, "5.0 TB")]
)
def test_sizes_are_short_and_count_as_postgresql_does(count: int, text: str) -> None:
    assert figures.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.21, "0.2 s"), (75, "75 s"), (200, "3 min 20 s"), (7200, "2 h 0 min"), (200_000, "2 d 7 h")],
)
def test_spans_are_short(seconds: float, text: str) -> None:
    assert figures.span(seconds) == text


def test_work_whose_end_is_not_known_says_only_what_is() -> None:
    assert figures.work(0, 0, 0.0) == ""
    assert figures.work(3 << 20, 0, 1 << 20) == "3.0 MB  1.0 MB/s"


BUSY = Activity(
    cluster="main",
    member="postgres-primary",
    role="primary",
    connections=Connections(
        active=12, idle=61, idle_in_transaction=3, waiting=2, unacknowledged=4, limit=100, oldest=7.0
    ),
    standbys=(
        Standby(
            name="postgres-secondary", state="streaming", sync="quorum", replayed=4096, flush_lag=0.004, replay_lag=1.2
        ),
    ),
    databases=(Database(name="cnv_project", commits=120_000, blocks_read=600, blocks_hit=59_400),),
    statements=(
        Statement(
            text="SELECT o.id, o.total, c.name FROM orders AS o JOIN customers AS c ON c.id = o.customer_id "
            "WHERE o.created_at > $1 AND c.region = $2 ORDER BY o.created_at DESC LIMIT $3",
            database="cnv_project",
            calls=4211,
            total=312.4,
            mean=0.0742,
            rows=84_220,
            hit_ratio=0.71,
        ),
        Statement(
            text="INSERT INTO hits (at) VALUES ($1)", database="cnv_project", calls=9, total=0.9, mean=0.1, rows=9
        ),
    ),
    data_bytes=8 * GIB,
    wal_bytes=672 << 20,
    disk_free=31 * GIB,
    disk_total=60 * GIB,
)
REPLICA = BUSY.model_copy(update={"member": "postgres-secondary", "role": "standby", "standbys": (), "statements": ()})


def test_top_in_80_columns_with_rates_from_the_second_look_on() -> None:
    rates = top.Rates()
    look: dict[str, dict[str, Activity | str]] = {
        "main": {"postgres-primary": BUSY, "postgres-secondary": REPLICA, "postgres-third": "it is silent"}
    }
    assert "2400" not in drawn(top.drawn(look, rates, 10.0))
    later = BUSY.databases[0].model_copy(update={"commits": 124_800})
    look["main"]["postgres-primary"] = BUSY.model_copy(update={"databases": (later,)})
    text = drawn(top.drawn(look, rates, 12.0))
    assert max(map(len, text.splitlines())) <= 80
    compare("top", text)


def test_top_says_why_there_are_no_statements() -> None:
    why = BUSY.model_copy(update={"statements": (), "statements_why": "the extension is not there"})
    assert "the extension is not there" in drawn(top.drawn({"main": {"a": why}}, top.Rates()))
    assert drawn(top.drawn({}, top.Rates())) == "no clusters\n"
