"""A member that is to live elsewhere: it leaves by the way of every departure, and is added at another place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core import bootstrap, durability, handover, retirement
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.departures import departures
from pgswarm.core.durability import NOBODY
from pgswarm.core.plan import plan
from pgswarm.core.record import Grant, Place, Record
from pgswarm.core.relocation import REMOVED_AFTER, foreseen, hindered, relocations
from pgswarm.core.steps import EnsureService, Plan, WriteRecord
from pgswarm.core.swarmview import Node, Service, SwarmView
from pgswarm.core.wish import Maintenance, Pause
from pgswarm.core.world import Unknown, Wanted, World
from pgswarm.loop.away import Away
from tests.core.builders import (
    NOW,
    SWARM,
    WALL,
    document,
    empty,
    heard,
    names,
    places,
    primary,
    record,
    standby,
    world,
)

THREE = record("abc", 2, sync="bc")
PAIR = record("ab", 2, sync="b", members="ab")


def nodes(*, down: str = "", unknown: str = "", missing: str = "", drained: str = "") -> SwarmView:
    """node-a to node-e."""
    found = tuple(
        Node(
            id=f"id-{name}",
            name=f"node-{name}",
            role="manager",
            state="down" if name in down else "unknown" if name in unknown else "ready",
            availability="drain" if name in drained else "active",
        )
        for name in "abcde"
        if name not in missing
    )
    return SWARM.model_copy(update={"nodes": found})


def wanting(of: Record, *, lost: str = "", of_spec: dict[str, Any] | None = None, **where: str) -> World:
    """Everybody but the lost is well; `b="d"` wants b on node-d, `b=""` leaves its node open."""
    instances: list[dict[str, Any]] = []
    for member in of.members:
        node = where.get(member, member)
        instances.append({"name": member, **({"node": f"node-{node}"} if node else {})})
    asked = document("".join(of.members))
    spec = asked.spec.model_validate({**(of_spec or {}), "instances": instances})
    others = [member for member in of.members if member != of.primary_member]
    alive = "".join(member for member in others if member not in lost)
    said = [primary(of, alive), *(standby(of, member) for member in alive)]
    gone = [heard(standby(of, member), ago=99.0) for member in lost if member != of.primary_member]
    away = {f"id-{member}": 99.0 for member in lost}
    new = asked.model_copy(update={"spec": spec})
    return world(of, *said, *gone, document=new, swarm=nodes(down=lost), away=away)


def written(plan: Plan) -> Record:
    (step,) = plan.steps
    assert isinstance(step, WriteRecord)
    return step.record


# by the document


def test_nobody_moves_where_everybody_is_where_the_document_says() -> None:
    seen = wanting(THREE)
    assert relocations(seen, THREE, NOW) == ()
    assert not hindered(seen, THREE, NOW).waits


@pytest.mark.parametrize("open_", ["a", "b", "c"])
def test_a_node_that_is_left_open_is_the_one_that_was_chosen(open_: str) -> None:
    assert relocations(wanting(THREE, lost="", of_spec=None, **{open_: ""}), THREE, NOW) == ()


def test_another_node_or_another_volume_is_another_place() -> None:
    (move,) = relocations(wanting(THREE, c="d"), THREE, NOW)
    assert (move.place, move.reason) == (THREE.places[2], "the document wants it on node-d")
    asked = document("abc")
    spec = asked.spec.model_validate({"instances": [{"name": "a"}, {"name": "b"}, {"name": "c", "volume": "other"}]})
    seen = replace(wanting(THREE), document=asked.model_copy(update={"spec": spec}))
    (move,) = relocations(seen, THREE, NOW)
    assert move.reason == "the document wants it on volume other"
    of = record("ab", 2, sync="b", departed=(THREE.places[2],), members="ab")
    found, _ = bootstrap.places(seen.document, of, nodes())  # type: ignore[arg-type]
    assert (found[-1].node_name, found[-1].volume) == ("node-c", "other")


@pytest.mark.parametrize(
    "changes",
    [{"document": None}, {"stored": False}, {"swarm": Unknown(why="x")}],
)
def test_what_is_not_known_moves_nobody(changes: dict[str, Any]) -> None:
    assert relocations(replace(wanting(THREE, c="d"), **changes), THREE, NOW) == ()


def test_in_a_pause_nobody_moves() -> None:
    of = record("abc", 2, sync="bc", pause=Pause(by="ann", since=WALL))
    assert departures(wanting(of, c="d"), of, NOW) == ()


def test_who_moves_is_let_go_and_leaves_as_any_other() -> None:
    seen = wanting(THREE, c="d")
    assert written(durability.moves(seen, THREE, NOW)).sync == Sync(k=1, names=names("b"))
    of = record("ab", 2, sync="b")
    new = written(retirement.ended(wanting(of, c="d"), of, NOW))
    assert (new.members, new.departed) == (("a", "b"), (of.places[2],))
    assert "c has left (the document wants it on node-d)" in new.reason


def test_the_primary_moves_last_and_once_two_others_stream() -> None:
    both = wanting(THREE, a="d", c="e")
    assert [one.member for one in departures(both, THREE, NOW)] == ["c", "a"]
    assert not handover.begun(both, THREE, NOW).steps
    alone = wanting(THREE, a="d")
    assert written(handover.begun(alone, THREE, NOW)).wish
    fewer = wanting(THREE, a="d", lost="c")
    waits = handover.begun(fewer, THREE, NOW)
    assert not waits.steps
    assert "once two others stream" in waits.waits[0]


@pytest.mark.parametrize(
    ("durability_", "why"), [("preferred", "there would be one copy only"), ("required", "every write would wait")]
)
def test_the_only_other_copy_stays_and_it_is_said_why(durability_: str, why: str) -> None:
    seen = wanting(PAIR, b="d", of_spec={"durability": durability_})
    assert relocations(seen, PAIR, NOW) == ()
    assert why in hindered(seen, PAIR, NOW).waits[0]
    assert "Add another instance first" in hindered(seen, PAIR, NOW).waits[0]


def test_who_applies_such_a_document_is_told_so() -> None:
    (text,) = foreseen(wanting(PAIR, b="d").document, PAIR)  # type: ignore[arg-type]
    assert text.startswith("b stays on node-b while that node is up")
    assert foreseen(wanting(PAIR).document, PAIR) == ()  # type: ignore[arg-type]
    assert foreseen(wanting(THREE, b="d").document, THREE) == ()  # type: ignore[arg-type]


def test_nor_does_a_primary_move_that_only_one_could_follow() -> None:
    seen = wanting(PAIR, a="d")
    assert relocations(seen, PAIR, NOW) == ()
    assert not handover.begun(seen, PAIR, NOW).steps


def test_one_whose_node_was_only_just_seen_down_is_a_copy_still() -> None:
    """It may be starting again: given up, its data would count for nothing when it is back."""
    of = record("a", 1, sync="", members="ab")
    seen = wanting(of, b="d", lost="b")
    assert relocations(replace(seen, away={"id-b": 2.0}), of, NOW) == ()
    assert relocations(replace(seen, away={}), of, NOW) == ()


def test_one_that_is_lost_with_its_node_is_no_copy_and_may_move() -> None:
    of = record("a", 1, sync="", members="ab")
    (move,) = relocations(wanting(of, b="d", lost="b"), of, NOW)
    assert move.lost
    assert not move.given_up


def test_one_that_is_silent_on_a_node_that_is_up_stays() -> None:
    of = record("a", 1, sync="", members="ab")
    seen = replace(wanting(of, b="d", lost="b"), swarm=nodes())
    assert relocations(seen, of, NOW) == ()


def test_one_that_lives_on_a_node_that_counts_as_down_stays_for_nobody_could_end_it() -> None:
    seen = replace(wanting(THREE, c="d"), swarm=nodes(down="c"))
    assert relocations(seen, THREE, NOW) == ()
    assert "but Swarm says that the node is down, and c is heard" in hindered(seen, THREE, NOW).waits[0]


def test_one_that_holds_no_data_may_move() -> None:
    of = record("a", 1, sync="", members="ab")
    seen = wanting(of, b="d")
    seen = world(of, primary(of), empty(of, "b"), document=seen.document, swarm=nodes())
    assert len(relocations(seen, of, NOW)) == 1


@pytest.mark.parametrize(
    ("where", "swarm", "why"),
    [
        ("z", nodes(), "names node 'node-z', which is not one of this Swarm's nodes (node-a, node-b, node-c"),
        ("d", nodes(drained="d"), "but node-d takes no tasks now"),
        ("d", nodes(down="d"), "but node-d takes no tasks now"),
    ],
)
def test_a_move_to_where_nothing_can_run_waits(where: str, swarm: SwarmView, why: str) -> None:
    seen = replace(wanting(THREE, c=where), swarm=swarm)
    assert relocations(seen, THREE, NOW) == ()
    assert why in hindered(seen, THREE, NOW).waits[0]
    assert why in " ".join(plan(seen, NOW).waits)


def test_a_move_onto_anothers_data_is_refused() -> None:
    of = record("abc", 2, sync="bc", departed=(Place(member="z", node_id="id-d", node_name="node-d", volume="main_c"),))
    seen = wanting(of, c="d")
    assert relocations(seen, of, NOW) == ()
    assert "holds the data of z" in hindered(seen, of, NOW).waits[0]


# it is added where it is to be, once its old service is gone

GONE = record("ab", 2, sync="b").amended("left", places=places("ab"), departed=(THREE.places[2],))


def service(node: str, replicas: int = 1) -> Service:
    labels = {"pgswarm.cluster": "main", "pgswarm.kind": "member", "pgswarm.member": "c"}
    template = {
        "Placement": {"Constraints": [f"node.id==id-{node}"]},
        "ContainerSpec": {"Mounts": [{"Type": "volume", "Source": "main_c"}]},
    }
    return Service(id="s", version=1, name="main_c", labels=labels, replicas=replicas, spec={"TaskTemplate": template})


def asked(node: str) -> World:
    return wanting(THREE, c=node)


def adding(seen: SwarmView | Unknown) -> Plan:
    wants = asked("d")
    assert wants.document is not None
    found, _ = bootstrap.places(wants.document, GONE, seen if isinstance(seen, SwarmView) else nodes())
    said = world(GONE, primary(GONE, "b"), standby(GONE, "b"), document=wants.document, swarm=seen, places=found)
    return bootstrap.completed(said, GONE, NOW)


def test_while_its_old_service_is_there_it_is_not_added() -> None:
    waits = adding(nodes().model_copy(update={"services": (service("c", 0),)}))
    assert not waits.steps
    assert waits.waits == ("c begins on node-d once its old service is gone",)


def test_while_swarm_is_not_seen_it_is_not_added() -> None:
    assert not adding(Unknown(why="x")).steps


def test_then_it_is_added_at_its_new_place_and_its_old_volume_stays_known() -> None:
    new = written(adding(nodes()))
    assert new.place("c") == Place(member="c", node_id="id-d", node_name="node-d", volume="main_c")
    assert new.departed == (THREE.places[2],)


def test_a_primary_under_a_grant_must_hear_of_the_new_place_before_its_promise_counts_for_less() -> None:
    held = GONE.amended("x", claim=Claim(members=names("a"), r=1), sync=Sync(), grant=Grant.HELD)
    seen = world(held, primary(held), standby(held, "b"), document=asked("d").document, swarm=nodes())
    found, _ = bootstrap.places(seen.document, held, nodes())  # type: ignore[arg-type]
    assert written(bootstrap.completed(replace(seen, places=found), held, NOW)).grant is Grant.ASKED


@pytest.mark.parametrize(("node", "removed"), [("c", True), ("d", False)])
def test_only_a_service_at_the_place_that_was_left_is_removed(node: str, removed: bool) -> None:
    view = nodes().model_copy(update={"services": (service(node),)})
    seen = world(GONE, primary(GONE, "b"), standby(GONE, "b"), document=asked("d").document, swarm=view)
    assert bool(retirement.services(seen, GONE, view).steps) == removed


def test_a_service_that_nobody_can_place_is_to_go_first_too() -> None:
    bare = service("c").model_copy(update={"spec": {}})
    assert not adding(nodes().model_copy(update={"services": (bare,)})).steps


def test_its_old_service_is_not_turned_into_the_new_one() -> None:
    wanted = {"main_c": Wanted(name="main_c", spec={}, member="c", exists=True, differences=("placement",))}
    seen = world(GONE, primary(GONE, "b"), standby(GONE, "b"), document=asked("d").document, wanted=wanted)
    assert not any(isinstance(step, EnsureService) for step in plan(seen, NOW).steps)


def test_put_back_in_the_document_it_comes_back_to_its_service_and_volume() -> None:
    view = nodes().model_copy(update={"services": (service("c"),)})
    found, _ = bootstrap.places(asked("c").document, GONE, view)  # type: ignore[arg-type]
    assert found[-1] == THREE.places[2]
    seen = world(GONE, primary(GONE, "b"), standby(GONE, "b"), document=asked("c").document, swarm=view, places=found)
    assert written(bootstrap.completed(seen, GONE, NOW)).departed == ()


# its node is gone for good


def away(of: Record, seconds: float, *, lost: str = "c", after: str | None = "60s", **changes: Any) -> World:
    """The lost members' nodes are down for so long, their nodes left open."""
    spec = {"replaceAfter": after} if after else {}
    seen = wanting(of, lost=lost, of_spec=spec, **dict.fromkeys(of.members, ""))
    return replace(seen, **{"away": {f"id-{member}": seconds for member in lost}, **changes})


