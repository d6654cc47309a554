"""Starting quickly, loading little, ending in one line."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pgswarm.cli import failures
from pgswarm.errors import Again, Refused

HEAVY = {
    "anyio",
    "docker",
    "h11",
    "psycopg",
    "pydantic",
    "rich.console",
    "rich.table",
    "yaml",
}


def test_the_command_line_loads_nothing_that_works_before_a_verb_is_called() -> None:
    code = "import sys, pgswarm.cli; print(' '.join(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert not HEAVY & set(loaded.stdout.split())


def test_help_costs_a_fraction_of_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", "from pgswarm.cli import main; main()", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for verb in (
        "validate",
        "schema",
        "status",
        "switchover",
        "failover",
        "plan",
        "reconcile",
        "operator",
        "member",
        "router",
    ):
        assert f"  {verb} " in ran.stdout
    took = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert took < 0.5, f"{took:.2f} s of processor time; 0.1 s is usual"


@pytest.mark.parametrize(
    ("verb", "words"),
    [("member", "PGSWARM_CLUSTER is not set"), ("router", "PGSWARM_CLUSTER is not set"), ("operator", "secret")],
)
def test_an_agent_without_its_names_says_what_to_set(verb: str, words: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from pgswarm.entry import main; main()", verb],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PGSWARM_SECRET_FILE": str(tmp_path / "none")},
    )
    assert ran.returncode in (1, 2)
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("agent", ["member", "router"])
def test_an_agent_carries_neither_dockers_client_nor_the_command_line_with_it(agent: str) -> None:
    code = (
        f"import atexit, sys; sys.argv = ['pgswarm', '{agent}']; from pgswarm import entry; "
        "atexit.register(lambda: print(' '.join(sorted(sys.modules)))); entry.main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False, env={})
    loaded = set(ran.stdout.split())
    assert f"pgswarm.{agent}.main" in loaded
    assert not loaded & {"docker", "typer", "click", "rich", "yaml", "watchfiles", "requests"}


def failing_with(error: BaseException) -> Callable[[], object]:
    def verb() -> None:
        raise error

    return verb


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (failures.BadInput("no such file"), 2, "pgswarm: no such file"),
        (Refused("not a manager"), 1, "pgswarm: not a manager"),
        (ExceptionGroup("tasks", [Again("later"), Refused("never")]), 1, "pgswarm: later\npgswarm: never"),
        (KeyboardInterrupt(), 130, "pgswarm: interrupted"),
        (
            ZeroDivisionError("a\n  b"),
            1,
            "pgswarm: unexpected ZeroDivisionError: a b (run `pgswarm --debug …` for the traceback)",
        ),
    ],
)
def test_every_failure_is_its_line_and_its_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        failures.ending_in_one_line(failing_with(error))
    assert left.value.code == code
    assert capsys.readouterr().err == f"{line}\n"


def test_a_bug_shows_its_traceback_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "show_tracebacks", True)
    with pytest.raises(SystemExit):
        failures.ending_in_one_line(failing_with(ZeroDivisionError("here")))
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["status"], ["plan"], ["reconcile", "--once"]])
def test_a_secret_file_that_was_named_and_is_not_there_is_bad_input(verb: list[str], tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from pgswarm.cli import main; main()", *verb, "--secret-file", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("pgswarm: the secret file ")
    assert len(ran.stderr.splitlines()) == 1
