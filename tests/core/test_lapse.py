"""Failover under a grant: when the old primary can write no more, who wins, and what is said to be lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core.ballot import HANG_TIMEOUT, health
from pgswarm.core.grant import DRIFT, MARGIN, TTL
from pgswarm.core.lapse import SETTLE, succession
from pgswarm.core.plan import plan
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Lent, Postgres, Serving
from pgswarm.core.status import status_of
from pgswarm.core.steps import NOTHING, AskPromise, LookAgain, Plan, SendGrant, SendOrder, WriteRecord
from pgswarm.core.swarmview import SwarmView, Task
from pgswarm.core.tenure import Standing
from pgswarm.core.wal import Position
from pgswarm.core.wish import Wish
from pgswarm.core.world import Granted, Unknown, World
from tests.core.builders import END, NOW, SWARM, document, heard, primary, promiser, record, standby, stopped, world

HELD = record("a", 1, sync="", grant=Grant.HELD, grantor=4)
ASYNC = document("abc", durability="async")
STANDING = Standing(number=4, until=NOW + 14.0, over=0.0)
LONG_AGO: dict[str, Any] = {"clock": 5000.0, "consented": 4000.0}
GONE = heard(primary(HELD, task="t1"), ago=4.0)
LAST = Granted(boots={"boot": NOW - 3.0})
WHOLE = TTL * (1 + DRIFT) + MARGIN


def seen(*said: Any, of: Record = HELD, **changes: Any) -> World:
    return world(of, *said, **{"document": ASYNC, "standing": STANDING, "granted": LAST, **changes})


def bound(member: str, lsn: int = END, **changes: Any) -> Any:
    return promiser(HELD, member, 2, lsn, **{**LONG_AGO, **changes})


def told(view: World, of: Record = HELD) -> Plan:
    return succession(view, of, health(view, of, NOW), NOW)


def asked(said: Plan) -> set[tuple[str, int]]:
    return {(step.member, step.term) for step in said.steps if isinstance(step, AskPromise)}


def written(said: Plan) -> Record | None:
    found = [step.record for step in said.steps if isinstance(step, WriteRecord)]
    return found[0] if found else None


def ended(state: str = "failed", **changes: Any) -> SwarmView:
    fields = {"container_id": "c1", "exit_code": 137, **changes}
    task = Task(id="t1", service_id="s", node_id="id-a", slot=1, state=state, desired="shutdown", **fields)
    return SWARM.model_copy(update={"tasks": (task,)})


# asking


def test_all_who_can_be_reached_are_asked_as_soon_as_the_primary_is_lost() -> None:
    assert asked(told(seen(GONE, standby(HELD, "b"), standby(HELD, "c")))) == {("b", 2), ("c", 2)}


def test_nobody_is_asked_while_the_primary_is_on_its_way_back_for_that_loses_nothing() -> None:
    said = told(seen(stopped(HELD), standby(HELD, "b")))
    assert not said.steps
    assert "loses nothing" in said.waits[0]


def test_a_primary_that_is_there_and_hangs_is_asked_too() -> None:
    hung = stopped(HELD).model_copy(update={"postgres": Postgres.CRASHED})
    said = told(seen(hung, standby(HELD, "b"), not_serving_since=NOW - HANG_TIMEOUT - 1))
    assert asked(said) == {("a", 2), ("b", 2)}


def test_nobody_is_asked_when_all_are_known_to_be_too_far_behind() -> None:
    far = primary(HELD, position=Position(timeline=1, lsn=END + (17 << 20)))
    said = told(seen(heard(far, ago=4.0), standby(HELD, "b"), standby(HELD, "c")))
    assert not said.steps
    assert "b lacks 17825792 bytes" in said.waits[0]
    assert "maxLagOnFailover is 16777216 bytes" in said.waits[0]
    assert "--accept-data-loss" in said.waits[0]


def test_nobody_is_asked_while_the_primary_has_not_said_that_it_needs_a_grant() -> None:
    asked_only = record("a", 1, sync="", grant=Grant.ASKED, grantor=4)
    silent = heard(primary(asked_only, accepted=(1, 4), heeded=(1, 4)), ago=4.0)
    said = told(seen(silent, standby(asked_only, "b"), of=asked_only), asked_only)
    assert not asked(said)
    assert "has not said yet" in said.waits[0]


def test_an_operator_that_never_heard_the_primary_does_not_guess_what_is_lost() -> None:
    said = told(seen(standby(HELD, "b"), awake_since=NOW - 60.0))
    assert not said.steps
    assert "never heard how far a was" in said.waits[0]


# waiting


def test_before_its_last_grant_has_run_out_there_is_no_successor() -> None:
    for left, decided in ((-MARGIN + 0.1, False), (-MARGIN, True)):
        view = seen(GONE, bound("b"), bound("c"), granted=Granted(boots={"boot": NOW + left}))
        assert (written(told(view)) is not None) is decided


def test_an_earlier_holders_grants_are_waited_for_though_this_one_gave_none() -> None:
    for over, decided in ((NOW + 0.1, False), (NOW, True)):
        view = seen(
            GONE, bound("b"), bound("c"), standing=Standing(number=5, until=NOW + 9, over=over), granted=Granted()
        )
        assert (written(told(view)) is not None) is decided


def test_an_operator_without_the_tenure_decides_nothing() -> None:
    for standing in (None, Standing(number=3, until=NOW + 9, over=0.0)):
        said = told(seen(GONE, bound("b"), bound("c"), standing=standing))
        assert written(said) is None
        assert "tenure" in said.waits[0]


def test_a_consent_counts_for_a_whole_grant_by_the_clock_of_who_gave_it() -> None:
    lately: dict[str, Any] = {"clock": 5000.0, "consented": 5000.0 - 8.0}
    assert written(told(seen(GONE, bound("b", **lately)))) is None
    past: dict[str, Any] = {"clock": 5000.0, "consented": 5000.0 - WHOLE * (1 + DRIFT) - 0.1}
    assert written(told(seen(GONE, bound("b", **past)))) is not None


def test_consent_must_be_unanimous_so_the_oldest_last_one_counts() -> None:
    lately: dict[str, Any] = {"clock": 5000.0, "consented": 4999.0}
    assert written(told(seen(GONE, bound("b", **lately), bound("c")))) is not None


def test_a_member_that_does_not_say_when_it_consented_proves_nothing() -> None:
    assert written(told(seen(GONE, promiser(HELD, "b", 2)))) is None


def test_a_report_that_was_heard_long_ago_is_not_taken_for_a_consent_of_long_ago() -> None:
    view = seen(GONE, heard(bound("b", clock=5000.0, consented=4995.0), ago=2.9))
    assert written(told(view)) is None, "5 s before 2.9 s ago"


def test_a_reachable_member_that_has_not_answered_is_waited_for_a_little() -> None:
    assert written(told(seen(GONE, bound("b"), standby(HELD, "c")))) is None
    long_over = Granted(boots={"boot": NOW - SETTLE - MARGIN})
    assert written(told(seen(GONE, bound("b"), standby(HELD, "c"), granted=long_over))) is not None


# Swarm's word


def test_a_container_that_ended_by_its_nodes_word_needs_no_waiting() -> None:
    view = seen(GONE, bound("b"), bound("c"), swarm=ended(), granted=Granted(boots={"boot": NOW + 9.0}))
    after = written(told(view))
    assert after is not None
    assert after.primary == "b/1"


@pytest.mark.parametrize("state", ["running", "orphaned", "rejected", "remove", "starting"])
def test_a_task_that_is_only_meant_to_end_proves_nothing(state: str) -> None:
    view = seen(GONE, bound("b"), bound("c"), swarm=ended(state), granted=Granted(boots={"boot": NOW + 9.0}))
    assert written(told(view)) is None


def test_an_end_without_a_container_or_of_another_task_proves_nothing() -> None:
    for swarm in (ended(container_id=""), ended(exit_code=None), SWARM, Unknown(why="no leader")):
        view = seen(GONE, bound("b"), bound("c"), swarm=swarm, granted=Granted(boots={"boot": NOW + 9.0}))
        assert written(told(view)) is None


def test_a_second_container_of_the_same_member_that_was_granted_something_is_waited_for() -> None:
    both = Granted(boots={"boot": NOW + 9.0, "another": NOW + 5.0})
    assert written(told(seen(GONE, bound("b"), bound("c"), swarm=ended(), granted=both))) is None


def test_swarms_word_does_not_shorten_what_an_earlier_holder_may_have_granted() -> None:
    early = Standing(number=5, until=NOW + 14.0, over=NOW + 9.0)
    assert written(told(seen(GONE, bound("b"), bound("c"), swarm=ended(), standing=early, granted=Granted()))) is None


def test_a_consent_after_the_primary_was_last_heard_may_be_to_its_next_container() -> None:
    late: dict[str, Any] = {"clock": 5000.0, "consented": 4998.0}
    view = seen(GONE, bound("b", **late), bound("c", **late), swarm=ended(), granted=Granted())
    assert written(told(view)) is None
    early: dict[str, Any] = {"clock": 5000.0, "consented": 4994.0}
    assert written(told(seen(GONE, bound("b", **early), bound("c", **early), swarm=ended(), granted=Granted())))


def test_while_it_waits_for_swarms_word_it_looks_for_it() -> None:
    said = told(seen(GONE, bound("b"), bound("c"), granted=Granted(boots={"boot": NOW + 9.0})))
    assert [step.task for step in said.steps if isinstance(step, LookAgain)] == ["t1"]


# the old primary's own promise


def test_a_primary_that_promised_and_tells_its_end_wins_by_the_ordinary_ballot() -> None:
    after = written(plan(seen(promiser(HELD, "a", 2), standby(HELD, "b")), NOW))
    assert after is not None
    assert (after.primary, after.term, after.losses) == ("a/1", 2, ())


def test_one_that_promised_but_cannot_tell_its_end_is_waited_for_and_then_succeeded() -> None:
    broken = stopped(HELD, promised=2).model_copy(update={"postgres": Postgres.CRASHED})
    far = Granted(boots={"boot": NOW + 99.0})
    for since, decided in ((5.0, False), (HANG_TIMEOUT + SETTLE + 1.0, True)):
        view = seen(heard(broken, ago=1.5), bound("b"), bound("c"), granted=far, not_serving_since=NOW - since)
        assert (written(told(view)) is not None) is decided
    stopping = heard(broken.model_copy(update={"postgres": Postgres.STOPPING}), ago=1.5)
    view = seen(stopping, bound("b"), bound("c"), granted=far, not_serving_since=NOW - 99.0)
    assert written(told(view)) is None, "while it stops somebody may still be answered"
    view = seen(heard(broken, ago=0.5), bound("b"), bound("c"), granted=far, not_serving_since=NOW - 99.0)
    assert written(told(view)) is None, "it crashed only just now"


def test_a_primary_that_promised_is_given_time_before_others_stop_receiving_from_it() -> None:
    going = stopped(HELD, promised=2)
    said = plan(seen(going, standby(HELD, "b"), standby(HELD, "c"), not_serving_since=NOW - 1.0), NOW)
    assert asked(said) == {("a", 2)}
    said = plan(seen(heard(going, ago=1.5), standby(HELD, "b"), standby(HELD, "c"), not_serving_since=NOW - 99.0), NOW)
    assert asked(said) == {("a", 2), ("b", 2), ("c", 2)}


def test_a_switchover_under_a_grant_asks_nobody_else_before_the_primary_is_shut_down() -> None:
    wish = Wish(id="w", kind="switchover", term=1, to="b", by="me", until=2000.0)
    of = HELD.amended("x", wish=wish)
    going = stopped(of, promised=2).model_copy(update={"postgres": Postgres.STOPPING})
    view = seen(going, standby(of, "b"), standby(of, "c"), of=of, wall=1000.0, not_serving_since=NOW - 0.2)
    assert asked(plan(view, NOW)) == set()
    end = Position(timeline=1, lsn=END)
    down = stopped(of, promised=2, settled=True, position=end)
    view = seen(down, standby(of, "b"), standby(of, "c"), of=of, wall=1000.0, not_serving_since=NOW - 0.3)
    assert asked(plan(view, NOW)) == {("b", 2)}
    view = seen(down, promiser(of, "b", 2, **LONG_AGO), standby(of, "c"), of=of, wall=1000.0)
    after = written(plan(view, NOW))
    assert after is not None
    assert (after.primary, after.grant, after.losses) == ("b/1", Grant.HELD, ())


def test_a_primary_that_only_lacks_a_grant_is_given_one_and_not_asked_to_go() -> None:
    fenced = primary(HELD, serving=Serving.NONE, asks="n7", granted=False)
    view = seen(fenced, standby(HELD, "b"), not_serving_since=NOW - HANG_TIMEOUT - 5.0)
    said = plan(view, NOW)
    assert asked(said) == set()
    assert [step.nonce for step in said.steps if isinstance(step, SendGrant)] == ["n7"]


# the winner, and what is lost


def test_the_furthest_wins_and_what_it_lacks_is_in_the_record() -> None:
    after = written(told(seen(GONE, bound("b", END - 300), bound("c", END - 100))))
    assert after is not None
    assert (after.primary, after.term, after.claim.members, after.grant) == ("c/1", 2, ("c/1",), Grant.HELD)
    (lost,) = after.losses
    assert (lost.term, lost.member, lost.since, lost.known) == (2, "a", END - 100, 100)
    assert "100 bytes that a had" in after.reason


def test_a_winner_whose_end_turns_out_too_far_behind_is_not_made_one() -> None:
    far = heard(primary(HELD, position=Position(timeline=1, lsn=40 << 20)), ago=4.0)
    said = told(seen(far, bound("b", 20 << 20), standby(HELD, "c", position=None, settled=False)))
    assert written(said) is None


def test_the_documents_limit_counts() -> None:
    lagging = (GONE, bound("b", END - 300))
    strict = document("abc", durability="async", maxLagOnFailover="299B")
    assert written(told(seen(*lagging, document=strict))) is None
    assert written(told(seen(*lagging, document=document("abc", durability="async", maxLagOnFailover="300B"))))


def test_a_log_off_the_line_wins_nothing() -> None:
    stray = bound("b", position=Position(timeline=7, lsn=END))
    said = told(seen(GONE, stray))
    assert written(said) is None


def test_the_tenure_that_decided_is_named_so_that_it_can_grant_at_once() -> None:
    after = written(
        told(seen(GONE, bound("b"), standing=Standing(number=6, until=NOW + 9.0, over=NOW), granted=Granted()))
    )
    assert after is not None
    assert after.grantor == 6


def test_a_cluster_by_quorum_is_never_succeeded_this_way() -> None:
    of = record("a", 1, sync="")
    said = plan(world(of, heard(primary(of), ago=9.0), standby(of, "b"), standing=STANDING), NOW)
    assert not [step for step in said.steps if not isinstance(step, SendOrder)]


def test_a_primary_that_came_back_while_others_had_promised_goes_on_in_a_raised_term() -> None:
    view = seen(primary(HELD, serving=Serving.NONE), bound("b"), bound("c"), spoiled=HELD.revision)
    after = written(plan(view, NOW))
    assert after is not None
    assert (after.term, after.primary, after.grant) == (2, "a/1", Grant.HELD)
    assert after.revision > view.spoiled


def test_equal_worlds_say_equal_things() -> None:
    view = seen(GONE, bound("b"), bound("c"))
    assert told(view) == told(replace(view))


def test_what_a_failover_may_lose_is_said_before_and_what_it_lost_after() -> None:
    lagging = standby(HELD, "b", position=Position(timeline=1, lsn=END - 70))
    before = status_of(seen(primary(HELD), lagging), NOTHING, NOW)
    assert "may lose up to 16777216 bytes" in before.durability
    assert before.durability.endswith("now 70 bytes are lacking")
    assert not before.losses
    after = written(told(seen(GONE, bound("b", END - 70))))
    assert after is not None
    (said,) = status_of(seen(primary(after), of=after), NOTHING, NOW).losses
    assert said.startswith("term 2 began without what a wrote after 0/1AE on timeline 1: at least 70 bytes")


def test_a_primary_that_was_not_heard_for_long_before_its_last_grant_ended_is_not_succeeded_by_itself() -> None:
    long_ago = heard(primary(HELD, task="t1"), ago=120.0)
    said = told(seen(long_ago, bound("b"), bound("c")))
    assert written(said) is None
    assert "nobody knows what would be lost" in said.waits[0]
    assert "accept-data-loss" in said.waits[0]


def let(member: str, lsn: int, primary: str = "a/1", timeline: int = 1) -> Any:
    """One that promised, and was told how far this primary was when it let it write on."""
    return bound(member, lent=Lent(primary=primary, end=Position(timeline=timeline, lsn=lsn)))


def test_the_furthest_word_is_held_against_the_limit_whoever_heard_it() -> None:
    for lsn, decided in ((END + (16 << 20), True), (END + (16 << 20) + 1, False)):
        for others in ((let("b", lsn), bound("c")), (bound("b"), let("c", lsn)), (let("b", lsn), let("c", END))):
            said = told(seen(GONE, *others))
            assert (written(said) is not None) is decided
    assert "a was at 0/10001F5, b lacks 16777217 bytes" in said.waits[0]
    far = heard(primary(HELD, task="t1", position=Position(timeline=1, lsn=END + (17 << 20))), ago=4.0)
    assert written(told(seen(far, let("b", END + 70)))) is None, "and a later word than that"


def test_what_the_members_were_told_and_the_winner_lacks_is_in_the_record() -> None:
    after = written(told(seen(GONE, let("b", END + 70))))
    assert after is not None
    assert after.losses[-1].known == 70


def test_what_another_primary_said_or_what_is_off_the_line_tells_nothing_of_this_one() -> None:
    for said in (let("b", END + (17 << 20), primary="c/1"), let("b", END + (17 << 20), timeline=3)):
        after = written(told(seen(GONE, said)))
        assert after is not None
        assert after.losses[-1].known == 0


def test_what_the_members_were_told_is_not_enough_for_an_operator_that_never_heard_the_primary() -> None:
    """Another may have granted since, and died with what it had heard (found by seed 57597)."""
    said = told(seen(let("b", END), awake_since=NOW - 60.0))
    assert written(said) is None
    assert "never heard how far a was" in said.waits[0]
    long_ago = heard(primary(HELD, task="t1"), ago=120.0)
    assert written(told(seen(long_ago, let("b", END)))) is None
