"""The arming hole with a checkpoint running: first that PostgreSQL has it, then that an agent's arming closes it.

Commits wait for standbys only once the checkpointer has raised a flag in shared memory, and in the middle of a
checkpoint it does not look at its signals. Until then commits are acknowledged alone, while SHOW says that they wait
(PROTOCOL, C12; measured as a lost commit after a failover). Nothing is stopped or slowed here: only a plain CHECKPOINT
with much to write.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import psycopg
import pytest

from pgswarm.core.claim import Sync
from pgswarm.core.orders import Settings
from pgswarm.member.config import from_environment
from pgswarm.render.postgres import GHOST
from tests.member.stage import CLUSTER, Member, Stage, unprivileged

pytestmark = [pytest.mark.postgres]

PAGES = 40_000
"""One row on each page of 8 kB: an update of all dirties 320 MB with little log."""

BUFFERS = {"shared_buffers": "512MB", "bgwriter_lru_maxpages": "0", "checkpoint_timeout": "1h", "max_wal_size": "20GB"}
COMMIT = b"SELECT pg_logical_emit_message(true, 'test', 'commit')"
TABLE = "CREATE TABLE pages (i int, filler char(900)) WITH (fillfactor = 10, autovacuum_enabled = off)"
FILL = f"INSERT INTO pages SELECT i, '' FROM generate_series(1, {PAGES}) i"
DIRTY = "UPDATE pages SET i = i + 1"
BEGUN = "SELECT count(*) FROM pg_stat_activity WHERE query = 'CHECKPOINT' AND wait_event = 'CheckpointDone'"
AFTERWARDS = 0.5
"""Seconds in which psql ends once its CHECKPOINT has."""


class Bare:
    """A PostgreSQL with nobody beside it."""

    def __init__(self, folder: Path) -> None:
        names = {"PGSWARM_CLUSTER": CLUSTER, "PGSWARM_MEMBER": "bare", "PGSWARM_SOCKET_DIR": str(folder)}
        self.config = from_environment(names)
        self.folder = folder
        self.data = folder / "bare"

    def sync(self, setting: str) -> None:
        settings = {
            **BUFFERS, "unix_socket_directories": str(self.folder), "listen_addresses": "", "full_page_writes": "off",
            "synchronous_standby_names": setting,
        }  # fmt: skip
        text = "\n".join(f"{name} = '{value}'" for name, value in settings.items())
        (self.data / "postgresql.conf").write_text(text + "\n")

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname="postgres", autocommit=True, connect_timeout=5
        )

    @contextmanager
    def checkpoint(self) -> Iterator[subprocess.Popen[bytes]]:
        """A CHECKPOINT that the checkpointer is at."""
        argv = [*unprivileged(), "psql", "-Xq", "-h", str(self.folder), "-U", "postgres", "-c", "CHECKPOINT"]
        with subprocess.Popen(argv, cwd="/") as running, self.connect() as looking:
            wait_until(lambda: looking.execute(BEGUN).fetchone() == (1,) or running.poll() is not None, 10)
            yield running


@pytest.fixture
def bare(folder: Path) -> Iterator[Bare]:
    made = Bare(folder)
    made.data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(made.data, "postgres", "postgres")
    initdb = [made.config.program("initdb"), "-D", str(made.data), "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run([*unprivileged(), *initdb], check=True, capture_output=True, timeout=60, cwd="/")
    made.sync("")
    argv = [*unprivileged(), made.config.program("postgres"), "-D", str(made.data)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, cwd="/") as postgres:
        try:
            wait_until(lambda: can_connect(made), 20)
            yield made
        finally:
            postgres.send_signal(signal.SIGQUIT)
            postgres.wait(20)


def wait_until(is_true: object, seconds: float) -> None:
    assert callable(is_true)
    give_up = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < give_up, "not in time"
        time.sleep(0.01)


def can_connect(bare: Bare) -> bool:
    try:
        bare.connect().close()
    except psycopg.OperationalError:
        return False
    return True


def shown(bare: Bare) -> str:
    """What a new session is told."""
    with bare.connect() as fresh:
        row = fresh.execute("SHOW synchronous_standby_names").fetchone()
    return str(row[0]) if row else ""


def is_acknowledged(session: psycopg.Connection, within: float) -> bool:
    """Commit; does the acknowledgement come in time? (statement_timeout does not count in a commit's wait.)"""
    pgconn = session.pgconn
    pgconn.send_query(COMMIT)
    give_up = time.monotonic() + within
    answered = False
    while not answered and time.monotonic() < give_up:
        select.select([pgconn.socket], [], [], max(0.0, give_up - time.monotonic()))
        pgconn.consume_input()
        answered = not pgconn.is_busy()
    if not answered:
        pgconn.get_cancel().cancel()
    while pgconn.get_result() is not None:
        continue
    return answered


def test_postgresql_acknowledges_alone_during_a_checkpoint_while_it_shows_that_commits_wait(bare: Bare) -> None:
    with bare.connect() as session:
        for statement in (TABLE, FILL, "CHECKPOINT", DIRTY):
            session.execute(statement)
        alone, last = 0, 0.0
        with bare.checkpoint() as running:
            bare.sync(GHOST)
            session.execute("SELECT pg_reload_conf()")
            wait_until(lambda: shown(bare) == GHOST, 10)
            began = time.monotonic()
            while is_acknowledged(session, AFTERWARDS) and running.poll() is None:
                alone, last = alone + 1, time.monotonic() - began
        print(f"{alone} commits acknowledged alone, the last {last:.2f} s after SHOW said that they wait")
        assert alone > 0
        assert not is_acknowledged(session, 1.0), "now they wait"


async def test_the_agents_arming_is_not_deceived_by_a_running_checkpoint(stage: Stage) -> None:
    settings = Settings(parameters=BUFFERS)
    record = await stage.begun("a", "b", settings=settings)
    a, b = stage.member("a"), stage.member("b")
    for statement in (TABLE, FILL, "CHECKPOINT", DIRTY):
        a.root(statement, timeout=60)
    await a.sql("CREATE TABLE t (i int)")
    position = (await a.report()).position
    assert position is not None
    await b.until("caught up", lambda report: report.position and report.position.lsn >= position.lsn, 60.0)
    record = record.amended("sync", sync=Sync(k=1, names=((await b.report()).incarnation or "",)))
    alone, ended, in_force = 0, 0.0, 0.0
    async with a.client() as client, anyio.create_task_group() as tasks:
        tasks.cancel_scope.deadline = anyio.current_time() + 60

        async def checkpoint() -> None:
            nonlocal ended
            await anyio.to_thread.run_sync(lambda: a.root("CHECKPOINT", timeout=120))
            ended = time.monotonic()

        tasks.start_soon(checkpoint)
        await a.until("at its checkpoint", lambda _: a.root(BEGUN) == "1", 10.0)
        await a.order(record, stage.contacts, settings)
        while not in_force:
            shows = a.root("SHOW synchronous_standby_names")
            await client.execute("INSERT INTO t VALUES (1)")
            alone += shows == GHOST and not ended
            report = await a.report()
            if report.in_force is not None and report.in_force.revision == record.revision:
                in_force = time.monotonic()
    print(f"{alone} commits alone while SHOW said otherwise; in force {in_force - ended:.2f} s after the checkpoint")
    assert in_force, "not in force in time"
    assert alone > 0, "the hole was there in this very run"
    assert in_force > ended - AFTERWARDS, "the agent said so before the checkpointer can have known of it"
    assert "connection to client lost" not in a.log, "a canary that is let go is no news"
    await nobody_confirms(a, b)


async def nobody_confirms(a: Member, b: Member) -> None:
    """With its only standby frozen, a primary whose setting is in force acknowledges nothing."""
    b.signal(signal.SIGSTOP)
    senders = [int(pid) for pid in a.root("SELECT pid FROM pg_stat_replication").split()]
    for pid in senders:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError), anyio.fail_after(3):
            await a.sql("INSERT INTO t VALUES (2)", timeout=0.5)
    finally:
        for pid in senders:
            os.kill(pid, signal.SIGCONT)
        b.signal(signal.SIGCONT)
