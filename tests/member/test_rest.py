"""What people are told of an agent that waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio

from pgswarm.core.ballast import full
from pgswarm.core.duty import Rest
from pgswarm.core.reports import Problem
from pgswarm.member.agent import Agent

FAILED = Problem(code="clone-failed", text="pg-b did not answer")


async def rested(rest: Rest) -> dict[str, str]:
    """The problems that are told while it rests, and its last work had failed."""
    wake = anyio.Event()
    wake.set()
    one: Any = SimpleNamespace(problems={"work": FAILED}, publish=lambda: None, _why="", _wake=wake)
    await Agent._rest(one, rest, 0.0)
    return {key: problem.text for key, problem in one.problems.items()}


async def test_what_is_waited_for_now_is_told_in_place_of_what_failed_before() -> None:
    waits = full("nothing is received until there is room")
    assert await rested(waits) == {"duty": waits.reason}


async def test_a_pause_before_another_try_tells_what_failed() -> None:
    assert await rested(Rest(reason="clone pg-b (again in a moment)", until=0.0)) == {"work": FAILED.text}
