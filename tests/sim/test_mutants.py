"""The simulator can fail: each rule that is undone is seen to be missing, within so many histories."""

from __future__ import annotations

import pytest

from pgswarm.sim.mutants import Mutant, hunt
from tests.sim.mutants import MUTANTS

MOST = 800
"""Histories until a mutant counts as surviving."""


@pytest.mark.timeout(1200)  # the processor's time counts, and on a busy machine a hunt gets a tenth of it
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_rule_left_out_is_found(mutant: Mutant) -> None:
    found = hunt(mutant, range(MOST))

    assert found is not None, f"{mutant.name} ({mutant.rule}) survived {MOST} histories"
