"""A switchover at a time to come: begun then, within a window, or not at all and with the reason."""

from __future__ import annotations

from typing import Any

from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.status import status_of
from pgswarm.core.steps import Plan, WriteRecord
from pgswarm.core.wish import Appointment, Pause
from pgswarm.core.world import World
from tests.core.builders import NOW, WALL, heard, primary, promiser, record, standby, wish, world

DEAD: dict[str, Any] = {"ago": 9.0, "closed": 9.0}


def planned(in_seconds: float = -1.0, to: str | None = None, **changes: Any) -> Appointment:
    fields = {"id": "p1", "to": to, "instead_of": "a", "at": WALL + in_seconds, "window": 60.0, "by": "ann"}
    return Appointment.model_validate({**fields, **changes})


def three(appointment: Appointment, **changes: Any) -> Record:
    return record("abc", 2, "bc", appointment=appointment, **changes)


def well(of: Record) -> World:
    return world(of, primary(of, "bc"), standby(of, "b"), standby(of, "c"))


def written(said: Plan) -> list[Record]:
    return [step.record for step in said.steps if isinstance(step, WriteRecord)]


def answer(of: Record, seen: World | None = None) -> str:
    changed = written(plan(seen or well(of), NOW))[0]
    assert changed.appointment is None
    assert changed.answered is not None
    assert not changed.answered.done
    return changed.answered.text


def test_before_its_time_nothing_is_done_and_status_shows_it() -> None:
    of = three(planned(100.0, "b"))
    said = plan(well(of), NOW)
    assert said.at_rest
    assert status_of(well(of), said, NOW).planned.startswith("switchover to b at 1970-01-01 01:25:00Z")


def test_when_it_is_time_it_becomes_a_wish_of_this_term_in_one_write() -> None:
    changed = written(plan(well(three(planned(to="c"))), NOW))[0]
    assert changed.appointment is None
    assert changed.wish is not None
    assert (changed.wish.id, changed.wish.kind, changed.wish.to, changed.wish.term) == ("p1", "switchover", "c", 1)
    assert changed.wish.until == WALL - 1.0 + 60.0


def test_what_cannot_be_begun_waits_for_as_long_as_the_window_is_open() -> None:
    of = three(planned(to="b"))
    seen = world(of, primary(of, "c"), heard(standby(of, "b"), **DEAD), standby(of, "c"))
    later = plan(world(record("ac", 2, "c", appointment=planned(to="b")), primary(of, "c"), standby(of, "c")), NOW)
    assert any("given up in 59 s" in text for text in later.waits)
    assert not any(one.wish for one in written(plan(seen, NOW)))


def test_missed_is_missed_and_nothing_is_done_later() -> None:
    assert "missed: no operator was there in time" in answer(three(planned(-61.0)))


def test_who_is_primary_already_or_was_another_than_meant_makes_it_pointless() -> None:
    assert "a is primary already" in answer(three(planned(to="a")))
    assert "a is primary by now, and no longer b" in answer(three(planned(instead_of="b")))
    assert "there is no member x any more" in answer(three(planned(to="x")))


def test_a_persons_wish_comes_first() -> None:
    of = three(planned(), wish=wish("switchover", "c"))
    assert all(one.appointment is not None for one in written(plan(well(of), NOW)))


def test_a_pause_holds_it_back() -> None:
    of = three(planned(), pause=Pause(since=1.0))
    assert written(plan(well(of), NOW)) == []


def test_a_failover_leaves_it_to_be_judged_when_its_time_comes() -> None:
    of = three(planned(100.0))
    lost = world(of, heard(primary(of), **DEAD), promiser(of, "b", 2), promiser(of, "c", 2))
    assert written(plan(lost, NOW))[0].appointment is not None
