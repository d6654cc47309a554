"""A data directory that was made by hand, as the official image lays it out: refused, or taken over and kept."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest

from pgswarm.core.adoptable import objections
from pgswarm.core.claim import Claim
from pgswarm.core.orders import Settings
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data, Found, Postgres
from pgswarm.core.wal import Reign
from pgswarm.member import audit, foreign
from pgswarm.member.adopting import old_settings
from pgswarm.member.config import Config, from_environment
from tests.member.stage import CLUSTER, OWNER_PASSWORD, Member, Stage, new_folder, succeed, unprivileged

pytestmark = [pytest.mark.postgres]

OLD_SETTINGS = """
max_connections = 100
work_mem = 7MB
default_text_search_config = 'pg_catalog.english'
shared_preload_libraries = 'no_such_library'
synchronous_standby_names = 'nobody'
wal_log_hints = off
"""


def config(volume: Path) -> Config:
    return from_environment({"PGSWARM_CLUSTER": CLUSTER, "PGSWARM_MEMBER": "a", "PGSWARM_VOLUME": str(volume),
                             "PGSWARM_SOCKET_DIR": "/tmp"})  # fmt: skip


class ByHand:
    """A PostgreSQL as somebody set it up: no role postgres, its own settings, no checksums."""

    def __init__(self, directory: Path, *, user: str = "cnv_user") -> None:
        self.directory, self.user, self.sockets = directory, user, new_folder()
        directory.mkdir(parents=True, exist_ok=True)
        shutil.chown(directory, "postgres", "postgres")
        self.run("initdb", "-U", user, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions")
        (directory / "postgresql.auto.conf").write_text(OLD_SETTINGS.replace("no_such_library", ""))

    def run(self, program: str, *words: str) -> str:
        argv = [*unprivileged(), config(Path("/tmp")).program(program), "-D", str(self.directory), *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        where = f"-c listen_addresses= -c unix_socket_directories={self.sockets} -c synchronous_standby_names="
        self.run("pg_ctl", "start", "-w", "-o", where, "-l", str(self.directory / "log"))

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "stop", "-w", "-m", mode)
        for path in self.sockets.iterdir():
            path.unlink()

    def sql(self, text: str, database: str = "postgres") -> str:
        argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.sockets), "-U", self.user, "-d", database]
        done = subprocess.run([*unprivileged(), *argv, "-c", text], capture_output=True, text=True, timeout=60, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def copy_to(self, directory: Path) -> None:
        """A standby of it, as somebody makes one."""
        argv = ["pg_basebackup", "-h", str(self.sockets), "-U", self.user, "-D", str(directory), "-R"]
        subprocess.run([*unprivileged(), *argv], check=True, timeout=60, cwd="/")
        directory.chmod(0o700)

    def fill(self) -> None:
        """What an application has left, with a password as the official image keeps it, and a slot of a standby."""
        self.start()
        self.sql("CREATE DATABASE cnv_project OWNER cnv_user")
        self.sql("CREATE TABLE rows AS SELECT generate_series(1, 1000) AS id", "cnv_project")
        self.sql(f"ALTER ROLE cnv_user PASSWORD '{OWNER_PASSWORD.replace(chr(39), chr(39) * 2)}'")
        self.sql("SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'x'")
        self.sql("SELECT pg_create_physical_replication_slot('standby_slot', true)")
        self.stop()


def record_of(found: Found, **changes: Any) -> Record:
    """The record of term 1 over that directory, as `core/adoption` writes it."""
    fields: dict[str, Any] = {
        "revision": 1,
        "term": 1,
        "primary": "a/00000001",
        "claim": Claim(members=("a/00000001",), r=1),
        "lineage": (Reign(term=1, incarnation="a/00000001", timeline=found.timeline + found.standby, fork=0),),
        "places": tuple(Place(member=name, node_id=name, node_name=name, volume=name) for name in "ab"),
        "system_id": found.system_id,
        "adopting": True,
    }
    return Record(**{**fields, **changes})


SETTINGS = Settings(database="cnv_project", owner="cnv_user")


async def seen(member: Member) -> Found:
    member.start()
    report = await member.until("looked at", lambda report: report.found is not None)
    assert report.data is Data.FOREIGN
    assert report.found is not None
    return report.found


async def taken(member: Member, stage: Stage, record: Record) -> Record:
    """Ordered to take it over, and the record that follows."""
    answer = await member.order(record, stage.contacts, SETTINGS)
    assert answer.accepted, answer.reason
    await member.until("taken over", lambda report: report.data is Data.READY, 60)
    record = record.amended("taken over", adopting=False)
    await stage.give(record, SETTINGS, to=member.name)
    await member.until_primary()
    return record


def majors(found: Found) -> tuple[str, ...]:
    return objections(found, major=found.major, accept_standby=False)


@pytest.mark.parametrize("where", [".", "pgdata", "main"])
async def test_a_directory_made_by_hand_goes_on_as_a_member_and_survives_a_failover(stage: Stage, where: str) -> None:
    a, b = stage.member("a"), stage.member("b")
    old = ByHand(a.volume / where)
    old.fill()
    found = await seen(a)
    assert (found.folder, found.standby, found.state) == (where, False, "shut down")
    assert majors(found) == ()
    record = await taken(a, stage, record_of(found))
    report = await a.report()
    assert (report.incarnation, report.system_id, report.found) == ("a/00000001", found.system_id, None)
    assert not (a.volume / "PG_VERSION").exists()
    assert (a.volume / "agent" / "adopted" / "postgresql.auto.conf").read_text() == OLD_SETTINGS.replace(
        "no_such_library", ""
    )
    assert "work_mem = 7MB" in a.log
    assert "replication slot standby_slot dropped" in a.log
    count = "SELECT count(*) FROM rows"
    b.start()
    await b.until_live()
    await stage.give(record, SETTINGS)
    await b.until_streaming()
    record = await stage.claimed(record, "b", settings=SETTINGS)
    async with a.client("cnv_project", "cnv_user") as app:
        await app.execute("INSERT INTO rows SELECT generate_series(1001, 1100)")
    a.kill()
    promised = await b.promise(2)
    record = succeed(record, promised)
    await stage.give(record, SETTINGS, to="b")
    await b.until_primary()
    async with b.client("cnv_project", "cnv_user") as app:
        assert await (await app.execute(count)).fetchone() == (1100,)
    a.start()
    await a.until_live()
    await stage.give(record, SETTINGS)
    await a.until_streaming()


async def test_nothing_is_taken_over_without_the_word_nor_another_system(stage: Stage) -> None:
    a = stage.member("a")
    ByHand(a.volume).fill()
    found = await seen(a)
    plain = await a.order(record_of(found, adopting=False, system_id=""), stage.contacts)
    assert not plain.accepted
    assert "pgswarm did not make" in plain.reason
    other = await a.order(record_of(found, system_id="1"), stage.contacts)
    assert other.accepted, "it is looked at only when it is done"
    report = await a.until(
        "refused", lambda report: "not taken over" in (report.problem.text if report.problem else "")
    )
    assert report.data is Data.FOREIGN
    assert (a.volume / "PG_VERSION").exists()


async def test_what_runs_or_was_killed_is_not_at_rest(stage: Stage) -> None:
    a = stage.member("a")
    old = ByHand(a.volume)
    old.start()
    found = await seen(a)
    assert found.lock_file
    assert "postmaster.pid" in majors(found)[0]
    old.stop("immediate")
    report = await a.until("seen again", lambda report: report.found and not report.found.lock_file)
    assert report.found is not None
    assert "not shut down in order (pg_control says 'in production')" in majors(report.found)[0]


async def test_a_standby_is_taken_by_a_person_s_word_only_and_begins_a_timeline(stage: Stage) -> None:
    a = stage.member("a")
    old = ByHand(stage.folder / "primary")
    old.fill()
    old.start()
    old.copy_to(a.volume)
    found = await foreign.look(config(a.volume))
    assert found is not None
    assert "backup_label" in majors(found)[0]
    standby = ByHand.__new__(ByHand)
    standby.directory, standby.user, standby.sockets = a.volume, "cnv_user", new_folder()
    standby.start()
    old.stop()
    standby.stop()
    found = await seen(a)
    assert (found.standby, found.state) == (True, "shut down in recovery")
    assert "it is a standby's" in majors(found)[0]
    assert objections(found, major=found.major, accept_standby=True) == ()
    record = await taken(a, stage, record_of(found))
    assert record.timeline == 2
    async with a.client("cnv_project", "cnv_user") as app:
        assert await (await app.execute("SELECT count(*) FROM rows")).fetchone() == (1000,)
        assert (await (await app.execute("SELECT pg_walfile_name(pg_current_wal_lsn())")).fetchone() or [""])[
            0
        ].startswith("00000002")


async def test_killed_at_any_moment_it_is_taken_up_again(stage: Stage) -> None:
    a = stage.member("a")
    ByHand(a.volume).fill()
    found = await seen(a)
    record = record_of(found)
    for pause in (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4):
        await a.order(record, stage.contacts, SETTINGS)
        await anyio.sleep(pause)
        a.kill()
        await anyio.sleep(0.1)
        a.start()
        await a.until_live()
    await taken(a, stage, record)
    async with a.client("cnv_project", "cnv_user") as app:
        assert await (await app.execute("SELECT count(*) FROM rows")).fetchone() == (1000,)


async def test_what_lies_there_is_described(folder: Path) -> None:
    old = ByHand(folder / "volume")
    volume = folder / "volume"
    (volume / "pg_tblspc" / "16400").symlink_to("/elsewhere")
    (volume / "backup_label").touch()
    (volume / "second" / "global").mkdir(parents=True)
    shutil.copy(volume / "global" / "pg_control", volume / "second" / "global")
    found = await foreign.look(config(volume))
    assert found is not None
    assert (found.tablespaces, found.backup_label, found.others) == (1, True, ("second",))
    (volume / "PG_VERSION").write_text("9\n")
    found = await foreign.look(config(volume))
    assert found is not None
    assert found.major == "9"
    assert old.directory == volume
    (volume / "PG_VERSION").unlink()
    found = await foreign.look(config(volume))
    assert found is not None
    assert "cannot be read" in found.unreadable
    shutil.rmtree(volume)
    volume.mkdir()
    assert await foreign.look(config(volume)) is None


async def test_logical_slots_are_found_and_named(folder: Path) -> None:
    old = ByHand(folder / "volume")
    (old.directory / "postgresql.auto.conf").write_text("wal_level = logical\n")
    old.start()
    old.sql("SELECT pg_create_physical_replication_slot('one', true)")
    old.sql("SELECT pg_create_logical_replication_slot('two', 'pgoutput')")
    old.stop()
    found = await foreign.look(config(folder / "volume"))
    assert found is not None
    assert found.logical_slots == ("two",)
    assert "two" in majors(found)[0]


def test_old_settings_are_read_as_postgresql_reads_them(folder: Path) -> None:
    (folder / "postgresql.conf").write_text(
        "# a = 1\nwork_mem = 4MB # more\nshared_buffers 128MB\nTimeZone = 'Europe/It''s'\nlc_time = 'C'\nport = 1\n"
    )
    (folder / "postgresql.auto.conf").write_text("work_mem = '8MB'\nprimary_conninfo = 'x'\n")
    assert old_settings(folder) == {"work_mem": "8MB", "timezone": "Europe/It's"}


async def test_md5_passwords_are_told_until_a_rule_lets_them_in(stage: Stage) -> None:
    a = stage.member("a")
    ByHand(a.volume).fill()
    await taken(a, stage, record_of(await seen(a)))
    report = await a.until("told", lambda report: report.problem is not None)
    assert report.problem is not None
    assert "roles old have md5 passwords" in report.problem.text
    a.root("DROP ROLE old")
    assert report.postgres is Postgres.RUNNING


def test_collations_of_another_library_are_told_with_what_to_do() -> None:
    assert audit.of_collations([]) is None
    text = audit.of_collations([("app", "en_US.utf8", "2.36", "2.41"), ("old", "en_US.utf8", "", "2.41")])
    assert text is not None
    assert "databases app, old were sorted by en_US.utf8 (no version" in text
    assert "REINDEX DATABASE app; ALTER DATABASE app REFRESH COLLATION VERSION;" in text
    assert audit.of_passwords([("old",)], ("host all old 0.0.0.0/0 md5",)) is None
