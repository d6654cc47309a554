"""Status: what people are told of a cluster, and that it says no more than is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core import steps
from pgswarm.core.chronicle import Event
from pgswarm.core.claim import Claim, Sync, application_name
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data, MemberReport, Postgres, Problem, Progress, Role, RouterReport, Serving, Walsender
from pgswarm.core.sightings import Sighting
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.status import Status, in_words, status_of
from pgswarm.core.wal import Position, Reign
from pgswarm.core.world import Unknown, World

NOW = 100.0
A, B = "a/00000001", "b/00000002"

DOCUMENT = PostgresCluster.model_validate(
    {
        "apiVersion": "pgswarm/v1",
        "kind": "PostgresCluster",
        "metadata": {"name": "main"},
        "spec": {"instances": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
    }
)

RECORD = Record(
    revision=7,
    term=2,
    primary=A,
    claim=Claim(members=(A, B), r=2),
    sync=Sync(k=1, names=(B,)),
    lineage=(Reign(term=2, incarnation=A, timeline=2, fork=0x3000000),),
    places=tuple(Place(member=one, node_id=f"id-{one}", node_name=f"node-{one}", volume=f"v-{one}") for one in "abc"),
    reason="b streams: it is counted too",
)


def heard(member: str, ago: float = 0.1, **said: Any) -> Sighting[MemberReport]:
    report = MemberReport(cluster="main", member=member, boot="x", sequence=1, **{"data": Data.READY, **said})
    return Sighting(report=report, heard_at=NOW - ago, connected=True, why="")


PRIMARY = heard(
    "a",
    incarnation=A,
    postgres=Postgres.RUNNING,
    role=Role.PRIMARY,
    serving=Serving.PRIMARY,
    position=Position(timeline=2, lsn=0x3000148),
)
STANDBY = heard("b", incarnation=B, postgres=Postgres.RUNNING, role=Role.STANDBY, upstream=A, lag=0.2)
CLONING = heard("c", data=Data.BUILDING, progress=Progress(what="clone", done=40, total=100))


def status(plan: steps.Plan = steps.NOTHING, **world: Any) -> Status:
    members = {"a": PRIMARY, "b": STANDBY, "c": CLONING}
    given = {"document": DOCUMENT, "record": RECORD, "members": members, "awake_since": 1.0, **world}
    return status_of(World(cluster="main", **given), plan, NOW)


def test_a_cluster_at_rest_is_healthy_and_says_who_is_primary_and_what_it_survives() -> None:
    seen = status()
    assert seen.healthy
    assert seen.summary == "a serves; all is as the document says"
    assert (seen.term, seen.revision, seen.primary) == (2, 7, "a")
    assert seen.durability == "survives the loss of: any one of a, b"
    assert seen.last_change == RECORD.reason


def test_every_member_is_listed_with_where_it_is_and_what_it_does() -> None:
    rows = [(one.name, one.node, one.role, one.state, one.counted) for one in status().members]
    assert rows == [
        ("a", "node-a", "primary", "serving", True),
        ("b", "node-b", "standby", "streaming", True),
        ("c", "node-c", "none", "clone 40 %", False),
    ]
    assert status().members[0].position == "0/3000148 tl 2"


def test_a_member_never_heard_is_listed_all_the_same() -> None:
    seen = status(members={"a": PRIMARY, "b": STANDBY})
    assert [(one.name, one.state, one.problem) for one in seen.members][2] == (
        "c",
        "not heard",
        "c has not been heard yet",
    )
    assert not seen.healthy


def test_a_silent_primary_does_not_serve_whatever_it_said_last() -> None:
    report = PRIMARY.report
    silent = Sighting(report=report, heard_at=NOW - 5, connected=True, why="")
    plan = steps.Plan(waits=("a has been silent for 5.0 s",))
    seen = status(plan, members={"a": silent, "b": STANDBY, "c": CLONING})
    assert seen.summary == "a does not serve: a has been silent for 5.0 s"
    assert seen.members[0].state == "gone"
    assert seen.members[0].role == "unknown"


def test_an_unreadable_record_is_not_an_absent_one() -> None:
    seen = status(record=Unknown(why="the Swarm has no leader"))
    assert seen.summary == "the record cannot be read: the Swarm has no leader"
    assert seen.term is None
    assert status(record=None).summary == "being created"


def test_what_is_planned_is_told_with_its_reason_and_its_failures() -> None:
    step = steps.ReadRecord(reason="b has seen revision 8")
    failed = {step.key: steps.Failed(reason="no leader", times=3, retry_at=NOW + 4, lasting=False)}
    world = World(cluster="main", document=DOCUMENT, record=RECORD, members={"a": PRIMARY}, awake_since=1.0)
    (told,) = status_of(world, steps.Plan(steps=(step,)), NOW, failed=failed).steps
    assert (told.step, told.reason) == ("read the record", "b has seen revision 8")
    assert told.state == "failed 3 times: no leader; again in 4 s"


def test_a_mistake_in_a_document_is_shown_and_the_cluster_is_not_called_healthy() -> None:
    world = World(cluster="main", record=RECORD, members={"a": PRIMARY}, awake_since=1.0)
    assert status_of(world, steps.NOTHING, NOW, errors=("main.yaml:1:1: is empty",)).errors
    assert not status(members={"a": PRIMARY, "b": heard("b", problem=Problem(code="disk-full", text="full"))}).healthy


def test_a_router_tells_where_writers_go_or_that_they_are_held() -> None:
    def router(primary: str | None, ago: float = 0.1) -> Sighting[RouterReport]:
        report = RouterReport(cluster="main", router="r", boot="x", sequence=1, haproxy="running", primary=primary)
        return Sighting(report=report, heard_at=NOW - ago, connected=True, why="")

    seen = status(routers={"r1": router(A), "r2": router(None), "r3": router(A, ago=9.0)})
    assert [(one.primary, one.state) for one in seen.routers] == [("a", "running"), ("", "running"), ("a", "gone")]


@pytest.mark.parametrize(
    ("members", "r", "words"),
    [
        ((A,), 1, "one copy counted: losing a loses commits"),
        ((A, B), 2, "survives the loss of: any one of a, b"),
        ((A, B, "c/3"), 2, "survives the loss of: any one of a, b, c"),
        ((A, B, "c/3"), 3, "survives the loss of: any 2 of a, b, c"),
    ],
)
def test_a_claim_is_told_as_what_may_be_lost(members: tuple[str, ...], r: int, words: str) -> None:
    assert in_words(Claim(members=members, r=r)) == words


def test_where_every_member_is_counted_it_says_any_member() -> None:
    both = Claim(members=(A, B), r=2)
    assert in_words(both, ("a", "b")) == "survives the loss of: any one member (a, b)"
    three = Claim(members=(A, B, "c/3"), r=3)
    assert in_words(three, ("a", "b", "c")) == "survives the loss of: any 2 members (a, b, c)"


def test_a_standby_says_whom_it_follows_and_how_many_bytes_it_is_behind_by_the_primary_s_own_word() -> None:
    row = Walsender(name=application_name(B, RECORD.term), state="streaming", flush=0x3000148, replay=0x3000100)
    assert PRIMARY.report is not None
    primary = replace(PRIMARY, report=PRIMARY.report.model_copy(update={"walsenders": (row,)}))
    seen = {one.name: one for one in status(members={"a": primary, "b": STANDBY, "c": CLONING}).members}
    assert (seen["b"].follows, seen["b"].behind, seen["b"].lag) == ("a", 0x48, 0.2)
    assert (seen["a"].behind, seen["c"].behind) == (None, None)
    assert seen["c"].work == Progress(what="clone", done=40, total=100)


def test_the_last_events_are_told_and_no_more_of_them() -> None:
    many = tuple(Event(at=float(n), term=n, primary="a", kind="new primary") for n in range(1, 9))
    seen = status_of(World(cluster="main", document=DOCUMENT, record=RECORD), steps.NOTHING, NOW, events=many)
    assert [one.term for one in seen.events] == [4, 5, 6, 7, 8]
