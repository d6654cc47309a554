"""`DatabaseHA` with Debian's PHP and real PostgreSQL: the same failures at the same places as for Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.stage import PASSWORD, Gate, Server, let_go_once_somebody_looks

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[2]
PLAY = Path(__file__).with_name("play.php")
ONCE = "INSERT INTO ledger SELECT 1 WHERE NOT EXISTS (SELECT FROM ledger WHERE n = 1)"
KILL = "SELECT pg_terminate_backend(pg_backend_pid())"


class Player:
    """PHP, playing one transaction."""

    def __init__(self, gate: Gate, folder: Path) -> None:
        self._folder = folder
        self._given = {
            "PATH": os.environ["PATH"],
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(gate.port),
            "DB_NAME": "app",
            "DB_USER": "app",
            "DB_PASS": PASSWORD,
        }

    def play(
        self, *, between: Callable[[], object] | None = None, given: dict[str, str] | None = None, **words: Any
    ) -> Any:
        """What came of it; `between` is called while the player waits at PAUSE or HOLD."""
        at = self._folder / "waits"
        stops = {name: str(at) for name in ("PAUSE", "HOLD") if words.pop(name.lower(), False)}
        env = {**self._given, **(given or {}), **stops}
        env |= {name: words.pop(name.lower()) for name in ("FIRST", "EACH", "WARM") if name.lower() in words}
        env["WISH"] = json.dumps(words)
        player = subprocess.Popen(["php", str(PLAY)], env=env, stdout=subprocess.PIPE, text=True)
        try:
            if between is not None:
                give_up = time.monotonic() + 20
                while not at.exists():
                    assert time.monotonic() < give_up
                    assert player.poll() is None, player.stdout and player.stdout.read()
                    threading.Event().wait(0.01)
                between()
                at.unlink()
            text, _ = player.communicate(timeout=60)
        finally:
            player.kill()
        return json.loads(text.splitlines()[-1])


@pytest.fixture
def php(gate: Gate, tmp_path: Path) -> Player:
    return Player(gate, tmp_path)


def test_a_transaction_is_committed_and_its_result_returned(php: Player, server: Server) -> None:
    assert php.play() == {"result": 1, "calls": 1}
    assert server.rows("ledger") == [1]


@pytest.mark.parametrize("fault", ["greeting", "begin"])
def test_what_fails_before_anything_was_done_is_done_again(php: Player, gate: Gate, server: Server, fault: str) -> None:
    gate.fail(fault, fault)
    assert php.play()["result"] == 1
    assert gate.is_quiet
    assert server.rows("ledger") == [1]


def test_an_idle_connection_that_died_is_not_noticed(php: Player, server: Server) -> None:
    assert php.play(warm="1", hold=True, between=server.end_sessions) == {"result": 1, "calls": 1}
    assert php.play(connection=True, hold=True, between=server.end_sessions) == {"result": 7, "calls": 0}


def test_a_backend_killed_in_the_transaction_is_nothing_but_another_attempt(php: Player, server: Server) -> None:
    assert php.play(first=KILL) == {"result": 2, "calls": 2}
    assert server.rows("ledger") == [1]


def test_a_backend_killed_while_the_function_thinks_is_seen_before_commit_is_sent(
    php: Player, server: Server, gate: Gate
) -> None:
    assert php.play(pause=True, between=server.end_sessions) == {"result": 2, "calls": 2}
    assert gate.passed == 1
    assert server.rows("ledger") == [1]


@pytest.mark.parametrize("code", ["40001", "40P01", "25006", "57P03"])
def test_errors_that_another_attempt_mends(php: Player, server: Server, code: str) -> None:
    text = f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"
    assert php.play(first=text)["result"] == 2
    assert server.rows("ledger") == [1]


def test_errors_that_no_attempt_mends_come_through_as_they_are(php: Player, server: Server) -> None:
    told = php.play(first="SELECT 1 / 0")
    assert (told["error"], told["code"], told["calls"]) == ("PDOException", "22012", 1)
    assert server.rows("ledger") == []


def test_commit_that_was_sent_and_never_answered_is_told_apart(php: Player, gate: Gate, server: Server) -> None:
    for fault in ("commit", "answer"):
        gate.fail(fault)
        told = php.play()
        assert (told["error"], told["calls"]) == ("OutcomeUnknown", 1)
    assert server.rows("ledger") == [1]


@pytest.mark.parametrize("fault", ["answer", "commit"])
def test_what_may_be_done_twice_is_done_until_it_is_known_to_be_there(
    php: Player, gate: Gate, server: Server, fault: str
) -> None:
    gate.fail(fault, fault)
    assert php.play(each=ONCE, idempotent=True)["result"] == 3
    assert server.rows("ledger") == [1]


@pytest.mark.parametrize(("fault", "calls"), [("answer", 1), ("commit", 2)])
def test_who_can_look_is_asked_and_nothing_is_done_twice(
    php: Player, gate: Gate, server: Server, fault: str, calls: int
) -> None:
    gate.fail(fault)
    assert php.play(landed=True) == {"result": calls, "calls": calls}
    assert server.rows("ledger") == [1]


def test_who_looks_waits_for_a_commit_that_is_still_on_its_way(php: Player, gate: Gate, server: Server) -> None:
    gate.fail("late")
    looks = threading.Thread(target=let_go_once_somebody_looks, args=(gate, server))
    looks.start()
    assert php.play(landed=True) == {"result": 1, "calls": 1}
    looks.join()
    assert server.rows("ledger") == [1]


def test_a_session_ended_while_its_commit_waits_for_a_standby_is_unknown(php: Player, server: Server) -> None:
    server.wait_for_nobody()
    end = threading.Thread(target=server.end_sessions_that_wait)
    end.start()
    told = php.play()
    end.join()
    assert (told["error"], told["calls"]) == ("OutcomeUnknown", 1)
    assert server.rows("ledger") == [1]


def test_a_repetition_that_finds_its_work_done_is_not_believed_before_that_is_confirmed(
    php: Player, server: Server
) -> None:
    server.wait_for_nobody()
    end = threading.Thread(target=server.end_sessions_that_wait)
    end.start()
    back = threading.Timer(2.0, server.setting, ["RESET synchronous_standby_names"])
    back.start()
    began = time.monotonic()
    assert php.play(each=ONCE, idempotent=True) == {"result": 2, "calls": 2}
    assert time.monotonic() - began > 1.9
    end.join()
    back.join()
    assert server.rows("ledger") == [1]


def test_a_read_may_always_be_repeated_and_may_not_write(php: Player, gate: Gate) -> None:
    gate.fail("answer", "commit")
    assert php.play(each="SELECT 1", readOnly=True)["result"] == 3
    assert php.play(readOnly=True)["code"] == "25006"


def test_the_deadline_ends_a_statement_and_the_waiting_for_a_server(php: Player, gate: Gate, server: Server) -> None:
    told = php.play(first="SELECT pg_sleep(60)", deadline=0.5)
    assert told["error"] == "Unavailable"
    assert re.search(r"nothing was committed, after \d\.\d", told["text"]), told["text"]
    gate.fail(*["greeting"] * 100)
    assert php.play(deadline=0.7)["error"] == "Unavailable"
    assert server.rows("ledger") == []


def test_a_wrong_password_is_told_at_once_and_a_file_is_read(php: Player, server: Server, tmp_path: Path) -> None:
    told = php.play(given={"DB_PASS": "wrong"})
    assert told["error"] == "PDOException"
    assert "password authentication failed" in told["text"]
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    assert php.play(given={"DB_PASS": "", "DB_PASS_FILE": str(file)})["result"] == 1
    assert "given twice" in php.play(given={"DB_PASS_FILE": str(file)})["text"]


def test_a_function_that_passes_over_an_error_does_not_look_committed(php: Player, server: Server) -> None:
    told = php.play(each="SAVEPOINT a; INSERT INTO ledger VALUES (1); COMMIT")
    assert told["error"] == "LogicException", "it has ended its transaction itself"
