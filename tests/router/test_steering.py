"""Steering goes on, whatever HAProxy answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from pgswarm.router.act import Router

pytestmark = pytest.mark.anyio


class Babbling:
    """An HAProxy whose answers nobody understands."""

    status, generation, problem = "running", 1, ""

    def __init__(self) -> None:
        self.socket = self
        self.asked = 0
        self.kills: list[str] = []

    async def ask(self, *commands: str) -> str:
        self.asked += 1
        return "nobody knows what this is"

    def kill(self, why: str) -> None:
        self.kills.append(why)


async def test_an_answer_that_nobody_understands_ends_neither_the_agent_nor_haproxy(tmp_path: Path) -> None:
    haproxy: Any = Babbling()
    finder: Any = type("Finder", (), {"sightings": ()})()
    router = Router("main", tmp_path, 5432)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.run, haproxy, finder)
        with anyio.fail_after(20):
            while haproxy.asked < 3 or router.report().problem is None:  # noqa: ASYNC110 - the babbler has no bell
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    problem = router.report().problem
    assert problem is not None
    assert "steering failed" in problem.text
    assert not haproxy.kills
