"""From one primary to the next: promises, promotions, and how the former primary comes back."""

from __future__ import annotations

import os
import signal
import time

import anyio
import anyio.lowlevel
import psycopg
import pytest

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.reports import Data, Postgres, Role
from pgswarm.core.wal import lies_on, parse_lsn
from tests.member.stage import Member, Stage, a_stream, succeed

pytestmark = [pytest.mark.postgres]


async def _caught_up(source: Member, *standbys: Member) -> None:
    position = (await source.report()).position
    assert position is not None
    for standby in standbys:
        await standby.until("caught up", lambda report: report.position and report.position.lsn >= position.lsn)


async def test_a_killed_postmaster_is_reported_at_once(stage: Stage) -> None:
    await stage.begun("a", "b")
    a = stage.member("a")
    async with a_stream(a) as next_report:
        os.kill(a.postmaster_pid, signal.SIGKILL)
        began = time.monotonic()
        while (await next_report()).postgres is not Postgres.CRASHED:
            pass
        took = time.monotonic() - began
    print(f"crash reported after {took * 1000:.1f} ms")
    assert took < 0.3, "a heartbeat would have told of it, too, but not at once"


async def test_a_standby_promises_settles_and_is_promoted_quickly(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    record = await stage.claimed(record, "b")
    await a.sql("INSERT INTO t VALUES (2)")
    os.kill(a.postmaster_pid, signal.SIGKILL)
    began = time.monotonic()
    promised = await b.promise(2)
    promise_took = time.monotonic() - began
    assert promised.settled
    assert promised.promised == 2
    assert promised.position is not None
    record = succeed(record, promised)
    await b.order(record, stage.contacts)
    await b.until_primary()
    took = time.monotonic() - began
    print(f"promise {promise_took * 1000:.0f} ms, writable after {took * 1000:.0f} ms")
    assert await b.sql("SELECT * FROM t ORDER BY i") == [(1,), (2,)]
    await b.sql("INSERT INTO t VALUES (3)")
    report = await b.report()
    assert report.position is not None
    assert report.position.timeline == record.timeline == 2
    assert report.reigned == 2
    assert promise_took < 5.0
    assert took < 10.0


async def test_a_promotion_that_ends_slowly_serves_only_when_read_write_and_makes_its_checkpoint(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 100000)")
    await _caught_up(a, b)
    b.root("ALTER SYSTEM SET recovery_end_command = 'sleep 2'")  # standby.signal is gone before it runs
    b.root("SELECT pg_reload_conf()")
    promised = await b.promise(2)
    record = succeed(record, promised)
    await b.order(record, stage.contacts)
    await b.until_primary()
    assert b.root("SELECT pg_is_in_recovery()") == "f"
    await b.sql("INSERT INTO t VALUES (0)")
    with anyio.fail_after(20.0):  # PostgreSQL's own, a spread one, takes half a minute for so many pages
        while True:
            if b.root("SELECT timeline_id FROM pg_control_checkpoint()") == "2":
                break
            await anyio.sleep(0.05)


async def test_a_former_primary_that_lost_nothing_follows_as_it_is(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    before = (await a.report()).incarnation
    await _caught_up(a, b)
    ended = await a.promise(2)
    assert ended.role is not Role.PRIMARY
    assert ended.settled
    assert ended.position is not None
    # PostgreSQL ships everything up to its last record before it stops. What a hurried stop left out, the standby still
    # gets afterwards: then the former primary was started again, fenced, and its log ends there for ever.
    await _caught_up(a, b)
    promised = await b.promise(2)
    assert promised.position == ended.position
    record = succeed(record, promised)
    await b.order(record, stage.contacts)
    await b.until_primary()
    assert lies_on(ended.position, record.lineage)
    await a.order(record, stage.contacts)
    report = await a.until_streaming()
    assert report.incarnation == before
    await b.sql("INSERT INTO t VALUES (2)")
    await _caught_up(b, a)
    await a.until_rows("SELECT count(*) FROM t", [(2,)])


async def test_a_former_primary_that_wrote_alone_is_rewound(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    before = (await a.report()).incarnation
    await _caught_up(a, b)
    promised = await b.promise(2)
    for number in range(20):
        await a.sql(f"INSERT INTO t VALUES ({100 + number})")
    a.kill()
    record = succeed(record, promised)
    await b.order(record, stage.contacts)
    await b.until_primary()
    await b.sql("INSERT INTO t VALUES (2)")
    a.start()
    await a.until_live()
    began = time.monotonic()
    await a.order(record, stage.contacts)
    report = await a.until_streaming()
    print(f"rewound and streaming after {time.monotonic() - began:.2f} s")
    assert "rewind: " in a.log
    assert "clone: " not in a.log
    [kept] = report.kept
    assert (kept.incarnation, kept.reigned, kept.missing) == (before, 1, 0)
    assert kept.since == promised.position
    text = a.waldump(kept)
    assert text.count("COMMIT") >= 20, text
    assert f"bytes        {kept.size}" in (a.volume / kept.folder / "about.txt").read_text()
    assert report.incarnation != before
    assert report.data is Data.READY
    # What pg_rewind brought along is not told as received: on a primary at rest that would stay so.
    await b.sql("INSERT INTO t VALUES (3)")
    await _caught_up(b, a)
    await a.until_rows("SELECT * FROM t ORDER BY i", [(1,), (2,), (3,)])


async def test_a_member_without_the_log_it_needs_is_cloned(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int)")
    before = (await b.report()).incarnation
    b.kill()
    await a.until("alone", lambda report: not report.walsenders)
    for _ in range(20):
        a.root("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'y')")
    for _ in range(20):  # the agent makes the slot again within a second, and that keeps what is still there
        a.root("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'pgswarm_b'")
        a.root("CHECKPOINT")
        kept = a.root("SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^0000000100000000000000(02|03|04)$'")
        if kept.strip() == "0":
            break
    b.start()
    await b.until_live()
    record = record.amended("again")
    await stage.give(record)
    report = await b.until("cloned", lambda report: report.incarnation != before and report.upstream is not None)
    assert "clone: the primary no longer has the log" in b.log
    assert report.upstream == record.primary
    assert await b.sql("SELECT count(*) FROM t") == [(0,)]


async def test_a_successor_that_waits_for_a_standby_is_armed_before_anybody_comes_in(stage: Stage) -> None:
    record = await stage.begun("a", "b", "c")
    a, b, c = (stage.member(name) for name in "abc")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    record = await stage.claimed(record, "b", "c", k=2)
    async with b.client() as reader:
        await reader.execute("SELECT 1")
        os.kill(a.postmaster_pid, signal.SIGKILL)
        promised, other = await b.promise(2), await c.promise(2)
        assert promised.incarnation is not None
        assert other.incarnation is not None
        held = (promised.incarnation, other.incarnation)
        record = succeed(record, promised, claim=Claim(members=held, r=2), sync=Sync(k=1, names=(held[1],)))
        await b.order(record, stage.contacts)
        await b.until("promoted", lambda report: report.role is Role.PRIMARY)
        with pytest.raises(psycopg.Error):
            await reader.execute("INSERT INTO t VALUES (2)")
    with anyio.move_on_after(1.0):
        while True:
            assert (await b.report()).serving == "none"
            await anyio.sleep(0.05)
    await c.order(record, stage.contacts)
    report = await b.until_primary()
    assert report.in_force is not None
    assert report.in_force.revision == record.revision
    assert "armed: a commit was seen waiting" in b.log
    await b.sql("INSERT INTO t VALUES (3)")
    await c.until_rows("SELECT * FROM t ORDER BY i", [(1,), (3,)])


async def test_a_promise_waits_until_what_was_received_is_replayed(stage: Stage) -> None:
    await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int)")
    await _caught_up(a, b)
    b.root("SELECT pg_wal_replay_pause()")
    await a.sql("INSERT INTO t SELECT generate_series(1, 1000)")
    end = parse_lsn(a.root("SELECT pg_current_wal_lsn()"))
    await b.until("received", lambda report: report.position and report.position.lsn >= end)
    answers = []

    async def ask() -> None:
        answers.append(await b.promise(2))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        report = await b.until("promised", lambda report: report.promised == 2)
        with anyio.move_on_after(0.7):
            while True:
                assert not (await b.report()).settled
                await anyio.sleep(0.05)
        assert not answers
        b.root("SELECT pg_wal_replay_resume()")
    assert answers[0].settled
    assert answers[0].position is not None
    assert answers[0].position.lsn >= end
    assert report.upstream is None or report.promised == 2
