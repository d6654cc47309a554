"""A primary's duties: arming, the sync setting and its being in force, roles, and when clients are let in.

Why this order: a commit waits for standbys only once the *checkpointer* has raised a shared flag, and it may be busy
for seconds after the reload, while SHOW already says otherwise (measured; facts 3.6). So a setting that nobody can
satisfy goes in first, and a canary commit must be *seen waiting* before real names replace it (C7, C12); a change
from names to names does not use the flag. After a start, clients stay outside (pg_hba) until a commit made under the
real names has been acknowledged: whatever the log ended with is then covered as well (C11). A member whose order
waits for nobody opens at once.

`Throne` is what is known of one start of the postmaster; `hold` is run anew whenever order or postmaster change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

import anyio
import psycopg
from loguru import logger
from psycopg import pq

from pgswarm.core.orders import Order
from pgswarm.core.reports import InForce
from pgswarm.core.wal import parse_lsn
from pgswarm.errors import Again, Refused
from pgswarm.member import sql
from pgswarm.member.config import Config
from pgswarm.member.files import Files
from pgswarm.member.postmaster import Postmaster
from pgswarm.render import postgres as render

POLL = 0.005
CANARY_PATIENCE = 0.5
"""Seconds for one canary to return or to be seen waiting."""
LOADED_PATIENCE = 5.0
REPLY_NUDGE = 0.02
"""Seconds between two commits that make standbys reply."""

_CANARY: LiteralString = "SELECT pg_logical_emit_message(true, 'pgswarm', 'canary')"
_SENDERS = """
SELECT pid, backend_start > %s, reply_time::text FROM pg_stat_replication
 WHERE state IS DISTINCT FROM 'backup' AND application_name <> %s
"""


@dataclass(slots=True)
class Throne:
    """What is known of one reign under one start of the postmaster."""

    starts: int
    opened: bool
    armed: bool = False
    in_force: InForce | None = None
    why: str = "not open yet"
    setting: str | None = None  # the synchronous_standby_names that is in force
    drifts: int = 0  # times that somebody else has changed it


async def hold(
    config: Config, files: Files, postmaster: Postmaster, throne: Throne, order: Order, gate: Callable[[], None]
) -> None:
    """Bring the sync setting of `order` into force and open the doors, if `gate` lets. Returns when both are so."""
    connection = await sql.connect(config)
    try:
        await _check_timeline(connection, order)
        wanted = order.sync.setting(order.term)
        if throne.opened and throne.setting == wanted:
            throne.in_force = await _force(connection, order)
            return
        throne.in_force = throne.setting = None
        if not wanted:
            throne.armed = False
            if files.sync != "":
                await _set(config, files, postmaster, connection, "")
            throne.in_force, throne.setting = await _force(connection, order), ""
            await let_in(config, files, postmaster, throne, gate)
            return
        if not throne.armed:
            throne.why = "arming: no commit has been seen waiting yet"
            if files.sync != render.GHOST:
                await _set(config, files, postmaster, connection, render.GHOST)
            await _see_a_commit_wait(config, connection)
            throne.armed = True
            logger.info("armed: a commit was seen waiting for {}", render.GHOST)
        since = await _set(config, files, postmaster, connection, wanted)
        if throne.opened:
            await _say_in_force(connection, since, throne, order)
            return
        throne.why = f"quarantine: waits for {order.sync} to confirm what the log ends with"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_say_in_force, connection, since, throne, order)
            await _commit_once(config)
            await let_in(config, files, postmaster, throne, gate)
    finally:
        sql.drop(connection)


async def checkpoint(config: Config) -> int:
    """So that the new timeline is in the control file: a rewind from here asks for it. The timeline that is in it."""
    connection = await sql.connect(config)
    try:
        await sql.ask(connection, "CHECKPOINT", deadline=900.0)
        [[timeline]] = await sql.ask(connection, "SELECT timeline_id FROM pg_control_checkpoint()")
        return int(timeline)
    finally:
        sql.drop(connection)


async def shut_out(config: Config, files: Files, postmaster: Postmaster) -> None:
    """Before a promotion that is to be armed: no client may be inside when writing becomes possible."""
    connection = await sql.connect(config)
    try:
        files.doors(open_to_clients=False)
        await _set(config, files, postmaster, connection, render.GHOST)
        while True:
            rows = await sql.ask(
                connection,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND application_name <> %s",
                [sql.AGENT_NAME],
            )
            if not rows:
                return
            await anyio.sleep(POLL)
    finally:
        sql.drop(connection)


async def close_doors(config: Config, files: Files, postmaster: Postmaster, connection: sql.Connection) -> None:
    """Let nobody in any more; who is inside is the caller's to turn out."""
    [[before]] = await sql.ask(connection, "SELECT clock_timestamp()")
    files.doors(open_to_clients=False)
    postmaster.reload()
    await _loaded(config, before, None)


