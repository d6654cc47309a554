"""A person's verb finds the operator's container of this node also when Swarm has no leader to ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pgswarm.cli import elsewhere
from pgswarm.errors import Again
from pgswarm.ports import delegate
from pgswarm.ports import swarm as swarm_
from pgswarm.ports.delegate import Outcome


class Leaderless:
    """A manager whose Swarm has no leader; its engine knows these containers."""

    def __init__(self, containers: list[dict[str, Any]]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.engine = SimpleNamespace(get=self._get)
        self._containers = containers

    async def info(self) -> object:
        return object()

    async def view(self) -> object:
        raise Again("listing services: the Swarm has no leader at the moment; are more than half of the managers up?")

    async def _get(self, path: str, *, doing: str, **query: Any) -> list[dict[str, Any]]:
        assert path == "/containers/json"
        self.asked.append(query["filters"])
        return self._containers


def test_without_a_leader_the_verb_is_carried_into_the_container_that_this_engine_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    carried: list[tuple[str, list[str]]] = []

    async def exec_in(engine: object, container: str, argv: Sequence[str], *, seconds: float) -> Outcome:
        carried.append((container, list(argv)))
        return Outcome(exit_code=1, output="said\n")

    swarm = Leaderless([{"Id": "f00"}])
    monkeypatch.setattr(swarm_, "DockerSwarm", lambda: swarm)
    monkeypatch.setattr(delegate, "exec_in", exec_in)
    assert elsewhere.heard(["doctor"]) == (1, "said\n")
    assert carried == [("f00", ["pgswarm", "doctor"])]
    assert swarm.asked == [{"label": ["pgswarm.kind=operator"], "status": ["running"]}]


def test_without_a_leader_and_an_operator_here_it_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_, "DockerSwarm", lambda: Leaderless([]))
    with pytest.raises(Again, match="the Swarm has no leader"):
        elsewhere.heard(["doctor"])
