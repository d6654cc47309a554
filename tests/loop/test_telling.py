"""What an operator answers Prometheus, and a person who wants to know what goes on: over its real door."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgswarm.core.metrics_cluster import OPERATOR
from pgswarm.loop import run
from pgswarm.loop.house import House
from pgswarm.ports import door
from tests import free
from tests.loop.town import Town

SECRET = "0123456789abcdef-control"
TOKEN = "0123456789abcdef-metrics"


@asynccontextmanager
async def an_operator(folder: Path) -> AsyncIterator[tuple[Town, House, httpx.AsyncClient]]:
    """One whose cluster is whole, and a client that knows no secret."""
    town = Town(folder, "main")
    house, [port] = town.house(), free.ports(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.run)
        tasks.start_soon(door.serve, await door.listen("127.0.0.1", port), run.more(house, SECRET))
        with anyio.fail_after(30):
            while not town.is_whole():  # noqa: ASYNC110 - the town rings no bell of ours
                await anyio.sleep(0.05)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield town, house, client
        tasks.cancel_scope.cancel()


def told(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_an_operator_tells_of_itself_and_of_every_cluster(tmp_path: Path) -> None:
    async with an_operator(tmp_path) as (_, house, client):
        seen = told((await client.get("/metrics")).text)
        assert seen["pgswarm_cluster_acting"] == [({"cluster": "main"}, 1.0)]
        assert seen["pgswarm_cluster_serving"] == [({"cluster": "main"}, 1.0)]
        assert seen["pgswarm_cluster_copies"] == [({"cluster": "main"}, 2.0)]
        assert seen["pgswarm_cluster_copies_wanted"] == [({"cluster": "main"}, 2.0)]
        assert {labels["member"]: value for labels, value in seen["pgswarm_cluster_member_counted"]} == {"a": 1, "b": 1}
        steps = {labels["step"] for labels, _ in seen["pgswarm_cluster_steps_total"]}
        assert {"WriteRecord", "SendOrder"} <= steps
        assert seen["pgswarm_cluster_passes_total"][0][1] >= 3
        assert seen["pgswarm_operator_info"][0][0]["operator"] == house.identity.name
        missing = {one.name for one in OPERATOR} - set(seen)
        assert missing <= {"pgswarm_cluster_router_present"}, "the town has no routers that speak"


async def test_it_says_where_all_others_are(tmp_path: Path) -> None:
    async with an_operator(tmp_path) as (_, _, client):
        answer = await client.get("/targets")
        assert answer.headers["content-type"] == "application/json"
        groups = answer.json()
        members = {
            one["labels"]["member"]: one["targets"] for one in groups if one["labels"]["job"] == "pgswarm-member"
        }
        assert set(members) == {"a", "b"}
        assert all(target.endswith(":8009") for targets in members.values() for target in targets)
        assert {"targets": ["127.0.0.1:8011"], "labels": {"job": "pgswarm-operator"}} in groups
        assert SECRET not in json.dumps(groups)


async def test_a_token_is_wanted_where_there_is_one_and_the_rest_wants_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.setitem(os.environ, "PGSWARM_METRICS_TOKEN_FILE", str(file))
    async with an_operator(tmp_path / "town") as (_, _, client):
        for path in ("/metrics", "/targets"):
            assert (await client.get(path)).status_code == 401
            for word in (TOKEN, SECRET):
                assert (await client.get(path, headers={"Authorization": f"Bearer {word}"})).status_code == 200
        for verb, path in (("GET", "/activity"), ("POST", "/notice")):
            for word in ("nothing", TOKEN):
                asked = await client.request(verb, path, headers={"Authorization": f"Bearer {word}"}, content=b"{}")
                assert asked.status_code == 401
        known = {"Authorization": f"Bearer {SECRET}"}
        activity = (await client.get("/activity", headers=known)).json()
        assert set(activity["clusters"]["main"]) == {"a", "b"}
        assert "why" in activity["clusters"]["main"]["a"], "nobody listens at an address of the town"
        assert (await client.post("/notice", headers=known, content=b'{"kind": "lottery"}')).status_code == 422
        said = (await client.post("/notice", headers=known, content=b"{}")).json()
        assert said["webhooks"] == {}
