"""Lists that are taken every few seconds: the same answer again costs nothing and is the same objects again."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pgswarm.core.stored import Identity, Stored, identity_bytes, labels_of
from pgswarm.errors import Again, Refused
from pgswarm.ports.records import SwarmRecords
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.ports.swarm_http import Engine

pytestmark = pytest.mark.anyio


class Said(Engine):
    """An engine that says what it is told to."""

    def __init__(self) -> None:
        super().__init__("unix:///nowhere")
        self.said: dict[str, Any] = {"/services": [], "/nodes": [], "/networks": [], "/secrets": [], "/configs": []}

    async def read(self, path: str, **how: Any) -> bytes:
        return json.dumps(self.said[path]).encode()


def secret(name: str) -> dict[str, Any]:
    return {"ID": name, "Spec": {"Name": name}}


def config(label: str = "") -> dict[str, Any]:
    one = Stored(config_id="c", version_index=7, identity=Identity(cluster="main", id="1", createdAt="now"))
    labels = labels_of(one) | ({"pgswarm.record": label} if label else {})
    data = base64.b64encode(identity_bytes(one.identity)).decode()
    return {"ID": "c", "Version": {"Index": 7}, "Spec": {"Name": "pgswarm.main", "Labels": labels, "Data": data}}


async def test_an_equal_list_is_the_same_objects_and_a_changed_one_is_seen() -> None:
    swarm, engine = DockerSwarm(), Said()
    swarm.engine = engine
    engine.said["/secrets"] = [secret("a")]
    first, second = await swarm.view(), await swarm.view()
    assert first.secrets[0] is second.secrets[0]
    engine.said["/secrets"] = [secret("a"), secret("b")]
    assert [one.name for one in (await swarm.view()).secrets] == ["a", "b"]


async def test_an_equal_list_of_records_is_the_same_and_an_edited_label_is_seen_at_once() -> None:
    engine = Said()
    records = SwarmRecords(engine)
    engine.said["/configs"] = [config()]
    first = await records.by_cluster()
    assert isinstance(first["main"], Stored)
    assert await records.by_cluster() is first
    engine.said["/configs"] = [config("garbage")]
    assert isinstance((await records.by_cluster())["main"], Refused)


async def test_what_is_no_list_is_no_answer() -> None:
    swarm, engine = DockerSwarm(), Said()
    swarm.engine = engine
    engine.said["/nodes"] = {"message": "odd"}
    with pytest.raises(Again, match="not a list"):
        await swarm.view()
