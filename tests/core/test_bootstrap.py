"""How a cluster begins, and what its record learns later."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core.bootstrap import completed, first_record, places
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, Problem
from pgswarm.core.steps import WriteRecord
from pgswarm.core.swarmview import Node, Service, SwarmView
from pgswarm.core.world import Wanted, World
from tests.core import builders
from tests.core.builders import NOW, document, empty, heard, primary, record, report, stopped, world


def node(name: str, **changes: Any) -> Node:
    fields: dict[str, Any] = {"id": f"id-{name}", "name": name, "role": "manager", "state": "ready"}
    return Node(**{**fields, **changes})


def service(member: str, node_id: str, volume: str) -> Service:
    labels = {"pgswarm.cluster": "main", "pgswarm.kind": "member", "pgswarm.member": member}
    template = {
        "Placement": {"Constraints": [f"node.id=={node_id}"]},
        "ContainerSpec": {"Mounts": [{"Type": "volume", "Source": volume, "Target": "/x"}]},
    }
    return Service(id=member, version=1, name=f"main_{member}", labels=labels, spec={"TaskTemplate": template})


def written(seen: World) -> Record:
    (step,) = first_record(seen, NOW).steps
    assert isinstance(step, WriteRecord)
    return step.record


THREE_NODES = SwarmView(nodes=(node("n1"), node("n2"), node("n3")))


# the first record


def unborn(*said: Any, **changes: Any) -> World:
    return world(None, *said, **{"places": builders.places("ab"), "document": document("ab"), **changes})


def test_when_every_volume_is_empty_the_first_member_begins_term_one() -> None:
    new = written(unborn(empty(None, "a"), empty(None, "b")))
    assert (new.revision, new.term, new.primary) == (1, 1, "a/0f0f0f0f")
    assert (new.claim, new.sync, new.system_id) == (Claim(members=("a/0f0f0f0f",), r=1), Sync(), "")
    assert new.members == ("a", "b")


def test_one_member_that_cannot_be_heard_keeps_the_cluster_unborn_and_is_named() -> None:
    trouble = Wanted(name="main_b", spec={}, member="b", exists=True, trouble="node node-b is down")
    plan = first_record(unborn(empty(None, "a"), wanted={"b": trouble}), NOW)
    assert not plan.steps
    assert plan.waits == ("waiting for b on node-b: node node-b is down",)
    silent = first_record(unborn(empty(None, "a"), heard(empty(None, "b"), ago=9.0)), NOW)
    assert "silent for 9.0 s" in silent.waits[0]


@pytest.mark.parametrize("data", [Data.READY, Data.BUILDING, Data.FOREIGN])
def test_a_volume_with_data_and_no_record_is_for_a_person_to_judge(data: Data) -> None:
    found = report("b", data=data, problem=Problem(code="foreign-data", text="holds system 8"))
    plan = first_record(unborn(empty(None, "a"), found), NOW)
    assert not plan.steps
    assert "already holds data (holds system 8)" in plan.waits[0]


def test_a_cluster_that_cannot_be_placed_is_not_begun() -> None:
    plan = first_record(unborn(empty(None, "a"), empty(None, "b"), place_problems=("b: no node takes tasks",)), NOW)
    assert (plan.steps, plan.waits) == ((), ("b: no node takes tasks",))


def test_nothing_is_begun_without_a_document_or_places() -> None:
    assert not first_record(unborn(document=None), NOW).steps
    assert not first_record(unborn(places=()), NOW).steps


# what is learnt later


def test_the_record_learns_the_system_from_its_primary_alone() -> None:
    first = record("a", 1, sync="", system_id="")
    (step,) = completed(world(first, primary(first)), first, NOW).steps
    assert isinstance(step, WriteRecord)
    assert step.record.system_id == builders.SYSTEM
    assert not completed(world(first, stopped(first, "b")), first, NOW).steps
    assert not completed(world(first, stopped(first, "a", incarnation="a/2")), first, NOW).steps


def test_a_member_that_the_document_adds_is_remembered() -> None:
    of = record("ab", 2, sync="b", members="ab")
    seen = world(of, primary(of, "b"), places=builders.places("abc"), document=document("abc"))
    (step,) = completed(seen, of, NOW).steps
    assert isinstance(step, WriteRecord)
    assert step.record.members == ("a", "b", "c")
    assert "c added" in step.reason


def test_a_record_that_knows_all_learns_nothing() -> None:
    of = record()
    assert not completed(world(of, primary(of, "b")), of, NOW).steps


# places


def test_members_are_spread_over_nodes_that_take_tasks() -> None:
    view = SwarmView(nodes=(node("n1"), node("n2", availability="drain"), node("n3"), node("n4", state="down")))
    found, problems = places(document(3), None, view)
    assert [place.node_name for place in found] == ["n1", "n3", "n1"]
    assert [place.volume for place in found] == ["main_pg-1", "main_pg-2", "main_pg-3"]
    assert problems == ()


def test_a_place_once_chosen_is_kept_whatever_the_document_says_now() -> None:
    of = record()
    moved = document(1).model_copy(update={"spec": document("ab").spec})
    found, _ = places(moved, of, THREE_NODES)
    assert found[:2] == of.places[:2]


def test_before_there_is_a_record_the_pin_of_a_service_is_the_memory() -> None:
    view = THREE_NODES.model_copy(update={"services": (service("pg-1", "id-n3", "old"),)})
    found, _ = places(document(2), None, view)
    assert (found[0].node_name, found[0].volume) == ("n3", "old")
    assert found[1].node_name == "n1"


def test_a_member_that_the_document_no_longer_names_keeps_its_place_in_the_record() -> None:
    found, _ = places(document("ab"), record(), THREE_NODES)
    assert [place.member for place in found] == ["a", "b", "c"]


def test_a_node_that_is_not_there_is_named_with_those_that_are() -> None:
    wanted = document(1).spec.model_copy(
        update={"instances": document("a").spec.instances}  # a list, to be pinned below
    )
    pinned = wanted.instances[0].model_copy(update={"node": "n9"})  # type: ignore[index]
    asked = document(1).model_copy(update={"spec": wanted.model_copy(update={"instances": [pinned]})})
    found, problems = places(asked, None, THREE_NODES)
    assert found == ()
    assert "'n9'" in problems[0]
    assert "n1, n2, n3" in problems[0]


def test_no_node_that_takes_tasks_is_said_in_words() -> None:
    _, problems = places(document(1), None, SwarmView(nodes=(node("n1", availability="drain"),)))
    assert "no node takes tasks now" in problems[0]
