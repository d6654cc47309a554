"""What a primary finds in its databases that is legal and will hurt: told for as long as it is so.

Two things come along with data that were made elsewhere, by hand or by an older image, and neither shows by itself.
Text is sorted by the C library of the image; another one may sort otherwise, and then indexes on text are wrong without
a word. And an md5 password cannot be used where scram-sha-256 is asked for. Nothing is changed here: a reindex takes
locks, and a password is its owner's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import anyio
from loguru import logger

from pgswarm.errors import Again
from pgswarm.member import sql

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

EVERY = 60.0
"""Seconds between two looks."""

FIRST = 3.0
"""Seconds from the beginning of a reign to the first look, which writers have before it."""

CODES = ("collation", "md5-passwords")

_COLLATIONS: LiteralString = """
SELECT datname::text, datcollate, coalesce(datcollversion, ''), pg_database_collation_actual_version(oid)
  FROM pg_database
 WHERE datallowconn AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
 ORDER BY datname
"""

_MD5: LiteralString = """
SELECT rolname::text FROM pg_authid WHERE rolcanlogin AND starts_with(rolpassword, 'md5') ORDER BY rolname
"""


async def keep(agent: Agent) -> None:
    """Look now and then, for as long as this member reigns."""
    try:
        await anyio.sleep(FIRST)
        while True:
            try:
                collations = await agent.observer.ask(_COLLATIONS)
                roles = await agent.observer.ask(_MD5)
            except Again as exc:
                logger.debug("not looked for collations and passwords: {}", exc)
            else:
                rules = agent.memory.circumstances.settings.hba
                agent.trouble("collation", of_collations(collations))
                agent.trouble("md5-passwords", of_passwords(roles, rules))
            await anyio.sleep(EVERY)
    finally:
        for code in CODES:
            agent.trouble(code, None)


def of_collations(rows: list[sql.Row]) -> str | None:
    """Which databases were sorted by another library; None if none was."""
    if not rows:
        return None
    names = [str(row[0]) for row in rows]
    before = sorted({f"{row[1]} {row[2] or '(no version: a library other than glibc?)'}" for row in rows})
    commands = " ".join(f"REINDEX DATABASE {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION;" for name in names)
    return (
        f"databases {', '.join(names)} were sorted by {', '.join(before)}, and this image sorts by "
        f"{rows[0][3] or 'none'}: indexes on text may miss rows. In each of them, when there is time: {commands}"
    )


def of_passwords(rows: list[sql.Row], rules: tuple[str, ...]) -> str | None:
    """Which roles cannot log in for the kind of their password; None if a rule of the document lets them."""
    if not rows or any("md5" in rule.split() for rule in rules):
        return None
    names = ", ".join(str(row[0]) for row in rows)
    return (
        f"roles {names} have md5 passwords, with which nobody is let in: set them anew (ALTER ROLE … PASSWORD), or let "
        "them in for a while with a line of spec.postgres.hba: `host all all 0.0.0.0/0 md5`"
    )
