"""Failover: who counts as lost, who must promise, who wins, and what the record says then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgswarm.core.ballot import HANG_TIMEOUT, SHUTDOWN, Health, ballot, health, raised
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.durability import NOBODY
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, Postgres, Role, Serving
from pgswarm.core.steps import AskPromise, Plan, WriteRecord
from pgswarm.core.wal import Position, Reign
from pgswarm.core.world import World
from tests.core.builders import (
    END,
    NOW,
    document,
    empty,
    heard,
    names,
    primary,
    promiser,
    record,
    report,
    standby,
    stopped,
    world,
)

TWO = record("ab", 2, sync="b", members="ab")
THREE = record("abc", 2, sync="bc")
ALONE = record("a", 1, sync="")
DEAD = {"ago": 1.0, "closed": 1.0}


def told(of: Record, seen: World) -> Plan:
    return ballot(seen, of, health(seen, of, NOW), NOW)


def asked(plan: Plan) -> set[tuple[str, int]]:
    assert all(isinstance(step, AskPromise) for step in plan.steps)
    return {(step.member, step.term) for step in plan.steps if isinstance(step, AskPromise)}


def written(plan: Plan) -> Record:
    (step,) = plan.steps
    assert isinstance(step, WriteRecord)
    return step.record


# health


def judged(of: Record, seen: World) -> Health:
    return health(seen, of, NOW)


def test_a_serving_primary_is_neither_lost_nor_coming() -> None:
    found = judged(TWO, world(TWO, primary(TWO)))
    assert (found.lost, found.coming) == (False, False)
    assert "is serving" in found.reason


def test_a_primary_whose_process_was_seen_to_end_is_lost_after_the_grace() -> None:
    assert not judged(TWO, world(TWO, heard(primary(TWO), ago=0.2, closed=0.1))).lost
    refused = replace(heard(primary(TWO), ago=0.1, closed=0.01), vacant=True)
    assert judged(TWO, world(TWO, refused)).lost
    found = judged(TWO, world(TWO, heard(primary(TWO), ago=0.2, closed=0.2)))
    assert found.lost
    assert "closed its connection" in found.reason


def test_a_silent_primary_is_lost_after_the_detection_time_and_not_before() -> None:
    assert not judged(TWO, world(TWO, heard(primary(TWO), ago=2.9))).lost
    found = judged(TWO, world(TWO, heard(primary(TWO), ago=3.1)))
    assert found.lost
    assert "silent for 3.1 s" in found.reason


def test_an_operator_that_slept_counts_silence_closing_and_hanging_from_its_awakening() -> None:
    for seen in (heard(primary(TWO), ago=60.0), heard(primary(TWO), ago=60.0, closed=60.0)):
        assert not judged(TWO, world(TWO, seen, awake_since=NOW - 0.1)).lost
    hung = world(TWO, primary(TWO, serving=Serving.NONE), not_serving_since=NOW - 60.0, awake_since=NOW - 1.0)
    assert not judged(TWO, hung).lost


@pytest.mark.parametrize("known", [True, False])
def test_who_has_just_found_all_members_again_gives_the_primary_a_moment_to_answer(known: bool) -> None:
    silent = heard(primary(TWO), ago=9.0)
    there = replace(silent if known else replace(silent, report=None, heard_at=None), dialled_at=NOW - 0.1)
    other = heard(standby(TWO, "b"))
    for sighting, second, lost in (
        (there, replace(other, dialled_at=NOW - 0.1), False),
        (there, replace(other, dialled_at=NOW - 1.1), True),  # it was heard all the while: the primary was not
        (replace(there, dialled_at=NOW - 1.1), replace(other, dialled_at=NOW - 0.1), True),
        (replace(there, connected=False, closed_at=NOW - 5.0), replace(other, dialled_at=NOW - 0.1), True),
    ):
        seen = replace(world(TWO, other), members={"a": sighting, "b": second})
        assert judged(TWO, seen).lost is lost


def test_a_primary_never_heard_is_lost_only_after_listening_for_the_detection_time() -> None:
    assert not judged(TWO, world(TWO, awake_since=NOW - 1.0)).lost
    assert judged(TWO, world(TWO, awake_since=NOW - 4.0)).lost


@pytest.mark.parametrize("state", [Postgres.CRASHED, Postgres.STOPPED, Postgres.STOPPING])
def test_a_primary_whose_postgresql_is_not_there_says_so_itself(state: Postgres) -> None:
    found = judged(TWO, world(TWO, stopped(TWO).model_copy(update={"postgres": state})))
    assert found.lost
    assert state.value in found.reason


def test_a_primary_that_shuts_down_is_given_a_moment_to_send_what_it_has() -> None:
    stopping = stopped(TWO).model_copy(update={"postgres": Postgres.STOPPING})
    assert judged(TWO, world(TWO, stopping, not_serving_since=NOW - 0.1)).coming
    assert judged(TWO, world(TWO, stopping, not_serving_since=NOW - SHUTDOWN)).lost


def test_a_primary_that_promised_a_newer_term_is_lost() -> None:
    assert "promised term 2" in judged(TWO, world(TWO, promiser(TWO, "a", 2))).reason


def test_a_primary_with_another_data_directory_is_lost() -> None:
    for changed in ({"incarnation": "a/2"}, {"system_id": "8"}):
        found = judged(TWO, world(TWO, stopped(TWO, "a", **changed)))
        assert found.lost
        assert "no longer holds a/1" in found.reason
    assert judged(TWO, world(TWO, empty(TWO, "a"))).lost


def test_a_first_primary_that_still_creates_its_data_is_coming() -> None:
    first = record("a", 1, sync="", system_id="")
    building = report("a", data=Data.BUILDING, incarnation="a/1", promised=1, accepted=(1, 5), heeded=(1, 5))
    assert judged(first, world(first, building)).coming
    assert judged(first, world(first, empty(first, "a"))).coming


def test_a_primary_that_does_not_serve_is_coming_for_a_while_and_then_lost() -> None:
    starting = primary(TWO, serving=Serving.NONE)
    assert judged(TWO, world(TWO, starting, not_serving_since=NOW - 1.0)).coming
    found = judged(TWO, world(TWO, starting, not_serving_since=NOW - HANG_TIMEOUT - 1.0))
    assert found.lost
    assert "has not served for 11 s" in found.reason


# asking


def test_the_claimed_standbys_are_asked_and_the_uncounted_are_not() -> None:
    of = record("ab", 2, sync="b")
    plan = told(of, world(of, heard(primary(of), **DEAD), standby(of, "b"), standby(of, "c")))
    assert asked(plan) == {("b", 2)}
    assert "closed its connection" in plan.steps[0].reason


def test_a_primary_that_lives_is_not_asked_while_others_suffice() -> None:
    assert asked(told(TWO, world(TWO, stopped(TWO), standby(TWO, "b")))) == {("b", 2)}


def test_nobody_is_asked_when_the_reachable_cannot_make_a_quorum() -> None:
    plan = told(THREE, world(THREE, heard(primary(THREE), **DEAD), standby(THREE, "b")))
    assert not plan.steps
    assert "2 of the members" in plan.waits[0]
    assert "c has not been heard yet" in plan.waits[0]


def test_a_promise_two_terms_ahead_sets_the_term_of_the_ballot() -> None:
    seen = world(THREE, heard(primary(THREE), **DEAD), promiser(THREE, "b", 3), standby(THREE, "c"))
    assert asked(told(THREE, seen)) == {("c", 3)}


def test_a_member_that_lost_its_data_is_no_quorum() -> None:
    for other in (empty(TWO, "b"), standby(TWO, "b", incarnation="b/2"), standby(TWO, "b", system_id="8")):
        plan = told(TWO, world(TWO, heard(primary(TWO), **DEAD), other))
        assert not plan.steps
        assert "it holds" in plan.waits[0]


def test_a_primary_alone_that_came_back_is_to_resume_its_term() -> None:
    plan = told(ALONE, world(ALONE, stopped(ALONE), standby(ALONE, "b")))
    assert not plan.steps
    assert "resume term 1" in plan.waits[0]


def test_a_primary_that_fenced_itself_is_asked_with_the_others_for_its_word_suffices() -> None:
    unsettled = promiser(TWO, "a", 2, settled=False)
    assert asked(told(TWO, world(TWO, unsettled))) == {("a", 2)}
    assert asked(told(TWO, world(TWO, unsettled, standby(TWO, "b")))) == {("a", 2), ("b", 2)}


def test_a_promise_whose_end_of_log_is_not_known_is_asked_for_again() -> None:
    seen = world(TWO, heard(primary(TWO), **DEAD), promiser(TWO, "b", 2, settled=False))
    assert asked(told(TWO, seen)) == {("b", 2)}


# deciding


def test_with_a_quorum_the_furthest_is_primary_of_the_next_term_and_alone_in_the_claim() -> None:
    seen = world(THREE, heard(primary(THREE), **DEAD), promiser(THREE, "b", 2, 490), promiser(THREE, "c", 2, 495))
    new = written(told(THREE, seen))
    assert (new.term, new.revision, new.primary) == (2, THREE.revision + 1, "c/1")
    assert new.claim == Claim(members=("c/1",), r=1)
    assert new.sync == Sync()
    assert new.lineage[-1] == Reign(term=2, incarnation="c/1", timeline=2, fork=495)
    assert "c is furthest" in new.reason


def test_one_promise_of_three_is_no_quorum_when_two_copies_are_claimed() -> None:
    seen = world(THREE, heard(primary(THREE), **DEAD), promiser(THREE, "b", 2), standby(THREE, "c"))
    assert asked(told(THREE, seen)) == {("c", 2)}


def test_the_promise_of_the_primary_is_a_quorum_by_itself() -> None:
    new = written(told(THREE, world(THREE, promiser(THREE, "a", 2))))
    assert (new.primary, new.term, new.timeline) == ("a/1", 2, 2)


def test_ties_go_to_the_old_primary_and_then_to_the_order_of_the_document() -> None:
    both = world(THREE, promiser(THREE, "a", 2), promiser(THREE, "b", 2), promiser(THREE, "c", 2))
    assert written(told(THREE, both)).primary == "a/1"
    two = world(THREE, heard(primary(THREE), **DEAD), promiser(THREE, "c", 2), promiser(THREE, "b", 2))
    assert written(told(THREE, two)).primary == "b/1"


def test_the_further_timeline_beats_the_greater_lsn() -> None:
    lineage = (
        Reign(term=1, incarnation="b/1", timeline=1, fork=0),
        Reign(term=2, incarnation="a/1", timeline=2, fork=END),
    )
    of = record("abc", 2, sync="bc", term=2, lineage=lineage)
    behind = promiser(of, "b", 3, position=Position(timeline=1, lsn=END))
    ahead = promiser(of, "c", 3, position=Position(timeline=2, lsn=END))
    new = written(told(of, world(of, heard(primary(of), **DEAD), behind, ahead)))
    assert new.primary == "c/1"
    assert new.timeline == 3


def test_a_promiser_off_the_line_neither_wins_nor_counts_towards_the_quorum() -> None:
    stray = promiser(THREE, "b", 2, position=Position(timeline=9, lsn=900))
    seen = world(THREE, heard(primary(THREE), **DEAD), stray, promiser(THREE, "c", 2))
    plan = told(THREE, seen)
    assert not plan.steps
    assert "a person must look" in plan.waits[0]


def test_a_re_elected_primary_begins_a_new_timeline_that_nobody_has_used() -> None:
    lineage = (
        Reign(term=1, incarnation="a/1", timeline=1, fork=0),
        Reign(term=2, incarnation="b/1", timeline=4, fork=END),
    )
    of = record("b", 1, sync="", term=2, primary="b/1", lineage=lineage)
    never_promoted = promiser(of, "b", 3, position=Position(timeline=1, lsn=END))
    assert written(told(of, world(of, never_promoted))).timeline == 5


def test_where_durability_is_required_the_new_primary_lets_no_write_through_alone() -> None:
    seen = world(
        TWO, heard(primary(TWO), **DEAD), promiser(TWO, "b", 2), document=document("ab", durability="required")
    )
    new = written(told(TWO, seen))
    assert new.sync == Sync(k=1, names=(NOBODY,))
    assert new.claim == Claim(members=names("b"), r=1)


# raising


def test_a_term_is_raised_over_the_promises_of_a_ballot_that_was_not_needed() -> None:
    plan = raised(world(THREE, primary(THREE), promiser(THREE, "b", 4), standby(THREE, "c")), THREE, NOW)
    new = written(plan)
    assert (new.term, new.primary, new.claim, new.sync) == (4, "a/1", THREE.claim, THREE.sync)
    assert new.lineage[-1] == Reign(term=4, incarnation="a/1", timeline=1, fork=0)
    assert "not needed" in new.reason


def test_nothing_is_raised_without_promises_or_for_a_primary_that_nobody_sees() -> None:
    assert not raised(world(THREE, primary(THREE), standby(THREE, "b")), THREE, NOW).steps
    assert not raised(world(THREE, promiser(THREE, "b", 2)), THREE, NOW).steps
    fenced = promiser(THREE, "a", 2)
    assert not raised(world(THREE, fenced, promiser(THREE, "b", 2)), THREE, NOW).steps


def test_a_log_of_before_a_raised_term_still_lies_on_the_line() -> None:
    old = written(raised(world(THREE, primary(THREE), promiser(THREE, "b", 2)), THREE, NOW))
    seen = world(old, heard(primary(old), **DEAD), promiser(old, "b", 3), promiser(old, "c", 3))
    assert written(told(old, seen)).timeline == 2


def test_a_standby_whose_postgresql_is_down_is_asked_all_the_same_for_its_agent_can_settle() -> None:
    broken = standby(TWO, "b", role=Role.NONE, serving=Serving.NONE, postgres=Postgres.CRASHED, upstream=None)
    assert asked(told(TWO, world(TWO, heard(primary(TWO), **DEAD), broken))) == {("b", 2)}
