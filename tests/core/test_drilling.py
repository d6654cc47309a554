"""What may be broken on purpose: only what the cluster survives, and what speaks against it says what mends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm import settings
from pgswarm.core import drilling
from pgswarm.core.claim import application_name
from pgswarm.core.drilling import DRILLS, Announcement, Kind
from pgswarm.core.grant import TTL
from pgswarm.core.record import Record
from pgswarm.core.reports import RouterReport, Serving, Walsender
from pgswarm.core.sightings import Sighting
from pgswarm.core.swarmview import Node, Service, SwarmView, Task
from pgswarm.core.wish import Pause
from pgswarm.core.world import Unknown, World
from tests.core.builders import NOW, SWARM, WALL, document, heard, primary, record, standby, wish, world

THREE = record("abc", 2, sync="bc")
ALL: tuple[Kind, ...] = tuple(DRILLS)
CRASHES: tuple[Kind, ...] = ("postgres", "container")
OPERATOR = Service(id="o", version=1, name="pgswarm_operator", labels={settings.LABEL_KIND: "operator"})


def node(member: str, **changes: Any) -> Node:
    fields = {"id": f"id-{member}", "name": f"node-{member}", "role": "manager", "state": "ready"}
    return Node.model_validate({**fields, **changes})


def swarm(*, operators: str = "abc", nodes: tuple[Node, ...] = ()) -> SwarmView:
    """Three nodes, with an operator on some."""
    tasks = tuple(
        Task(id=f"t{member}", service_id="o", node_id=f"id-{member}", state="running", desired="running")
        for member in operators
    )
    return SWARM.model_copy(
        update={"nodes": nodes or tuple(node(one) for one in "abc"), "services": (OPERATOR,), "tasks": tasks}
    )


def routers(*members: str) -> dict[str, Sighting[RouterReport]]:
    report = RouterReport(cluster="main", router="r", boot="b", sequence=1)
    return {f"node-{member}": Sighting(report=report, heard_at=NOW, said_at=NOW, connected=True) for member in members}


def caught_up(of: Record, streaming: str = "bc", **changes: Any) -> Any:
    rows = tuple(
        Walsender(name=application_name(f"{m}/1", of.term), state="streaming", flush=500, replay=500) for m in streaming
    )
    return primary(of, **{"walsenders": rows, **changes})


def well(of: Record = THREE, **changes: Any) -> World:
    """A cluster at rest, whose primary is a."""
    made = world(of, caught_up(of), standby(of, "b"), standby(of, "c"), swarm=swarm(), routers=routers("a", "b", "c"))
    return replace(made, **changes)


def announced(seen: World, kind: Kind = "postgres", here: str = "id-b") -> Announcement:
    assert isinstance(seen.record, Record)
    return drilling.announced(seen, seen.record, kind, NOW, here=here)


@pytest.mark.parametrize("kind", ALL)
def test_a_cluster_at_rest_may_be_struck_and_it_is_said_who_and_what_is_promised(kind: Kind) -> None:
    said = announced(well(), kind)
    assert (said.refusal, said.primary, said.node, said.term, said.copies) == ("", "a", "node-a", 1, 2)
    assert said.promise.lossless
    assert said.promise.seconds == 1.0
    assert said.lines[0] == "a on node-a is primary of term 1; it is struck"
    assert any("pgswarm_drill" in line for line in said.lines)
    assert said.writer_node == "id-b", "the client is beside a standby"


def test_a_drain_says_the_command_that_ends_it_by_hand_before_it_begins() -> None:
    assert (
        announced(well(), "node-drain")
        .lines[-1]
        .endswith("`docker node update --availability active --label-rm pgswarm.drill node-a`")
    )


@pytest.mark.parametrize("kind", CRASHES)
def test_a_crash_is_refused_while_a_quorum_of_the_claim_is_missing(kind: Kind) -> None:
    away = world(
        THREE, caught_up(THREE, "b"), standby(THREE, "b"), heard(standby(THREE, "c"), ago=9.0, closed=9.0),
        swarm=swarm(), routers=routers("a", "b"),
    )  # fmt: skip
    said = announced(away, kind)
    assert said.refusal == "without a its commits could not be made sure of: c would be missing"
    assert said.mend == "pgswarm explain"
    assert announced(away, "switchover").refusal == "", "handing over needs nobody's promise but the primary's"


@pytest.mark.parametrize("kind", ALL)
def test_a_lone_primary_is_struck_by_nobody(kind: Kind) -> None:
    lone = record("a", 1, "", members="a")
    seen = world(lone, caught_up(lone, ""), swarm=swarm(), routers=routers("a", "b"))
    assert announced(seen, kind).refusal == "nobody could follow a: no standby streams from a"


def test_a_standby_that_streams_and_is_not_counted_yet_is_waited_for() -> None:
    of = record("a", 1, "", members="ab")
    seen = world(of, caught_up(of, "b"), standby(of, "b"), swarm=swarm(), routers=routers("a", "b"))
    said = announced(seen)
    assert (said.refusal, said.mend) == ("nobody could follow a yet: b is not counted yet", "pgswarm status --watch")


def test_a_primary_that_does_not_serve_or_is_gone_is_not_struck_on_top_of_that() -> None:
    resting = world(THREE, caught_up(THREE, serving=Serving.NONE), standby(THREE, "b"), swarm=swarm())
    assert announced(resting).refusal == "a serves no writers now"
    gone = world(THREE, heard(primary(THREE), ago=9.0, closed=9.0), standby(THREE, "b"), swarm=swarm())
    assert announced(gone).refusal.startswith("a closed its connection")


def test_what_a_person_asked_for_comes_first() -> None:
    paused = THREE.model_copy(update={"pause": Pause(by="ann", since=WALL, until=None)})
    assert announced(well(paused)).mend == "pgswarm resume"
    asked = THREE.model_copy(update={"wish": wish("switchover", "b")})
    assert "comes first" in announced(well(asked)).refusal


def test_an_operator_must_be_left_to_make_another_primary() -> None:
    assert announced(well(swarm=swarm(operators=""))).refusal == "no operator runs that could make another primary"
    beside = well(swarm=swarm(operators="a"))
    assert announced(beside, "container").refusal == ""
    said = announced(beside, "node-drain")
    assert said.refusal == "no operator runs on another node than node-a that could make another primary"


def test_a_router_must_be_left_that_leads_writers_there() -> None:
    assert "no router" in announced(well(routers={})).refusal
    only = well(routers=routers("a"))
    assert announced(only, "postgres").refusal == ""
    assert "no router" in announced(only, "node-drain").refusal


def test_nobody_drains_the_node_that_he_stands_on() -> None:
    said = announced(well(), "node-drain", here="id-a")
    assert said.refusal.startswith("node-a is the node that this drill would be struck from")
    assert "switchover" in said.mend
    assert announced(well(), "container", here="id-a").refusal == ""


def test_a_node_that_somebody_has_drained_is_not_made_active_by_a_drill() -> None:
    by_hand = swarm(nodes=(node("a", availability="drain"), node("b"), node("c")))
    said = announced(well(swarm=by_hand), "node-drain")
    assert said.refusal == "node-a is not active (state ready, availability drain), and would be made so"
    assert announced(well(swarm=by_hand), "container").refusal == ""


def test_the_client_runs_where_the_fault_leaves_it_alone() -> None:
    one_left = swarm(nodes=(node("a"), node("b", availability="drain"), node("c", state="down")))
    assert announced(well(swarm=one_left), "postgres").writer_node == "id-a", "nothing else is left"
    assert "writing client" in announced(well(swarm=one_left), "node-drain").refusal


def test_while_the_client_of_another_drill_writes_nobody_begins_one() -> None:
    view = swarm()
    client = Service(id="d", version=1, name=drilling.service_name("main"), labels={settings.LABEL_KIND: "drill"})
    task = Task(id="td", service_id="d", node_id="id-b", state="running", desired="running")
    there = view.model_copy(update={"services": (*view.services, client), "tasks": (*view.tasks, task)})
    said = announced(well(swarm=there))
    assert (said.refusal[:29], said.mend) == ("another drill is under way, o", "docker service rm pgswarm-drill-main")
    over = there.model_copy(update={"tasks": (*view.tasks, task.model_copy(update={"state": "complete"}))})
    assert announced(well(swarm=over)).refusal == "", "what is left of it is cleared"


def test_a_swarm_that_cannot_be_seen_is_no_reason_to_break_something() -> None:
    assert announced(well(swarm=Unknown(why="no leader"))).refusal == "the Swarm cannot be seen: no leader"


def test_async_promises_nothing_of_a_crash_that_it_does_not_promise_otherwise() -> None:
    lossy = well(document=document("abc", durability="async"))
    assert not announced(lossy, "container").promise.lossless
    assert announced(lossy, "container").promise.seconds == TTL, "Swarm has to say that the task has ended"
    assert "up to 16 MB" in announced(lossy, "container").promise.text
    assert announced(lossy, "switchover").promise.lossless
