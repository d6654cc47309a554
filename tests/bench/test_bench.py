"""A benchmark that is ended early keeps what it has, and goes on from there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.bench.bench import Bench
from tests.bench.faults import NODES, PROCESSES, _in_turn


def bench(folder: Path, *, quick: bool = False) -> Bench:
    return Bench(lambda text: None, quick=quick, folder=folder)


def test_the_faults_take_turns(tmp_path: Path) -> None:
    notes = bench(tmp_path).notes("faults")
    rows = (replace(PROCESSES[0], times=3), replace(NODES[0], times=2))
    order = []
    for row in _in_turn(rows, bench(tmp_path), notes):
        order.append(row.kind)
        notes.add({"kind": row.kind})
    assert order == [rows[0].kind, rows[1].kind, rows[0].kind, rows[1].kind, rows[0].kind]


def test_a_part_that_was_ended_early_is_kept_and_goes_on_where_it_was(tmp_path: Path) -> None:
    row = replace(PROCESSES[0], times=3)
    first = bench(tmp_path).notes("faults")
    first.add({"kind": row.kind, "missing": 0, "acknowledged": 7})
    first.add_broken("no rest")
    assert bench(tmp_path).keep("faults", 9.0) == 1
    kept = json.loads((tmp_path / "faults.json").read_text())
    assert kept["partial"]
    assert kept["figures"]["acknowledged"] == 7
    assert kept["figures"]["broken"] == ["no rest"]
    again = bench(tmp_path).notes("faults")
    left = 0
    for one in _in_turn((row,), bench(tmp_path), again):
        again.add({"kind": one.kind})
        left += 1
    assert left == 2
