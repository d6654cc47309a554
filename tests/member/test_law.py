"""An agent's law, one sentence a test: what it refuses, what it remembers, whose volume it leaves alone."""

from __future__ import annotations

import shutil
import subprocess

import anyio
import httpx
import pytest

from pgswarm.core.claim import Claim
from pgswarm.core.reports import Data, Postgres, Role
from tests.member.stage import Member, Stage, first_record, succeed, unprivileged

pytestmark = [pytest.mark.postgres]


async def alone(stage: Stage) -> Member:
    member = stage.member("a")
    member.start()
    await member.until_live()
    return member


async def test_an_older_a_contradicting_and_a_stranger_s_order_are_refused(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    older = await a.order(first_record("a"), stage.contacts)
    assert not older.accepted
    assert "older" in older.reason
    different = await a.order(record, stage.contacts, timeline=9)
    assert not different.accepted
    assert "a different order" in different.reason
    stranger = await a.order(record.amended("x"), stage.contacts, cluster="other")
    assert not stranger.accepted
    assert "not a of other" in stranger.reason
    elsewhere = await a.order(record.amended("x"), stage.contacts, incarnation="a/ffffffff", primary="a/ffffffff")
    assert not elsewhere.accepted
    same = await a.order(record, stage.contacts)
    assert same.accepted
    assert (await a.report()).serving == "primary"


async def test_without_the_secret_only_health_is_answered(stage: Stage) -> None:
    await alone(stage)
    a = stage.member("a")
    async with httpx.AsyncClient(trust_env=False) as client:
        base = f"http://{a.address}:{a.port}"
        assert (await client.get(f"{base}/live")).status_code == 200
        assert (await client.get(f"{base}/primary")).status_code == 503
        assert (await client.get(f"{base}/report")).status_code == 401
        assert (await client.put(f"{base}/order", content="{}")).status_code == 401


async def test_a_promise_survives_the_death_of_the_agent(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    report = await a.promise(5)
    assert report.settled
    assert report.role is not Role.PRIMARY
    a.kill()
    a.start()
    report = await a.until("back and settled", lambda report: report.settled and report.role is Role.FENCED)
    assert report.promised == 5
    refused = await a.order(record.amended("late"), stage.contacts)
    assert not refused.accepted
    assert "promised term 5" in refused.reason


async def test_a_former_primary_that_restarts_waits_for_an_operators_word(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    await a.sql("CREATE TABLE t (i int)")
    a.kill()
    a.start()
    report = await a.until("back", lambda report: report.data is Data.READY)
    assert report.heeded is None
    assert report.accepted == (1, record.revision)
    assert report.reigned == 1
    with anyio.move_on_after(1.0):
        while True:
            assert (await a.report()).postgres is Postgres.STOPPED
            await anyio.sleep(0.05)
    await a.order(record, stage.contacts)
    await a.until_primary()
    report = await a.report()
    assert report.position is not None
    assert report.position.timeline == 1
    assert await a.sql("SELECT count(*) FROM t") == [(0,)]


async def test_a_standby_that_restarts_goes_on_following_without_a_word(stage: Stage) -> None:
    await stage.begun("a", "b")
    b = stage.member("b")
    b.kill()
    b.start()
    report = await b.until_streaming()
    assert report.heeded is None


async def test_a_dead_postmasters_number_may_be_anybodys_by_now(stage: Stage) -> None:
    """After a power cut the numbers of processes begin again, and the old one may be a thread of our agent's."""
    await stage.begun("a", "b")
    b = stage.member("b")
    b.kill()
    with anyio.fail_after(20):
        while (b.volume / "pgdata" / "postmaster.pid").exists():  # noqa: ASYNC110 - it ends with its agent
            await anyio.sleep(0.02)
    somebody = subprocess.Popen([*unprivileged(), "sleep", "60"], cwd="/")  # noqa: ASYNC220 - returns at once
    try:
        named = f"{somebody.pid}\n{b.volume}/pgdata\n"
        for path in (b.volume / "pgdata" / "postmaster.pid", b.volume / "agent" / f".s.PGSQL.{b.postgres_port}.lock"):
            path.write_text(named)
            shutil.chown(path, b.volume.owner(), b.volume.group())
            path.chmod(0o600)
        b.start()
        await b.until_streaming()
    finally:
        somebody.kill()
        somebody.wait()


async def test_a_second_agent_on_the_volume_is_locked_out_until_the_first_is_gone(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    twin = stage.member("b", volume=a.volume)
    twin.name = "a"
    twin.start()
    with anyio.fail_after(20):
        while True:
            try:
                response = await twin.call("GET", "/report")
                break
            except Exception:
                await anyio.sleep(0.02)
    assert response.status_code == 503
    assert "locked" in response.text
    assert (await twin.call("GET", "/live")).status_code == 200
    assert (await twin.call("GET", "/primary")).status_code == 503
    assert (await a.report()).serving == "primary"
    a.kill()
    report = await twin.until("in charge", lambda report: report.data is Data.READY)
    assert report.reigned == 1


async def test_a_counted_member_is_never_seeded_anew(stage: Stage) -> None:
    record = await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    promised = await b.promise(2)
    await a.sql("CREATE TABLE t (i int)")
    ended = await a.promise(2)
    assert ended.incarnation is not None
    successor = succeed(record, promised)
    counting = successor.amended("counted", claim=Claim(members=(successor.primary, ended.incarnation), r=1))
    await b.order(counting, stage.contacts)
    await b.until_primary()
    await a.order(counting, stage.contacts)
    report = await a.until("refusing", lambda report: report.problem and report.problem.code == "needs-reseed")
    assert report.incarnation == ended.incarnation
    assert report.data is Data.READY
    await stage.give(counting.amended("not any more", claim=Claim(members=(counting.primary,), r=1)))
    report = await a.until_streaming()
    assert report.incarnation != ended.incarnation


async def test_foreign_data_is_left_alone(stage: Stage) -> None:
    a = stage.member("a")
    pgdata = a.volume / "pgdata"
    pgdata.mkdir()
    (pgdata / "PG_VERSION").write_text("15\n")
    shutil.chown(pgdata, "postgres", "postgres")
    a.start()
    report = await a.until_live()
    assert report.data is Data.FOREIGN
    assert report.problem is not None
    assert report.problem.code == "foreign-data"
    answer = await a.order(first_record("a"), stage.contacts)
    assert not answer.accepted
    assert [path.name for path in pgdata.iterdir()] == ["PG_VERSION"]
    assert not (a.volume / "agent" / "state.json").exists()


async def test_an_unreadable_memory_is_never_guessed_at(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    a.kill()
    memory = a.volume / "agent" / "state.json"
    memory.write_text('{"cluster": "main", "mem')
    a.start()
    report = await a.until_live()
    assert report.data is Data.FOREIGN
    assert not (await a.order(record, stage.contacts)).accepted
    assert memory.read_text() == '{"cluster": "main", "mem'


async def test_another_systems_order_makes_the_data_foreign(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    await a.order(record.amended("x", system_id="7000000000000000001"), stage.contacts)
    report = await a.until("foreign", lambda report: report.data is Data.FOREIGN and report.problem)
    assert report.problem is not None
    assert record.system_id in report.problem.text
    assert "7000000000000000001" in report.problem.text
    assert (a.volume / "pgdata" / "PG_VERSION").exists()
