"""A disk that fills, as the operator judges it: who is waited for, who hands over to whom, and when nobody follows."""

from __future__ import annotations

from typing import Any

from pgswarm.core import durability, handover, switchover
from pgswarm.core.ballot import Health, ballot, health
from pgswarm.core.disk import GB, MB, Room
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport, Postgres, Problem, Role
from pgswarm.core.status import status_of
from pgswarm.core.steps import NOTHING, AskPromise, Plan, WriteRecord
from tests.core.builders import NOW, primary, promiser, record, standby, wish, world

PAIR = record("ab", 2, sync="b", members="ab")
THREE = record("abc", 2, sync="bc")


def full(of: Record, member: str = "a", *, room: Room = Room.SPENT, ballast: bool = True) -> MemberReport:
    """Its PostgreSQL has ended for want of room."""
    told = standby(of, member).model_copy(
        update={"postgres": Postgres.CRASHED, "role": Role.NONE, "serving": "none", "upstream": None}
    )
    return told.model_copy(update={"room": room, "ballast": ballast})


def voted(of: Record, *said: MemberReport, **changes: Any) -> Plan:
    seen = world(of, *said, **changes)
    return ballot(seen, of, health(seen, of, NOW), NOW)


def abandoned(of: Record, *said: MemberReport) -> Plan:
    """Nobody hears the primary."""
    return ballot(world(of, *said), of, Health(lost=True, coming=False, reason="a is gone"), NOW)


# Failover


def test_a_primary_that_ended_of_a_full_disk_is_followed_by_who_has_room() -> None:
    for room in (Room.AMPLE, Room.SHORT, Room.TIGHT):
        plan = voted(PAIR, full(PAIR), standby(PAIR, "b", room=room))
        assert [step.member for step in plan.steps if isinstance(step, AskPromise)] == ["b"]


def test_nobody_follows_who_is_as_full_while_the_primary_can_start_again() -> None:
    for room in (Room.FULL, Room.SPENT):
        plan = voted(PAIR, full(PAIR), standby(PAIR, "b", room=room))
        assert not plan.steps
        assert "no failover" in plan.waits[0]
        assert "the disk of b is full; a is to start again" in plan.waits[0]
    plan = voted(PAIR, full(PAIR, room=Room.AMPLE), standby(PAIR, "b", room=Room.FULL))
    assert not plan.steps, "it crashed for another reason, and comes back"


def test_a_primary_that_cannot_start_is_followed_once_by_who_still_could() -> None:
    spent = full(PAIR, ballast=False)
    assert voted(PAIR, spent, standby(PAIR, "b", room=Room.SPENT, ballast=True)).steps
    assert voted(PAIR, spent, standby(PAIR, "b", room=Room.FULL)).steps
    plan = voted(PAIR, spent, standby(PAIR, "b", room=Room.SPENT))
    assert not plan.steps
    assert "a person must make room" in plan.waits[0]


def test_of_three_one_with_room_is_enough() -> None:
    plan = voted(THREE, full(THREE), standby(THREE, "b", room=Room.FULL), standby(THREE, "c"))
    assert {step.member for step in plan.steps if isinstance(step, AskPromise)} == {"b", "c"}


def test_among_equals_who_has_room_follows_and_never_somebody_with_less_log() -> None:
    b, c = promiser(THREE, "b", 2, room=Room.FULL), promiser(THREE, "c", 2)
    (step,) = abandoned(THREE, b, c).steps
    assert isinstance(step, WriteRecord)
    assert step.record.primary == "c/1"
    (step,) = abandoned(THREE, b, promiser(THREE, "c", 2, lsn=400)).steps
    assert isinstance(step, WriteRecord)
    assert step.record.primary == "b/1"


def test_a_primary_that_nobody_hears_is_followed_even_by_who_is_full() -> None:
    (step,) = abandoned(PAIR, promiser(PAIR, "b", 2, room=Room.FULL)).steps
    assert isinstance(step, WriteRecord)


