"""What people are told of a PostgreSQL that ends again and again, and until when."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

from pgswarm.core.reports import Postgres
from pgswarm.member import watching
from pgswarm.member.postmaster import QUIET, Postmaster

NOW = 1000.0


def agent(*, crashes: int, running_for: float) -> Any:
    postmaster = Postmaster.__new__(Postmaster)
    postmaster.crashes, postmaster.lines = crashes, deque(["PANIC: no space"])
    postmaster.state, postmaster.started_at = Postgres.RUNNING, NOW - running_for
    return SimpleNamespace(postmaster=postmaster, problems={})


def test_three_ends_in_a_row_are_a_problem_in_postgresqls_own_words_of_then() -> None:
    one = agent(crashes=3, running_for=1.0)
    watching._note_crashes(one, NOW)
    one.postmaster.lines.append("LOG: checkpoint complete")
    watching._note_crashes(one, NOW + 1.0)
    assert one.problems["crash"].text == "PostgreSQL ended 3 times in a row: PANIC: no space"


def test_a_minute_of_quiet_running_ends_the_problem_without_another_end() -> None:
    one = agent(crashes=3, running_for=1.0)
    watching._note_crashes(one, NOW)
    watching._note_crashes(one, NOW + QUIET)
    assert not one.problems


def test_two_ends_are_no_problem() -> None:
    one = agent(crashes=2, running_for=1.0)
    watching._note_crashes(one, NOW)
    assert not one.problems
