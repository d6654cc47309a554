"""Notices: each thing that is worth waking somebody for is told once, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.notices import STEADY, Notice, Seen, noticed
from pgswarm.core.record import Loss, Record
from pgswarm.core.reports import Data, MemberReport, Postgres, Role, Serving
from pgswarm.core.sightings import Sighting
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.wal import Position, Reign
from pgswarm.core.wish import Wish
from pgswarm.core.world import Unknown, World

A, B = "a/00000001", "b/00000002"
DOCUMENT = PostgresCluster.model_validate(
    {"apiVersion": "pgswarm/v1", "kind": "PostgresCluster", "metadata": {"name": "main"}, "spec": {"instances": 2}}
)
RECORD = Record(
    revision=7,
    term=2,
    primary=A,
    claim=Claim(members=(A, B), r=2),
    sync=Sync(k=1, names=(B,)),
    lineage=(Reign(term=2, incarnation=A, timeline=2, fork=0),),
    places=(),
    reason="b streams: it is counted too",
)
ALONE = RECORD.model_copy(
    update={"claim": Claim(members=(A,), r=1), "sync": Sync(), "revision": 8, "reason": "b is gone"}
)
NEXT = RECORD.model_copy(
    update={
        "term": 3,
        "revision": 9,
        "primary": B,
        "claim": Claim(members=(B,), r=1),
        "sync": Sync(),
        "lineage": (*RECORD.lineage, Reign(term=3, incarnation=B, timeline=3, fork=100)),
        "reason": "a closed its connection",
    }
)


def member(name: str, at: float, *, serves: bool = False, gone: bool = False, free: int = 50) -> Sighting[MemberReport]:
    report = MemberReport(
        cluster="main",
        member=name,
        boot="x",
        sequence=1,
        data=Data.READY,
        incarnation={"a": A, "b": B}[name],
        promised=2,
        postgres=Postgres.RUNNING,
        role=Role.PRIMARY if serves else Role.STANDBY,
        serving=Serving.PRIMARY if serves else Serving.REPLICA,
        position=Position(timeline=2, lsn=100),
        disk_free=free,
        disk_total=100,
    )
    return Sighting(
        report=report,
        heard_at=at,
        connected=not gone,
        closed_at=at if gone else None,
        vacant=gone,
        why="EOF" if gone else "",
    )


def world(record: Any, at: float, **members: Sighting[MemberReport]) -> World:
    return World(
        cluster="main", operator="o1", document=DOCUMENT, record=record, members=members, awake_since=1.0, wall=1e9 + at
    )


def well(at: float, record: Record = RECORD, **more: Any) -> World:
    primary = record.primary_member
    return world(record, at, **{name: member(name, at, serves=name == primary, **more) for name in "ab"})


class Look:
    """One operator's looks, one after another."""

    def __init__(self) -> None:
        self.seen: Seen | None = None

    def at(self, seen: World, now: float) -> list[Notice]:
        self.seen, told = noticed(self.seen, seen, now)
        return list(told)


def test_what_is_found_at_the_first_look_is_no_news() -> None:
    assert Look().at(world(ALONE, 10, a=member("a", 10, gone=True, free=1), b=member("b", 10, free=2)), 10.0) == []
    look = Look()
    look.at(well(10, ALONE), 10.0)
    assert look.at(well(10 + 2 * STEADY, ALONE), 10 + 2 * STEADY) == []


def test_a_failover_is_told_when_it_begins_and_when_it_has_ended_with_how_long_writers_waited() -> None:
    look = Look()
    look.at(well(10), 10.0)
    lost = world(RECORD, 12, a=member("a", 12.0, gone=True), b=member("b", 12))
    (began,) = look.at(lost, 12.5)
    assert (began.kind, began.severity, began.id) == ("failover-started", "critical", "main/failover-started/2")
    assert "a closed its connection" in began.text
    assert look.at(lost, 12.6) == [], "once"
    decided = world(NEXT, 13, a=member("a", 12.0, gone=True), b=member("b", 13))
    assert look.at(decided, 13.0) == []
    (ended,) = look.at(world(NEXT, 13.4, a=member("a", 12.0, gone=True), b=member("b", 13.4, serves=True)), 13.4)
    assert (ended.kind, ended.id, ended.former, ended.primary) == ("failover-ended", "main/failover-ended/3", "a", "b")
    assert ended.outage_seconds == pytest.approx(1.4)
    assert look.at(well(14, NEXT), 14.0) == []


