"""Switchover: who may follow a primary that is well, who is asked when, and that each step has a way out."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core.ballot import ballot, health
from pgswarm.core.claim import application_name
from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport, Postgres, Role, RouterReport, Serving, Walsender
from pgswarm.core.sightings import Sighting
from pgswarm.core.steps import AskPromise, Plan, WriteRecord
from pgswarm.core.swarmview import Node
from pgswarm.core.switchover import HAND_OVER, REPLAYED, ROUTERS, begun
from pgswarm.core.world import World
from tests.core.builders import END, NOW, SWARM, WALL, document, heard, primary, promiser, record, standby, wish, world

TO_B = record("abc", 2, sync="bc", wish=wish("switchover", "b"))
TO_ANY = record("abc", 2, sync="bc", wish=wish("switchover"))


def whole(of: Record, *, a: MemberReport | None = None, **changes: Any) -> World:
    """Everybody is well."""
    return world(of, a or primary(of, "bc"), standby(of, "b"), standby(of, "c"), **changes)


def yielding(of: Record) -> MemberReport:
    return primary(of, "bc", serving=Serving.NONE, yields=2)


def gone(of: Record, postgres: Postgres = Postgres.STOPPED, **changes: Any) -> MemberReport:
    """The primary has promised and its PostgreSQL is `postgres`."""
    fields: dict[str, Any] = {"postgres": postgres, "role": Role.NONE, "settled": False}
    return promiser(of, "a", 2, **{**fields, **changes})


def router(primary: str | None, name: str = "r1") -> dict[str, Sighting[RouterReport]]:
    said = RouterReport(cluster="main", router=name, boot="x", sequence=1, haproxy="running", primary=primary)
    return {name: Sighting(address="y", report=said, heard_at=NOW, connected=True, why="")}


def told(of: Record, seen: World) -> Plan:
    """What is done about the record; the upkeep of everything else is not looked at."""
    said = plan(seen, NOW)
    return Plan(steps=tuple(s for s in said.steps if isinstance(s, AskPromise | WriteRecord)), waits=said.waits)


def asked(plan: Plan) -> list[tuple[str, int, bool]]:
    return [(step.member, step.term, step.prepare) for step in plan.steps if isinstance(step, AskPromise)]


def written(plan: Plan) -> Record:
    (step,) = plan.steps
    assert isinstance(step, WriteRecord)
    return step.record


def answer(plan: Plan) -> str:
    new = written(plan)
    assert new.wish is None
    assert new.answered is not None
    assert (new.answered.id, new.answered.done, new.term) == ("w1", False, 1)
    assert new.reason == new.answered.text
    return new.answered.text


# making ready


def test_a_primary_that_is_well_is_asked_first_to_make_ready() -> None:
    assert asked(told(TO_B, whole(TO_B))) == [("a", 2, True)]
    assert asked(told(TO_ANY, whole(TO_ANY))) == [("a", 2, True)]


def test_only_when_no_router_sends_there_any_more_is_it_asked_for_its_promise() -> None:
    sends = whole(TO_B, a=yielding(TO_B), routers=router("a/1"), not_serving_since=NOW - 0.01)
    waiting = told(TO_B, sends)
    assert not waiting.steps
    assert any("router r1 still sends clients there" in text for text in waiting.waits)
    holds = whole(TO_B, a=yielding(TO_B), routers=router(None), not_serving_since=NOW - 0.01)
    assert asked(told(TO_B, holds)) == [("a", 2, False)]


def test_a_router_that_does_not_hold_is_not_waited_for_for_ever() -> None:
    seen = whole(TO_B, a=yielding(TO_B), routers=router("a/1"), not_serving_since=NOW - ROUTERS - 0.01)
    assert asked(told(TO_B, seen)) == [("a", 2, False)]


def test_nothing_else_is_written_while_the_primary_turns_clients_away_for_it() -> None:
    of = record("ab", 2, sync="b", wish=wish("switchover", "b"))  # c streams and is to be counted
    assert isinstance(told(of, whole(of)).steps[0], WriteRecord)
    assert asked(told(of, whole(of, a=yielding(of)))) == [("a", 2, False)]


@pytest.mark.parametrize(
    ("to", "changes", "why"),
    [
        ("a", {}, "a is primary already"),
        ("d", {}, "there is no member d; there is: a, b, c"),
        ("b", {"streaming": "c"}, "b does not stream from a"),
        (None, {"streaming": ""}, "no standby streams from a"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(to: str | None, changes: Any, why: str) -> None:
    of = record("a", 1, sync="", wish=wish("switchover", to))
    seen = whole(of, a=primary(of, changes.get("streaming", "bc")))
    text = answer(begun(seen, of, NOW))
    assert why in text
    assert text.startswith("switchover")


def test_a_candidate_that_is_gone_is_refused_even_when_the_primary_already_turns_clients_away() -> None:
    seen = world(TO_B, yielding(TO_B), heard(standby(TO_B, "b"), ago=1.0, closed=1.0), standby(TO_B, "c"))
    assert "b closed its connection" in answer(told(TO_B, seen))


@pytest.mark.parametrize("to", ["b", None])
def test_an_operator_that_has_just_begun_hears_the_candidates_before_it_refuses(to: str | None) -> None:
    of = record("abc", 2, sync="bc", wish=wish("switchover", to))
    for own in (primary(of, "bc"), yielding(of)):
        said = begun(world(of, own, awake_since=NOW - 0.01), of, NOW)
        assert not said.steps
        assert any("has not been heard yet" in text for text in said.waits)
    assert "switchover" in answer(begun(world(of, primary(of, "bc")), of, NOW))


def test_what_passes_by_itself_is_waited_for() -> None:
    uncounted = record("a", 1, sync="", wish=wish("switchover", "b"))
    assert any("b is not counted yet" in text for text in begun(whole(uncounted), uncounted, NOW).waits)
    behind = primary(TO_B, "c")
    late = Walsender(name=application_name("b/1", 1), state="streaming", flush=END)
    behind = behind.model_copy(
        update={
            "walsenders": (*behind.walsenders, late),
            "position": promiser(TO_B, "a", 2, lsn=REPLAYED + END).position,
        }
    )
    assert any("MB to replay" in text for text in told(TO_B, whole(TO_B, a=behind)).waits)
    coming = whole(TO_B, a=primary(TO_B, "bc", serving=Serving.NONE), not_serving_since=NOW - 1.0)
    assert any("does not serve yet" in text for text in told(TO_B, coming).waits)


def test_a_wish_that_is_over_in_time_is_answered_and_not_fulfilled() -> None:
    assert "not done in the time that was given" in answer(told(TO_B, whole(TO_B, wall=WALL + 61.0)))


def test_a_wish_of_another_term_means_nothing() -> None:
    of = record("abc", 2, sync="bc", wish=wish("switchover", "b", term=7))
    assert of.wished(WALL) is None


def test_where_nobody_is_counted_because_nobody_is_waited_for_an_equal_log_is_enough() -> None:
    of = record("a", 1, sync="", wish=wish("switchover", "b"))
    loose = document("abc", durability="async")
    assert asked(begun(whole(of, document=loose), of, NOW)) == [("a", 2, True)]
    seen = world(of, gone(of, settled=True), standby(of, "b"), standby(of, "c"), document=loose)
    assert asked(told(of, seen)) == [("b", 2, False)]
    seen = world(of, gone(of, settled=True), promiser(of, "b", 2), standby(of, "c"), document=loose)
    assert written(told(of, seen)).primary == "b/1"


# after the promise of the primary


@pytest.mark.parametrize("state", [Postgres.RUNNING, Postgres.STOPPING])
def test_nobody_is_asked_while_the_primary_still_sends_what_it_has(state: Postgres) -> None:
    role = Role.PRIMARY if state is Postgres.RUNNING else Role.NONE
    seen = world(TO_B, gone(TO_B, state, role=role), standby(TO_B, "b"), standby(TO_B, "c"), not_serving_since=NOW)
    waiting = told(TO_B, seen)
    assert not waiting.steps
    assert any("is shutting down" in text for text in waiting.waits)


def test_once_it_is_shut_down_the_candidate_alone_is_asked() -> None:
    for settled in (False, True):
        seen = world(TO_B, gone(TO_B, settled=settled), standby(TO_B, "b"), standby(TO_B, "c"), not_serving_since=NOW)
        assert asked(told(TO_B, seen)) == [("b", 2, False)]


def test_a_candidate_with_exactly_the_log_of_the_primary_follows_it() -> None:
    seen = world(TO_B, gone(TO_B, settled=True), promiser(TO_B, "b", 2), standby(TO_B, "c"), not_serving_since=NOW)
    new = written(told(TO_B, seen))
    assert (new.term, new.primary, new.claim.members, new.timeline) == (2, "b/1", ("b/1",), 2)
    assert new.wish is None
    assert new.answered is not None
    assert new.answered.done
    assert new.reason.startswith("switchover to b: a has promised term 2")


def test_the_end_of_the_primarys_log_must_be_known_before_anybody_follows() -> None:
    seen = world(TO_B, gone(TO_B), promiser(TO_B, "b", 2), standby(TO_B, "c"), not_serving_since=NOW)
    waiting = told(TO_B, seen)
    assert not waiting.steps
    assert any("its log's end is not known yet" in text for text in waiting.waits)


@pytest.mark.parametrize("lsn", [END - 8, END + 8])
def test_a_candidate_whose_log_differs_by_one_record_is_not_elected_and_the_old_primary_goes_on(lsn: int) -> None:
    seen = world(TO_B, gone(TO_B, settled=True), promiser(TO_B, "b", 2, lsn), standby(TO_B, "c"), not_serving_since=NOW)
    if lsn > END:  # it cannot have more than was sent; if it has, the furthest wins as in any ballot
        assert written(told(TO_B, seen)).primary == "b/1"
        return
    new = written(told(TO_B, seen))
    assert (new.primary, new.term) == ("a/1", 2)
    assert new.answered is not None
    assert not new.answered.done


def test_a_candidate_that_dies_in_the_middle_leaves_the_old_primary_to_go_on() -> None:
    dead = heard(standby(TO_B, "b"), ago=1.0, closed=1.0)
    new = written(told(TO_B, world(TO_B, gone(TO_B, settled=True), dead, standby(TO_B, "c"), not_serving_since=NOW)))
    assert (new.primary, new.term, new.timeline) == ("a/1", 2, 2)


def test_a_candidate_that_does_not_answer_is_not_waited_for_longer_than_the_hand_over() -> None:
    since = NOW - HAND_OVER - 0.1
    seen = world(TO_B, gone(TO_B, settled=True), standby(TO_B, "b"), standby(TO_B, "c"), not_serving_since=since)
    assert written(told(TO_B, seen)).primary == "a/1"


def test_without_a_name_the_next_best_is_asked_when_the_first_is_gone_and_the_choice_stays() -> None:
    dead = heard(standby(TO_ANY, "b"), ago=1.0, closed=1.0)
    seen = world(TO_ANY, gone(TO_ANY, settled=True), dead, standby(TO_ANY, "c"), not_serving_since=NOW)
    assert asked(told(TO_ANY, seen)) == [("c", 2, False)]
    back = world(
        TO_ANY, gone(TO_ANY, settled=True), standby(TO_ANY, "b"), promiser(TO_ANY, "c", 2), not_serving_since=NOW
    )
    assert written(told(TO_ANY, back)).primary == "c/1"


def test_among_equals_the_one_beside_swarms_leader_is_taken_last() -> None:
    nodes = tuple(
        Node(id=f"id-{m}", name=f"node-{m}", role="manager", state="ready", is_raft_leader=m == "b") for m in "abc"
    )
    swarm = SWARM.model_copy(update={"nodes": nodes})
    seen = world(TO_ANY, gone(TO_ANY, settled=True), standby(TO_ANY, "b"), standby(TO_ANY, "c"), swarm=swarm)
    assert asked(told(TO_ANY, seen)) == [("c", 2, False)]
    of = record("abc", 2, sync="bc")
    two = world(of, heard(primary(of), ago=1.0, closed=1.0), promiser(of, "b", 2), promiser(of, "c", 2), swarm=swarm)
    assert written(ballot(two, of, health(two, of, NOW), NOW)).primary == "c/1"


def test_a_primary_that_is_lost_in_the_middle_is_followed_by_an_ordinary_ballot() -> None:
    dead = heard(gone(TO_B), ago=1.0, closed=1.0)
    seen = world(TO_B, dead, standby(TO_B, "b"), standby(TO_B, "c"), not_serving_since=NOW)
    assert asked(told(TO_B, seen)) == [("b", 2, False), ("c", 2, False)]


def test_an_operator_that_finds_a_promise_and_no_wish_gives_the_next_term_to_the_old_primary() -> None:
    forgotten = record("abc", 2, sync="bc")
    seen = world(forgotten, gone(forgotten, settled=True), standby(forgotten, "b"), standby(forgotten, "c"))
    assert written(told(forgotten, seen)).primary == "a/1"


def test_a_promise_of_a_higher_term_than_the_primarys_is_no_candidate() -> None:
    seen = world(TO_B, gone(TO_B, settled=True), promiser(TO_B, "b", 3), standby(TO_B, "c"), not_serving_since=NOW)
    assert ("b", 2, False) not in asked(told(TO_B, seen))


# a failover that a person forces


def test_a_forced_failover_is_an_ordinary_ballot_before_the_time_out() -> None:
    of = record("abc", 2, sync="bc", wish=wish("failover", "c"))
    assert asked(told(of, whole(of))) == [("b", 2, False), ("c", 2, False)]
    seen = world(of, primary(of), promiser(of, "b", 2), promiser(of, "c", 2))
    new = written(told(of, seen))
    assert new.primary == "c/1"
    assert new.answered is not None
    assert new.answered.done
    further = world(of, primary(of), promiser(of, "b", 2), promiser(of, "c", 2, END - 8))
    new = written(told(of, further))
    assert new.primary == "b/1", "nothing is lost for a wish"
    assert new.answered is not None
    assert not new.answered.done


def test_a_forced_failover_without_a_quorum_is_refused_with_those_who_are_missing() -> None:
    of = record("abc", 2, sync="bc", wish=wish("failover"))
    text = answer(told(of, world(of, primary(of, "b"), standby(of, "b"))))
    assert "c has not been heard yet" in text


def test_a_primary_that_hangs_is_asked_last_when_the_others_do_not_suffice() -> None:
    of = record("abc", 2, sync="bc")
    hung = primary(of, serving=Serving.NONE, answers=False)
    alone = world(of, hung, standby(of, "b"), not_serving_since=NOW - 60.0)
    assert asked(told(of, alone)) == [("a", 2, False)]
    enough = world(of, hung, standby(of, "b"), standby(of, "c"), not_serving_since=NOW - 60.0)
    assert asked(told(of, enough)) == [("b", 2, False), ("c", 2, False)]


def test_a_primary_that_only_does_not_serve_yet_is_never_fenced_for_that() -> None:
    of = record("abc", 2, sync="bc")
    armed = primary(of, serving=Serving.NONE)
    plan = told(of, world(of, armed, standby(of, "b"), not_serving_since=NOW - 60.0))
    assert not asked(plan)


# a primary that is told to stop


RESTING = record("abc", 2, sync="bc")


def test_a_primary_that_is_told_to_stop_asks_for_a_successor_and_nothing_is_written_for_it() -> None:
    assert asked(told(RESTING, whole(RESTING, a=primary(RESTING, "bc", leaving=True)))) == [("a", 2, True)]
    ready = whole(RESTING, a=primary(RESTING, "bc", leaving=True, serving=Serving.NONE, yields=2))
    assert asked(told(RESTING, ready)) == [("a", 2, False)]


def test_its_successor_is_who_has_exactly_its_log() -> None:
    stopped = gone(RESTING, settled=True, leaving=True)
    other = whole(RESTING, a=stopped, not_serving_since=NOW - 0.1)
    assert asked(told(RESTING, other))[:1] == [("b", 2, False)]
    both = world(RESTING, stopped, promiser(RESTING, "b", 2), standby(RESTING, "c"), not_serving_since=NOW - 0.1)
    new = written(told(RESTING, both))
    assert (new.term, new.primary) == (2, "b/1")
    assert new.reason.startswith("a was told to stop and has promised term 2")


def test_who_is_told_to_stop_and_has_no_standby_has_no_successor_and_no_answer_is_written() -> None:
    said = begun(world(RESTING, primary(RESTING, "", leaving=True)), RESTING, NOW)
    assert not said.steps
    assert any("told to stop, has no successor" in text for text in said.waits)


def test_a_persons_wish_goes_before_that_of_a_primary_that_is_told_to_stop() -> None:
    to_c = record("abc", 2, sync="bc", wish=wish("switchover", "c"))
    stopped = gone(to_c, settled=True, leaving=True)
    assert asked(told(to_c, whole(to_c, a=stopped, not_serving_since=NOW - 0.1)))[:1] == [("c", 2, False)]
