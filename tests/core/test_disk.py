"""How full a volume is, step by step, and what an agent does at the end of the way."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core import disk
from pgswarm.core.disk import GB, MB, Room, room
from pgswarm.core.duty import Begin, Facts, Follow, Jettison, Promote, Rest, Settle, Start, Upstream, duty
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, Postgres, Role
from pgswarm.core.slots import Drop, Make, Slot, advances, changes, held, relief
from pgswarm.core.wal import Position, Reign

A, B = "a/0000000a", "b/0000000b"
NOW = 100.0


@pytest.mark.parametrize(
    ("free", "total", "is_in"),
    [
        (2 * GB, 10 * GB, Room.AMPLE),
        (1000 * MB, 10 * GB, Room.SHORT),
        (400 * MB, 10 * GB, Room.TIGHT),
        (200 * MB, 10 * GB, Room.FULL),
        (20 * MB, 10 * GB, Room.SPENT),
        (6 * GB, 1000 * GB, Room.AMPLE),
        (4 * GB, 1000 * GB, Room.SHORT),
        (300 * MB, 400 * MB, Room.AMPLE),
        (0, 0, Room.AMPLE),
    ],
)
def test_a_step_is_both_a_part_and_a_number_of_bytes(free: int, total: int, is_in: Room) -> None:
    assert room(free, total) is is_in


def test_a_step_is_left_only_with_more_room_than_it_began_with() -> None:
    begins = disk.limit(Room.TIGHT, 10 * GB)
    assert room(begins + MB, 10 * GB, Room.SHORT) is Room.SHORT
    assert room(begins + MB, 10 * GB, Room.TIGHT) is Room.TIGHT
    assert room(begins * 5 // 4 + MB, 10 * GB, Room.TIGHT) is Room.SHORT


@pytest.mark.parametrize("total", [20 * MB, 300 * MB, 1 * GB, 100 * GB, 5000 * GB])
def test_the_steps_come_one_after_the_other_on_every_volume(total: int) -> None:
    limits = [disk.limit(step, total) for step in (Room.SPENT, Room.FULL, Room.TIGHT, Room.SHORT)]
    assert limits == sorted(set(limits))
    assert limits[-1] < total / 2
    assert disk.ballast(total) <= total / 16


def test_writing_is_refused_when_it_is_full_and_let_again_only_with_more_than_just_enough() -> None:
    assert disk.lets_write(Room.TIGHT, refused=False)
    assert not disk.lets_write(Room.FULL, refused=False)
    assert not disk.lets_write(Room.TIGHT, refused=True)
    assert disk.lets_write(Room.SHORT, refused=True)


def test_how_full_it_is_is_told_with_what_holds_it() -> None:
    told = disk.told(700 * MB, 10 * GB, {"pg-3": 4 * GB, "pg-4": MB})
    assert told == "93 % of 10.0 GB, of it 4.0 GB log kept for pg-3"
    assert disk.told(0, 0) == ""
    assert disk.roughly(1000 * MB + 5) == disk.roughly(1000 * MB + 7)


# Slots

THERE = (
    Slot(member="a", restart=900 * MB, active=True),
    Slot(member="b", restart=100 * MB),
    Slot(member="c", restart=500 * MB),
)


def _relief(room: Room, free: int, *needed: str) -> tuple[object, ...]:
    return relief(THERE, needed, restartpoint=1000 * MB, room=room, free=free)


def test_what_absent_members_hold_is_counted_from_where_recovery_would_begin() -> None:
    assert held(THERE, 1000 * MB) == {"b": 900 * MB, "c": 500 * MB}


def test_the_slot_that_holds_back_most_is_dropped_when_that_is_worth_it() -> None:
    assert _relief(Room.AMPLE, 5 * GB) == ()
    assert _relief(Room.SHORT, 4 * GB) == ()
    dropped, made = _relief(Room.SHORT, 3 * GB)
    assert dropped == Drop(member="b", reason="it holds back 900 MB of log, and 3.0 GB are free")
    assert made == Make(member="b", reserves=False)


def test_no_slot_is_dropped_of_a_member_that_commits_wait_for() -> None:
    (dropped, _) = _relief(Room.TIGHT, 300 * MB, "b")
    assert isinstance(dropped, Drop)
    assert dropped.member == "c"
    assert _relief(Room.SPENT, MB, "b", "c") == ()


def test_a_slot_that_is_made_in_want_of_room_holds_nothing_until_there_is_enough() -> None:
    assert changes((), ("b",), room=Room.SHORT) == (Make(member="b", reserves=False),)
    idle = [Slot(member="b", restart=0)]
    assert changes(idle, ("b",)) == ()
    more: dict[str, Any] = {"primary": "a", "flushed": {"b": 5}, "restartpoint": 10}
    assert advances(idle, ("b",), **more, room=Room.SHORT) == ()
    assert advances(idle, ("b",), **more)[-1] == Make(member="b")


# Duty


def _order(role: str) -> Order:
    primary = B if role == "primary" else A
    lineage = (Reign(term=1, incarnation=B, timeline=1, fork=0), Reign(term=2, incarnation=primary, timeline=2, fork=9))
    return Order.model_validate(
        {"cluster": "main", "member": "b", "term": 2, "revision": 5, "role": role, "primary": primary, "timeline": 2,
         "incarnation": B if role == "primary" else None, "lineage": lineage, "system_id": "77", "peers": ("a",)}
    )  # fmt: skip


def _facts(told: str, room: Room, *, ballast: bool, promised: int = 2, **changes: Any) -> Facts:
    memory = Memory(
        cluster="main", member="b", promised=promised, order=_order(told), data=Data.READY, incarnation=B,
        system_id="77", reigned=2 if told == "primary" else 0, timeline=2 if told == "primary" else 0,
        begun=told == "primary", follows=(A, 2) if told == "standby" else None,
    )  # fmt: skip
    fields: dict[str, Any] = {"memory": memory, "heeded": True, "address": "10.0.0.1", "room": room}
    return Facts(**{**fields, "begun": told == "primary", "ballast": ballast, **changes})


CRASHED: dict[str, Any] = {"postgres": Postgres.CRASHED, "crashes": 1, "ended_at": 10.0}


def test_a_primary_that_ended_on_a_full_volume_starts_once_more_on_the_ballast() -> None:
    assert isinstance(duty(_facts("primary", Room.SPENT, ballast=True, **CRASHED), NOW), Jettison)
    assert isinstance(duty(_facts("primary", Room.FULL, ballast=False, **CRASHED), NOW), Start)
    rest = duty(_facts("primary", Room.SPENT, ballast=False, **CRASHED), NOW)
    assert isinstance(rest, Rest)
    assert rest.problem is not None
    assert rest.problem.code == "disk-full"


def test_a_promise_may_have_the_ballast_and_a_mere_standby_may_not() -> None:
    owed = duty(_facts("standby", Room.SPENT, ballast=True, promised=3, **CRASHED), NOW)
    assert isinstance(owed, Jettison)
    rest = duty(_facts("standby", Room.SPENT, ballast=True, **CRASHED), NOW)
    assert isinstance(rest, Rest)
    assert rest.problem is not None
    assert isinstance(duty(_facts("standby", Room.FULL, ballast=True, **CRASHED), NOW), Start)


def _following(room: Room, *, follows: bool) -> object:
    upstream = Upstream(primary=A, term=2, address="10.0.0.1") if follows else None
    position = Position(timeline=1, lsn=5)
    return duty(
        _facts("standby", room, ballast=True, postgres=Postgres.RUNNING, began=Begin.FOLLOWING, role=Role.STANDBY,
               upstream=upstream, settled=not follows, position=position), NOW
    )  # fmt: skip


def test_a_standby_receives_nothing_on_a_volume_that_is_spent_and_goes_on_with_more_than_just_enough() -> None:
    assert isinstance(_following(Room.FULL, follows=True), Rest)
    assert isinstance(_following(Room.SPENT, follows=True), Settle)
    assert isinstance(_following(Room.SPENT, follows=False), Rest)
    assert isinstance(_following(Room.FULL, follows=False), Rest)
    assert isinstance(_following(Room.TIGHT, follows=False), Follow)


def test_a_promotion_waits_for_room_too() -> None:
    fields: dict[str, Any] = {"postgres": Postgres.RUNNING, "began": Begin.FENCED, "role": Role.FENCED, "settled": True}
    ready = {**fields, "begun": False, "position": Position(timeline=1, lsn=9)}
    assert isinstance(duty(_facts("primary", Room.SPENT, ballast=True, **ready), NOW), Jettison)
    assert isinstance(duty(_facts("primary", Room.FULL, ballast=False, **ready), NOW), Promote)
