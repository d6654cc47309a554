"""Taking over a data directory that was made by hand: made ours in place, without a copy and without a dump.

The memory says `building` and which folder, durable, before the first byte changes; whatever is cut short after that
is taken up again. In this order: PostgreSQL itself, in single-user mode and with settings of ours, opens what lies
there (so a locale that this image lacks is found out while the old set-up could still start) and gets what the agent
needs: a role `postgres`, whatever the old superuser was called; slots of old standbys go, for they would fill the disk.
The old settings are copied beside our memory. Then the directory is renamed to where ours are; from the volume's root
that is entry by entry, PG_VERSION first: from that instant the official image refuses to start on it.

Before this: `foreign` has looked, and the record has been written. After it: the start of a primary like any other.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from loguru import logger

from pgswarm.core.adoptable import ROOT, described, objections, timeline
from pgswarm.core.orders import Order
from pgswarm.core.parameters import OWNED_PARAMETERS
from pgswarm.core.reports import Data, Progress
from pgswarm.errors import Refused
from pgswarm.member import foreign, state, tools
from pgswarm.member.config import Config
from pgswarm.render import postgres as render

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

SINGLE = 600.0
"""Seconds for one start, a few statements and the shutdown of a PostgreSQL in single-user mode."""

OURS = frozenset({"agent", "kept", "pgdata", "pgdata.new", "pgdata.old", "lost+found"})
"""What on a volume's root is never part of a data directory that lies there."""

SETTINGS = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
"""Files of the old set-up that are copied to agent/adopted."""

_QUIET = (
    "shared_preload_libraries=", "session_preload_libraries=", "local_preload_libraries=", "synchronous_standby_names=",
    "synchronous_commit=local", "primary_conninfo=", "logging_collector=off", "log_destination=stderr",
    "log_min_messages=warning", "lc_messages=C", "archive_mode=off", "huge_pages=off", "ssl=off", "fsync=on",
    "default_transaction_read_only=off",
)  # fmt: skip

_ROLE = (
    "DO $$BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres') THEN "
    "CREATE ROLE postgres SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS LOGIN; "
    "ELSIF NOT (SELECT rolsuper AND rolcanlogin FROM pg_roles WHERE rolname = 'postgres') THEN "
    "RAISE EXCEPTION 'the role postgres is there and is no superuser that may log in; the agent needs it to be'; "
    "END IF; END$$"
)
_SLOTS = (
    "SELECT 'slot ' || slot_name || coalesce(pg_drop_replication_slot(slot_name)::text, '') AS pgswarm "
    "FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT starts_with(slot_name::text, 'pgswarm_')"
)
_DATABASES = (
    "SELECT 'database ' || concat_ws(' ', datlocprovider, datcollate, datctype, "
    "coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '-'), datname) AS pgswarm "
    "FROM pg_database AS d WHERE datallowconn ORDER BY datname = 'template1' DESC, datname"
)
_ANSWER = re.compile(r'pgswarm = "(?P<text>.*)"\t\(typeid')
_BAD = re.compile(r"\b(ERROR|FATAL|PANIC): +(?P<words>.*)$")
_SETTING = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*[= ]\s*(?:'((?:[^']|'')*)'|([^\s#]+))")
_USUAL = frozenset({"datestyle", "dynamic_shared_memory_type", "lc_messages", "lc_monetary", "lc_numeric", "lc_time"})
"""Settings that initdb writes by itself and that mean nothing."""


async def adopt(agent: Agent, order: Order) -> None:
    """Make the directory that lies here this member's. Raises Refused if it is not fit, or not the one."""
    config = agent.config
    agent.trouble("sealed", None)
    if not agent.memory.adopting:
        await _begin(agent, order)
    agent.seal = foreign.Seal()
    folder = agent.memory.adopting
    agent.tell(Progress(what="adopt"))
    if (config.volume / folder / "PG_VERSION").exists():
        await to_thread.run_sync(_free, config, config.volume / folder)
        await _make_ready(config, config.volume / folder)
        await to_thread.run_sync(_copy_settings, config, config.volume / folder)
    await to_thread.run_sync(_put_in_place, config, folder)
    control = await tools.control_data(config)
    if control["Database system identifier"] != order.system_id:
        raise Refused(f"this is system {control['Database system identifier']}, not {order.system_id}: not used")
    await agent.remember(
        data=Data.READY,
        system_id=order.system_id,
        reigned=order.term,
        timeline=order.timeline,
        begun=order.timeline == int(control["Latest checkpoint's TimeLineID"]),
        adopting="",
    )
    logger.info("system {} is taken over as {}", order.system_id, order.primary)


async def _begin(agent: Agent, order: Order) -> None:
    """Look once more, and remember what is about to be done before it is."""
    found = await foreign.look(agent.config)
    if found is None:
        raise Refused("there is no data directory here any more: nothing is taken over")
    standby = order.timeline > found.timeline
    refused = objections(found, major=agent.version.partition(".")[0], accept_standby=standby)
    if refused:
        raise Refused(f"not taken over: {'; '.join(refused)}")
    if found.system_id != order.system_id or timeline(found) != order.timeline:
        raise Refused(f"not taken over: here is {described(found)}, and the record says system {order.system_id}")
    logger.info("taking over {}", described(found))
    await agent.remember(
        data=Data.BUILDING,
        incarnation=order.primary,
        adopting=found.folder,
        system_id="",
        reigned=0,
        timeline=0,
        begun=False,
        follows=None,
    )


