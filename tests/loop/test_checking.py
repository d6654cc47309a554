"""Gathering what `pgswarm doctor` judges: who tries the way of an application, and an engine that says nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from pgswarm.core.inspection import Inspection, InspectRequest
from pgswarm.core.sightings import Sighting
from pgswarm.loop import checking
from pgswarm.loop.options import Options
from tests.core import builders as b

pytestmark = pytest.mark.anyio


async def test_a_member_that_is_heard_tries_the_way_of_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first by name is lost, though Swarm still has an address of it: then nobody would try."""
    record = b.record("abc", 2, "bc")
    heard = b.world(record, b.standby(record, "b"), b.standby(record, "c"))
    lost: Sighting[Any] = Sighting(address="10.0.3.a")
    router: Sighting[Any] = Sighting(address="10.0.3.9")
    world = replace(heard, members={**heard.members, "a": lost}, routers={"r1": router})
    asked: dict[str, InspectRequest] = {}

    class Line:
        def __init__(self, address: str, *given: object, **more: object) -> None:
            self._address = address

        async def call(self, method: str, path: str, *, body: bytes, deadline: float) -> object:
            asked[self._address] = InspectRequest.model_validate_json(body)
            return SimpleNamespace(body=Inspection(wall=0.0).model_dump_json().encode())

    monkeypatch.setattr(checking, "Line", Line)
    await checking._inspected({"main": world}, {f"main/{name}": f"10.0.3.{name}" for name in "abc"}, "", b.NOW, {})
    assert {name for name, request in asked.items() if request.routers} == {"10.0.3.b"}
    assert set(asked) == {"10.0.3.a", "10.0.3.b", "10.0.3.c", "10.0.3.9"}


async def test_an_engine_that_does_not_answer_is_a_finding_and_no_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    async def build(options: Options) -> object:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(checking, "build", build)
    monkeypatch.setattr(checking, "ENGINE", 0.05)
    found = await checking.findings(Options(), None)
    bad = [one for one in found if one.level == "bad"]
    assert [(one.check, "has not answered" in one.what) for one in bad] == [("swarm-quorum", True)]
