"""Whose turn it is to be away: one at a time, standbys first, the primary by handing over or where it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm import settings
from pgswarm.core import ballot, turns
from pgswarm.core.plan import plan
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import MemberReport, Postgres, Role, Serving
from pgswarm.core.sightings import Sighting
from pgswarm.core.steps import EnsureService, Plan, SendOrder, WriteRecord
from pgswarm.core.swarmview import Node, Service, SwarmView, Task
from pgswarm.core.wish import Pause
from pgswarm.core.world import Wanted, World
from tests.core.builders import NOW, SWARM, WALL, document, heard, primary, record, standby, wish, world

PENDING: dict[str, Any] = {"pending_restart": ("max_connections",), "postmaster": "boot-1"}
GONE: dict[str, Any] = {"ago": 9.0, "closed": 9.0}


def seen(of: Record, *said: MemberReport | Sighting[MemberReport], **changes: Any) -> World:
    there: dict[str, MemberReport | Sighting[MemberReport]] = {
        member: primary(of, "".join(name for name in of.members if name != "a")) if member == "a" else
        standby(of, member)
        for member in of.members
    }  # fmt: skip
    for one in said:
        there[one.member if isinstance(one, MemberReport) else one.report.member] = one  # type: ignore[union-attr]
    return world(of, *there.values(), **changes)


def restarted(said: Plan) -> dict[str, str]:
    """Who is told to start which PostgreSQL anew."""
    return {
        step.member: step.message.circumstances.restart
        for step in said.steps
        if isinstance(step, SendOrder) and step.message.circumstances.restart
    }


def written(said: Plan) -> Record | None:
    return next((step.record for step in said.steps if isinstance(step, WriteRecord)), None)


def changed(said: Plan) -> list[str]:
    return [step.name for step in said.steps if isinstance(step, EnsureService)]


def three(**changes: Any) -> Record:
    return record("abc", 2, "bc", **changes)


def pending(of: Record, members: str, **changes: Any) -> list[MemberReport]:
    made = {**PENDING, **changes}
    return [primary(of, "bc", **made) if member == "a" else standby(of, member, **made) for member in members]


def test_of_all_whose_settings_wait_the_first_standby_is_told_by_the_name_of_its_postmaster() -> None:
    of = three()
    said = plan(seen(of, *pending(of, "abc")), NOW)
    assert restarted(said) == {"b": "boot-1"}
    assert "b: max_connections needs a restart of PostgreSQL; it is being started anew" in said.waits
    assert written(said) is None, "commits can wait for c, so b is not let go"


def test_nobody_is_told_while_another_is_not_back_in_the_claim() -> None:
    of = record("ab", 2, "b")  # c streams, and is about to be counted
    known = seen(of, *pending(of, "ab"))
    assert restarted(plan(known, NOW)) == {}
    assert turns.others_are_back(known, of, "b", NOW) == "waiting until c is back in the claim"
    gone = seen(three(), heard(standby(three(), "c"), **GONE), *pending(three(), "ab"))
    assert restarted(plan(gone, NOW)) == {}
    assert turns.others_are_back(gone, three(), "b", NOW).startswith("waiting until c is back")


def test_the_only_standby_is_let_go_first_so_that_no_commit_waits_for_it() -> None:
    of = record("ab", 2, "b", members="ab")
    both = [primary(of, "b", **PENDING), standby(of, "b", **PENDING)]
    said = plan(seen(of, *both), NOW)
    new = written(said)
    assert new is not None
    assert (new.claim.members, new.sync.k) == (("a/1",), 0)
    assert new.reason == "b is about to be restarted: a goes on alone"
    assert restarted(said) == {}
    let = record("a", 1, "", members="ab")
    said = plan(seen(let, primary(let, "b", **PENDING), standby(let, "b", **PENDING)), NOW)
    assert written(said) is None, "it is not called back before it has been away"
    assert restarted(said) == {"b": "boot-1"}


def test_where_durability_is_required_it_is_told_at_once_for_commits_wait_in_any_case() -> None:
    of = record("ab", 2, "b", members="ab")
    both = [primary(of, "b"), standby(of, "b", **PENDING)]
    said = plan(seen(of, *both, document=document("ab", durability="required")), NOW)
    assert written(said) is None
    assert restarted(said) == {"b": "boot-1"}


def test_the_primary_hands_over_when_all_others_have_been_through() -> None:
    of = three()
    new = written(plan(seen(of, *pending(of, "a")), NOW))
    assert new is not None
    assert new.wish is not None
    assert (new.wish.kind, new.wish.to) == ("switchover", "b")
    assert "a: max_connections needs a restart of PostgreSQL: b is to be primary" in new.reason


def test_a_primary_that_is_to_have_less_than_its_standbys_may_is_started_anew_where_it_is() -> None:
    of = three()
    said = plan(seen(of, *pending(of, "a", lowered=("max_connections",))), NOW)
    assert written(said) is None
    assert restarted(said) == {"a": "boot-1"}


def test_a_cluster_of_one_is_started_anew_where_it_is() -> None:
    of = record("a", 1, "", members="a")
    assert restarted(plan(seen(of, primary(of, **PENDING)), NOW)) == {"a": "boot-1"}


def test_a_primary_that_is_being_started_anew_is_on_its_way_and_not_lost_for_ten_seconds() -> None:
    of = three()
    down: dict[str, Any] = {"postgres": Postgres.STOPPED, "role": Role.NONE, "serving": Serving.NONE, "in_force": None}
    stopped = primary(of, "", restarting=True, **down)
    judged = ballot.health(seen(of, stopped, not_serving_since=NOW - 5.0), of, NOW)
    assert judged.coming
    assert judged.reason == "PostgreSQL of a is being started anew"
    assert ballot.health(seen(of, stopped, not_serving_since=NOW - 11.0), of, NOW).lost
    crashed = stopped.model_copy(update={"restarting": False, "postgres": Postgres.CRASHED})
    assert ballot.health(seen(of, crashed, not_serving_since=NOW - 0.1), of, NOW).lost


def test_a_pause_and_a_persons_wish_come_first() -> None:
    paused = three(pause=Pause(by="ann", since=WALL - 1.0))
    assert restarted(plan(seen(paused, *pending(paused, "abc")), NOW)) == {}
    asked = three(wish=wish("switchover", "c"))
    said = plan(seen(asked, *pending(asked, "ab")), NOW)
    assert restarted(said) == {}


def test_under_a_grant_a_standby_is_back_when_it_streams() -> None:
    of = record("a", 1, "", grant=Grant.HELD, grantor=1)
    said = seen(of, *pending(of, "b"), document=document("abc", durability="async"))
    assert turns.told_to_restart(said, of, NOW) == ("b", "boot-1")


# Services


def wanted(*members: str, ends: bool = True) -> dict[str, Wanted]:
    made = {}
    for member in "abc":
        name = settings.member_service("main", member)
        differences = ("its image is one, wanted is two",) if member in members else ()
        made[name] = Wanted(
            name=name, spec={"Name": name}, member=member, exists=True, differences=differences,
            ends=differences[0] if differences and ends else "",
        )  # fmt: skip
    return made


def services(*updating: str) -> tuple[Service, ...]:
    return tuple(
        Service(
            id=f"s-{member}", version=1, name=settings.member_service("main", member),
            labels={settings.LABEL_CLUSTER: "main", settings.LABEL_MEMBER: member, settings.LABEL_KIND: "member"},
            update_state="updating" if member in updating else "",
        )
        for member in "abc"
    )  # fmt: skip


def in_swarm(of: Record, *said: MemberReport | Sighting[MemberReport], roll: str, updating: str = "") -> World:
    swarm = SWARM.model_copy(update={"services": services(*updating)})
    return seen(of, *said, swarm=swarm, wanted=wanted(*roll))


def test_an_image_goes_round_one_by_one_each_back_in_the_claim_before_the_next() -> None:
    of = three()
    assert changed(plan(in_swarm(of, roll="abc"), NOW)) == ["main_b"]
    assert changed(plan(in_swarm(of, roll="ac", updating="b"), NOW)) == []
    uncounted = record("ac", 2, "c")
    assert changed(plan(in_swarm(uncounted, roll="ac"), NOW)) == [], "b is there, and not yet counted"
    assert changed(plan(in_swarm(of, roll="ac"), NOW)) == ["main_c"]


@pytest.mark.parametrize("state", ["down", "unknown"])
def test_nobody_has_a_turn_while_another_is_on_a_node_that_swarm_does_not_hear(state: Any) -> None:
    """It speaks and streams; yet Swarm wishes for its end, or will, and one listing does not tell which."""
    of = three()

    def with_node(of_c: Any) -> Plan:
        there = in_swarm(of, standby(of, "c", task="t1"), roll="ab")
        assert isinstance(there.swarm, SwarmView)
        task = Task(id="t1", service_id="s-c", node_id="n3", state="running", desired="running")
        node = Node(id="n3", name="worker02", role="worker", state=of_c)
        return plan(replace(there, swarm=there.swarm.model_copy(update={"tasks": (task,), "nodes": (node,)})), NOW)

    assert changed(with_node("ready")) == ["main_b"]
    assert changed(with_node(state)) == []
    assert any("waiting until Swarm hears worker02 again" in text for text in with_node(state).waits)


def test_the_primary_hands_over_before_its_service_is_changed() -> None:
    of = three()
    said = plan(in_swarm(of, roll="a"), NOW)
    assert changed(said) == []
    new = written(said)
    assert new is not None
    assert new.wish is not None
    assert new.wish.to == "b"
    assert "its image is one, wanted is two" in new.reason


def test_what_ends_no_task_is_put_right_on_the_primary_without_a_hand_over() -> None:
    of = three()
    swarm = SWARM.model_copy(update={"services": services()})
    said = plan(seen(of, swarm=swarm, wanted=wanted("a", ends=False)), NOW)
    assert changed(said) == ["main_a"]


def test_a_member_that_does_not_come_back_stops_the_roll_and_the_status_says_who_and_why() -> None:
    of = record("ac", 2, "c")
    gone = heard(standby(of, "b"), **GONE)
    said = in_swarm(of, gone, roll="ac")
    broken = {**said.wanted}
    broken["main_b"] = replace(broken["main_b"], trouble="image two has no such program inside")
    stopped = plan(replace(said, wanted=broken), NOW)
    assert changed(stopped) == []
    assert any("waiting until b is back (image two has no such program inside)" in one for one in stopped.waits)


def test_another_image_is_given_at_once_to_who_did_not_come_back() -> None:
    of = record("ac", 2, "c")
    assert changed(plan(in_swarm(of, heard(standby(of, "b"), **GONE), roll="abc"), NOW)) == ["main_b"]


def test_the_only_standby_whose_task_swarm_is_about_to_end_is_let_go_by_the_word_of_a_living_node_only() -> None:
    of = record("ab", 2, "b", members="ab")
    task = Task(id="t1", service_id="s-b", node_id="n2", state="running", desired="shutdown")

    def with_node(state: Any) -> Record | None:
        node = Node(id="n2", name="n2", role="worker", state=state)
        swarm = SWARM.model_copy(update={"services": services(), "tasks": (task,), "nodes": (node,)})
        return written(plan(seen(of, standby(of, "b", task="t1"), swarm=swarm), NOW))

    new = with_node("ready")
    assert new is not None
    assert new.reason == "b is about to be restarted: a goes on alone"
    assert with_node("down") is None