def _free(config: Config, directory: Path) -> None:
    """A lock file that our own single-user run has left goes; anybody else's means that somebody runs there."""
    path = directory / "postmaster.pid"
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return
    if len(lines) < 2 or not Path(lines[1]).is_relative_to(config.volume):
        raise Refused("a PostgreSQL runs on it (there is a postmaster.pid): stop the old service")
    path.unlink()


async def _make_ready(config: Config, directory: Path) -> None:
    """What the agent needs in there, and whether this image can open every database of it."""
    for name in ("standby.signal", "recovery.signal"):  # a promotion is what follows
        (directory / name).unlink(missing_ok=True)
    answers = await _single(config, directory, "template1", _ROLE, _SLOTS, _DATABASES)
    for text in answers:
        if text.startswith("slot "):
            logger.warning("replication slot {} dropped: who it was kept for does not follow this cluster", text[5:])
    rows = [text.split(" ", 5)[1:] for text in answers if text.startswith("database ")]
    if "postgres" not in [row[-1] for row in rows]:
        await _single(config, directory, "template1", "CREATE DATABASE postgres")
    opened = {tuple(rows[0][:-1])} if rows else set()
    for *locale, database in rows:
        if tuple(locale) not in opened:
            await _single(config, directory, database, "SELECT 1")
            opened.add(tuple(locale))


async def _single(config: Config, directory: Path, database: str, *statements: str) -> list[str]:
    """Run statements in single-user mode; what they answered in columns named pgswarm. Raises Refused on any error."""
    conf, script = config.conf / "adopting.conf", config.conf / "adopting.sql"
    state.write(conf, "# Written by pgswarm for a start in single-user mode.\n")
    state.write(script, "".join(f"{statement}\n" for statement in statements))
    argv = [config.program("postgres"), "--single", "-D", str(directory), "-c", f"config_file={conf}"]
    for setting in _QUIET:
        argv += ["-c", setting]
    source = os.open(script, os.O_RDONLY | os.O_CLOEXEC)
    try:
        output = await tools.run([*argv, database], deadline=SINGLE, keep=10_000, stdin=source)
    finally:
        os.close(source)
    bad = next((found["words"] for line in output.lines if (found := _BAD.search(line))), "")
    if "locale" in bad and output.code != 0:
        detail = next((line for line in output.lines if "DETAIL" in line), "").partition("DETAIL:")[2].strip()
        raise Refused(
            f"this image cannot open database {database}: {bad} ({detail}); build a member image with that locale "
            "(localedef), and name it in spec.postgres.image"
        )
    if bad or output.code != 0:
        raise Refused(f"PostgreSQL cannot open it: {bad or output.last}")
    return [found["text"] for line in output.lines if (found := _ANSWER.search(line))]


def _copy_settings(config: Config, directory: Path) -> None:
    """Keep the old set-up's files, and tell what it had set and this cluster does not."""
    kept = config.agent / "adopted"
    kept.mkdir(mode=0o700, exist_ok=True)
    for name in SETTINGS:
        if (directory / name).exists():
            shutil.copyfile(directory / name, kept / name)
    told = [f"{name} = {value}" for name, value in sorted(old_settings(kept).items())]
    if told:
        logger.warning(
            "the old set-up had settings that spec.postgres.parameters may want (its files are kept in {}): {}",
            kept, "; ".join(told),
        )  # fmt: skip


def old_settings(folder: Path) -> dict[str, str]:
    """What its configuration said that is neither ours to decide nor the same here anyway."""
    found: dict[str, str] = {}
    for name in SETTINGS[:2]:
        path = folder / name
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            if match := _SETTING.match(line):
                found[match[1].lower()] = match[2].replace("''", "'") if match[2] is not None else match[3]
    skipped = OWNED_PARAMETERS | render.OWNED.keys() | _USUAL
    return {name: v for name, v in found.items() if name not in skipped and render.DEFAULTS.get(name) != v}


def _put_in_place(config: Config, folder: str) -> None:
    """The directory becomes `pgdata`; repeated after a crash, it goes on where it was."""
    if folder == ROOT:
        config.pgdata.mkdir(mode=0o700, exist_ok=True)
        names = {entry.name for entry in os.scandir(config.volume)} - OURS
        for name in sorted(names, key=lambda name: (name != "PG_VERSION", name)):
            os.rename(config.volume / name, config.pgdata / name)
            state.sync_directory(config.volume)
        state.sync_directory(config.pgdata)
    elif config.volume / folder != config.pgdata and (config.volume / folder).exists():
        os.rename(config.volume / folder, config.pgdata)
    (config.pgdata / "postmaster.opts").unlink(missing_ok=True)
    state.sync_directory(config.volume)