def test_a_node_that_is_down_for_longer_than_replaceafter_is_given_up() -> None:
    of = record("ab", 2, sync="b")
    (move,) = relocations(away(of, 61.0), of, NOW)
    assert move.given_up
    assert move.reason == "node-c is down for longer than 60s (replaceAfter)"
    new = written(retirement.ended(away(of, 61.0), of, NOW))
    assert [place.given_up for place in new.departed] == [True]
    found, _ = bootstrap.places(away(of, 61.0).document, new, nodes(down="c"))  # type: ignore[arg-type]
    assert found[-1].node_name == "node-d"


def test_before_that_it_is_waited_for_and_for_ever_if_nothing_was_said() -> None:
    of = record("ab", 2, sync="b")
    assert relocations(away(of, 59.0), of, NOW) == ()
    assert "gets another node in 1 s if it stays so: node-c is down" in hindered(away(of, 59.0), of, NOW).waits[0]
    assert relocations(away(of, 1e6, after=None), of, NOW) == ()


def test_a_node_that_was_taken_out_of_the_swarm_is_given_up_without_replaceafter() -> None:
    of = record("ab", 2, sync="b")
    removed = nodes(missing="c")
    assert len(relocations(away(of, REMOVED_AFTER, after=None, swarm=removed), of, NOW)) == 1
    assert relocations(away(of, REMOVED_AFTER - 1.0, after=None, swarm=removed), of, NOW) == ()


