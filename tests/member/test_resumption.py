"""An outage of everything, with no operator at its end: who goes on, and who must not."""

from __future__ import annotations

import json
import time

import anyio
import pytest

from pgswarm.core.reports import Postgres
from tests.member.stage import Member, Stage

pytestmark = [pytest.mark.postgres]


def power_cut(*members: Member) -> None:
    """All end at once, and come back elsewhere on the network: what was remembered of addresses is worth nothing."""
    for member in members:
        member.kill()
    for member in members:
        path = member.volume / "agent" / "state.json"
        memory = json.loads(path.read_text())
        contacts = memory["circumstances"]["contacts"]
        memory["circumstances"]["contacts"] = dict.fromkeys(contacts, "127.255.255.1")
        path.write_text(json.dumps(memory))


async def stays_out(member: Member, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        while True:
            report = await member.report()
            assert report.postgres is not Postgres.RUNNING
            assert report.serving == "none"
            await anyio.sleep(0.1)


async def test_after_a_power_cut_the_site_writes_on_with_no_operator(stage: Stage) -> None:
    record = await stage.begun("a", "b", "c")
    a, b, c = (stage.member(name) for name in "abc")
    await a.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    await stage.claimed(record, "b", "c")
    power_cut(a, b, c)
    began = time.monotonic()
    for member in (c, b, a):
        member.start()
    report = await a.until_primary()
    print(f"writes again {time.monotonic() - began:.1f} s after the agents began")
    assert report.heeded is None
    assert report.position is not None
    assert report.position.timeline == 1
    await a.sql("INSERT INTO t VALUES (2)")
    for standby in (b, c):
        assert (await standby.until_streaming()).heeded is None
    assert "synchronous_standby_names = ANY 1" in a.log.partition("resume: ")[2], "armed as its last order says"


async def test_a_standby_that_has_promised_more_keeps_the_former_primary_out(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    record = await stage.claimed(record, "b")
    await b.promise(2)
    power_cut(a, b)
    b.start()
    a.start()
    await a.until_live()
    await stays_out(a, 8.0)
    assert "b has promised term 2" in a.log


async def test_a_member_of_the_claim_that_is_missing_keeps_the_former_primary_waiting(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    record = await stage.claimed(record, "b")
    power_cut(a, b)
    a.start()
    await a.until_live()
    await stays_out(a, 7.0)
    assert "b is not heard" in a.log
    b.start()
    await a.until_primary()


async def test_who_is_alone_in_its_claim_goes_on_by_its_own_word(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    power_cut(a)
    a.start()
    report = await a.until_primary()
    assert report.heeded is None
    assert "nobody else is in the claim" in a.log


async def test_a_standby_whose_primary_is_gone_stops_trying_and_goes_on_when_it_is_back(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    a.kill()
    report = await b.until("waiting for a word", lambda report: report.settled)
    assert report.upstream is None
    mark = len(b.log)
    await anyio.sleep(3.0)
    tries = [line for line in b.log[mark:].splitlines() if "could not connect" in line or "streaming WAL" in line]
    assert len(tries) < 2, tries  # one may have been under way
    a.start()
    await a.until_live()
    await a.order(record, stage.contacts)
    await b.until_streaming()
