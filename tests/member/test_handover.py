"""Handing over on real PostgreSQL: what the primary does before, how short its going is, and where its log ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import anyio
import psycopg
import pytest

from pgswarm.core.reports import MemberReport, Postgres, Role, Serving
from pgswarm.member import handover, waldir
from tests.member.stage import CLUSTER, Member, Stage, a_stream, succeed

pytestmark = [pytest.mark.postgres]


async def make_ready(member: Member, term: int) -> MemberReport:
    body = f'{{"cluster": "{CLUSTER}", "term": {term}, "prepare": true}}'
    response = await member.call("POST", "/promise", body)
    assert response.status_code == 200, response.text
    return MemberReport.model_validate_json(response.content)


async def test_a_standby_takes_over_exactly_where_the_primary_has_stopped_and_the_primary_follows_as_it_is(
    stage: Stage,
) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    record = await stage.claimed(record, "b")
    await a.sql("CREATE TABLE t (i int)")
    before = (await a.report()).incarnation
    took = []
    for term, old, new in ((2, a, b), (3, b, a), (4, a, b)):
        await old.sql(f"INSERT INTO t VALUES ({term})")
        ready = await make_ready(old, term)
        assert (ready.yields, ready.serving, ready.promised) == (term, Serving.NONE, term - 1)
        logged, began = len(old.log), time.monotonic()
        ended = await old.promise(term)
        stopped = time.monotonic()
        assert (ended.settled, ended.postgres, ended.role, ended.yields) == (True, Postgres.STOPPED, Role.NONE, 0)
        assert "PostgreSQL starts" not in old.log[logged:]
        promised = await new.promise(term)
        told = time.monotonic()
        assert promised.position == ended.position
        record = succeed(record, promised)
        await new.order(record, stage.contacts)
        await new.until_primary()
        took.append((stopped - began, told - stopped, time.monotonic() - told))
        await new.sql(f"INSERT INTO t VALUES ({10 * term})")
        await old.order(record, stage.contacts)
        await old.until_streaming()
        assert "PostgreSQL starts (fenced)" not in old.log[logged:]
        await new.until("both", lambda report: any(row.state == "streaming" for row in report.walsenders))
        record = await stage.claimed(record, old.name)
    for stop, promise, promotion in took:
        print(f"stopped {stop * 1000:.0f} ms, promised {promise * 1000:.0f} ms, promoted {promotion * 1000:.0f} ms")
    assert (await a.report()).incarnation == before
    assert await b.sql("SELECT count(*) FROM t") == [(6,)]


async def test_the_end_of_a_closed_log_is_where_the_next_timeline_forks(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    for term in range(2, 8):
        a.root(f"SELECT pg_logical_emit_message(true, 'x', repeat('y', {977 * term}))")
        ended = await a.promise(term)
        assert ended.postgres is Postgres.STOPPED
        assert ended.position is not None
        record = succeed(record, ended)
        await a.order(record, stage.contacts)
        await a.until_primary()
        begun = waldir.history(a.volume / "pgdata" / "pg_wal", record.timeline)
        assert begun is not None
        assert begun.ends[-1][1] == ended.position.lsn


async def test_a_primary_that_nobody_asks_further_serves_again(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    async with a.client() as writer:
        began = time.monotonic()
        await make_ready(a, 2)
        await writer.execute("CREATE TABLE t (i int)")  # who is in goes on
        await a.until_primary()
        assert time.monotonic() - began >= handover.READY
    assert (await a.report()).promised == 1
    assert "new clients are taken again" in a.log


async def test_a_standby_has_nothing_to_hand_over(stage: Stage) -> None:
    await stage.begun("a", "b")
    response = await stage.member("b").call(
        "POST", "/promise", f'{{"cluster": "{CLUSTER}", "term": 2, "prepare": true}}'
    )
    assert response.status_code == 409
    assert "there is nothing to hand over" in response.text


async def test_who_is_being_greeted_gets_in_before_the_primary_goes(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    refused: list[str] = []
    greeted = 0

    async def come_and_go(reports: MemberReport | None = None) -> None:
        nonlocal greeted
        while True:
            if yielding.is_set():
                return  # as a router: whoever comes now is held
            try:
                async with a.client() as client:
                    greeted += 1
                    await client.execute("SELECT 1")
            except psycopg.OperationalError as exc:
                if "administrator command" not in str(exc) or "connection failed" in str(exc):
                    refused.append(str(exc))

    yielding = anyio.Event()

    async def hear() -> None:
        async with a_stream(a) as next_report:
            while (await next_report()).serving is not Serving.NONE:
                pass
            yielding.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(come_and_go)
        tasks.start_soon(hear)
        await anyio.sleep(0.3)
        await make_ready(a, 2)
        await yielding.wait()
        await a.promise(2)
    assert greeted > 6
    assert not refused


async def test_a_client_that_never_comes_to_the_point_is_not_waited_for(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    async with await anyio.connect_tcp(a.address, a.postgres_port) as silent:
        await silent.send(b"\x00\x00\x00\x1f\x00\x03\x00\x00user\x00app\x00database\x00app\x00\x00")
        await silent.receive()  # the question for the password, which it will not answer
        assert handover.is_greeting(a.postmaster_pid)
        await make_ready(a, 2)
        await a.promise(2)  # in less than the 40 s for which a call is waited here, and the silent one has 60


async def test_a_postgresql_that_hangs_is_told_and_its_agent_keeps_a_promise_all_the_same(stage: Stage) -> None:
    await stage.begun("a", "b")
    a = stage.member("a")
    await a.sql("CREATE TABLE t (i int)")
    assert (await a.report()).answers
    for pid in _processes(a):
        os.kill(pid, signal.SIGSTOP)
    hung = await a.until("hung", lambda report: not report.answers)
    assert (hung.serving, hung.postgres) == (Serving.NONE, Postgres.RUNNING)
    began = time.monotonic()
    ended = await a.promise(2)
    print(f"fenced {time.monotonic() - began:.1f} s after it was asked")
    assert (ended.settled, ended.role, ended.answers) == (True, Role.FENCED, True)
    assert time.monotonic() - began < 20


def _processes(member: Member) -> list[int]:
    pid = member.postmaster_pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


async def test_a_primary_that_is_told_to_stop_serves_until_another_is_asked_and_stays_until_it_is_made(
    stage: Stage,
) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    record = await stage.claimed(record, "b")
    a.signal(signal.SIGTERM)
    leaving = await a.until("leaving", lambda report: report.leaving)
    assert leaving.serving is Serving.PRIMARY
    await make_ready(a, 2)
    ended = await a.promise(2)
    assert (ended.settled, ended.leaving) == (True, True)
    promised = await b.promise(2)
    assert promised.position == ended.position
    record = succeed(record, promised)
    await b.order(record, stage.contacts)
    await a.order(record, stage.contacts)
    assert await a.ended(deadline=30) == 0
    assert "no successor" not in a.log
    await b.until_primary()


async def test_a_primary_that_is_told_to_stop_and_hears_nobody_stops_as_ever(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a = stage.member("a")
    await stage.claimed(record, "b")
    began = time.monotonic()
    a.signal(signal.SIGTERM)
    assert await a.ended() == 0
    assert time.monotonic() - began >= handover.BEGUN
    assert "no successor after 1.0 s" in a.log
    assert "shut down" in a.control_data()


async def test_a_primary_that_has_no_standby_stops_at_once(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    a.signal(signal.SIGTERM)
    assert await a.ended(deadline=20) == 0
    assert "a successor is asked for" not in a.log
