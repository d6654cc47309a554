"""A pause: nothing is changed but what safety and a running reign need, and everything that waits is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgswarm.core.explain import explained
from pgswarm.core.plan import plan
from pgswarm.core.proposal import propose
from pgswarm.core.record import Record
from pgswarm.core.status import status_of
from pgswarm.core.steps import AskPromise, EnsureService, Plan, SendOrder, StoreDocument, WriteRecord
from pgswarm.core.wish import Pause
from pgswarm.core.world import FoundDocument, Wanted, World
from tests.core.builders import NOW, WALL, document, heard, primary, promiser, record, standby, stopped, wish, world

PAUSE = Pause(by="ann@m1", why="new switch", since=WALL - 60.0)
SAID = "paused by ann@m1 (new switch)"
PAIR = record("ab", 2, "b", members="ab", pause=PAUSE)
DEAD: dict[str, Any] = {"ago": 9.0, "closed": 9.0}


def writes(said: Plan) -> list[Record]:
    return [step.record for step in said.steps if isinstance(step, WriteRecord)]


def well(of: Record = PAIR, **changes: Any) -> World:
    return world(of, primary(of, "b"), standby(of, "b"), **changes)


def test_a_healthy_cluster_that_is_paused_changes_nothing_and_says_by_whom() -> None:
    said = plan(well(told={}), NOW)
    assert not writes(said)
    assert SAID in said.waits
    seen = status_of(well(), said, NOW)
    assert seen.paused == SAID
    assert seen.summary == f"a serves; {SAID}"
    assert not seen.healthy


def test_a_primary_that_is_lost_is_not_replaced_and_the_reason_says_how_to_go_on() -> None:
    seen = world(PAIR, heard(primary(PAIR), **DEAD), standby(PAIR, "b"))
    said = plan(seen, NOW)
    assert not [step for step in said.steps if isinstance(step, (AskPromise, WriteRecord))]
    waits = next(text for text in said.waits if text.startswith("no failover"))
    assert waits.startswith(f"no failover: {SAID}, though a closed its connection")
    assert "`pgswarm resume`" in waits
    assert explained(seen, PAIR, said, NOW).failover == waits


def test_once_it_is_resumed_or_its_time_is_over_the_same_world_is_failed_over() -> None:
    over = PAIR.model_copy(update={"pause": PAUSE.model_copy(update={"until": WALL - 1.0})})
    resumed = PAIR.amended("resumed by ann@m1", pause=None)
    for of in (over, resumed):
        seen = world(of, heard(primary(of), **DEAD), standby(of, "b"))
        assert [step.member for step in plan(seen, NOW).steps if isinstance(step, AskPromise)] == ["b"]
    still = PAIR.model_copy(update={"pause": PAUSE.model_copy(update={"until": WALL + 1.0})})
    seen = world(still, heard(primary(still), **DEAD), standby(still, "b"))
    assert not [step for step in plan(seen, NOW).steps if isinstance(step, AskPromise)]


def test_a_reign_that_its_primary_has_ended_by_its_promise_is_succeeded_all_the_same() -> None:
    seen = world(PAIR, promiser(PAIR, "a", 2), promiser(PAIR, "b", 2))
    assert [one.term for one in writes(plan(seen, NOW))] == [2]


def test_commits_do_not_wait_for_a_standby_that_is_lost_meanwhile() -> None:
    seen = world(PAIR, primary(PAIR), heard(standby(PAIR, "b"), **DEAD), absent_since={"b/1": NOW - 9.0})
    changed = writes(plan(seen, NOW))
    assert [(one.claim.r, one.pause) for one in changed] == [(1, PAUSE)]


def test_a_member_that_starts_again_is_told_what_the_record_says() -> None:
    seen = world(PAIR, stopped(PAIR, "a"), standby(PAIR, "b"))
    told = [step.member for step in plan(seen, NOW).steps if isinstance(step, SendOrder)]
    assert "a" in told


def test_promises_of_a_ballot_that_the_pause_cut_short_are_raised_over_while_the_primary_is_well() -> None:
    seen = world(PAIR, primary(PAIR), standby(PAIR, "b", promised=2))
    changed = writes(plan(seen, NOW))
    assert [(one.term, one.primary) for one in changed] == [(2, "a/1")]


def test_a_wish_is_refused_with_the_name_of_who_paused_it() -> None:
    for kind in ("switchover", "failover", "accept-loss"):
        of = PAIR.amended("bob wishes", wish=wish(kind, by="bob"))
        changed = writes(plan(well(of), NOW))
        assert [one.wish for one in changed] == [None]
        assert changed[0].answered is not None
        assert SAID in changed[0].answered.text
        assert not changed[0].answered.done
    assert SAID in propose(well(), PAIR, "switchover", None, (), NOW).refusal


def test_an_edit_and_a_service_that_differs_wait_and_are_named() -> None:
    found = FoundDocument(document=document("ab", durability="required"), edited_at=9.0, source="m1:main.yaml")
    differs = Wanted(name="main_b", spec={}, member="b", exists=True, differences=("image",))
    seen = replace(well(), found=found, wanted={"main_b": differs})
    said = plan(seen, NOW)
    assert not [step for step in said.steps if isinstance(step, (StoreDocument, EnsureService))]
    assert "paused, so not done: take over the document of main (m1:main.yaml was edited)" in said.waits
    assert "paused, so not done: put back service main_b (image)" in said.waits
    resumed = plan(replace(seen, record=PAIR.amended("resumed", pause=None)), NOW)
    assert [step for step in resumed.steps if isinstance(step, StoreDocument)]


def test_members_that_the_document_adds_wait() -> None:
    three = record("ab", 2, "b", members="abc").places
    seen = replace(well(), places=three)
    assert not writes(plan(seen, NOW))
