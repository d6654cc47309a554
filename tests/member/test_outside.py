"""What the outside sees of a member: settings, secrets, hanging, isolation, a full disk, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import anyio
import httpx
import pytest

from pgswarm.core.orders import Settings
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, Postgres
from tests.member.stage import OWNER_PASSWORD, Member, Stage, a_stream, first_record

pytestmark = [pytest.mark.postgres]


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
        await a.until("serving nobody", lambda report: report.serving == "none")
        assert (await a.call("GET", "/live")).elapsed.total_seconds() < 2.0
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
    await _until_primary_status(a, 200)  # a streaming standby is heard
    b.kill()
    await _until_primary_status(a, 503)
    report = await a.report()
    assert report.postgres is Postgres.RUNNING
    with anyio.fail_after(20):  # the operator is heard again, and for as long as it is
        while True:
            await a.order(record, stage.contacts, settings)
            if await _primary_status(a) == 200:
                break


async def _primary_status(member: Member) -> int:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return (await client.get(f"http://{member.address}:{member.port}/primary")).status_code


async def _until_primary_status(member: Member, wanted: int) -> None:
    with anyio.fail_after(20):
        while await _primary_status(member) != wanted:  # noqa: ASYNC110 - another process, which cannot set our events
            await anyio.sleep(0.05)


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
        assert "before a clone was begun" in report.problem.text
        assert "free on the volume" in report.problem.text
        assert "are missing" in report.problem.text
        assert report.data is Data.NONE, "what does not fit is not begun"
        _system("mount", "-o", "remount,size=400m", str(volume))
        report = await b.until_streaming()
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