def test_a_member_whose_node_is_named_waits_and_it_is_said() -> None:
    of = record("ab", 2, sync="b")
    seen = replace(wanting(of, lost="c", of_spec={"replaceAfter": "60s"}), away={"id-c": 99.0})
    assert relocations(seen, of, NOW) == ()
    assert "the document names its node: name another there, or none" in hindered(seen, of, NOW).waits[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"swarm": Unknown(why="x")}, ""),
        ({"swarm": nodes(down="abcde")}, "but no other node takes tasks now"),
        ({"awake_since": NOW - 1.0}, "but c is heard"),  # nobody is judged yet
    ],
)
def test_nobody_is_given_up_while_it_is_not_known_that_it_must_be(changes: dict[str, Any], why: str) -> None:
    of = record("ab", 2, sync="b")
    seen = away(of, 99.0, **changes)
    assert relocations(seen, of, NOW) == ()
    assert why in " ".join(hindered(seen, of, NOW).waits)


def test_who_is_heard_or_streams_is_not_given_up() -> None:
    of = record("ab", 2, sync="b")
    seen = away(of, 99.0)
    said = primary(of, "bc")
    replied = tuple(row.model_copy(update={"replied": True}) for row in said.walsenders)
    streams = said.model_copy(update={"walsenders": replied})
    assert relocations(replace(seen, members={**seen.members, "a": heard(streams)}), of, NOW) == ()
    assert relocations(replace(seen, members={**seen.members, "c": heard(standby(of, "c"))}), of, NOW) == ()


