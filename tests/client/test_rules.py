"""What follows from which failure, without a database: verdicts, pauses, the deadline, and where to connect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pgswarm.client import OutcomeUnknown, Patience, Unavailable, Where
from pgswarm.client.effort import Attempt, Effort
from pgswarm.client.verdict import Stage, Verdict, judge

CONNECTING, WORKING, COMMITTING = Stage
LOST = psycopg.OperationalError("server closed the connection unexpectedly")


def _error(code: str) -> psycopg.Error:
    return psycopg.errors.lookup(code)("as the server says")


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("40001", Verdict.AGAIN),
        ("40P01", Verdict.AGAIN),
        ("25006", Verdict.ANEW),
        ("57P01", Verdict.ANEW),
        ("57P02", Verdict.ANEW),
        ("57P03", Verdict.ANEW),
        ("53300", Verdict.ANEW),
        ("08006", Verdict.ANEW),
        ("57014", Verdict.FINAL),  # statement_timeout, or somebody's cancel
        ("25P02", Verdict.FINAL),
        ("25P03", Verdict.FINAL),
        ("23505", Verdict.FINAL),
        ("42P01", Verdict.FINAL),
        ("53100", Verdict.FINAL),
    ],
)
def test_an_error_before_commit_means_that_nothing_was_committed(code: str, verdict: Verdict) -> None:
    assert judge(_error(code), WORKING, gone=False) is verdict


def test_after_commit_was_sent_only_an_error_of_the_server_is_a_no() -> None:
    assert judge(LOST, COMMITTING, gone=True) is Verdict.UNKNOWN
    assert judge(_error("57P01"), COMMITTING, gone=True) is Verdict.UNKNOWN
    assert judge(KeyError("no answer of the server at all"), COMMITTING, gone=False) is Verdict.UNKNOWN
    assert judge(LOST, COMMITTING, gone=True, read_only=True) is Verdict.ANEW


def test_a_lost_connection_is_nothing_before_commit() -> None:
    assert judge(LOST, CONNECTING, gone=False) is Verdict.ANEW
    assert judge(LOST, WORKING, gone=True) is Verdict.ANEW
    assert judge(LOST, WORKING, gone=False) is Verdict.FINAL, "the connection stands: this is another kind of error"
    assert judge(psycopg.InterfaceError("the connection is closed"), WORKING, gone=True) is Verdict.ANEW
    assert judge(KeyError("the function's own"), WORKING, gone=True) is Verdict.FINAL


def test_who_wants_to_read_only_and_writes_is_told() -> None:
    assert judge(_error("25006"), WORKING, gone=False, read_only=True) is Verdict.FINAL


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('FATAL:  password authentication failed for user "app"', Verdict.FINAL),
        ('FATAL:  database "ap" does not exist', Verdict.FINAL),
        ("connection refused", Verdict.ANEW),
        ("session is read-only", Verdict.ANEW),
        ("FATAL:  the database system is starting up", Verdict.ANEW),
        ("failed to resolve host 'postgres-ha'", Verdict.ANEW),
    ],
)
def test_a_refused_connection_is_tried_again_unless_it_is_refused_for_good(text: str, verdict: Verdict) -> None:
    assert judge(psycopg.OperationalError(text), CONNECTING, gone=False) is verdict
    assert judge(FileNotFoundError("the file of the password"), CONNECTING, gone=False) is Verdict.FINAL


def test_pauses_grow_to_a_bound_and_are_spread() -> None:
    patience = Patience(first=0.1, longest=1)
    assert [patience.pause(failures, lambda: 1.0) for failures in (1, 2, 3, 4, 5, 99)] == [0.1, 0.2, 0.4, 0.8, 1, 1]
    assert patience.pause(1, lambda: 0.0) == 0.05
    with pytest.raises(ValueError, match="longer than 0"):
        Patience(deadline=0)


def _effort(*, idempotent: bool = False, can_look: bool = False) -> Effort:
    return Effort(patience=Patience(), began=0, until=10, idempotent=idempotent, can_look=can_look, dice=lambda: 1.0)


def _attempt(stage: Stage, gone: bool = True) -> Attempt:
    return Attempt(stage=stage, gone=gone)


def test_no_pause_reaches_beyond_the_deadline() -> None:
    effort = _effort()
    assert effort.after(LOST, _attempt(WORKING), now=1).pause == 0.05
    with pytest.raises(Unavailable, match=r"nothing was committed, after 10\.0 s and 2 attempts") as told:
        effort.after(LOST, _attempt(WORKING), now=9.99)
    assert told.value.attempts == 2
    assert told.value.__cause__ is LOST


def test_what_is_unknown_once_is_never_told_as_not_committed() -> None:
    effort = _effort(idempotent=True)
    assert effort.after(LOST, _attempt(COMMITTING), now=1).anew
    with pytest.raises(OutcomeUnknown):
        effort.after(LOST, _attempt(WORKING), now=9.99)
    with pytest.raises(OutcomeUnknown):
        effort.after(_error("23505"), _attempt(WORKING, gone=False), now=2)


def test_who_has_looked_knows() -> None:
    effort = _effort(can_look=True)
    assert effort.after(LOST, _attempt(COMMITTING), now=1).look
    effort.looked()
    assert not effort.after(LOST, _attempt(WORKING), now=2).look
    with pytest.raises(Unavailable):
        effort.after(LOST, _attempt(WORKING), now=9.99)


GIVEN = {"DB_NAME": "cnv_project", "DB_USER": "cnv_user"}


def test_the_environment_says_where(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file \n")
    where = Where.from_environment({**GIVEN, "DB_HOST": "a, b", "DB_PORT": "5432", "DB_PASS_FILE": str(file)})
    wanted = where.parameters()
    assert (wanted["host"], wanted["port"], wanted["dbname"], wanted["user"]) == ("a,b", "5432,5432", *GIVEN.values())
    assert wanted["password"] == "from a file "
    assert (wanted["connect_timeout"], wanted["target_session_attrs"]) == (2, "read-write")
    assert Where.from_environment(GIVEN).hosts == ("postgres-ha",)
    assert Where.from_environment({**GIVEN, "DB_PASS": "secret"}).parameters()["password"] == "secret"
    assert "secret" not in repr(Where.from_environment({**GIVEN, "DB_PASS": "secret"}))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"DB_USER": ""}, "DB_USER is not set"),
        ({"DB_PORT": "postgres"}, "DB_PORT must be a number"),
        ({"DB_PORT": "1,2,3", "DB_HOST": "a,b"}, "3 ports for 2 hosts"),
        ({"DB_HOST": "a,,b"}, "none of them empty"),
        ({"DB_PASS": "x", "DB_PASS_FILE": "y"}, "given twice"),
    ],
)
def test_an_environment_that_cannot_be_meant_is_refused(given: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Where.from_environment({**GIVEN, **given})


def test_an_application_carries_nothing_of_the_operator() -> None:
    """Beside what psycopg brings: neither our other packages nor what they stand on."""
    program = (
        "import sys, pgswarm.client;"
        "print([n for n in sys.modules if n.split('.')[0] in ('docker', 'pydantic', 'anyio', 'loguru', 'typer', 'rich')"
        " or n.startswith('pgswarm.') and not n.startswith('pgswarm.client')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
