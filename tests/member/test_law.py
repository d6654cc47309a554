"""An agent's law, one sentence a test: what it refuses, what it remembers, when it serves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import anyio
import httpx
import pytest

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.orders import Settings
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, Postgres, Role
from tests.member.stage import OWNER_PASSWORD, Member, Stage, a_stream, first_record, succeed

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
    assert report.role is Role.FENCED
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


async def test_a_second_agent_on_the_volume_is_locked_out_until_the_first_is_gone(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    twin = stage.member("b", volume=a.volume)
    twin.name = "a"
    twin.start()
    with anyio.fail_after(10):
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
    assert time.monotonic() - began < 5.0


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
    response = await a.call("GET", "/primary")
    assert response.status_code == 503
    assert "quarantine" in response.json()["why"]
    with pytest.raises(Exception, match=r"no pg_hba\.conf entry"):
        await a.sql("SELECT * FROM t")
    b.start()
    await a.until_primary()
    assert await a.sql("SELECT * FROM t ORDER BY i") == [(1,), (2,)]
    assert await b.sql("SELECT * FROM t ORDER BY i") == [(1,), (2,)]


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
        with anyio.move_on_after(1.5):
            while True:
                report = await a.report()
                assert report.in_force is None or report.in_force.revision < record.revision
                await anyio.sleep(0.05)
        assert "pgswarm-nobody" in a.root("SHOW synchronous_standby_names")
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
    with anyio.fail_after(10):
        while True:
            if "not armed yet" in a.log:
                break
            await anyio.sleep(0.02)
    os.kill(a.postmaster_pid, signal.SIGKILL)
    os.kill(checkpointer, signal.SIGCONT)
    report = await a.until("in force", lambda report: report.in_force and report.in_force.revision == record.revision)
    assert report.boot == boot
    assert "Traceback" not in a.log


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
    report = await a.until_primary()
    assert report.position is not None
    assert report.position.timeline == 5
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
    assert report.position.timeline == 2
    await b.until_streaming()
    assert await a.sql("SELECT * FROM t") == [(1,)]


async def test_sigterm_is_a_fast_shutdown_and_exit_code_zero(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    seen = set()
    async with a_stream(a) as next_report:
        a.signal(signal.SIGTERM)
        while (report := await next_report()).postgres is not Postgres.STOPPED:
            seen.add((report.postgres, report.serving))
    assert await a.ended() == 0
    assert (Postgres.STOPPING, "none") in seen
    assert "shut down" in a.control_data()


async def test_parameters_reach_postgresql_and_a_wrong_one_is_refused_with_its_words(stage: Stage) -> None:
    record = await stage.begun("a")
    a = stage.member("a")
    good = Settings(parameters={"work_mem": "7MB", "shared_buffers": "64MB"})
    await a.order(record, stage.contacts, good)
    report = await a.until("in effect", lambda report: report.settings_digest == good.digest)
    report = await a.until("pending", lambda report: report.pending_restart)
    assert report.pending_restart == ("shared_buffers",)
    assert a.root("SHOW work_mem") == "7MB"
    bad = Settings(parameters={"work_mem": "much", "no_such_thing": "1"})
    await a.order(record, stage.contacts, bad)
    report = await a.until("a problem", lambda report: report.problem)
    assert report.problem is not None
    assert report.problem.code == "bad-parameter"
    assert "no_such_thing" in report.problem.text or "work_mem" in report.problem.text
    assert report.settings_digest == good.digest
    assert a.root("SHOW work_mem") == "7MB"
    best = Settings(parameters={"work_mem": "9MB"})
    await a.order(record, stage.contacts, best)
    report = await a.until("in effect", lambda report: report.settings_digest == best.digest)
    assert report.problem is None


async def test_passwords_are_in_no_log_argument_or_environment(stage: Stage) -> None:
    await stage.begun("a", "b")
    a, b = stage.member("a"), stage.member("b")
    assert OWNER_PASSWORD not in a.log + b.log
    assert "SCRAM-SHA-256$" not in a.log + b.log
    for member in (a, b):
        memory = json.loads((member.volume / "agent" / "state.json").read_text())
        assert "password" not in json.dumps(memory)
        for path in (member.volume / "agent").glob("pgpass*"):
            assert path.stat().st_mode & 0o077 == 0


async def test_a_hung_postgresql_serves_nobody_and_the_agent_answers_all_the_same(stage: Stage) -> None:
    await stage.begun("a")
    a = stage.member("a")
    pids = [a.postmaster_pid, *map(int, a.root("SELECT pid FROM pg_stat_activity").split()[:-1])]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            continue
    try:
        began = time.monotonic()
        await a.until("serving nobody", lambda report: report.serving == "none", 6.0)
        assert (await a.call("GET", "/live")).elapsed.total_seconds() < 0.5
        assert time.monotonic() - began < 6.0
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
    await a.until_primary()


async def test_a_primary_that_hears_nobody_turns_clients_away(stage: Stage) -> None:
    settings = Settings(isolation_timeout=1.5)
    record = await stage.begun("a", "b", settings=settings)
    a, b = stage.member("a"), stage.member("b")
    await anyio.sleep(2.0)
    assert await _primary_status(a) == 200, "a streaming standby is heard"
    b.kill()
    with anyio.fail_after(10):
        while True:
            if await _primary_status(a) != 200:
                break
            await anyio.sleep(0.1)
    report = await a.report()
    assert report.postgres is Postgres.RUNNING
    await a.order(record, stage.contacts, settings)
    assert await _primary_status(a) == 200, "the operator is heard again"


async def _primary_status(member: Member) -> int:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return (await client.get(f"http://{member.address}:{member.port}/primary")).status_code


async def test_a_clone_that_fills_the_disk_says_so_and_leaves_nothing(stage: Stage) -> None:
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    volume = stage.folder / "b"
    volume.mkdir()
    _system("mount", "-t", "tmpfs", "-o", "size=20m,mode=0777", "tmpfs", str(volume))
    try:
        record = await _with_small_disk(stage)
        b = stage.member("b")
        report = await b.until("out of space", lambda report: report.problem and report.problem.code == "disk-full")
        assert report.problem is not None
        assert "free on the volume" in report.problem.text
        assert report.data is Data.BUILDING
        _system("mount", "-o", "remount,size=400m", str(volume))
        report = await b.until_streaming(60.0)
        assert report.problem is None
        assert report.upstream == record.primary
        await stage.close()
    finally:
        _system("umount", "-l", str(volume))


def _system(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=20)


async def _with_small_disk(stage: Stage) -> Record:
    record = await stage.begun("a")
    a, b = stage.member("a"), stage.member("b", volume=stage.folder / "b")
    b.start()
    await b.until_live()
    record = record.amended("b comes", places=first_record("a", "b").places)
    await stage.give(record)
    assert a.name == "a"
    return record
