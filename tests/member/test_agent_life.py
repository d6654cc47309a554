"""One agent and its PostgreSQL: beginning, dying, remembering."""

from __future__ import annotations

import pytest

from pgswarm.core.reports import Data
from tests.member.stage import Stage, first_record

pytestmark = [pytest.mark.postgres]


async def test_an_empty_member_becomes_primary_of_term_one_and_takes_writes(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    report = await a.report()
    assert report.incarnation == record.primary
    assert report.system_id == record.system_id != ""
    assert (await a.call("GET", "/primary")).status_code == 200
    assert (await a.call("GET", "/replica")).status_code == 503
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    assert await a.sql("SELECT * FROM t") == [(1,)]


async def test_a_clone_of_another_system_is_never_put_in_place(stage: Stage) -> None:
    record = await stage.begun("a")
    record = record.amended("b is added", places=first_record("a", "b").places)
    await stage.give(record, to="a")
    b = stage.member("b")
    b.start()
    await b.until_live()
    other = record.amended("another system", system_id="1")
    answer = await b.order(other, stage.contacts)
    assert answer.accepted, answer.reason
    report = await b.until("refused", lambda report: "is system" in (report.problem.text if report.problem else ""), 60)
    assert report.data is not Data.READY
    assert (b.volume / "pgdata.new" / "PG_VERSION").exists(), "it was cloned"
    assert not (b.volume / "pgdata").exists(), "and what lay there before would lie there still"


async def test_a_standby_is_cloned_and_streams(stage: Stage) -> None:
    await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (7)")
    position = (await a.report()).position
    await b.until("caught up", lambda report: report.position and position and report.position.lsn >= position.lsn)
    await b.until_rows("SELECT * FROM t", [(7,)])
    assert (await b.call("GET", "/replica")).status_code == 200
    assert (await b.call("GET", "/primary")).status_code == 503
