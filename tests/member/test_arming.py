"""When commits wait for standbys, and when clients are let in (C7, C11, C12)."""

from __future__ import annotations

import os
import signal
import time

import anyio
import pytest

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.reports import Postgres, Role
from tests.member.stage import Stage

pytestmark = [pytest.mark.postgres]


async def test_a_crashed_primary_that_waits_for_nobody_restarts_at_once(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    began = time.monotonic()
    os.kill(a.postmaster_pid, signal.SIGKILL)
    await a.until("down", lambda report: report.postgres is not Postgres.RUNNING)
    await a.until_primary()
    print(f"restarted in place after {time.monotonic() - began:.2f} s")
    assert await a.sql("SELECT * FROM t") == [(1,)]
    report = await a.report()
    assert report.position is not None
    assert report.position.timeline == 1
    assert time.monotonic() - began < 15.0


async def test_a_restarted_primary_lets_nobody_in_until_a_standby_covers_its_log(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    record = await stage.claimed(record, "b")
    b.kill()
    await a.until("alone", lambda report: not report.walsenders)
    with pytest.raises(TimeoutError):
        await a.sql("INSERT INTO t VALUES (2)", timeout=0.5)
    os.kill(a.postmaster_pid, signal.SIGKILL)
    began = time.monotonic()
    await a.until("crashed", lambda report: report.postgres is Postgres.CRASHED)
    report = await a.until("back", lambda report: report.role is Role.PRIMARY)
    assert time.monotonic() - began > 1.9
    with anyio.move_on_after(1.5):
        while True:
            report = await a.report()
            assert report.serving == "none"
            await anyio.sleep(0.05)
    with anyio.fail_after(60):  # for a moment yet it may say that it is armed anew
        while True:
            response = await a.call("GET", "/primary")
            assert response.status_code == 503
            if "quarantine" in response.json()["why"]:
                break
            await anyio.sleep(0.05)
    with pytest.raises(Exception, match=r"no pg_hba\.conf entry"):
        await a.sql("SELECT * FROM t")
    b.start()
    await a.until_primary()
    assert await a.sql("SELECT * FROM t ORDER BY i") == [(1,), (2,)]
    await b.until_rows("SELECT * FROM t ORDER BY i", [(1,), (2,)])


async def test_a_quarantined_primary_opens_when_its_order_waits_for_nobody_any_more(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    record = await stage.claimed(record, "b")
    b.kill()
    os.kill(a.postmaster_pid, signal.SIGKILL)
    await a.until("quarantined", lambda report: report.role is Role.PRIMARY and report.serving == "none")
    record = record.amended("weaker", claim=Claim(members=(record.primary,), r=1))
    record = record.amended("alone", sync=Sync())
    await a.order(record, stage.contacts)
    report = await a.until_primary()
    assert report.in_force is not None
    assert report.in_force.revision == record.revision
    await a.sql("CREATE TABLE t (i int)")


async def test_arming_waits_for_the_checkpointer(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int)")
    checkpointer = int(a.root("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
    os.kill(checkpointer, signal.SIGSTOP)
    try:
        standby = (await b.report()).incarnation or ""
        record = record.amended("sync", sync=Sync(k=1, names=(standby,)))
        await stage.give(record)
        with anyio.fail_after(60):
            while "pgswarm-nobody" not in a.root("SHOW synchronous_standby_names"):  # noqa: ASYNC110 - PostgreSQL's
                await anyio.sleep(0.05)
        with anyio.move_on_after(1.5):
            while True:
                report = await a.report()
                assert report.in_force is None or report.in_force.revision < record.revision
                await anyio.sleep(0.05)
    finally:
        os.kill(checkpointer, signal.SIGCONT)
    report = await a.until("in force", lambda report: report.in_force and report.in_force.revision == record.revision)
    assert "armed: a commit was seen waiting" in a.log
    await a.sql("INSERT INTO t VALUES (1)")
    b.signal(signal.SIGSTOP)
    for pid in a.root("SELECT pid FROM pg_stat_replication").split():
        os.kill(int(pid), signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            await a.sql("INSERT INTO t VALUES (2)", timeout=0.5)
    finally:
        b.signal(signal.SIGCONT)


async def test_a_postgresql_that_dies_while_it_is_armed_leaves_the_agent_alive(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    boot = (await a.report()).boot
    checkpointer = int(a.root("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
    os.kill(checkpointer, signal.SIGSTOP)
    record = record.amended("sync", sync=Sync(k=1, names=((await b.report()).incarnation or "",)))
    await stage.give(record)
    with anyio.fail_after(20):
        while True:
            if "not armed yet" in a.log:
                break
            await anyio.sleep(0.02)
    os.kill(a.postmaster_pid, signal.SIGKILL)
    os.kill(checkpointer, signal.SIGCONT)
    report = await a.until("in force", lambda report: report.in_force and report.in_force.revision == record.revision)
    assert report.boot == boot
    assert "Traceback" not in a.log


async def test_a_sync_setting_that_was_changed_by_hand_is_put_back_and_told(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a = stage.member("a")
    await stage.claimed(record, "b")
    wanted = a.root("SHOW synchronous_standby_names")
    if "off" in a.root("SELECT coalesce((SELECT setting FROM pg_settings WHERE name = 'allow_alter_system'), 'on')"):
        pytest.skip("this PostgreSQL refuses ALTER SYSTEM")
    a.root("ALTER SYSTEM SET synchronous_standby_names = ''")
    a.root("SELECT pg_reload_conf()")
    await a.until("noticing", lambda _: "durability incident" in a.log)
    await a.until("in force again", lambda report: report.in_force is not None)
    assert a.root("SHOW synchronous_standby_names") == wanted
    assert a.log.count("durability incident") == 1
    await a.until_primary()
