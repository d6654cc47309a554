"""The loop's parts: watches."""

from __future__ import annotations

from dataclasses import replace

from pgswarm.core.reports import Data, MemberReport, Postgres, Role, Serving, Walsender
from pgswarm.core.sightings import Sighting
from pgswarm.core.wal import Position
from pgswarm.loop.watches import is_news

REPORT = MemberReport(
    cluster="main",
    member="a",
    boot="b",
    sequence=1,
    data=Data.READY,
    incarnation="a/1",
    postgres=Postgres.RUNNING,
    role=Role.PRIMARY,
    serving=Serving.PRIMARY,
    position=Position(timeline=1, lsn=100),
    walsenders=(Walsender(name="b-1-1", state="streaming", flush=90),),
)
HEARD = Sighting(address="10.0.0.1", report=REPORT, heard_at=1.0, connected=True, why="")


def _heard(**changes: object) -> Sighting[MemberReport]:
    return replace(HEARD, report=REPORT.model_copy(update={"sequence": 2, **changes}), heard_at=2.0)


def test_a_heartbeat_that_only_moved_on_in_the_log_is_no_news() -> None:
    moved = (Walsender(name="b-1-1", state="streaming", flush=190),)
    assert not is_news(HEARD, _heard(position=Position(timeline=1, lsn=200), walsenders=moved, disk_free=7))


def test_a_postgres_that_has_crashed_is_news() -> None:
    assert is_news(HEARD, _heard(postgres=Postgres.CRASHED, serving=Serving.NONE))


def test_a_standby_that_left_or_changed_its_state_is_news() -> None:
    assert is_news(HEARD, _heard(walsenders=()))
    assert is_news(HEARD, _heard(walsenders=(Walsender(name="b-1-1", state="catchup", flush=90),)))


def test_a_stream_that_closed_is_news() -> None:
    assert is_news(HEARD, replace(HEARD, connected=False, closed_at=3.0))
