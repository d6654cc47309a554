"""The simulator can fail: each rule that is undone is seen, by the history that is about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.test_scenarios import found
from tests.sim.undone import UNDONE, Undone, row, shown

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.mark.parametrize("one", UNDONE, ids=lambda one: one.name)
def test_a_rule_that_is_undone_is_missed_where_it_is_needed(one: Undone) -> None:
    assert shown(one), f"{one.name} survived {one.scenario.__name__}: is this needed? {one.rule}"


def test_every_counterexample_of_the_model_is_undone() -> None:
    tags = {one.rule.partition(":")[0] for one in UNDONE}

    assert {f"C{number}" for number in range(1, 14)} <= tags


def test_the_protocol_lists_every_scenario_and_every_mutant() -> None:
    text = PROTOCOL.read_text()

    assert [one.__name__ for one in found() if f"`{one.__name__}`" not in text] == []
    assert [row(one) for one in UNDONE if row(one) not in text] == []
