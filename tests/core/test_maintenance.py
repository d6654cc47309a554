"""A node under maintenance: its primary hands over first, nobody there is chosen, and who is away is not missed."""

from __future__ import annotations

from typing import Any

from pgswarm.core import chronicle, switchover
from pgswarm.core.explain import explained
from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.status import status_of
from pgswarm.core.steps import AskPromise, Plan, WriteRecord
from pgswarm.core.wish import Maintenance
from pgswarm.core.world import World
from tests.core.builders import NOW, heard, primary, promiser, record, standby, wish, world

DEAD: dict[str, Any] = {"ago": 9.0, "closed": 9.0}


def mark(member: str) -> Maintenance:
    return Maintenance(node_id=f"id-{member}", node_name=f"node-{member}", by="ann", since=1.0)


def three(*maintained: str, **changes: Any) -> Record:
    return record("abc", 2, "bc", maintenance=tuple(mark(member) for member in maintained), **changes)


def well(of: Record) -> World:
    return world(of, primary(of, "bc"), standby(of, "b"), standby(of, "c"))


def written(said: Plan) -> list[Record]:
    return [step.record for step in said.steps if isinstance(step, WriteRecord)]


def test_a_primary_there_is_to_hand_over_to_somebody_elsewhere() -> None:
    wished = written(plan(well(three("a", "b")), NOW))
    assert len(wished) == 1
    assert wished[0].wish is not None
    assert (wished[0].wish.kind, wished[0].wish.to) == ("switchover", "c")
    assert wished[0].reason == "a is on node-a, which is under maintenance: c is to be primary"


def test_a_standby_there_moves_nobody() -> None:
    assert written(plan(well(three("b")), NOW)) == []


def test_where_everybody_is_there_the_primary_stays_and_the_reason_is_said() -> None:
    said = plan(well(three("a", "b", "c")), NOW)
    assert written(said) == []
    assert any("nobody can follow" in text for text in said.waits)


def test_nobody_there_is_made_primary_by_a_person_while_it_lasts() -> None:
    of = three("c", wish=wish("switchover", "c"))
    answered = written(plan(well(of), NOW))[0].answered
    assert answered is not None
    assert not answered.done
    assert "c is on node-c, which is under maintenance" in answered.text


def test_among_equals_somebody_elsewhere_is_elected() -> None:
    of = three("b")
    lost = world(of, heard(primary(of), **DEAD), promiser(of, "b", 2), promiser(of, "c", 2))
    assert written(plan(lost, NOW))[0].primary == "c/1"
    assert switchover.preference(lost, of, "c") < switchover.preference(lost, of, "b")


def test_who_is_furthest_is_elected_all_the_same_for_nothing_may_be_lost() -> None:
    of = three("b")
    lost = world(of, heard(primary(of), **DEAD), promiser(of, "b", 2, lsn=900), promiser(of, "c", 2, lsn=500))
    assert written(plan(lost, NOW))[0].primary == "b/1"


def test_who_is_away_there_is_not_missed_and_elsewhere_is() -> None:
    claimed = record("ab", 2, "b", maintenance=(mark("c"),))
    seen = world(claimed, primary(claimed, "b"), standby(claimed, "b"), heard(standby(claimed, "c"), **DEAD))
    said = plan(seen, NOW)
    shown = status_of(seen, said, NOW)
    assert shown.healthy, (said, shown)
    assert next(one for one in shown.members if one.name == "c").state == "maintenance"
    assert shown.maintenance == ("node-c is under maintenance, says ann",)
    over = claimed.model_copy(update={"maintenance": ()})
    missed = world(over, primary(over, "b"), standby(over, "b"), heard(standby(over, "c"), **DEAD))
    assert not status_of(missed, plan(missed, NOW), NOW).healthy


def test_a_primary_that_is_lost_there_is_succeeded_and_missed_like_any_other() -> None:
    of = three("a")
    lost = world(of, heard(primary(of), **DEAD), standby(of, "b"), standby(of, "c"))
    said = plan(lost, NOW)
    assert {step.member for step in said.steps if isinstance(step, AskPromise)} == {"b", "c"}
    assert next(one for one in status_of(lost, said, NOW).members if one.name == "a").problem


def test_it_explains_why_not_that_one_and_is_an_event_of_the_history() -> None:
    of = three("b")
    why = explained(well(of), of, plan(well(of), NOW), NOW)
    b = next(one for one in why.candidates if one.member == "b")
    assert (b.can, b.why) == (False, "b is on node-b, which is under maintenance")
    before = three()
    after = before.amended("node-b is under maintenance, says ann", maintenance=(mark("b"),))
    event = chronicle.events(chronicle.continued("", before, after, 1.0))[0]
    assert (event.kind, event.text) == ("maintenance", "node-b is under maintenance, says ann")
