"""Law 5 as a table: who may go on with no operator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.duty import Begin, Promote, Rest, Resume, Start, Stop, duty
from pgswarm.core.memory import Verdict
from pgswarm.core.reports import Data, MemberReport, Postgres
from pgswarm.core.resumption import FRESH, PATIENCE, Heard, may_resume
from pgswarm.core.wal import Position
from tests.core.test_duty import OLD, OWN, A, B, facts, in_recovery, primary_order, read_write

C = "c/0000000c"
NOW = 1000.0
TWO: dict[str, Any] = {"claim": Claim(members=(B, A), r=2), "sync": Sync(k=1, names=(A,)), "peers": ("a", "c")}
ALONE: dict[str, Any] = {"claim": Claim(members=(B,), r=1), "peers": ("a", "c")}


def said(name: str, at: float = NOW, **changes: object) -> dict[str, Heard]:
    member = name.partition("/")[0]
    report = MemberReport(
        cluster="main", member=member, boot="x", sequence=1, data=Data.READY, incarnation=name, system_id="77",
        promised=2,
    )  # fmt: skip
    return {member: Heard(report=report.model_copy(update=changes), at=at)}


def asked(heard: dict[str, Heard], waited: float = PATIENCE, **order: Any) -> Verdict:
    given = facts(primary_order(**{**TWO, **order}), **OWN)
    assert given.memory.order is not None
    return may_resume(given.memory, given.memory.order, heard, waited, NOW)


def test_a_primary_goes_on_once_everybody_in_its_claim_agrees() -> None:
    assert asked(said(A)).ok


def test_a_primary_that_is_alone_in_its_claim_goes_on_by_its_own_word() -> None:
    verdict = asked({}, **ALONE, sync=Sync())
    assert verdict.ok
    assert "nobody else is in the claim" in verdict.reason


NO: dict[str, tuple[dict[str, Heard], dict[str, Any], str]] = {
    "nobody was heard": ({}, {}, "a is not heard"),
    "it was heard too long ago": (said(A, at=NOW - FRESH - 1), {}, "a is not heard"),
    "it has promised more": (said(A, promised=3), {}, "a has promised term 3"),
    "it is another data directory": (said(A, incarnation="a/ffffffff"), {}, "a holds a/ffffffff"),
    "it has no data": (said(A, data=Data.BUILDING), {}, "a holds"),
    "it is of another system": (said(A, system_id="78"), {}, "a holds"),
    "somebody who is not counted has promised more": ({**said(A), **said(C, promised=3)}, {}, "c has promised term 3"),
    "alone in the claim, but somebody has promised more": (
        said(C, promised=3),
        {**ALONE, "sync": Sync()},
        "c has promised term 3",
    ),
    "it writes under a grant, and somebody who is not counted is not heard": (
        said(A),
        {**ALONE, "sync": Sync(), "grant": True},
        "c is not heard",
    ),
    "the record does not know the system yet": (said(A), {"create": True}, "an operator's word"),
    "an order that does not say whom to ask": (said(A), {"claim": None}, "an operator's word"),
}


@pytest.mark.parametrize("case", NO)
def test_a_primary_does_not_go_on_by_itself_when(case: str) -> None:
    heard, order, why = NO[case]
    verdict = asked(heard, **order)
    assert not verdict.ok
    assert why in verdict.reason


def test_an_operator_is_given_the_time_to_speak_first() -> None:
    assert not asked(said(A), waited=PATIENCE - 0.1).ok


def test_the_agent_waits_resumes_and_then_reigns_as_if_it_had_been_ordered() -> None:
    order = primary_order(**TWO)
    waiting = facts(order, heeded=False, heard=said(A), began_at=NOW - 1, **OWN)
    rest = duty(waiting, NOW)
    assert isinstance(rest, Rest)
    assert rest.until == NOW - 1 + PATIENCE
    assert isinstance(duty(facts(order, heeded=False, heard=said(A), began_at=NOW - 6, **OWN), NOW), Resume)
    assert duty(facts(order, heeded=False, resumed=True, **OWN), NOW) == Start(
        begin=Begin.PRIMARY, reason="primary of term 2, on timeline 2"
    )


def test_a_winner_that_had_not_promoted_yet_may_do_so_by_its_own_word() -> None:
    order = primary_order(**ALONE, sync=Sync())
    position = order.lineage[-1].fork
    given = in_recovery(order, heeded=False, resumed=True, settled=True, **OLD)

    action = duty(replace(given, position=Position(timeline=1, lsn=position)), NOW)
    assert isinstance(action, Promote)


def test_what_runs_unconfirmed_is_stopped() -> None:
    given = read_write(primary_order(**TWO), heeded=False, heard=said(A), **OWN)
    assert isinstance(duty(given, NOW), Stop)
    assert given.postgres is Postgres.RUNNING
