"""What the dashboard's port answers, and to whom; the page itself is tried in a browser on the lab."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest

from pgswarm.core.status import Status
from pgswarm.core.wish import Answered
from pgswarm.errors import Failure, Refused
from pgswarm.loop import dashboard
from pgswarm.loop.dashboard import Dashboard, Settings
from pgswarm.ports import door
from tests import free
from tests.loop.town import Town

TOKEN = "0123456789abcdef"
WEB = Path(dashboard.__file__).parent / "web"


class Place:
    """A town whose operator serves its dashboard."""

    def __init__(self, town: Town, port: int) -> None:
        self.town = town
        self.switched: list[tuple[str, str]] = []
        self.asked: list[tuple[str, str]] = []
        self.told: tuple[Status, ...] | None = None
        self.fails: Failure | None = None
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10)
        self.known = {"Authorization": f"Bearer {TOKEN}"}

    async def switch(self, cluster: str, to: str) -> Answered:
        if self.fails is not None:
            raise self.fails
        self.switched.append((cluster, to))
        return Answered(id="1", kind="switchover", done=True, text=f"{to} is primary")

    async def ask(self, cluster: str, member: str) -> dict[str, object]:
        self.asked.append((cluster, member))
        standbys = [
            {"name": "b", "sync": "quorum", "flush_lag": 0.004},
            {"name": "c", "sync": "async", "flush_lag": 0.001},
        ]
        return {"cluster": cluster, "member": member, "standbys": standbys}

    async def statuses(self) -> tuple[Status, ...] | None:
        return self.told

    async def lines(self, count: int) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        async with self.client.stream("GET", "/feed", headers=self.known) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                found.append(json.loads(line))
                if len(found) == count:
                    break
        return found


@asynccontextmanager
async def place(folder: Path, *actions: str) -> AsyncIterator[Place]:
    town = Town(folder)
    house = town.house()
    (port,) = free.ports(1)
    one = Place(town, port)
    board = Dashboard(
        house, Settings(token=TOKEN, actions=frozenset(actions), port=port), one.switch, one.ask, one.statuses
    )
    async with anyio.create_task_group() as tasks, one.client:
        tasks.start_soon(house.run)
        tasks.start_soon(board.sample)
        tasks.start_soon(board.measure)
        tasks.start_soon(door.serve, await door.listen("127.0.0.1", port), board.handlers())
        with anyio.fail_after(20):
            while not town.is_whole():  # noqa: ASYNC110 - the world has no bell
                await anyio.sleep(0.02)
        yield one
        tasks.cancel_scope.cancel()


async def test_the_page_needs_no_token_loads_nothing_from_elsewhere_and_holds_no_data(tmp_path: Path) -> None:
    async with place(tmp_path / "d") as here:
        page = await here.client.get("/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "main" not in re.findall(r'cluster="([^"]*)"', page.text)
        for path in ("/dashboard.js", "/dashboard.css"):
            assert (await here.client.get(path)).status_code == 200
    for name in ("index.html", "dashboard.css", "dashboard.js"):
        foreign = re.findall(r"(?:https?|wss?)://(?!www\.w3\.org/)\S+", (WEB / name).read_text())
        assert not foreign, f"{name} names {foreign}"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
async def test_without_the_token_nothing_is_told_and_nothing_done(header: dict[str, str], tmp_path: Path) -> None:
    async with place(tmp_path / "d", "switchover") as here:
        asked = {"cluster": "main", "to": "b"}
        for answer in (
            await here.client.get("/feed", headers=header),
            await here.client.post("/propose", headers=header, json=asked),
            await here.client.post("/switchover", headers=header, json=asked),
        ):
            assert answer.status_code == 401
            assert "serves" not in answer.text
        assert not here.switched


async def test_the_feed_begins_with_everything_and_tells_a_failover(tmp_path: Path) -> None:
    async with place(tmp_path / "d") as here:
        (first,) = await here.lines(1)
        state = first["state"]
        assert isinstance(state, dict)
        (cluster,) = state["clusters"]
        before = cluster["primary"]
        assert (cluster["healthy"], state["may"]) == (True, [])
        assert {one["name"] for one in state["nodes"]} == {"node1", "node2", "node3"}
        async with anyio.create_task_group() as tasks:

            async def until_another() -> None:
                async with here.client.stream("GET", "/feed", headers=here.known) as answer:
                    async for line in answer.aiter_lines():
                        told = json.loads(line).get("state", state)["clusters"][0]
                        if told["primary"] != before and told["members"]:
                            assert told["term"] == 2
                            return

            tasks.start_soon(until_another)
            await anyio.lowlevel.checkpoint()
            here.town.members[f"main/{before}"].kill()


async def test_what_a_cluster_waits_for_is_in_the_words_of_the_operator_that_acts_for_it(tmp_path: Path) -> None:
    async with place(tmp_path / "d") as here:
        here.told = (Status(cluster="main", summary="told elsewhere", healthy=True),)
        (line,) = await here.lines(1)
        (cluster,) = line["state"]["clusters"]  # type: ignore[index]
        assert (cluster["summary"], cluster["history"][0]["kind"]) == ("told elsewhere", "began")


async def test_samples_say_how_far_behind_and_not_known_is_no_zero(tmp_path: Path) -> None:
    async with place(tmp_path / "d") as here:
        here.town.members["main/b"].tell(lag=2.5)
        with anyio.fail_after(10):
            while True:
                rows = [row for line in await here.lines(2) for row in line["samples"]]  # type: ignore[attr-defined]
                if rows and rows[-1]["points"]["main"].get("b") == [2.5, 0]:
                    break
        here.town.members["main/b"].kill()
        with anyio.fail_after(10):
            while True:
                rows = [row for line in await here.lines(2) for row in line["samples"]]  # type: ignore[attr-defined]
                if rows and rows[-1]["points"]["main"].get("b") == [None, None]:
                    break


async def test_how_long_commits_wait_is_asked_of_the_primary_only_while_somebody_watches(tmp_path: Path) -> None:
    async with place(tmp_path / "d") as here:
        await anyio.sleep(dashboard.MEASURE + 0.5)
        assert not here.asked
        with anyio.fail_after(15):
            waits: dict[str, float] = {}
            async with here.client.stream("GET", "/feed", headers=here.known) as answer:
                async for line in answer.aiter_lines():
                    for row in json.loads(line)["samples"]:
                        waits = row["waits"]
                    if waits:
                        break
        assert waits == {"main": 0.004}
        assert set(here.asked) == {("main", "a")}


async def test_a_switchover_is_proposed_to_anybody_and_done_only_where_it_is_allowed(tmp_path: Path) -> None:
    asked = {"cluster": "main", "to": "b"}
    async with place(tmp_path / "shows") as here:
        said = (await here.client.post("/propose", headers=here.known, json=asked)).json()
        assert said["refusal"] == ""
        assert any("takes over" in line for line in said["lines"])
        refused = await here.client.post("/switchover", headers=here.known, json=asked)
        assert (refused.status_code, here.switched) == (403, [])
    async with place(tmp_path / "acts", "switchover") as here:
        done = await here.client.post("/switchover", headers=here.known, json=asked)
        assert (done.json(), here.switched) == ({"done": True, "text": "b is primary"}, [("main", "b")])
        here.fails = Refused("another is asked for already")
        again = await here.client.post("/switchover", headers=here.known, json=asked)
        assert (again.status_code, again.json()["reason"]) == (409, "another is asked for already")
        assert (await here.client.post("/propose", headers=here.known, json={"to": "b"})).status_code == 422
        strange = {"cluster": "none", "to": "b"}
        assert (await here.client.post("/propose", headers=here.known, json=strange)).status_code == 404


def test_there_is_a_dashboard_only_with_a_token_and_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    said = {"PGSWARM_DASHBOARD_TOKEN_FILE": str(token)}
    assert dashboard.settings(said) is None
    token.write_text("short\n")
    with pytest.raises(Refused, match="too short"):
        dashboard.settings(said)
    token.write_text(TOKEN + "\n")
    given = dashboard.settings({**said, "PGSWARM_DASHBOARD_ACTIONS": "switchover"})
    assert given == Settings(token=TOKEN, actions=frozenset({"switchover"}))
    for name, value in (("ACTIONS", "failover"), ("PORT", "http")):
        with pytest.raises(Refused, match=name):
            dashboard.settings({**said, f"PGSWARM_DASHBOARD_{name}": value})
