"""Three hundred random lives: nothing acknowledged is ever lost, and peace returns when faults stop."""

from __future__ import annotations

import pytest

from tests.scenarios.chaos import history
from tests.scenarios.cluster import Cluster

SEEDS = range(300)
BATCH = 50


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_no_life_loses_an_acknowledged_commit_and_every_one_comes_to_rest(first: int) -> None:
    outcomes = [history(seed) for seed in range(first, first + BATCH)]

    assert sum(one.elections for one in outcomes) >= BATCH // 5, "too few failovers to mean anything"
    assert sum(one.acknowledged for one in outcomes) > 20 * BATCH
    rested = [one.rested_after for one in outcomes if one.rested_after is not None]
    assert len(rested) > 0.7 * BATCH
    assert max(rested) < 20.0


def test_a_seed_gives_the_same_history_again() -> None:
    assert history(7) == history(7)


def test_an_untroubled_cluster_of_three_is_born_within_five_seconds_and_counts_everyone() -> None:
    cluster = Cluster(seed=1, size=3, unruly=False)
    while not cluster.at_rest and cluster.now < 1005.0:
        cluster.tick()

    record = cluster.store.history[-1]
    assert cluster.at_rest
    assert (len(record.claim.members), record.claim.r, record.sync.k) == (3, 2, 1)
