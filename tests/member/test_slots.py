"""Log kept for the others: what a failover finds there, and what becomes of it."""

from __future__ import annotations

import os
import re
import signal

import pytest

from pgswarm.core.orders import Settings
from pgswarm.core.wal import parse_lsn
from tests.member.stage import Member, Stage, succeed

pytestmark = [pytest.mark.postgres]

THRIFTY = Settings(parameters={"wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "64MB"})


def write_much(primary: Member, *standbys: Member) -> None:
    """Four segments of log, and every checkpoint that could throw old ones away."""
    for _ in range(4):
        primary.root("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'y')")
    primary.root("CHECKPOINT")
    target = primary.root("SELECT pg_current_wal_lsn()")
    for standby in standbys:
        standby.root(_WAIT.format(lsn=target))
        standby.root("CHECKPOINT")


_WAIT = """
DO $$ BEGIN FOR i IN 1..1000 LOOP
  EXIT WHEN pg_last_wal_replay_lsn() >= '{lsn}'; PERFORM pg_sleep(0.01); END LOOP; END $$
"""


def restart_of(keeper: Member, peer: str) -> int:
    text = keeper.root(f"SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'pgswarm_{peer}'")
    return parse_lsn(text) if text else 0


def redo_of(member: Member) -> int:
    return parse_lsn(member.root("SELECT redo_lsn FROM pg_control_checkpoint()"))


async def test_a_member_that_was_far_behind_follows_a_new_primary_without_a_clone(stage: Stage) -> None:
    record = await stage.begun("a", "b", "c", settings=THRIFTY)
    a, b, c = (stage.member(name) for name in "abc")
    await b.until("keeping log for all", lambda report: report.slots == ("a", "c"))
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    before = await c.report()
    c.kill()
    await a.until("without c", lambda report: len(report.walsenders) == 1)
    for _ in range(3):
        write_much(a, b)
    await a.sql("INSERT INTO t VALUES (2)")
    write_much(a, b)
    os.kill(a.postmaster_pid, signal.SIGKILL)
    record = succeed(record, await b.promise(2))
    await b.order(record, stage.contacts, THRIFTY)
    await b.until_primary()
    b.root("CHECKPOINT")
    assert before.position is not None
    assert before.position.lsn < redo_of(b) - (64 << 20), "nobody but its slot keeps that log here"
    c.start()
    await c.until_live()
    await c.order(record, stage.contacts, THRIFTY)
    report = await c.until_streaming()
    assert report.incarnation == before.incarnation
    await c.until("caught up", lambda report: report.position and report.position.timeline == 2)
    await c.until_rows("SELECT * FROM t ORDER BY i", [(1,), (2,)])


async def test_a_slot_that_is_gone_and_cannot_be_made_is_reported_as_missing(stage: Stage) -> None:
    """Somebody has used up all slots and dropped one of ours: what was there before is not said to be there still."""
    await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.until("keeping log for b", lambda report: report.slots == ("b",))
    b.kill()
    await a.until("without b", lambda report: not report.walsenders)
    there, most = (int(a.root(query)) for query in ("SELECT count(*) FROM pg_replication_slots", _MOST))
    for number in range(most - there):
        a.root(f"SELECT pg_create_physical_replication_slot('taken_{number}')")
    a.root("SELECT pg_drop_replication_slot('pgswarm_b'); SELECT pg_create_physical_replication_slot('taken')")
    await a.until("missing it", lambda report: report.slots == ())
    a.root("SELECT pg_drop_replication_slot('taken')")
    await a.until("keeping log for b again", lambda report: report.slots == ("b",))


_MOST = "SELECT current_setting('max_replication_slots')"


async def test_a_standby_moves_slots_on_but_never_past_its_own_restartpoint(stage: Stage) -> None:
    await stage.begun("a", "b", "c", settings=THRIFTY)
    a, b, c = (stage.member(name) for name in "abc")
    await b.until("keeping log for all", lambda report: report.slots == ("a", "c"))
    first = restart_of(b, "c"), restart_of(b, "a")
    write_much(a, b, c)

    def has_moved(_: object) -> bool:
        now = restart_of(b, "c"), restart_of(b, "a")
        assert max(now) <= redo_of(b)
        return min(now) > max(first)

    await b.until("moving its slots on", has_moved)


async def test_a_slot_that_is_lost_is_made_anew(stage: Stage) -> None:
    tight = THRIFTY.model_copy(update={"parameters": {**THRIFTY.parameters, "max_slot_wal_keep_size": "32MB"}})
    await stage.begun("a", "b", settings=tight)
    a, b = stage.member("a"), stage.member("b")
    b.kill()
    await a.until("alone", lambda report: not report.walsenders)
    for _ in range(3):
        write_much(a)
    await a.until("keeping log anew", lambda _: restart_of(a, "b") > 0 and "pgswarm_b dropped (lost)" in a.log)


async def test_a_former_primary_holds_back_nobodys_vacuum_and_no_log_tells_of_missing_slots(stage: Stage) -> None:
    record = await stage.begun("a", "b", "c")
    a, b, c = (stage.member(name) for name in "abc")
    holds = "SELECT count(*) FROM pg_replication_slots WHERE xmin IS NOT NULL"
    await a.until("hearing what standbys look at", lambda _: a.root(holds) == "2")
    ended = await a.promise(2)
    assert ended.position is not None
    lsn = ended.position.lsn
    await b.until("caught up", lambda report: report.position and report.position.lsn >= lsn)
    record = succeed(record, await b.promise(2))
    await stage.give(record)
    await b.until_primary()
    for standby in (a, c):
        await standby.until_streaming()
    a.root("CHECKPOINT")
    await a.until("free of former reigns", lambda _: a.root(holds) == "0", 30.0)
    for member in (a, b, c):
        # A standby that comes before its role is told of that, and comes again.
        assert not re.search(r'replication slot "\w+" does not exist', member.log), member.name