# Hand-over


def begun(of: Record, *said: MemberReport) -> Plan:
    return handover.begun(world(of, *said), of, NOW)


def test_a_primary_whose_disk_fills_hands_over_before_postgresql_ends_of_it() -> None:
    filling = primary(THREE, "bc", room=Room.TIGHT, disk_free=600 * MB, disk_total=10 * GB)
    (step,) = begun(THREE, filling, standby(THREE, "b", room=Room.SHORT), standby(THREE, "c")).steps
    assert isinstance(step, WriteRecord)
    assert step.record.wish is not None
    assert step.record.wish.to == "c", "who is short itself would hand it back"
    assert step.reason == "the disk of a is 94 % of 10.0 GB: c is to be primary"


def test_where_nobody_has_ample_room_the_primary_stays() -> None:
    assert begun(PAIR, primary(PAIR, "b", room=Room.FULL), standby(PAIR, "b", room=Room.SHORT)) is NOTHING
    assert begun(PAIR, primary(PAIR, "b", room=Room.SHORT), standby(PAIR, "b")) is NOTHING


def test_a_person_who_wishes_a_full_member_to_be_primary_is_told_why_not() -> None:
    of = PAIR.model_copy(update={"wish": wish("switchover", "b")})
    heir = standby(of, "b", room=Room.FULL, disk_free=200 * MB, disk_total=10 * GB)
    said = switchover.refused(world(of, primary(of, "b"), heir), of, wish("switchover", "b"), primary(of, "b"), NOW)
    assert said == "the disk of b is 98 % of 10.0 GB: it would be no better there"


# Durability


def test_a_standby_whose_disk_is_spent_is_not_taken_in_though_it_streams_for_a_moment() -> None:
    alone = record("a", 1, sync="", members="ab")
    seen = world(alone, primary(alone, "b"), standby(alone, "b", room=Room.SPENT))
    assert not durability.moves(seen, alone, NOW).steps


def test_a_full_standby_is_let_go_by_the_primarys_word_alone_for_that_one_may_be_dead() -> None:
    stopped = standby(PAIR, "b", room=Room.SPENT, role=Role.FENCED, serving="none", upstream=None)
    assert not durability.moves(world(PAIR, primary(PAIR), stopped), PAIR, NOW).steps
    plan = durability.moves(world(PAIR, primary(PAIR), stopped, absent_since={"b/1": NOW - 2.0}), PAIR, NOW)
    (step,) = plan.steps
    assert isinstance(step, WriteRecord)
    assert step.record.claim.members == ("a/1",)


def test_a_standby_with_little_room_is_still_counted() -> None:
    for room in (Room.SHORT, Room.TIGHT, Room.FULL):
        seen = world(PAIR, primary(PAIR, "b"), standby(PAIR, "b", room=room))
        assert not durability.moves(seen, PAIR, NOW).steps


# Status


def test_status_says_how_full_a_disk_is_and_what_fills_it_before_anything_is_wrong() -> None:
    filling = primary(PAIR, "b", disk_free=800 * MB, disk_total=10 * GB, held={"c": 4 * GB}, wal_size=5 * GB)
    seen = world(PAIR, filling, standby(PAIR, "b", disk_free=5 * GB, disk_total=10 * GB))
    a, b = status_of(seen, NOTHING, NOW).members
    assert a.warning == "disk 92 % of 10.0 GB, of it 4.0 GB log kept for c on a; all of the log takes 5.0 GB"
    assert (b.warning, b.disk) == ("", "50 % of 10.0 GB")
    assert status_of(seen, NOTHING, NOW).healthy, "a warning is no illness"
    ill = filling.model_copy(update={"problem": Problem(code="disk-full", text="disk full, 99 %")})
    assert not status_of(world(PAIR, ill, standby(PAIR, "b")), NOTHING, NOW).healthy
