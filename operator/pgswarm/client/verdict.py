"""Which error means what: may the transaction be done again, and on which connection? A pure function of the error.

Everything hangs on one fact: a transaction commits only if the server has received COMMIT. So whatever fails *before*
COMMIT was sent has committed nothing and never will, and may be done again if that can help. After COMMIT was sent,
an ERROR of the server is a definite no (it comes before the commit record is written; what fails later is no ERROR).
Every other end is unknown: a connection that broke, and FATAL too, because PostgreSQL terminates a session that waits
for its standbys *after* the commit is on its own disk, with the words of an ordinary shutdown.

"Can help" is the second question. Another server helps where this one is going, gone, not yet there or read-only;
another attempt helps after a serialization failure or a deadlock. A wrong password, a missing table, a violated
constraint stay.
"""

from __future__ import annotations

import enum

import psycopg
from psycopg_pool import PoolClosed

COLLISIONS = frozenset({"40001", "40P01"})
"""serialization_failure, deadlock_detected: the same session may try at once."""

ELSEWHERE = frozenset({"57P01", "57P02", "57P03", "57P05", "53300"})
"""admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout, too_many_connections."""

READ_ONLY = "25006"
"""read_only_sql_transaction: a standby, or a primary that is none any more."""

PERMANENT = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied for database",
    "is not permitted to log in",
    "invalid connection option",
)
"""In the words of a refused connection, which has no SQLSTATE in libpq: what no other attempt will change."""


class Stage(enum.Enum):
    """How far an attempt had come."""

    CONNECTING = "connecting"
    WORKING = "working"
    COMMITTING = "committing"
    """COMMIT may have been sent."""


class Verdict(enum.Enum):
    """What an error means for the transaction."""

    FINAL = "nothing was committed, and to do it again changes nothing"
    AGAIN = "nothing was committed; again on the same connection"
    ANEW = "nothing was committed; again on a new connection, and none that is as old can be trusted"
    UNKNOWN = "it may be committed"


def judge(error: BaseException, stage: Stage, *, gone: bool, read_only: bool = False) -> Verdict:
    """The verdict; `gone`: the connection does not stand any more, `read_only`: the caller wanted to write nothing."""
    if stage is Stage.CONNECTING:
        return Verdict.FINAL if is_permanent(error) else Verdict.ANEW
    if stage is Stage.COMMITTING and (gone or not _is_a_no(error)):
        return Verdict.ANEW if read_only else Verdict.UNKNOWN
    if not isinstance(error, psycopg.Error):
        return Verdict.FINAL
    code = error.sqlstate
    if code is None:
        return Verdict.ANEW if gone else Verdict.FINAL
    if code in COLLISIONS:
        return Verdict.AGAIN
    if code in ELSEWHERE or code.startswith("08"):
        return Verdict.ANEW
    if code == READ_ONLY and not read_only:
        return Verdict.ANEW
    return Verdict.FINAL


def is_permanent(error: BaseException) -> bool:
    """Is a connection refused for good? A file of a password that cannot be read counts as well."""
    if isinstance(error, psycopg.OperationalError) and not isinstance(error, PoolClosed):
        return any(words in str(error) for words in PERMANENT)
    return True


def _is_a_no(error: BaseException) -> bool:
    """Has the server answered COMMIT with an ERROR?"""
    severity = error.diag.severity_nonlocalized if isinstance(error, psycopg.Error) else None
    return severity == "ERROR"