def test_the_records_primary_is_not_given_up() -> None:
    of = record("a", 1, sync="", members="ab")
    seen = replace(away(of, 99.0, lost="a"), members={"a": heard(primary(of), ago=99.0), "b": heard(standby(of, "b"))})
    assert relocations(seen, of, NOW) == ()
    assert "it has what others lack" in hindered(seen, of, NOW).waits[0]


def test_a_node_that_is_worked_on_is_not_gone() -> None:
    worked = Maintenance(node_id="id-c", node_name="node-c", by="ann", since=WALL)
    of = record("ab", 2, sync="b", maintenance=(worked,))
    assert relocations(away(of, 99.0), of, NOW) == ()


def test_two_that_are_gone_need_not_wait_for_each_other() -> None:
    of = record("a", 1, sync="")
    seen = away(of, 99.0, lost="bc")
    assert [one.member for one in departures(seen, of, NOW)] == ["b", "c"]
    assert written(retirement.ended(seen, of, NOW)).members == ("a", "c")


def test_who_is_taken_out_of_the_document_and_gone_with_its_node_waits_for_nobody() -> None:
    of = record("a", 1, sync="")
    seen = away(of, 99.0, lost="bc")
    named = seen.document.spec.model_dump(by_alias=True, exclude_unset=True)  # type: ignore[union-attr]
    asked_ = document("ab", replaceAfter="60s", instances=named["instances"][:2])
    assert written(retirement.ended(replace(seen, document=asked_, away={"id-c": 99.0}), of, NOW)).members == ("a", "b")
    waits = retirement.ended(replace(seen, document=asked_, away={}), of, NOW)
    assert "b must be counted first" in waits.waits[0]


