"""Random histories of a whole site: nothing acknowledged is ever lost, and peace returns when faults stop."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pgswarm.sim.history import history, shape_of

SEEDS = int(os.environ.get("PGSWARM_SEEDS", "60"))
BATCH = 20


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_history_loses_an_acknowledged_commit_and_every_one_comes_to_rest(first: int) -> None:
    outcomes = [history(seed) for seed in range(first, first + BATCH)]
    wrong = [one for one in outcomes if one.violation]

    assert not wrong, "\n".join(f"make sim SEED={one.seed}: {one.violation}" for one in wrong)
    assert sum(one.seen["failover"] for one in outcomes) >= BATCH // 5, "too few failovers to mean anything"
    assert sum(one.commits for one in outcomes) > 10 * BATCH


@pytest.mark.parametrize("seed", [4077, 16808, 46260, 56593, 66694, 69062, 82075, 94691])
def test_a_history_that_was_once_judged_wrongly_is_all_well(seed: int) -> None:
    assert history(seed).violation == ""


@pytest.mark.parametrize("seed", [38145, 57597, 59703])
def test_what_the_members_were_told_is_never_taken_for_all_that_the_primary_had(seed: int) -> None:
    """An operator that never heard it went by that alone; and what a primary that hangs tells is as old as its hang."""
    assert history(seed).violation == ""


def test_a_seed_gives_the_same_history_again_whatever_the_interpreter_hashes_by() -> None:
    seed = next(seed for seed in range(100) if shape_of(seed)[0].operators == 3 and shape_of(seed)[0].members > 2)
    program = f"from pgswarm.sim.history import history; print(history({seed}, keep=True).transcript)"

    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hashed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashed in ("1", "2")
    ]

    assert len(told[0]) > 1000
    assert told[0] == told[1]
    assert told[0] == history(seed, keep=True).transcript + "\n"
