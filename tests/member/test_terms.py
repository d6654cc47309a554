"""Terms and timelines: the number that the record names, the raise, the same primary again."""

from __future__ import annotations

import os
import signal

import pytest

from pgswarm.core.reports import Postgres
from tests.member.stage import Stage, succeed

pytestmark = [pytest.mark.postgres]


async def test_the_promotion_takes_the_number_that_the_record_names(stage: Stage) -> None:
    record = await stage.begun("a", "b", "c")
    a, b, c = (stage.member(name) for name in "abc")
    await a.sql("CREATE TABLE t (i int)")
    first = await a.promise(4)
    for other in (b, c):
        await other.promise(4)
    record = succeed(record, first, 4)
    reign = record.lineage[-1].model_copy(update={"timeline": 5})
    record = record.model_copy(update={"lineage": (*record.lineage[:-1], reign)})
    await stage.give(record)
    await a.until_primary()
    await a.until("on timeline 5", lambda report: report.position and report.position.timeline == 5)
    planted = sorted(path.name for path in (a.volume / "pgdata" / "pg_wal").glob("*.history"))
    assert planted == ["00000002.history", "00000003.history", "00000004.history", "00000005.history"]
    await a.sql("INSERT INTO t VALUES (1)")
    for other in (b, c):
        await other.until_streaming()
        assert "clone: " not in other.log.partition("promised term 4")[2]
        await other.until("on timeline 5", lambda report: report.position and report.position.timeline == 5)
    c.kill()
    c.start()
    await c.until_streaming()
    os.kill(c.postmaster_pid, signal.SIGKILL)
    await c.until("down", lambda report: report.postgres is not Postgres.RUNNING)
    await c.until_streaming()


async def test_a_raised_term_goes_on_without_a_restart(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    pid = a.postmaster_pid
    await b.promise(3)
    reign = record.lineage[-1].model_copy(update={"term": 3})
    record = record.amended("raised", term=3, lineage=(*record.lineage, reign))
    await stage.give(record)
    report = await a.until("raised", lambda report: report.reigned == 3 and report.serving == "primary")
    assert a.postmaster_pid == pid
    await b.until_streaming()
    assert "clone: " not in b.log.partition("promised term 3")[2]
    assert report.promised == 3


async def test_the_old_primary_re_elected_begins_a_new_timeline(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    ended = await a.promise(2)
    record = succeed(record, ended)
    await stage.give(record)
    report = await a.until_primary()
    assert report.position is not None
    assert report.position.timeline == 2, "its first word as primary names the timeline of before"
    await b.until_streaming()
    assert await a.sql("SELECT * FROM t") == [(1,)]
