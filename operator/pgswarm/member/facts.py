"""What the running PostgreSQL says of itself, over one connection that is kept.

One light question at each look; a question that is not answered within a second is itself a fact (PostgreSQL hangs),
never a reason to wait: the connection is dropped and the next look makes a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import anyio

from pgswarm.core.reports import Walsender
from pgswarm.core.wal import parse_lsn
from pgswarm.errors import Again
from pgswarm.member import sql
from pgswarm.member.config import Config

_LOOK: LiteralString = """
SELECT here.recovery,
       CASE WHEN here.recovery THEN NULL ELSE pg_current_wal_insert_lsn()::text END,
       CASE WHEN here.recovery THEN NULL ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END,
       pg_last_wal_receive_lsn()::text,
       pg_last_wal_replay_lsn()::text,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8,
       receiver.status, receiver.received_tli, receiver.flushed_lsn::text,
       current_setting('synchronous_standby_names'),
       here.recovery AND pg_get_wal_replay_pause_state() = 'paused'
  FROM (SELECT pg_is_in_recovery() AS recovery) AS here
  LEFT JOIN pg_stat_wal_receiver AS receiver ON true
"""

_SENDERS: LiteralString = """
SELECT application_name, coalesce(state, ''), flush_lsn::text, replay_lsn::text,
       coalesce(extract(epoch FROM reply_time), 0)::float8
  FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY application_name, pid
"""

_PENDING: LiteralString = "SELECT name, setting FROM pg_settings WHERE pending_restart ORDER BY name"
_LOADED: LiteralString = "SELECT extract(epoch FROM pg_conf_load_time())::float8"
_SETTINGS: LiteralString = "SELECT name, setting::bigint FROM pg_settings WHERE name = ANY (%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look."""

    at: float
    recovery: bool
    timeline: int = 0
    insert: int = 0
    receive: int = 0
    replay: int = 0
    behind: float | None = None
    streaming: bool = False
    paused: bool = False  # a standby's replay stands still until it is let go on
    sync: str = ""  # what commits wait for, as PostgreSQL has it
    walsenders: tuple[Walsender, ...] = ()
    replies: tuple[float, ...] = ()


class Observer:
    """Looks at one PostgreSQL; one connection at most."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._connection: sql.Connection | None = None
        self._asking: anyio.CancelScope | None = None
        self._lock = anyio.Lock()

    async def look(self) -> Sight:
        """What it says now. Raises Again if it says nothing."""
        [row], rows = await self._ask((_LOOK, ()), (_SENDERS, ()))
        recovery, insert, file, receive, replay, behind, status, received_tli, flushed, sync, paused = row
        received = lsn(flushed) or lsn(receive)
        return Sight(
            at=anyio.current_time(),
            recovery=recovery,
            timeline=int(file[:8], 16) if file else received_tli or 0,
            insert=lsn(insert),
            receive=received,
            replay=lsn(replay),
            behind=None if not recovery else 0.0 if received and received <= lsn(replay) else behind,
            streaming=status == "streaming",
            sync=sync,
            paused=bool(paused),
            walsenders=tuple(
                Walsender(name=name, state=state, flush=lsn(flush), replay=lsn(replayed))
                for name, state, flush, replayed, _ in rows
            ),
            replies=tuple(reply for *_, reply in rows),
        )

    async def pending_restart(self) -> tuple[tuple[tuple[str, str], ...], float]:
        """Parameters that wait for a restart, with what PostgreSQL runs with; and when it read its configuration."""
        [[loaded], rows] = await self._ask((_LOADED, ()), (_PENDING, ()))
        return tuple((name, setting) for name, setting in rows), loaded[0]

    async def settings(self, names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        """What these numbers are."""
        [rows] = await self._ask((_SETTINGS, [list(names)]))
        return tuple((name, setting) for name, setting in rows)

    async def ask(self, query: LiteralString, arguments: Sequence[Any] = ()) -> list[sql.Row]:
        """The rows of one more light statement. Raises Again if it fails."""
        [rows] = await self._ask((query, arguments))
        return rows

    def forget(self) -> None:
        """Drop the connection: PostgreSQL is another one now."""
        if self._asking is not None:
            # Never under the feet of who waits for its socket: the number of a closed one is soon another's.
            self._asking.cancel()
            return
        sql.drop(self._connection)
        self._connection = None

    async def _ask(self, *queries: tuple[LiteralString, Sequence[Any]]) -> list[list[sql.Row]]:
        """The rows of each, over the connection that is kept. One caller at a time."""
        answers = []
        async with self._lock:
            with anyio.CancelScope() as self._asking:
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = await sql.connect(self._config)
                    for query, arguments in queries:
                        answers.append(await sql.ask(self._connection, query, arguments))
                except BaseException:
                    sql.drop(self._connection)
                    self._connection = None
                    raise
                finally:
                    self._asking = None
        if len(answers) < len(queries):
            raise Again("PostgreSQL ended while it was asked", after=0.0)
        return answers


def lsn(text: str | None) -> int:
    """An LSN as PostgreSQL writes it, in bytes; 0 for none."""
    if text is None:
        return 0
    try:
        return parse_lsn(text)
    except ValueError as exc:
        raise Again(f"PostgreSQL gave {text!r} for an LSN") from exc
