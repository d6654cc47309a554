"""A real PostgreSQL that is started anew inside its container: for settings, in the order that hot standby demands."""

from __future__ import annotations

import time

import anyio
import pytest

from pgswarm.core.orders import Circumstances, OrderMessage, Settings, order_for
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport
from pgswarm.wire import Answer
from tests.member.stage import CLUSTER, Member, Stage

pytestmark = [pytest.mark.postgres, pytest.mark.anyio]


async def told(member: Member, record: Record, contacts: dict[str, str], settings: Settings, restart: str = "") -> None:
    message = OrderMessage(
        order=order_for(CLUSTER, record, member.name),
        circumstances=Circumstances(contacts=contacts, settings=settings, restart=restart),
    )
    answer = Answer.model_validate_json((await member.call("PUT", "/order", message.model_dump_json())).content)
    assert answer.accepted, answer.reason


async def anew(member: Member, record: Record, contacts: dict[str, str], settings: Settings) -> MemberReport:
    """Told to start anew the PostgreSQL that runs; the first report of the next one."""
    before = (await member.report()).postmaster
    await told(member, record, contacts, settings, before)
    return await member.until("another", lambda report: report.postmaster not in ("", before))


async def test_more_connections_go_to_the_standby_first_and_fewer_to_the_primary_first(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b, contacts = stage.member("a"), stage.member("b"), stage.contacts
    record = await stage.claimed(record, "b")
    more = Settings(parameters={"max_connections": "150", "shared_preload_libraries": "auto_explain"})
    await stage.give(record, more)
    waiting = ("max_connections", "shared_preload_libraries")
    for member in (a, b):
        report = await member.until("pending", lambda report: report.pending_restart == waiting)
        assert report.lowered == ()
    await anew(b, record, contacts, more)
    await b.until_streaming()
    await b.until("content", lambda report: not report.pending_restart)
    assert b.root("SHOW max_connections") == "150"

    log = len(a.log)
    before = (await a.report()).postmaster
    began = time.monotonic()
    await told(a, record, contacts, more, before)
    seen = await a.until("down", lambda report: report.serving == "none")
    report = await a.until("serving again", lambda r: r.serving == "primary" and r.postmaster != before)
    print(f"the primary was started anew within {time.monotonic() - began:.2f} s")
    assert seen.restarting
    assert not report.restarting
    assert (report.reigned, report.promised) == (1, 1), "the same reign"
    assert "armed: a commit was seen waiting" in a.log[log:]
    assert a.root("SHOW max_connections; SHOW shared_preload_libraries").startswith("150\nauto_explain")
    await told(a, record, contacts, more, before)  # a word that comes twice
    await anyio.sleep(0.5)
    assert (await a.report()).postmaster == report.postmaster

    await stage.give(record, Settings())
    report = await a.until("lowered", lambda report: report.pending_restart)
    assert report.lowered == ("max_connections",)
    report = await b.until("pending", lambda report: report.pending_restart)
    assert report.pending_restart == ("shared_preload_libraries",), "no fewer connections than the primary"
    await anew(b, record, contacts, Settings())
    await b.until_streaming()
    assert b.root("SHOW max_connections") == "150"
    await anew(a, record, contacts, Settings())
    await a.until_primary()
    assert a.root("SHOW max_connections") == "100"
    await a.until("content", lambda report: not report.pending_restart and not report.lowered)
    report = await b.until("its turn", lambda report: report.pending_restart == ("max_connections",))
    await anew(b, record, contacts, Settings())
    await b.until_streaming()
    assert b.root("SHOW max_connections") == "100"
    assert "PostgreSQL ended unasked" not in a.log + b.log


async def test_a_standby_that_was_away_while_the_primary_got_more_heals_itself(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b, contacts = stage.member("a"), stage.member("b"), stage.contacts
    more = Settings(parameters={"max_connections": "150", "max_wal_senders": "20"})
    await told(a, record, contacts, more)
    await a.until("pending", lambda report: report.pending_restart)
    await anew(a, record, contacts, more)
    await a.until_primary()
    await b.until("started anew", lambda report: report.postmaster.endswith("-2") and report.upstream)
    assert b.root("SHOW max_connections; SHOW max_wal_senders") == "150\n20"
    assert b.root("SELECT pg_get_wal_replay_pause_state()") == "not paused"


async def test_data_of_another_major_version_is_left_alone_and_the_report_says_what_to_do(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    a.kill()
    named = a.volume / "pgdata" / "PG_VERSION"
    own = named.read_text()
    named.write_text("9.6\n")
    a.start()
    await a.until_live()
    await stage.give(record)
    report = await a.until("a problem", lambda report: report.problem, 60.0)
    assert report.problem is not None
    assert "was made by PostgreSQL 9.6" in report.problem.text
    assert "load a dump" in report.problem.text
    assert report.postgres == "stopped"
    named.write_text(own)
    await a.until_primary()
