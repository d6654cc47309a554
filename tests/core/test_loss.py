"""Accepting loss: who can be reached promises first, the rest is named by a person, and the record says so."""

from __future__ import annotations

from typing import Any

from pgswarm.core.claim import Claim
from pgswarm.core.loss import missing
from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.reports import Postgres
from pgswarm.core.steps import AskPromise, Plan, WriteRecord
from pgswarm.core.wal import Position
from pgswarm.core.world import World
from tests.core.builders import END, NOW, empty, heard, names, primary, promiser, record, standby, stopped, wish, world

DEAD = {"ago": 9.0, "closed": 9.0}


def of(*dead: str, claim: str = "abc") -> Record:
    return record(claim, 2, sync=claim[1:], wish=wish("accept-loss", dead=dead))


def told(seen: World) -> Plan:
    said = plan(seen, NOW)
    return Plan(steps=tuple(s for s in said.steps if isinstance(s, AskPromise | WriteRecord)), waits=said.waits)


def asked(plan: Plan) -> list[tuple[str, int]]:
    return [(step.member, step.term) for step in plan.steps if isinstance(step, AskPromise)]


def written(plan: Plan) -> Record:
    (step,) = plan.steps
    assert isinstance(step, WriteRecord)
    return step.record


def lost(of: Record, member: str, lsn: int = END + 40) -> Any:
    """Not reachable any more; its log was last seen at `lsn`."""
    said = standby(of, member) if member != of.primary_member else primary(of)
    return heard(said.model_copy(update={"position": Position(timeline=of.timeline, lsn=lsn)}), **DEAD)


def test_everybody_who_can_be_reached_is_asked_first_claimed_or_not() -> None:
    said = of("a", "b", claim="ab")
    assert asked(told(world(said, lost(said, "a"), lost(said, "b"), standby(said, "c")))) == [("c", 2)]


def test_the_last_one_reigns_on_a_new_timeline_and_the_record_says_what_was_given_up() -> None:
    said = of("a", "b")
    new = written(told(world(said, lost(said, "a"), lost(said, "b"), promiser(said, "c", 2))))
    assert (new.term, new.primary, new.claim, new.timeline) == (2, "c/1", Claim(members=names("c"), r=1), 2)
    assert new.reason.startswith("loss accepted by ann: given up: a (")
    assert "at least 40 bytes beyond" in new.reason
    assert new.answered is not None
    assert new.answered.done
    assert new.answered.text == new.reason


def test_a_claimed_member_that_is_missing_and_not_named_makes_it_refused() -> None:
    said = of("a")
    new = written(told(world(said, lost(said, "a"), lost(said, "b"), promiser(said, "c", 2))))
    assert new.term == 1
    assert new.answered is not None
    assert "not named dead: b (b closed its connection" in new.answered.text


def test_a_member_that_lost_its_volume_is_missing_though_it_can_be_reached() -> None:
    said = of("a")
    seen = world(said, lost(said, "a"), empty(said, "b"), promiser(said, "c", 2))
    assert [one.member for one in missing(seen, said, NOW)] == ["a", "b"]
    assert written(told(seen)).term == 1


def test_while_a_ballot_without_loss_is_possible_nothing_is_lost() -> None:
    said = of("a")
    seen = world(said, lost(said, "a"), promiser(said, "b", 2), promiser(said, "c", 2, END - 8))
    assert written(told(seen)).primary == "b/1"


def test_while_the_primary_serves_there_is_nothing_to_accept() -> None:
    said = of("b", "c")
    new = written(told(world(said, primary(said), lost(said, "b"), lost(said, "c"))))
    assert new.answered is not None
    assert "a is serving, so nothing needs to be lost" in new.answered.text


def test_a_primary_that_can_resume_is_waited_for_unless_it_is_named_too() -> None:
    said = of("b", "c")
    new = written(told(world(said, stopped(said), lost(said, "b"), lost(said, "c"))))
    assert new.answered is not None
    assert "a can be reached and is to resume" in new.answered.text


def test_a_primary_that_never_comes_up_may_be_named_dead_though_its_agent_answers() -> None:
    said = of("a", "b", claim="ab")
    crashed = stopped(said).model_copy(update={"postgres": Postgres.CRASHED})
    assert ("c", 2) in asked(told(world(said, crashed, lost(said, "b"), standby(said, "c"))))
    new = written(told(world(said, crashed, lost(said, "b"), promiser(said, "c", 2))))
    assert new.primary == "c/1"


def test_the_furthest_of_those_that_promised_wins_whether_claimed_or_not() -> None:
    said = of("a", "b", claim="abc").model_copy(update={"claim": Claim(members=names("ab"), r=2)})
    seen = world(said, lost(said, "a"), promiser(said, "b", 2, END - 8), promiser(said, "c", 2))
    # b alone is a quorum of (a, b; 2): no loss is needed, and b has everything that was acknowledged.
    assert written(told(seen)).primary == "b/1"
    said = of("a", "b", claim="abc")
    four = said.model_copy(update={"places": (*said.places, said.places[0].model_copy(update={"member": "d"}))})
    seen = world(four, lost(four, "a"), lost(four, "b"), promiser(four, "c", 2, END - 8), promiser(four, "d", 2))
    assert written(told(seen)).primary == "d/1"


def test_the_new_timeline_is_above_any_that_anybody_has_named() -> None:
    said = of("a", "b")
    stray = heard(primary(said, position=Position(timeline=7, lsn=900)), **DEAD)
    new = written(told(world(said, stray, lost(said, "b"), promiser(said, "c", 2))))
    assert new.timeline == 8


def test_a_log_off_the_line_is_not_elected_even_so() -> None:
    said = of("a", "b", "c")
    seen = world(said, lost(said, "a"), lost(said, "b"), promiser(said, "c", 2, position=Position(timeline=9, lsn=1)))
    new = written(told(seen))
    assert new.answered is not None
    assert "nobody can be reached whose log is on the line" in new.answered.text


def test_a_claimed_log_off_the_line_is_given_up_only_by_name() -> None:
    said, astray = of("a"), Position(timeline=9, lsn=1)
    seen = world(said, lost(said, "a"), promiser(said, "b", 2, position=astray), promiser(said, "c", 2))
    new = written(told(seen))
    assert new.term == said.term
    assert new.answered is not None
    assert "not named dead: b (its log is off the line" in new.answered.text
    said = of("a", "b")
    seen = world(said, lost(said, "a"), promiser(said, "b", 2, position=astray), promiser(said, "c", 2))
    new = written(told(seen))
    assert new.primary == "c/1"
    assert "given up: a" in new.reason
    assert "b (its log is off the line" in new.reason