def test_two_operators_give_one_thing_one_id() -> None:
    first, second = Look(), Look()
    first.at(well(10), 10.0)
    second.at(replace(well(11), operator="o2"), 11.0)
    lost = world(RECORD, 12, a=member("a", 12.0, gone=True), b=member("b", 12))
    (one,), (other,) = first.at(lost, 12.5), second.at(replace(lost, operator="o2"), 12.9)
    assert one.id == other.id
    assert (one.operator, other.operator) == ("o1", "o2")


def test_a_switchover_is_told_as_what_it_is_and_no_failover() -> None:
    look = Look()
    look.at(well(10), 10.0)
    wished = RECORD.model_copy(update={"wish": Wish(id="w1", kind="switchover", to="b", by="ann", term=2, until=2e9)})
    handing_over = world(wished, 11, a=member("a", 11), b=member("b", 11))
    assert look.at(replace(handing_over, not_serving_since=10.9), 11.0) == []
    (told,) = look.at(well(11.2, NEXT), 11.2)
    assert (told.kind, told.severity, told.former, told.primary) == ("primary-changed", "info", "a", "b")
    assert told.outage_seconds == pytest.approx(0.3)


def test_a_primary_that_comes_back_by_itself_ends_it_too() -> None:
    look = Look()
    look.at(well(10), 10.0)
    look.at(world(RECORD, 12, a=member("a", 12.0, gone=True), b=member("b", 12)), 12.5)
    (ended,) = look.at(well(15), 15.0)
    assert (ended.kind, ended.former, ended.primary) == ("failover-ended", "a", "a")
    assert "a serves again" in ended.text


def test_fewer_copies_are_told_when_they_last_and_when_they_are_over() -> None:
    look = Look()
    look.at(well(10), 10.0)
    assert look.at(well(11, ALONE), 11.0) == []
    assert look.at(well(12), 12.0) == [], "it was over before it was worth a word"
    look.at(well(20, ALONE), 20.0)
    (told,) = look.at(well(20 + STEADY, ALONE), 20 + STEADY)
    assert (told.kind, told.severity, told.id) == ("claim-degraded", "warning", "main/claim-degraded/8")
    assert "commits rest on a alone: b is gone" in told.text
    assert look.at(well(40, ALONE), 40.0) == []
    (over,) = look.at(well(50), 50.0)
    assert (over.kind, over.severity) == ("claim-restored", "info")


def test_a_disk_is_told_at_each_step_down_and_once_when_there_is_room_again() -> None:
    look = Look()
    look.at(well(10), 10.0)

    def told(free: int) -> list[tuple[str, str, str]]:
        seen = world(RECORD, 11, a=member("a", 11, serves=True), b=member("b", 11, free=free))
        return [(one.kind, one.severity, one.member) for one in look.at(seen, 11.0)]

    assert told(9) == [("disk-low", "warning", "b")]
    assert told(8) == []
    assert told(2) == [("disk-low", "critical", "b")]
    assert told(5) == []
    assert told(11) == [], "it swings around the mark"
    assert told(20) == [("disk-recovered", "info", "b")]
    assert told(20) == []


def test_commits_that_were_given_up_are_told() -> None:
    look = Look()
    look.at(well(10), 10.0)
    loss = Loss(term=3, member="a", timeline=2, since=100, known=16)
    told = look.at(well(11, NEXT.model_copy(update={"losses": (loss,)})), 11.0)
    assert [one.kind for one in told] == ["commits-lost", "primary-changed"]
    assert told[0].severity == "critical"


def test_what_is_not_known_is_no_news() -> None:
    look = Look()
    look.at(well(10), 10.0)
    assert look.at(world(Unknown(why="no leader"), 11), 11.0) == []
    silent = world(RECORD, 11, a=member("a", 11, serves=True), b=member("b", 1, free=1))
    assert look.at(silent, 11.0) == [], "the last word of who is silent is not news"


def test_the_papers_show_a_notice_with_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "notices.md").read_text()
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert set(example) == set(Notice.model_fields)
    assert Notice.model_validate(example).kind == "failover-ended"
    for name in Notice.model_fields:
        assert f"`{name}`" in page