def test_with_required_claim_and_sync_do_without_the_only_standby_first() -> None:
    spec = {"durability": "required", "replaceAfter": "60s"}
    seen = replace(wanting(PAIR, lost="b", b="", of_spec=spec), away={"id-b": 99.0})
    assert not retirement.ended(seen, PAIR, NOW).steps
    new = written(durability.moves(seen, PAIR, NOW))
    assert (new.claim, new.sync) == (Claim(members=names("a"), r=1), Sync(k=1, names=(NOBODY,)))
    waits = durability.moves(replace(seen, away={}), PAIR, NOW)
    assert not waits.steps


# a number of instances


def spread(number: int, view: SwarmView, of: Record | None = None) -> list[str]:
    found, problems = bootstrap.places(document(number), of, view)
    assert not problems
    return [place.node_name for place in found]


def test_more_members_than_nodes_share_them_evenly() -> None:
    two = nodes(missing="cde")
    assert spread(2, two) == ["node-a", "node-b"]
    assert spread(5, two) == ["node-a", "node-b", "node-a", "node-b", "node-a"]


def test_a_number_that_grows_and_shrinks_moves_nobody() -> None:
    two = record("a", 1, sync="", members="").model_copy(
        update={"places": bootstrap.places(document(2), None, nodes(missing="c"))[0], "primary": "pg-1/1"}
    )
    three, _ = bootstrap.places(document(3), two, nodes())
    assert [place.node_name for place in three] == ["node-a", "node-b", "node-c"]
    left_ = two.model_copy(update={"departed": (three[2],)})
    again, _ = bootstrap.places(document(3), left_, nodes(missing="d"))
    assert again == three, "it comes back to its volume"


# for how long


def test_time_is_counted_without_a_gap_only() -> None:
    of, seen = record("ab", 2, sync="b"), Away()
    down = nodes(down="c")
    assert seen.seen(of, down, 100.0, 1.0) == {"id-c": 0.0}
    assert seen.seen(of, down, 130.0, 1.0) == {"id-c": 30.0}
    assert seen.seen(of, nodes(missing="c"), 140.0, 1.0) == {"id-c": 40.0}
    assert seen.seen(of, nodes(down="c", unknown="a"), 150.0, 1.0) == {}
    assert seen.seen(of, down, 160.0, 1.0) == {"id-c": 0.0}
    assert seen.seen(of, Unknown(why="x"), 170.0, 1.0) == {}
    assert seen.seen(of, down, 180.0, 1.0) == {"id-c": 0.0}
    assert seen.seen(of, nodes(), 190.0, 1.0) == {}
    assert seen.seen(of, down, 200.0, 1.0) == {"id-c": 0.0}
    assert seen.seen(of, down, 230.0, 225.0) == {"id-c": 5.0}, "this operator was asleep until then"
    assert seen.seen(of, SwarmView(), 240.0, 1.0) == {}, "a Swarm without nodes is none"
    assert seen.seen(None, down, 250.0, 1.0) == {}
    assert seen.seen(of, down, 260.0, 1.0) == {"id-c": 0.0}
    left = of.amended("c has left", places=of.places[:2], departed=of.places[2:])
    assert seen.seen(left, down, 270.0, 1.0) == {"id-c": 10.0}, "its container may run there still"
