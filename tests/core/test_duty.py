"""The whole of an agent's judgement as a table: what is known, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core.claim import Sync
from pgswarm.core.duty import (
    FOLLOW_TRIES,
    RESTART_FIRST,
    RESTART_LAST,
    STREAMLESS,
    SUCCESSION,
    Assume,
    Begin,
    Clone,
    Create,
    Facts,
    Follow,
    Promote,
    Rest,
    Rewind,
    Settle,
    Start,
    Stop,
    Trouble,
    Upstream,
    duty,
    pause_after,
    restart_at,
    still_serves,
)
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, Postgres, Role
from pgswarm.core.wal import Position, Reign

A, B = "a/0000000a", "b/0000000b"
LINEAGE = (Reign(term=1, incarnation=B, timeline=1, fork=0), Reign(term=2, incarnation=A, timeline=2, fork=1000))
UP = Upstream(primary=A, term=2, address="10.0.0.1")
ON, OFF = Position(timeline=1, lsn=1000), Position(timeline=1, lsn=1001)


def _fields(**fields: object) -> dict[str, object]:
    return fields


def standby_order(**changes: object) -> Order:
    fields = _fields(
        cluster="main", member="b", term=2, revision=5, role="standby", incarnation=None, primary=A, timeline=2,
        lineage=LINEAGE, system_id="77", peers=("a",),
    )  # fmt: skip
    return Order.model_validate({**fields, **changes})


def primary_order(**changes: object) -> Order:
    lineage = (LINEAGE[0], Reign(term=2, incarnation=B, timeline=2, fork=1000))
    fields = {"role": "primary", "incarnation": B, "primary": B, "lineage": lineage}
    return standby_order(**{**fields, **changes})


def facts(order: Order | None, **changes: object) -> Facts:
    """A ready member b at rest, with this order in force and heeded."""
    memory_fields: dict[str, Any] = {
        name: changes.pop(name)
        for name in ("data", "promised", "reigned", "timeline", "follows", "incarnation", "system_id")
        if name in changes
    }
    memory = Memory(
        cluster="main", member="b", order=order, promised=order.term if order else 0, data=Data.READY,
        incarnation=B, system_id="77",
    ).model_copy(update=memory_fields)  # fmt: skip
    base = Facts(memory=memory, heeded=order is not None, address="10.0.0.1")
    return replace(base, **changes)  # type: ignore[arg-type]


def owing(**changes: object) -> Facts:
    """A former primary that has promised the next term, with its PostgreSQL shut down."""
    given = facts(primary_order(), postgres=Postgres.STOPPED, promised=3, reigned=2, timeline=2)
    return replace(given, **changes)  # type: ignore[arg-type]


def test_a_primary_that_was_shut_down_in_order_tells_its_end_without_a_start_and_rests() -> None:
    assert isinstance(duty(owing(closed=True), now=0.0), Settle)
    told = duty(owing(settled=True, position=Position(timeline=2, lsn=2000)), now=0.0)
    assert isinstance(told, Rest)
    assert "the log ends at" in told.reason
    unsure = duty(owing(), now=0.0)
    assert isinstance(unsure, Start)
    assert unsure.begin is Begin.FENCED


def test_a_former_primary_whose_end_is_known_follows_with_its_first_start() -> None:
    ended = facts(standby_order(), postgres=Postgres.STOPPED, settled=True, position=ON)
    assert isinstance(duty(ended, now=0.0), Follow)
    known = facts(standby_order(), postgres=Postgres.STOPPED, settled=True, position=ON, follows=(A, 2))
    started = duty(known, now=0.0)
    assert isinstance(started, Start)
    assert started.begin is Begin.FOLLOWING
    off = duty(facts(standby_order(), postgres=Postgres.STOPPED, settled=True, position=OFF), now=0.0)
    assert isinstance(off, Start)
    assert off.begin is Begin.FENCED


def in_recovery(order: Order | None, **changes: object) -> Facts:
    given = {"postgres": Postgres.RUNNING, "role": Role.FENCED, "began": Begin.FENCED, **changes}
    return facts(order, **given)


def read_write(order: Order | None, **changes: object) -> Facts:
    given = {"postgres": Postgres.RUNNING, "role": Role.PRIMARY, "began": Begin.PRIMARY, **changes}
    return facts(order, **given)


OWN = {"reigned": 2, "timeline": 2, "begun": True}
OLD = {"reigned": 1, "timeline": 1, "begun": True}
TABLE = {
    # Without an order
    "no order, nothing here": (facts(None, data=Data.NONE), Rest),
    "no order, data here: nothing is started": (facts(None), Rest),
    "a promise and no order: it is started fenced": (facts(None, promised=3), Start(begin=Begin.FENCED, reason="")),
    # Data that is not there
    "ordered to create": (
        facts(primary_order(create=True, system_id=""), data=Data.NONE, incarnation=None),
        Create,
    ),
    "ordered to be the primary of data that is not here": (facts(primary_order(), data=Data.NONE), Rest),
    "no data: cloned": (facts(standby_order(), data=Data.NONE), Clone),
    "half a clone: cloned anew": (facts(standby_order(), data=Data.BUILDING), Clone),
    "no data, no address": (facts(standby_order(), data=Data.NONE, address=None), Rest),
    "no data, and nobody has sent the order since this boot": (
        facts(standby_order(), data=Data.NONE, heeded=False),
        Rest,
    ),
    "no data, but counted": (facts(standby_order(counted=True), data=Data.NONE), "needs-reseed"),
    "no data, and a newer promise: receives nothing": (facts(standby_order(), data=Data.NONE, promised=3), Rest),
    # Foreign data
    "foreign": (facts(standby_order(), data=Data.FOREIGN), "foreign-data"),
    "another system": (facts(standby_order(system_id="78")), "foreign-data"),
    "another system, and running": (in_recovery(standby_order(system_id="78")), Stop),
    # A promise that is newer than the order
    "promised while primary: stops": (read_write(primary_order(), promised=3, **OWN), Stop),
    "promised while starting as primary: stops": (
        facts(primary_order(), promised=3, postgres=Postgres.STARTING, began=Begin.PRIMARY, **OWN),
        Stop,
    ),
    "promised while starting in recovery: waits": (
        facts(standby_order(), promised=3, postgres=Postgres.STARTING, began=Begin.FOLLOWING),
        Rest,
    ),
    "promised while following: settles": (in_recovery(standby_order(), promised=3, upstream=UP), Settle),
    "promised and settled": (in_recovery(standby_order(), promised=3, settled=True, position=ON), Rest),
    "promised while stopped: is started fenced": (
        facts(primary_order(), promised=3, **OWN),
        Start(begin=Begin.FENCED, reason=""),
    ),
    "promised after a crash: is started fenced without a pause": (
        facts(primary_order(), promised=3, postgres=Postgres.CRASHED, crashes=1, ended_at=100.0, **OWN),
        Start(begin=Begin.FENCED, reason=""),
    ),
    # A standby
    "a stopped standby is started fenced": (facts(standby_order()), Start(begin=Begin.FENCED, reason="")),
    "a stopped standby that followed this reign goes on": (
        facts(standby_order(), follows=(A, 2)),
        Start(begin=Begin.FOLLOWING, reason=""),
    ),
    "a stopped standby of another reign is fenced first": (
        facts(standby_order(), follows=(A, 1)),
        Start(begin=Begin.FENCED, reason=""),
    ),
    "a standby goes on without an operator's word": (
        facts(standby_order(), follows=(A, 2), heeded=False),
        Start(begin=Begin.FOLLOWING, reason=""),
    ),
    "a primary that is to follow stops": (read_write(standby_order(), **OLD), Stop),
    "a starting primary that is to follow stops": (
        facts(standby_order(), postgres=Postgres.STARTING, began=Begin.PRIMARY, **OLD),
        Stop,
    ),
    "a standby of another reign settles": (
        in_recovery(standby_order(), upstream=Upstream(primary=B, term=1, address="x")),
        Settle,
    ),
    "settled and on the line: follows": (in_recovery(standby_order(), settled=True, position=ON), Follow),
    "settled and off the line: rewinds": (in_recovery(standby_order(), settled=True, position=OFF), Rewind),
    "off the line but counted": (in_recovery(standby_order(counted=True), settled=True, position=OFF), "needs-reseed"),
    "off the line, unheeded": (in_recovery(standby_order(), settled=True, position=OFF, heeded=False), Rest),
    "follows already": (in_recovery(standby_order(), upstream=UP), Rest),
    "follows already, and has just streamed": (
        in_recovery(standby_order(), upstream=UP, streamed_at=100.0 - STREAMLESS + 1),
        Rest,
    ),
    "has had no stream for long": (in_recovery(standby_order(), upstream=UP, streamed_at=100.0 - STREAMLESS), Settle),
    "the primary has moved": (in_recovery(standby_order(), upstream=replace(UP, address="10.0.0.9")), Follow),
    "the log that is needed is gone": (in_recovery(standby_order(), upstream=UP, trouble=Trouble.WAL_GONE), Clone),
    "the log is gone, but counted": (
        in_recovery(standby_order(counted=True), upstream=UP, trouble=Trouble.WAL_GONE),
        "needs-reseed",
    ),
    "the primary says diverged": (in_recovery(standby_order(), upstream=UP, trouble=Trouble.DIVERGED), Settle),
    "refused again and again": (
        in_recovery(standby_order(), settled=True, position=ON, follow_failures=FOLLOW_TRIES),
        Clone,
    ),
    # A primary
    "unheeded: nothing is started": (facts(primary_order(), heeded=False, **OWN), Rest),
    "its own timeline: started in place": (facts(primary_order(), **OWN), Start(begin=Begin.PRIMARY, reason="")),
    "a new timeline: recovery first": (facts(primary_order(), **OLD), Start(begin=Begin.FENCED, reason="")),
    "a promotion that was cut short: recovery first": (
        facts(primary_order(), reigned=2, timeline=2, begun=False),
        Start(begin=Begin.FENCED, reason=""),
    ),
    "in recovery, unsettled": (in_recovery(primary_order(), **OLD), Settle),
    "in recovery, settled: promoted": (in_recovery(primary_order(), settled=True, position=ON, **OLD), Promote),
    "in recovery with less than the record says": (
        in_recovery(primary_order(), settled=True, position=Position(timeline=1, lsn=999), **OLD),
        "log-too-short",
    ),
    "fenced, but its own timeline goes on": (in_recovery(primary_order(), settled=True, position=ON, **OWN), Stop),
    "running as it should": (read_write(primary_order(), **OWN), Rest),
    "running in an older timeline": (read_write(primary_order(), **OLD), Stop),
    "the term was raised": (read_write(primary_order(), reigned=1, timeline=2, begun=True), Assume),
    "another incarnation": (facts(primary_order(), incarnation="b/ffffffff"), Rest),
}


@pytest.mark.parametrize("case", TABLE)
def test_duty_says(case: str) -> None:
    given, expected = TABLE[case]
    action = duty(given, now=100.0)
    if isinstance(expected, str):
        assert isinstance(action, Rest)
        assert action.problem is not None
        assert action.problem.code == expected
    elif isinstance(expected, type):
        assert isinstance(action, expected), action
    else:
        assert isinstance(action, Start)
        assert isinstance(expected, Start)
        assert action.begin is expected.begin
    assert action.reason


def test_a_crashed_standby_is_started_again_after_growing_pauses() -> None:
    pauses = [
        restart_at(facts(standby_order(), postgres=Postgres.CRASHED, crashes=n, ended_at=0.0), patience=RESTART_FIRST)
        for n in range(1, 9)
    ]
    assert pauses[0] == RESTART_FIRST
    assert pauses == sorted(pauses)
    assert pauses[-1] == RESTART_LAST


def test_a_crashed_primary_with_standbys_leaves_them_time_to_be_elected() -> None:
    crashed = facts(
        primary_order(sync=Sync(k=1, names=(A,))), postgres=Postgres.CRASHED, crashes=1, ended_at=100.0, **OWN
    )
    action = duty(crashed, now=100.1)
    assert isinstance(action, Rest)
    assert action.until == 100.0 + SUCCESSION
    assert isinstance(duty(crashed, now=100.0 + SUCCESSION), Start)


def test_a_crashed_primary_that_waits_for_nobody_is_started_at_once() -> None:
    crashed = facts(primary_order(), postgres=Postgres.CRASHED, crashes=1, ended_at=100.0, **OWN)
    action = duty(crashed, now=100.0)
    assert isinstance(action, Start)
    assert action.begin is Begin.PRIMARY


def test_nothing_read_write_is_ever_started_without_an_order_that_is_heeded_and_not_overtaken() -> None:
    for order in (None, standby_order(), primary_order(), primary_order(sync=Sync(k=1, names=(A,)))):
        for promised in (0, 1, 2, 3, 9):
            for heeded in (True, False):
                for postgres in Postgres:
                    for role in Role:
                        for reign in (OWN, OLD, {}):
                            given = facts(order, heeded=heeded, postgres=postgres, role=role, **reign)
                            memory = given.memory.model_copy(
                                update={"promised": max(promised, order.term if order else 0)}
                            )
                            action = duty(replace(given, memory=memory), now=1e6)
                            if isinstance(action, Promote | Assume) or action == Start(
                                begin=Begin.PRIMARY, reason=action.reason
                            ):
                                assert order is not None
                                assert order.role == "primary"
                                assert heeded
                                assert memory.promised <= order.term


def test_work_that_failed_is_tried_again_with_growing_pauses() -> None:
    clone = Clone(upstream=UP, reason="")
    assert [pause_after(clone, n, 0.0) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert pause_after(clone, 99, 0.0) == 30.0
    assert pause_after(Follow(upstream=UP, reason=""), 99, 0.1) == 0.1


@pytest.mark.parametrize("work", [Clone(upstream=UP, reason="no data"), Rewind(upstream=UP, reason="off the line")])
def test_long_work_goes_on_while_claims_move_on_account_of_others(work: Clone | Rewind) -> None:
    assert still_serves(work, facts(standby_order(revision=6)).memory)


@pytest.mark.parametrize("work", [Clone(upstream=UP, reason="no data"), Rewind(upstream=UP, reason="off the line")])
@pytest.mark.parametrize(
    ("order", "promised"),
    [
        (standby_order(revision=6), 3),  # a newer promise
        (standby_order(term=3, primary="c/0000000c", revision=6), 3),  # another primary
        (standby_order(revision=6, counted=True), 2),  # the record counts on this member
        (primary_order(term=3, revision=6), 3),  # it is to be primary itself
    ],
)
def test_long_work_ends_when_it_is_no_longer_wanted(work: Clone | Rewind, order: Order, promised: int) -> None:
    assert not still_serves(work, facts(order, promised=promised).memory)


def test_short_work_is_always_decided_anew() -> None:
    assert not still_serves(Settle(reason="to follow"), facts(standby_order(revision=6)).memory)
