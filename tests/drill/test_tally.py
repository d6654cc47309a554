"""Tables that are made of what was measured."""

from __future__ import annotations

from dataclasses import replace

from pgswarm.drill.tally import Blow, soak_table

ONE = Blow(
    kind="node cut off",
    scene="pg-a",
    outage=1.0,
    after=0.1,
    slowest=2.0,
    failed=3,
    acknowledged=10,
    missing=0,
    rest=5.0,
)


def test_each_kind_of_fault_has_one_row_with_its_median_and_its_worst() -> None:
    rows = soak_table([ONE, replace(ONE, outage=3.0), replace(ONE, outage=12.0, missing=1)]).splitlines()
    assert len(rows) == 3
    assert rows[2].split("|")[1:5] == [" node cut off ", " 3 ", " 3.00 s ", " 12.0 s "]
    assert rows[2].split("|")[8].strip() == "1"


def test_several_kinds_are_summed_up_in_a_last_row() -> None:
    last = soak_table([ONE, replace(ONE, kind="node frozen", failed=4)]).splitlines()[-1]
    assert last.split("|")[1:3] == [" **all** ", " 2 "]
    assert last.split("|")[6].strip() == "7"
