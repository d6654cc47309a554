"""What a drill has broken is put back from what Swarm says, through the seconds in which Swarm says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core.drilling import LABEL, Announcement, Promise, service_name
from pgswarm.core.status import Status
from pgswarm.core.swarmview import Node, Service, SwarmView
from pgswarm.errors import Again, Refused
from pgswarm.loop import ask, drillscene
from pgswarm.loop.drillscene import Scene

pytestmark = pytest.mark.anyio

KNOWN = Announcement(cluster="main", kind="node-drain", promise=Promise(seconds=1.0, lossless=True, text="…"))


class Site:
    """A Swarm with a node that a drill has drained and a client that it has left, and an engine that fails at first."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.availability, self.labels = "drain", {LABEL: "main", "rack": "7"}
        self.removed: list[str] = []
        self.engine = self

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def view(self) -> SwarmView:
        self._fail()
        fields = {"id": "n1", "name": "node1", "role": "manager", "state": "ready", "availability": self.availability}
        client = Service(id="d", version=1, name=service_name("main"))
        services = () if self.removed else (client,)
        return SwarmView(nodes=(Node.model_validate({**fields, "labels": self.labels}),), services=services)

    async def get(self, path: str, *, doing: str) -> Any:
        self._fail()
        return {"Spec": {"Availability": self.availability, "Labels": self.labels}, "Version": {"Index": 1}}

    async def post(self, path: str, body: Any, *, doing: str, version: int) -> None:
        self._fail()
        self.availability, self.labels = body["Availability"], body["Labels"]

    async def remove_service(self, service_id: str) -> None:
        self._fail()
        self.removed.append(service_id)


def scene(site: Site, told: list[str]) -> Scene:
    swarm: Any = site
    return Scene(announcement=KNOWN, swarm=swarm, records=swarm, secret="", by="ann", tell=told.append)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drillscene, "PAUSE", 0.0)


async def test_a_drained_node_is_given_back_and_the_client_is_removed_also_where_this_process_has_done_neither() -> (
    None
):
    site, told = Site(), list[str]()
    made = scene(site, told)
    await made.clean_up()
    assert (site.availability, site.labels, site.removed) == ("active", {"rack": "7"}, ["d"])
    assert (made.left, told) == ([], ["node1 is given back"])


async def test_it_goes_on_while_swarm_has_no_leader() -> None:
    site = Site(Again("no leader"), Again("no leader"))
    made = scene(site, [])
    await made.clean_up()
    assert (site.availability, site.removed, made.left) == ("active", ["d"], [])


async def test_what_cannot_be_put_back_is_told_with_the_command_that_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    site, told = Site(), list[str]()
    made = scene(site, told)

    async def never(path: str, *, doing: str) -> Any:
        raise Refused("this node is a worker")

    monkeypatch.setattr(site, "get", never)
    await made.clean_up()
    assert len(made.left) == 1
    assert "`docker node update --availability active --label-rm pgswarm.drill node1`" in made.left[0]
    assert made.left[0] in told
    assert site.removed == ["d"], "the rest is put back all the same"


async def test_a_swarm_that_never_answers_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drillscene, "PATIENCE", 0.05)
    made = scene(Site(*[Again("no leader")] * 1_000_000), [])
    await made.clean_up()
    assert made.left == ["the Swarm does not answer: look for a drained node, `docker node ls`"]


async def test_an_operator_that_has_only_just_begun_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on the node that was given back, and has listed nothing yet."""
    made, good = scene(Site(), []), status("main")

    async def operators() -> list[str]:
        return ["new", "old", "never"]

    async def statuses(secret: str, address: str) -> tuple[Status, ...] | None:
        if address == "new":
            raise Again("Swarm cannot be observed: not listed yet")
        return (status("other"), good) if address == "old" else None

    monkeypatch.setattr(made, "_operators", operators)
    monkeypatch.setattr(ask, "statuses", statuses)
    assert await made.status() is good


def status(cluster: str) -> Status:
    fields: dict[str, Any] = {name: "" for name, one in Status.model_fields.items() if one.is_required()}
    return Status.model_construct(**{**fields, "cluster": cluster})
