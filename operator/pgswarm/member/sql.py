"""What the agent says to its own PostgreSQL: short statements over the unix socket, each with a deadline.

Names and passwords are composed by psycopg, never by hand; a password reaches PostgreSQL only as a SCRAM verifier
that was computed here, and only if it differs from the one that is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, LiteralString

import anyio
import psycopg
from loguru import logger
from psycopg import sql
from psycopg.rows import tuple_row

from pgswarm.core.orders import Settings
from pgswarm.errors import Again
from pgswarm.member.config import Config
from pgswarm.settings import REPLICATION_ROLE

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Row = tuple[Any, ...]

QUERY = 1.0
"""Seconds after which PostgreSQL counts as hung for one light question."""

AGENT_NAME = "pgswarm-agent"

REWIND_FUNCTIONS: tuple[LiteralString, ...] = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
"""What pg_rewind calls on its source."""


_UNCOUNTED: LiteralString = """
SELECT current_setting('shared_preload_libraries') ~ 'pg_stat_statements'
       AND NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements')
"""


async def connect(config: Config, *, deadline: float = QUERY, database: str = "postgres") -> Connection:
    """A new connection as superuser. Raises Again if it cannot be had in time."""
    try:
        with anyio.fail_after(deadline):
            return await psycopg.AsyncConnection.connect(
                host=str(config.socket_dir),
                port=config.postgres_port,
                user="postgres",
                dbname=database,
                application_name=AGENT_NAME,
                options="-c synchronous_commit=on -c default_transaction_read_only=off "
                "-c statement_timeout=0 -c log_statement=none -c log_min_duration_statement=-1 "
                "-c log_min_error_statement=panic -c pg_stat_statements.track=none",
                autocommit=True,
                row_factory=tuple_row,
            )
    except (psycopg.Error, TimeoutError, OSError) as exc:
        raise Again(f"PostgreSQL takes no connection: {_line(exc)}", after=0.2) from exc


async def ask(
    connection: Connection, query: LiteralString, arguments: Sequence[Any] = (), *, deadline: float = QUERY
) -> list[Row]:
    """The rows of one statement. Raises Again if it fails or takes longer than `deadline`."""
    try:
        with anyio.fail_after(deadline):
            cursor = await connection.execute(query, arguments or None)
            return await cursor.fetchall() if cursor.description else []
    except (psycopg.Error, TimeoutError) as exc:
        raise Again(f"PostgreSQL did not answer: {_line(exc)}", after=0.2) from exc


def drop(connection: Connection | None) -> None:
    """Close at once, whatever it is doing."""
    if connection is not None:
        connection.pgconn.finish()


async def install(config: Config, settings: Settings, owner_password: str, replication_password: str) -> None:
    """Roles, database and grants, made or put right; the passwords as the secrets have them."""
    connection = await connect(config, deadline=10.0)
    try:
        # These are nobody's data: they must not wait for standbys that may not be there yet.
        await ask(connection, "SET synchronous_commit = local")
        await _role(connection, REPLICATION_ROLE, replication_password, "LOGIN REPLICATION")
        for function in REWIND_FUNCTIONS:
            [[may]] = await ask(
                connection, "SELECT has_function_privilege(%s, %s, 'execute')", [REPLICATION_ROLE, function]
            )
            if not may:
                grant = sql.SQL("GRANT EXECUTE ON FUNCTION pg_catalog." + function + " TO {}")
                await _execute(connection, grant.format(sql.Identifier(REPLICATION_ROLE)))
        [[may]] = await ask(connection, "SELECT pg_has_role(%s, 'pg_read_all_stats', 'usage')", [REPLICATION_ROLE])
        if not may:  # how large every database is: asked before a clone is begun
            everything = sql.SQL("GRANT pg_read_all_stats TO {}").format(sql.Identifier(REPLICATION_ROLE))
            await _execute(connection, everything)
        await _role(connection, settings.owner, owner_password, "LOGIN")
        if not await ask(connection, "SELECT 1 FROM pg_database WHERE datname = %s", [settings.database]):
            create = sql.SQL("CREATE DATABASE {} OWNER {}")
            await _execute(connection, create.format(sql.Identifier(settings.database), sql.Identifier(settings.owner)))
    finally:
        drop(connection)


async def count_statements(config: Config, *databases: str) -> None:
    """The extension by which statements are read, where its library is loaded; for people, so never worth a failure."""
    for database in ("postgres", *databases):
        try:
            connection = await connect(config, deadline=5.0, database=database)
        except Again as failure:
            logger.warning("{}: statements are not counted there yet: {}", database, failure.reason)
            continue
        try:
            await ask(connection, "SET synchronous_commit = local")
            [[wanted]] = await ask(connection, _UNCOUNTED, deadline=5.0)
            if wanted:
                await ask(connection, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements", deadline=10.0)
        except Again as failure:
            logger.warning("{}: statements are not counted there yet: {}", database, failure.reason)
        finally:
            drop(connection)


async def _role(connection: Connection, role: str, password: str, rights: LiteralString) -> None:
    rows = await ask(connection, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role], deadline=5.0)
    if rows and matches(rows[0][0], password):
        return
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    verb: LiteralString = "ALTER ROLE {} " if rows else "CREATE ROLE {} "
    await _execute(
        connection, sql.SQL(verb + rights + " PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    )


def matches(verifier: str | None, password: str) -> bool:
    """Is this SCRAM verifier of this password? (`SCRAM-SHA-256$iterations:salt$stored:server`)"""
    try:
        scheme, parameters, keys = (verifier or "").split("$")
        iterations, salt = parameters.split(":")
        stored = base64.b64decode(keys.split(":")[0])
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    except ValueError:
        return False
    client = hmac.digest(salted, b"Client Key", "sha256")
    return scheme == "SCRAM-SHA-256" and hmac.compare_digest(hashlib.sha256(client).digest(), stored)


async def _execute(connection: Connection, statement: sql.Composed) -> None:
    try:
        with anyio.fail_after(10.0):
            await connection.execute(statement)
    except (psycopg.Error, TimeoutError) as exc:
        raise Again(f"PostgreSQL refused a statement: {_line(exc)}") from exc


def _line(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
