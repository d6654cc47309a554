"""Words that cannot be meant are refused before anything is asked."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["failover", "--dead", "pg-1"], "--dead means nothing without --accept-data-loss"),
        (["failover", "--accept-data-loss", "--to", "pg-1"], "leave --to away"),
        (["switchover", "--timeout", "0"], "timeout"),
        (["switchover", "--secret-file", "/nowhere"], "does not exist"),
        (["switchover", "--at", "tomorrow"], "is no time: say 2026-01-02T03:04:05Z, or +30m from now"),
        (["switchover", "--at", "2026-01-02T03:04:05"], "names no zone"),
        (["switchover", "--at", "2020-01-02T03:04:05Z"], "is over"),
        (["switchover", "--cancel", "--to", "pg-1"], "leave --at and --to away"),
        (["pause", "--for", "soon"], "'soon' is no length of time: say 90s, 15m, 2h or 1d"),
        (["pause", "--for", "0m"], "no length of time"),
    ],
)
def test_words_that_contradict_each_other_are_bad_input(words: list[str], why: str) -> None:
    command = [sys.executable, "-c", "from pgswarm.cli import main; main()", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    assert ran.returncode == 2, ran.stderr
    assert why in ran.stderr


def test_a_pause_says_first_what_it_means_and_a_dry_run_asks_nobody() -> None:
    command = [sys.executable, "-c", "from pgswarm.cli import main; main()", "pause", "--dry-run"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert "a primary that is lost is missed until somebody resumes" in ran.stdout


def test_a_fence_teaches_what_insists_and_how_it_is_taken_back() -> None:
    command = [sys.executable, "-c", "from pgswarm.cli import main; main()", "fence", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    for words in ("unfence", "--with-fewer-copies", "--even-if-nobody-can-follow", "Exit code 0: it is stopped"):
        assert words in " ".join(ran.stdout.split())


@pytest.mark.parametrize(
    ("verb", "taught"),
    [
        ("reseed", ("--with-fewer-copies", "stays on the volume until the new is complete", "switch over first")),
        ("delete", ("Its data stays", "--volumes", "--cancel", "it can be repeated")),
        ("switchover", ("--at", "--within", "--cancel")),
        ("unfence", ("follows the primary", "no operator lives")),
    ],
)
def test_help_teaches_what_stays_and_how_to_go_back(verb: str, taught: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", "from pgswarm.cli import main; main()", verb, "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    for words in taught:
        assert words in " ".join(ran.stdout.split())


@pytest.mark.parametrize("verb", ["switchover", "failover"])
def test_the_help_says_what_is_lost_and_how_it_ends(verb: str) -> None:
    command = [sys.executable, "-c", "from pgswarm.cli import main; main()", verb, "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    for words in ("lost", "Exit code 0: done", "--timeout", "--dry-run"):
        assert words in ran.stdout
