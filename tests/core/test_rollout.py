"""Rolling a change out: who may take it, and when."""

from __future__ import annotations

import pytest

from pgswarm.core.base import Same
from pgswarm.core.letters import settings_of
from pgswarm.core.plan import plan
from pgswarm.core.reports import Data
from pgswarm.core.rollout import may_adopt
from pgswarm.core.steps import SendOrder
from tests.core.builders import NOW, document, heard, primary, record, report, standby, world

OF = record("abc", 2, sync="bc")
OLD, NEW = "old", "new"
BEFORE = {"settings_digest": OLD}


@pytest.mark.parametrize(
    ("b", "c", "may"),
    [
        ({"tried": NEW}, {"tried": NEW}, True),
        ({"tried": NEW}, {"tried": OLD}, False),
        ({"settings_digest": NEW}, {"tried": NEW}, True),
        ({"tried": NEW}, {"settings_digest": ""}, True),
        ({}, {"tried": NEW}, False),
    ],
    ids=["all tried", "one has not", "one runs with them", "one runs with none", "one has not begun"],
)
def test_settings_are_taken_once_everybody_there_would_run_with_them(
    b: dict[str, str], c: dict[str, str], may: bool
) -> None:
    seen = world(
        OF, primary(OF, "bc", settings_digest=NEW), standby(OF, "b", **{**BEFORE, **b}),
        standby(OF, "c", **{**BEFORE, **c}),
    )  # fmt: skip
    assert may_adopt(seen, OF, NEW, NOW) == may


def test_nobody_waits_for_a_member_that_is_away_or_has_no_data_yet() -> None:
    away = heard(standby(OF, "b", **BEFORE), ago=60.0)
    fresh = report("c", data=Data.NONE, settings_digest=OLD)
    assert may_adopt(world(OF, primary(OF, tried=NEW), away, fresh), OF, NEW, NOW)


def test_the_order_carries_the_new_settings_at_once_and_the_leave_to_take_them_later() -> None:
    wanted = document("abc", postgres={"parameters": {"work_mem": "7MB"}})
    digest = settings_of(Same(wanted))[1]
    reports = (primary(OF, "bc", **BEFORE), standby(OF, "b", **BEFORE), standby(OF, "c", **BEFORE))
    before = world(OF, *reports, document=wanted)
    after = world(
        OF, primary(OF, "bc", tried=digest, **BEFORE), standby(OF, "b", tried=digest, **BEFORE),
        standby(OF, "c", tried=digest, **BEFORE), document=wanted,
    )  # fmt: skip
    for seen, adopt in ((before, False), (after, True)):
        told = [step.message.circumstances for step in plan(seen, NOW).steps if isinstance(step, SendOrder)]
        assert len(told) == 3
        assert {one.adopt for one in told} == {adopt}