async def _check_timeline(connection: sql.Connection, order: Order) -> None:
    [[name]] = await sql.ask(connection, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    if int(name[:8], 16) != order.timeline:
        raise Refused(f"PostgreSQL writes timeline {int(name[:8], 16)}, term {order.term} is timeline {order.timeline}")


async def _set(
    config: Config, files: Files, postmaster: Postmaster, connection: sql.Connection, setting: str
) -> object:
    """Write synchronous_standby_names and see it loaded; the time on PostgreSQL's clock at which it was."""
    [[before]] = await sql.ask(connection, "SELECT clock_timestamp()")
    files.set_sync(setting)
    postmaster.reload()
    logger.info("synchronous_standby_names = {}", setting or "(empty)")
    return await _loaded(config, before, setting)


async def _loaded(config: Config, before: object, setting: str | None) -> object:
    """Wait until a new connection shows a configuration read since `before`."""
    with anyio.move_on_after(LOADED_PATIENCE):
        while True:
            fresh = await sql.connect(config)
            try:
                [[at, newer, shown]] = await sql.ask(
                    fresh,
                    "SELECT pg_conf_load_time(), pg_conf_load_time() > %s, "
                    "current_setting('synchronous_standby_names')",
                    [before],
                )
            finally:
                sql.drop(fresh)
            if newer and setting is not None and shown != setting:
                raise Again(f"synchronous_standby_names is {shown!r}, not {setting!r}; the configuration has an error")
            if newer:
                return at
            await anyio.sleep(POLL)
    raise Again("PostgreSQL does not read its configuration again")


async def _see_a_commit_wait(config: Config, connection: sql.Connection) -> None:
    """Make canary commits until one of them waits: then the shared flag is up."""
    tries = 0
    while True:
        tries += 1
        canary = await sql.connect(config)
        try:
            canary.pgconn.send_query(_CANARY.encode())
            canary.pgconn.flush()
            give_up = anyio.current_time() + CANARY_PATIENCE
            while anyio.current_time() < give_up and not _has_returned(canary.pgconn):
                rows = await sql.ask(
                    connection,
                    "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'",
                    [canary.pgconn.backend_pid],
                )
                if rows:
                    return
                await anyio.sleep(POLL)
        finally:
            sql.drop(canary)
        if tries % 50 == 1:
            logger.info("not armed yet: the checkpointer has not taken the setting up (canary {})", tries)
        await anyio.sleep(POLL)


async def _commit_once(config: Config) -> None:
    """One commit under the setting in force; returns when it is acknowledged, however long that takes."""
    connection = await sql.connect(config)
    try:
        connection.pgconn.send_query(_CANARY.encode())
        connection.pgconn.flush()
        while not _has_returned(connection.pgconn):
            with anyio.move_on_after(1.0):
                await anyio.wait_readable(connection.pgconn.socket)
    finally:
        sql.drop(connection)


def _has_returned(pgconn: pq.abc.PGconn) -> bool:
    """Has the statement that was sent come to its end? Raises Again if that was an error."""
    try:
        pgconn.consume_input()
    except psycopg.Error as exc:
        raise Again(f"a canary commit was cut off: {exc}") from exc
    while not pgconn.is_busy():
        result = pgconn.get_result()
        if result is None:
            return True
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise Again("a canary commit failed")
    return False


async def _say_in_force(connection: sql.Connection, since: object, throne: Throne, order: Order) -> None:
    await _taken_up(connection, since)
    throne.in_force, throne.setting = await _force(connection, order), order.sync.setting(order.term)


async def _taken_up(connection: sql.Connection, since: object) -> None:
    """Wait until every walsender has taken the setting up: started since, gone, or replied to twice since (C7)."""
    seen: dict[int, str] = {}
    changes: dict[int, int] = {}
    nudge, pause = 0.0, REPLY_NUDGE
    while True:
        rows = await sql.ask(connection, _SENDERS, [since, render.CLONE_NAME])
        waiting = False
        for pid, started_since, reply in rows:
            if started_since:
                continue
            if pid in seen and reply != seen[pid]:
                changes[pid] = changes.get(pid, 0) + 1
            seen[pid] = reply
            waiting = waiting or changes.get(pid, 0) < 2
        if not waiting:
            return
        if anyio.current_time() >= nudge:
            await _nudge(connection)
            nudge, pause = anyio.current_time() + pause, min(0.5, pause * 1.5)
        await anyio.sleep(POLL)


async def _nudge(connection: sql.Connection) -> None:
    """One commit that waits for no standby, so that every standby has something to flush and to answer."""
    await sql.ask(connection, "SET synchronous_commit = local")
    await sql.ask(connection, "SELECT pg_logical_emit_message(true, 'pgswarm', 'nudge')")
    await sql.ask(connection, "SET synchronous_commit = on")


async def _force(connection: sql.Connection, order: Order) -> InForce:
    [[text]] = await sql.ask(connection, "SELECT pg_current_wal_insert_lsn()::text")
    if order.sync.k:
        # The insert position may lie behind a page's header, or a record that nobody flushes for seconds: without
        # one more commit an idle cluster's standbys would never be seen to have flushed past it.
        await _nudge(connection)
    logger.info("sync {} is in force (revision {}) from {}", order.sync, order.revision, text)
    return InForce(term=order.term, revision=order.revision, since=parse_lsn(text))


async def let_in(
    config: Config, files: Files, postmaster: Postmaster, throne: Throne, gate: Callable[[], None]
) -> None:
    """Let clients in."""
    if throne.opened:
        return
    gate()
    if files.doors(open_to_clients=True):
        connection = await sql.connect(config)
        try:
            [[before]] = await sql.ask(connection, "SELECT clock_timestamp()")
            postmaster.reload()
            await _loaded(config, before, None)
        finally:
            sql.drop(connection)
    throne.opened, throne.why = True, ""
    logger.info("open to clients")
