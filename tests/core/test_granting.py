"""By which rule a cluster lives, and when its primary is granted what it asks for."""

from __future__ import annotations

from typing import Any

from pgswarm.core.ballot import ballot, health
from pgswarm.core.bootstrap import completed
from pgswarm.core.grant import DRIFT, TTL
from pgswarm.core.granting import given, moves
from pgswarm.core.plan import plan
from pgswarm.core.record import Grant, Record
from pgswarm.core.steps import Plan, SendGrant, WriteRecord
from pgswarm.core.tenure import Standing
from pgswarm.core.world import Granted, World
from tests.core.builders import NOW, document, heard, places, primary, promiser, record, standby, world

TWO = record("ab", 2, sync="b", members="ab")
HELD = record("a", 1, sync="", members="ab", grant=Grant.HELD, grantor=4)
ASYNC = document("ab", durability="async")
STANDING = Standing(number=4, until=NOW + 14.0, over=0.0)


def seen(of: Record, *said: Any, **changes: Any) -> World:
    return world(of, *said, **{"document": ASYNC, "standing": STANDING, **changes})


def written(said: Plan) -> Record:
    (step,) = said.steps
    assert isinstance(step, WriteRecord)
    return step.record


def sent(said: Plan) -> SendGrant:
    (step,) = said.steps
    assert isinstance(step, SendGrant)
    return step


# towards async and back


def test_a_cluster_that_shall_be_async_stays_preferred_until_its_primary_holds_a_grant() -> None:
    said = moves(seen(TWO, primary(TWO, "b"), standby(TWO, "b")), TWO, NOW)
    assert not said.steps
    assert "has no grant yet" in said.waits[0]


def test_before_its_first_grant_the_record_names_the_tenure() -> None:
    after = written(moves(seen(TWO, primary(TWO, "b", asks="n1")), TWO, NOW))
    assert (after.grantor, after.grant, after.claim) == (4, Grant.NONE, TWO.claim)


def test_a_primary_that_holds_a_grant_is_told_to_need_it_and_to_wait_for_nobody() -> None:
    after = written(moves(seen(TWO, primary(TWO, "b", granted=True)), TWO, NOW))
    assert after.grant is Grant.ASKED
    assert (after.claim.members, after.claim.r, after.sync.k) == (("a/1",), 1, 0)


def test_it_is_held_only_once_the_primary_has_accepted_an_order_that_says_so() -> None:
    asked = TWO.amended("x", claim=HELD.claim, sync=HELD.sync, grant=Grant.ASKED, grantor=4)
    before = primary(TWO, "b", granted=True)
    waiting = moves(seen(asked, before), asked, NOW)
    assert not waiting.steps
    assert written(moves(seen(asked, primary(asked, "b", granted=True)), asked, NOW)).grant is Grant.HELD


def test_the_last_word_of_a_lost_primary_is_enough_to_hold_it() -> None:
    asked = record("a", 1, sync="", members="ab", grant=Grant.ASKED, grantor=4)
    lost = seen(asked, heard(primary(asked), ago=9.0, closed=9.0), standby(asked, "b"))
    after = [step.record for step in plan(lost, NOW).steps if isinstance(step, WriteRecord)]
    assert [one.grant for one in after] == [Grant.HELD]


def test_away_from_async_it_is_one_write_and_then_the_claim_grows() -> None:
    for durability in ("preferred", "required"):
        view = seen(HELD, primary(HELD, "b"), standby(HELD, "b"), document=document("ab", durability=durability))
        after = written(moves(view, HELD, NOW))
        assert (after.grant, after.claim) == (Grant.NONE, HELD.claim)


def test_a_member_that_is_added_must_be_known_to_the_primary_before_its_promise_can_stop_it() -> None:
    wanted = document("abc", durability="async")
    after = written(completed(seen(HELD, primary(HELD), places=places("abc"), document=wanted), HELD, NOW))
    assert after.members == ("a", "b", "c")
    assert after.grant is Grant.ASKED


def test_after_a_ballot_the_successor_begins_under_the_same_rule_unless_the_document_says_otherwise() -> None:
    view = seen(HELD, promiser(HELD, "a", 2))
    after = written(ballot(view, HELD, health(view, HELD, NOW), NOW))
    assert (after.term, after.grant) == (2, Grant.HELD)
    for durability in ("preferred", "required"):
        view = seen(HELD, promiser(HELD, "a", 2), document=document("ab", durability=durability))
        assert written(ballot(view, HELD, health(view, HELD, NOW), NOW)).grant is Grant.NONE


# giving


def test_a_primary_that_asks_is_granted_from_when_it_was_heard() -> None:
    step = sent(given(seen(HELD, heard(primary(HELD, asks="n1"), ago=0.3)), HELD, NOW))
    assert (step.member, step.term, step.nonce, step.ttl) == ("a", 1, "n1", TTL)
    assert step.until == NOW - 0.3 + TTL * (1 + DRIFT)


def test_a_word_that_was_answered_is_not_answered_again() -> None:
    view = seen(HELD, primary(HELD, asks="n1"), granted=Granted(nonce="n1", boots={"boot": NOW + 9}))
    assert given(view, HELD, NOW).at_rest


def test_no_grant_outlasts_the_tenure() -> None:
    step = sent(
        given(seen(HELD, primary(HELD, asks="n1"), standing=Standing(number=4, until=NOW + 6.0, over=0.0)), HELD, NOW)
    )
    assert step.until <= NOW + 6.0
    assert step.ttl * (1 + DRIFT) <= 6.0


def test_without_a_tenure_or_at_its_end_nothing_is_granted_and_that_is_said() -> None:
    for standing in (None, Standing(number=4, until=NOW, over=0.0), Standing(number=4, until=NOW + 3.0, over=0.0)):
        said = given(seen(HELD, primary(HELD, asks="n1"), standing=standing), HELD, NOW)
        assert not said.steps
        assert "no grant can be given" in said.waits[0]
    other = seen(HELD, primary(HELD, asks="n1", granted=True), standing=None)
    assert given(other, HELD, NOW).at_rest, "another operator sees to it"


def test_a_new_tenure_is_named_in_the_record_before_anything_is_granted_under_it() -> None:
    view = seen(HELD, primary(HELD, asks="n1"), standing=Standing(number=5, until=NOW + 14.0, over=NOW + 9.0))
    assert given(view, HELD, NOW).at_rest
    assert written(moves(view, HELD, NOW)).grantor == 5


def test_after_a_succession_that_was_begun_nothing_is_granted_until_the_record_has_moved_on() -> None:
    view = seen(HELD, primary(HELD, asks="n1"), spoiled=HELD.revision)
    assert given(view, HELD, NOW).at_rest
    after = written(moves(view, HELD, NOW))
    assert after.revision == HELD.revision + 1
    assert given(seen(after, primary(after, asks="n1"), spoiled=HELD.revision), after, NOW).steps


def test_nothing_is_granted_to_a_primary_that_promised_more_is_another_or_is_not_heard() -> None:
    for said in (
        promiser(HELD, "a", 2, asks="n1"),
        primary(HELD, asks="n1", incarnation="a/2"),
        heard(primary(HELD, asks="n1"), ago=9.0),
    ):
        assert given(seen(HELD, said), HELD, NOW).at_rest


def test_at_rest_an_async_cluster_plans_nothing() -> None:
    view = seen(HELD, primary(HELD, "b", granted=True), standby(HELD, "b"))
    assert moves(view, HELD, NOW).at_rest
    assert given(view, HELD, NOW).at_rest
