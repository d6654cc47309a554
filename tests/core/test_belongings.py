"""What is removed with a cluster, what only has its names, and that every operator stands still meanwhile."""

from __future__ import annotations

from typing import Any

from pgswarm import settings
from pgswarm.core.belongings import belongings, is_live
from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.steps import EnsureService
from pgswarm.core.swarmview import Network, Node, Secret, Service, SwarmView, Task
from pgswarm.core.wish import Deletion
from tests.core.builders import NOW, SWARM, document, empty, heard, places, primary, record, standby, world

WEBNET = Network(name="webnet", id="n1", scope="swarm", driver="overlay", labels={settings.LABEL_KIND: "network"})


def service(name: str, kind: str = "member", member: str = "", *, ours: bool = True, on: str = "") -> Service:
    labels = {settings.LABEL_CLUSTER: "main", settings.LABEL_KIND: kind, settings.LABEL_MEMBER: member} if ours else {}
    networks = [{"Target": on}] if on else []
    return Service(id=f"id-{name}", version=1, name=name, labels=labels, spec={"TaskTemplate": {"Networks": networks}})


def swarm(*more: Service, **changes: Any) -> SwarmView:
    services = (
        service("main_a", member="a"),
        service("main_b", member="b"),
        service("main_postgres-ha", "router", on="n1"),
        *more,
    )
    label = {settings.LABEL_CLUSTER: "main"}
    secrets = (Secret(id="s1", name="main-owner", labels=label), Secret(id="s2", name="main-replication"))
    return SwarmView(**{"services": services, "secrets": secrets, "networks": (WEBNET,), **changes})


def of() -> Record:
    return record("ab", 2, "b", members="ab", departed=places("c"))


def test_the_primary_is_stopped_last_and_its_volume_is_named_first() -> None:
    there = belongings(swarm(), "main", of(), document("ab"))
    assert [one.member for one in there.members] == ["b", "a"]
    assert [place.volume for place in there.volumes] == ["main_a", "main_b", "main_c"]
    assert [one.name for one in there.routers] == ["main_postgres-ha"]
    assert any("volumes, the newest data first: main_a on node-a" in line for line in there.lines)


def test_what_only_has_our_names_is_told_and_not_touched() -> None:
    there = belongings(swarm(service("main_web", ours=False)), "main", of(), document("ab"))
    assert "main_web" not in [one.name for one in (*there.members, *there.routers)]
    assert [one.name for one in there.secrets] == ["main-owner"]
    assert any("service main_web: it has our name and not our label" in text for text in there.kept)
    assert any("secret main-replication: it has our name and not our label" in text for text in there.kept)


def test_a_secret_that_the_document_names_is_the_persons() -> None:
    named = document("ab", postgres={"passwords": {"owner": "mine"}})
    there = belongings(swarm(), "main", of(), named)
    assert any("secret mine: the document names it" in text for text in there.kept)


def test_a_network_goes_only_if_we_made_it_and_nobody_else_is_on_it() -> None:
    assert belongings(swarm(), "main", of(), document("ab")).network == WEBNET
    used = belongings(swarm(service("shop", ours=False, on="n1")), "main", of(), document("ab"))
    assert used.network is None
    assert any("network webnet: shop is on it" in text for text in used.kept)
    foreign = WEBNET.model_copy(update={"labels": {}})
    kept = belongings(swarm(networks=(foreign,)), "main", of(), document("ab"))
    assert kept.network is None
    assert any("pgswarm has not made it" in text for text in kept.kept)


def test_a_member_on_a_node_that_is_down_is_not_waited_for() -> None:
    task = Task(id="t", service_id="id-main_a", node_id="n", state="running", desired="shutdown")
    for state, where in (("ready", "one"), ("down", "")):
        node = Node(id="n", name="one", role="worker", state=state)
        view = SwarmView(nodes=(node,), services=(service("main_a", member="a"),), tasks=(task,))
        assert is_live(view, view.services[0]) == where


def test_every_operator_stands_still_for_a_cluster_that_is_being_deleted() -> None:
    marked = record("ab", 2, "b", members="ab", deletion=Deletion(by="ann", since=1.0))
    for seen in (
        world(marked, primary(marked, "b"), standby(marked, "b")),
        world(marked, heard(primary(marked), ago=9.0, closed=9.0), standby(marked, "b")),
    ):
        said = plan(seen, NOW)
        assert said.steps == ()
        assert said.waits == ("being deleted by ann: `pgswarm delete main` ends it, or takes it back with --cancel",)


def test_a_secret_or_network_of_somebody_else_is_refused_before_anything_is_made_on_it() -> None:
    strange = SWARM.model_copy(
        update={"secrets": tuple(one.model_copy(update={"labels": {}}) for one in SWARM.secrets)}
    )
    said = plan(world(None, empty(None, "a"), document=document("a"), swarm=strange), NOW)
    assert any(
        "there is a secret main-owner that pgswarm has not made: it is left alone" in text for text in said.waits
    )
    assert not any(isinstance(step, EnsureService) for step in said.steps)
    bridged = tuple(one.model_copy(update={"driver": "macvlan"}) for one in SWARM.networks)
    said = plan(world(of(), primary(of(), "b"), swarm=SWARM.model_copy(update={"networks": bridged})), NOW)
    assert any("network webnet is a macvlan network, and services need an overlay" in text for text in said.waits)
