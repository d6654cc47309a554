"""A volume that fills, with real PostgreSQL on a small file system: what goes on, what does not, and what heals it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psycopg
import pytest

from pgswarm.core.disk import Room
from pgswarm.core.orders import Settings
from pgswarm.core.reports import MemberReport, Postgres, Serving
from pgswarm.member import aside
from pgswarm.member.config import from_environment
from tests.member.stage import Member, Stage

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

THRIFTY = Settings(parameters={"wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "64MB"})


def _system(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=20)


@asynccontextmanager
async def small(stage: Stage, name: str, megabytes: int) -> AsyncIterator[Path]:
    """A volume of that size for one member; it is gone after its PostgreSQL."""
    volume = stage.folder / name
    volume.mkdir()
    _system("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(volume))
    try:
        stage.member(name, volume=volume)
        yield volume
        await stage.close()
    finally:
        _system("umount", "-l", str(volume))


def fill(volume: Path, *, leave: int) -> Path:
    """Somebody else's file takes all but so many MB."""
    size = max(0, shutil.disk_usage(volume).free - (leave << 20))
    _system("fallocate", "-l", str(size), str(volume / "foreign"))
    return volume / "foreign"


async def _write_until_it_ends(member: Member) -> None:
    for _ in range(50):
        await member.sql("SELECT pg_logical_emit_message(true, '', repeat('x', 9999999))")


async def test_a_primary_goes_on_reading_on_a_full_disk_and_writes_again_when_there_is_room(stage: Stage) -> None:
    async with small(stage, "a", 640) as volume:
        record = await stage.begun("a", settings=THRIFTY)
        a = stage.member("a")
        report = await a.until("with ballast", lambda report: report.ballast)
        assert report.room is Room.AMPLE
        await a.sql("CREATE TABLE t(x int); INSERT INTO t VALUES (1)")
        foreign = fill(volume, leave=30)
        report = await a.until("full", lambda report: report.problem and report.problem.code == "disk-full")
        assert report.serving is Serving.PRIMARY, "reading goes on, so clients are sent here"
        assert await a.sql("SELECT x FROM t") == [(1,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await a.sql("INSERT INTO t VALUES (2)")
        await a.sql("BEGIN READ WRITE; DELETE FROM t; COMMIT")
        answer = await a.order(record.amended("said again"), stage.contacts, THRIFTY)
        assert answer.accepted, "an order can be made durable still"
        foreign.unlink()
        report = await a.until("roomy", lambda report: report.room is Room.AMPLE and not report.problem)
        await a.sql("INSERT INTO t VALUES (3)")
        assert "PANIC" not in a.log


async def test_a_primary_that_panicked_comes_up_on_its_ballast_reads_and_does_not_loop(stage: Stage) -> None:
    async with small(stage, "a", 640) as volume:
        await stage.begun("a", settings=THRIFTY)
        a = stage.member("a")
        await a.until("with ballast", lambda report: report.ballast)
        await a.sql("CREATE TABLE t AS SELECT 1 AS x")
        a.signal(signal.SIGSTOP)  # so that PostgreSQL is faster than its agent
        try:
            foreign = fill(volume, leave=0)
            with pytest.raises(psycopg.Error):
                await _write_until_it_ends(a)
        finally:
            a.signal(signal.SIGCONT)
        await a.until("ended", lambda report: report.postgres is Postgres.CRASHED or not report.ballast)
        await a.until("back", lambda report: report.serving == "primary" and not report.ballast)
        await a.until("read-only", lambda report: report.problem and "read-only" in report.problem.text)
        assert "PANIC" in a.log
        assert await a.sql("SELECT x FROM t") == [(1,)]
        starts = a.log.count("PostgreSQL starts")
        await anyio.sleep(6.0)
        assert a.log.count("PostgreSQL starts") == starts, "it runs, and does not loop"
        foreign.unlink()
        await a.until("healed", lambda report: report.ballast and report.room is Room.AMPLE)
        await a.sql("INSERT INTO t VALUES (3)")


async def test_a_full_standby_receives_nothing_can_promise_and_comes_back_by_itself(stage: Stage) -> None:
    async with small(stage, "b", 640) as volume:
        record = await stage.begun("a", "b", settings=THRIFTY)
        a, b = stage.member("a"), stage.member("b")
        await b.until("with ballast", lambda report: report.ballast)
        foreign = fill(volume, leave=8)
        report = await b.until("full", lambda report: report.room is Room.SPENT and report.upstream is None)
        await a.until("alone", lambda report: not report.walsenders)
        report = await b.until("saying why", lambda report: report.problem and report.problem.code == "disk-full")
        assert report.postgres is Postgres.RUNNING, "it can still be read"
        filler = volume / "more"
        _system("sh", "-c", f"dd if=/dev/zero of={filler} bs=4k status=none || true")
        said = await b.promise(2)
        assert said.promised == 2, "a promise is durable on a disk without a free byte"
        for one in (filler, foreign):
            one.unlink()
        record = record.amended("raised", term=2, lineage=(record.lineage[0].model_copy(update={"term": 2}),))
        await stage.give(record, THRIFTY)
        report = await b.until_streaming()
        await b.until("without a problem", lambda report: not report.problem)


async def test_the_slot_of_an_absent_member_is_dropped_before_the_disk_is_full(stage: Stage) -> None:
    async with small(stage, "a", 800) as volume:
        record = await stage.begun("a", "b", settings=THRIFTY)
        a, b = stage.member("a"), stage.member("b")
        await a.sql("CREATE TABLE t(x text)")
        b.kill()

        def holds(report: MemberReport) -> bool:
            return report.held.get("b", 0) >= 96 << 20

        for _ in range(12):
            await a.sql("INSERT INTO t SELECT repeat(md5(i::text), 300) FROM generate_series(1, 1000) i", timeout=30)
            a.root("SELECT pg_logical_emit_message(true, '', repeat('x', 9000000))")
            a.root("CHECKPOINT", timeout=60)
        await a.until("keeping log for b", holds)
        await a.until("counting its log", lambda report: report.wal_size >= report.held["b"])
        foreign = fill(volume, leave=150)
        report = await a.until("free of it", lambda report: report.room is not Room.AMPLE and not report.held)
        assert "it holds back" in a.log
        await a.until("smaller", lambda now: now.wal_size < 100 << 20)
        await a.sql("INSERT INTO t VALUES ('goes on')")
        foreign.unlink()
        b.start()
        await b.until_live()
        await stage.give(record.amended("b is back"), THRIFTY)
        report = await b.until_streaming(60.0)
        assert report.incarnation != "b/00000001"
        assert "cloned" in b.log
        assert await a.until("with a slot for it", lambda report: "b" in report.slots)


async def test_diverged_log_that_is_kept_takes_a_small_part_of_a_small_volume(stage: Stage) -> None:
    async with small(stage, "a", 256) as volume:
        names = {"PGSWARM_CLUSTER": "main", "PGSWARM_MEMBER": "a", "PGSWARM_VOLUME": str(volume)}
        config = from_environment({**names, "PGSWARM_SOCKET_DIR": "/tmp"})
        assert aside._room(config, 16 << 20) == 16 << 20
        fill(volume, leave=20)
        assert aside._room(config, 16 << 20) < 16 << 20
