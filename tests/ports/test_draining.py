"""A node is drained and given back as it was: nothing else of it is changed, and no drill's node is another's."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core.drilling import LABEL
from pgswarm.core.swarmview import Node, SwarmView
from pgswarm.errors import Again, Conflict, Failure
from pgswarm.ports import draining

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class OneNode:
    """An engine of a Swarm with one node, which fails as often as it is told to."""

    def __init__(self, *failures: Failure) -> None:
        self.spec: dict[str, Any] = {"Role": "manager", "Availability": "active", "Labels": {"rack": "7"}}
        self.version = 11
        self._failures = list(failures)

    async def get(self, path: str, *, doing: str) -> Any:
        assert path == "/nodes/n1"
        return {"Spec": self.spec, "Version": {"Index": self.version}}

    async def post(self, path: str, body: Any, *, doing: str, version: int) -> None:
        assert (path, version) == ("/nodes/n1/update", self.version)
        if self._failures:
            raise self._failures.pop(0)
        self.spec, self.version = body, version + 1


async def test_it_is_drained_and_given_back_with_all_that_it_had() -> None:
    engine: Any = OneNode()
    before = dict(engine.spec)
    await draining.drain(engine, "n1", "main")
    assert (engine.spec["Availability"], engine.spec["Labels"]) == ("drain", {"rack": "7", LABEL: "main"})
    await draining.give_back(engine, "n1")
    assert engine.spec == before


async def test_giving_back_goes_on_while_swarm_has_no_leader_or_others_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "PAUSE", 0.0)
    engine: Any = OneNode()
    await draining.drain(engine, "n1", "main")
    engine._failures = [Again("no leader"), Conflict("somebody else wrote first")]
    await draining.give_back(engine, "n1")
    assert engine.spec["Availability"] == "active"


def test_only_what_a_drill_of_this_cluster_has_drained_is_left_by_it() -> None:
    def node(name: str, availability: str, **labels: str) -> Node:
        fields = {"id": name, "name": name, "role": "manager", "state": "ready", "availability": availability}
        return Node.model_validate({**fields, "labels": labels})

    view = SwarmView(
        nodes=(
            node("ours", "drain", **{LABEL: "main"}),
            node("another's", "drain", **{LABEL: "other"}),
            node("a person's", "drain"),
            node("active", "active", **{LABEL: "main"}),
        )
    )
    assert [one.name for one in draining.left_drained(view, "main")] == ["ours"]
