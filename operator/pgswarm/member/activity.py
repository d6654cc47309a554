"""Asking PostgreSQL what goes on in it, because somebody outside asks: `pgswarm top`, or Prometheus.

Over a connection of its own that lasts as long as the questions: the one that `facts` keeps is what a hang is judged
by, and must not wait behind a catalogue of ten thousand tables. One asks at a time, an answer serves everybody for
`FRESH`, and sizes of databases, which cost a look at every file, for `SIZES`. So whoever asks too often, and on the
control network that may be anybody, gets old numbers and costs nothing.

What PostgreSQL does not answer in time is not told; the caller has the rest of the report all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import anyio

from pgswarm.core.activity import Activity, Connections, Database, Standby, Statement
from pgswarm.core.claim import streamer
from pgswarm.core.reports import Postgres
from pgswarm.errors import Again
from pgswarm.member import sql

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

FRESH = 1.0
"""Seconds for which an answer is given again."""

SIZES = 60.0
"""Seconds for which sizes of databases are."""

DEADLINE = 2.0
"""Seconds for each question."""

MOST = 20
"""Statements that are told; each with at most `LONGEST` characters."""

LONGEST = 500

STATEMENTS = "pg_stat_statements"

_CONNECTIONS: LiteralString = """
SELECT count(*) FILTER (WHERE state = 'active' AND coalesce(wait_event_type, '') <> 'Lock'
                          AND coalesce(wait_event, '') <> 'SyncRep'),
       count(*) FILTER (WHERE state = 'idle'),
       count(*) FILTER (WHERE state LIKE 'idle in transaction%%'),
       count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock'),
       count(*) FILTER (WHERE state = 'active' AND wait_event = 'SyncRep'),
       count(*) FILTER (WHERE state NOT IN ('active', 'idle') AND state NOT LIKE 'idle in transaction%%'),
       current_setting('max_connections')::int,
       greatest(0, coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0))::float8
  FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> %s
"""

_STANDBYS: LiteralString = """
SELECT application_name, coalesce(state, ''), coalesce(sync_state, ''),
       coalesce(pg_wal_lsn_diff(here.lsn, sent_lsn), 0)::bigint,
       coalesce(pg_wal_lsn_diff(here.lsn, flush_lsn), 0)::bigint,
       coalesce(pg_wal_lsn_diff(here.lsn, replay_lsn), 0)::bigint,
       extract(epoch FROM flush_lag)::float8, extract(epoch FROM replay_lag)::float8
  FROM pg_stat_replication,
       (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END) AS here (lsn)
 ORDER BY application_name, pid
"""

_DATABASES: LiteralString = """
SELECT datname, xact_commit, xact_rollback, blks_read, blks_hit, tup_inserted + tup_updated + tup_deleted,
       temp_bytes, deadlocks
  FROM pg_stat_database WHERE datname IS NOT NULL AND datname NOT IN ('template0', 'template1') ORDER BY datname
"""

_SIZES: LiteralString = """
SELECT (SELECT sum(pg_database_size(oid)) FROM pg_database)::bigint,
       (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir())::bigint
"""

_STATEMENTS: LiteralString = """
SELECT query, coalesce(datname, ''), calls, total_exec_time / 1000, mean_exec_time / 1000, rows,
       shared_blks_hit, shared_blks_read
  FROM pg_stat_statements AS s LEFT JOIN pg_database AS d ON d.oid = s.dbid
 ORDER BY total_exec_time DESC LIMIT %s
"""


class Inquiry:
    """The questions of one agent, and their last answers."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._lock = anyio.Lock()
        self._answer: Activity | None = None
        self._at = float("-inf")
        self._sizes = (0, 0)
        self._sized_at = float("-inf")

    async def activity(self, *, statements: bool) -> Activity:
        """What goes on. Raises Again if PostgreSQL does not say."""
        async with self._lock:
            now = anyio.current_time()
            known = self._answer
            if known is not None and now - self._at < FRESH and (known.statements or not statements):
                return known
            if self._agent.postmaster.state is not Postgres.RUNNING:
                raise Again(f"PostgreSQL is {self._agent.postmaster.state.value}")
            self._answer = await self._asked(statements=statements)
            self._at = now
            return self._answer

    async def _asked(self, *, statements: bool) -> Activity:
        agent, report = self._agent, self._agent.report
        connection = await sql.connect(agent.config)
        try:
            [counted] = await sql.ask(connection, _CONNECTIONS, [sql.AGENT_NAME], deadline=DEADLINE)
            streams = await sql.ask(connection, _STANDBYS, deadline=DEADLINE)
            databases = await sql.ask(connection, _DATABASES, deadline=DEADLINE)
            await self._size(connection)
            told, why = await _statements(connection) if statements else ((), "")
        finally:
            sql.drop(connection)
        active, idle, in_transaction, waiting, unacknowledged, other, limit, oldest = counted
        return Activity(
            cluster=report.cluster,
            member=report.member,
            role=report.role.value,
            connections=Connections(
                active=active,
                idle=idle,
                idle_in_transaction=in_transaction,
                waiting=waiting,
                unacknowledged=unacknowledged,
                other=other,
                limit=limit,
                oldest=oldest,
            ),
            standbys=tuple(_standby(row) for row in streams),
            databases=tuple(_database(row) for row in databases),
            statements=told,
            statements_why=why,
            data_bytes=self._sizes[0],
            wal_bytes=self._sizes[1],
            disk_free=report.disk_free,
            disk_total=report.disk_total,
        )

    async def _size(self, connection: sql.Connection) -> None:
        """Old sizes will do for a minute, and rather than none."""
        now = anyio.current_time()
        if now - self._sized_at < SIZES:
            return
        self._sized_at = now
        try:
            [[data, wal]] = await sql.ask(connection, _SIZES, deadline=DEADLINE)
        except Again:
            return
        self._sizes = (data or 0, wal or 0)


async def _statements(connection: sql.Connection) -> tuple[tuple[Statement, ...], str]:
    """The costliest statements, or why they are not known."""
    there = await sql.ask(connection, "SELECT 1 FROM pg_extension WHERE extname = %s", [STATEMENTS])
    if not there:
        return (
            (),
            f"the extension {STATEMENTS} is not in the database postgres (it is made when a member becomes primary)",
        )
    try:
        rows = await sql.ask(connection, _STATEMENTS, [MOST], deadline=DEADLINE)
    except Again as failure:
        return (), f"{failure.reason} (is {STATEMENTS} in shared_preload_libraries?)"
    return tuple(_statement(row) for row in rows), ""


def _standby(row: sql.Row) -> Standby:
    name, state, sync, sent, flushed, replayed, flush_lag, replay_lag = row
    return Standby(
        name=streamer(name) or name,
        state=state,
        sync=sync,
        sent=max(0, sent),
        flushed=max(0, flushed),
        replayed=max(0, replayed),
        flush_lag=flush_lag,
        replay_lag=replay_lag,
    )


def _database(row: sql.Row) -> Database:
    name, commits, rollbacks, read, hit, changed, temp, deadlocks = row
    return Database(
        name=name,
        commits=commits,
        rollbacks=rollbacks,
        blocks_read=read,
        blocks_hit=hit,
        rows_changed=changed,
        temp_bytes=temp,
        deadlocks=deadlocks,
    )


def _statement(row: sql.Row) -> Statement:
    text, database, calls, total, mean, rows, hit, read = row
    return Statement(
        text=" ".join(text.split())[:LONGEST],
        database=database,
        calls=calls,
        total=total,
        mean=mean,
        rows=rows,
        hit_ratio=hit / (hit + read) if hit + read else None,
    )
