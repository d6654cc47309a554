"""Restarting by a person's word: one at a time, standbys first, and nobody twice."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm import settings
from pgswarm.core import restarting
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.plan import plan
from pgswarm.core.proposal import propose
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport
from pgswarm.core.steps import EnsureService, Plan, WriteRecord, title
from pgswarm.core.swarmview import Service, SwarmView
from pgswarm.core.wal import Reign
from pgswarm.core.wish import Pause, Restart
from pgswarm.core.world import Unknown, World
from tests.core.builders import NOW, SWARM, WALL, heard, primary, record, standby, wish, world

DEAD: dict[str, Any] = {"ago": 9.0, "closed": 9.0}
AGAIN = {"boot": "again"}


def service(member: str, force: int = 0, state: str = "") -> Service:
    return Service(
        id=f"s-{member}",
        version=1,
        name=settings.member_service("main", member),
        labels={settings.LABEL_CLUSTER: "main", settings.LABEL_MEMBER: member, settings.LABEL_KIND: "member"},
        spec={"Name": settings.member_service("main", member), "TaskTemplate": {"ForceUpdate": force}},
        update_state=state,
    )


def swarm(**forced: int) -> SwarmView:
    return SWARM.model_copy(update={"services": tuple(service(member, forced.get(member, 0)) for member in "abc")})


def asking(members: str, **changes: Any) -> Record:
    """The record with a wish to restart these, each of which has the process `boot`."""
    restarts = {member: Restart(boot="boot", force=1) for member in members}
    return record("abc", 2, "bc", wish=wish("restart", restarts=restarts, **changes))


def seen(of: Record, *said: MemberReport, forced: dict[str, int] | None = None, **changes: Any) -> World:
    there = {one.member: one for one in (primary(of, "bc"), standby(of, "b"), standby(of, "c"))}
    there |= {one.member: one for one in said}
    return world(of, *there.values(), **{"swarm": swarm(**(forced or {})), **changes})


def restarted(said: Plan) -> list[str]:
    return [step.name for step in said.steps if isinstance(step, EnsureService)]


def written(said: Plan) -> Record:
    return next(step.record for step in said.steps if isinstance(step, WriteRecord))


def test_a_standby_is_restarted_by_raising_swarms_counter_and_the_step_says_so() -> None:
    said = plan(seen(asking("b")), NOW)
    assert restarted(said) == ["main_b"]
    step = next(step for step in said.steps if isinstance(step, EnsureService))
    assert step.spec["TaskTemplate"]["ForceUpdate"] == 1
    assert step.reason == "restart of b, asked for by ann"
    assert title(step) == "have Swarm restart service main_b"


def test_what_was_asked_of_swarm_already_is_not_asked_again() -> None:
    said = plan(seen(asking("b"), forced={"b": 1}), NOW)
    assert restarted(said) == []
    assert "restart of b: b is being restarted" in said.waits


def test_of_all_the_standbys_come_first_and_the_primary_last() -> None:
    assert restarted(plan(seen(asking("abc")), NOW)) == ["main_b"]
    assert restarted(plan(seen(asking("ac")), NOW)) == ["main_c"]
    assert restarted(plan(seen(asking("a")), NOW)) == ["main_a"]


def test_one_that_is_through_leaves_the_wish_and_only_then_the_next_begins() -> None:
    of = asking("abc")
    said = plan(seen(of, standby(of, "b", **AGAIN), forced={"b": 1}), NOW)
    assert restarted(said) == []
    after = written(said)
    assert after.wish is not None
    assert list(after.wish.restarts) == ["a", "c"]
    assert after.reason == "b was restarted and is back"
    assert restarted(plan(seen(after, standby(after, "b", **AGAIN), forced={"b": 1}), NOW)) == ["main_c"]


def test_one_that_is_back_and_not_counted_again_keeps_the_next_waiting() -> None:
    of = asking("bc").model_copy(
        update={"claim": Claim(members=("a/1", "c/1"), r=2), "sync": Sync(k=1, names=("c/1",))}
    )
    back = seen(of, primary(of, "c"), standby(of, "b", upstream=None, **AGAIN), forced={"b": 1})
    said = restarting.begun(back, of, NOW)
    assert not said.steps
    assert said.waits == ("restart of b, c: b is back, and not yet as before",)


def test_the_last_one_that_is_back_fulfils_the_wish() -> None:
    of = asking("c")
    after = written(plan(seen(of, standby(of, "c", **AGAIN), forced={"c": 1}), NOW))
    assert after.wish is None
    assert after.answered is not None
    assert after.answered.done
    assert after.answered.text == "c was restarted and is back"


def test_a_primary_that_came_back_without_a_successor_fulfils_it_too() -> None:
    of = asking("a")
    after = written(plan(seen(of, primary(of, "bc", **AGAIN), forced={"a": 1}), NOW))
    assert after.answered is not None
    assert after.answered.done


def test_of_several_and_before_the_primary_everybody_else_must_be_there() -> None:
    for members in ("abc", "a"):
        of = asking(members)
        said = plan(seen(of, forced={}), NOW)
        assert restarted(said)
        gone = world(of, primary(of, "b"), standby(of, "b"), heard(standby(of, "c"), **DEAD), swarm=swarm())
        assert restarted(plan(gone, NOW)) == []
        assert any("waiting until c is back" in text for text in restarting.begun(gone, of, NOW).waits)


def test_a_standby_that_is_named_is_restarted_though_it_and_others_are_not_heard() -> None:
    of = asking("b")
    gone = world(of, primary(of), heard(standby(of, "b"), **DEAD), heard(standby(of, "c"), **DEAD), swarm=swarm())
    assert restarting.begun(gone, of, NOW).steps


def test_while_another_update_goes_on_nobody_is_restarted_beside_it() -> None:
    of = asking("abc")
    services = (service("a"), service("b"), service("c", state="updating"))
    busy = seen(of, swarm=SWARM.model_copy(update={"services": services}))
    assert restarting.begun(busy, of, NOW).waits == ("restart of a, b, c: waiting until the update of c is through",)


def test_a_swarm_that_cannot_be_seen_restarts_nobody() -> None:
    of = asking("b")
    said = restarting.begun(seen(of, swarm=Unknown(why="no answer")), of, NOW)
    assert not said.steps
    assert "Swarm cannot be observed" in said.waits[0]


def successor(of: Record) -> Record:
    return of.amended(
        "switchover: b is furthest",
        term=2,
        primary="b/1",
        claim=Claim(members=("b/1",), r=1),
        sync=Sync(),
        lineage=(*of.lineage, Reign(term=2, incarnation="b/1", timeline=2, fork=500)),
    )


@pytest.mark.parametrize(("members", "done"), [("a", True), ("ab", False), ("c", False)])
def test_a_new_term_fulfils_it_only_if_the_primary_was_all_that_was_left(members: str, done: bool) -> None:
    answered = successor(asking(members)).answered
    assert answered is not None
    assert answered.done is done


def test_it_is_refused_while_paused_and_over_when_its_time_is() -> None:
    paused = asking("b").model_copy(update={"pause": Pause(by="bob", since=1.0)})
    assert "paused by bob" in written(plan(seen(paused), NOW)).reason
    late = asking("b", until=WALL - 1.0)
    assert "restart of b: not done in the time" in written(plan(seen(late), NOW)).reason


def test_before_it_is_asked_a_person_sees_in_which_order_and_what_is_felt() -> None:
    of = record("abc", 2, "bc")
    said = propose(seen(of, forced={"b": 4}), of, "restart", None, (), NOW)
    assert said.restarts == {
        "a": Restart(boot="boot", force=1),
        "b": Restart(boot="boot", force=5),
        "c": Restart(boot="boot", force=1),
    }
    assert said.lines == (
        "b (node-b) is restarted, a standby",
        "c (node-c) is restarted, a standby",
        "each begins once the one before is back in the claim",
        "last a (node-a) is restarted; it hands over first, and open sessions end",
        "nothing acknowledged is lost",
    )
    lone = record("a", 1, "", members="a")
    alone = world(lone, primary(lone), swarm=swarm())
    assert (
        "a (node-a) is restarted; it has no successor: writers wait meanwhile"
        in propose(alone, lone, "restart", "a", (), NOW).lines
    )


def test_what_cannot_be_restarted_is_refused() -> None:
    of = record("abc", 2, "bc")
    assert propose(seen(of), of, "restart", "x", (), NOW).refusal == "there is no member x; there is: a, b, c"
    none = seen(of, swarm=SWARM)
    assert propose(none, of, "restart", "b", (), NOW).refusal == "there is no service of b yet"
    blind = seen(of, swarm=Unknown(why="no answer"))
    assert "Swarm cannot be observed" in propose(blind, of, "restart", "b", (), NOW).refusal
