"""Lives that are told, not drawn: the losses that every operator of a database fears, in every order."""

from __future__ import annotations

from itertools import permutations

import pytest

from pgswarm.core.spec import PostgresCluster
from tests.scenarios.chaos import picture, stay, until
from tests.scenarios.cluster import Cluster

FOR_LONG = 10_000.0


def born(size: int, *, durability: str = "preferred", seed: int = 1) -> Cluster:
    cluster = Cluster(seed=seed, size=size, durability=durability, unruly=False)
    cluster.store.unruly = False
    assert until(cluster, 10.0), picture(cluster)
    return cluster


def live(cluster: Cluster, seconds: float) -> None:
    end = cluster.now + seconds
    while cluster.now < end:
        cluster.tick()


@pytest.mark.parametrize("lost", list(permutations(("pg-1", "pg-2", "pg-3"))))
@pytest.mark.parametrize("back", list(permutations(("pg-1", "pg-2", "pg-3"))))
def test_three_members_may_be_lost_and_come_back_in_any_order(lost: tuple[str, ...], back: tuple[str, ...]) -> None:
    cluster = born(3)
    for member in lost:
        cluster.members[member].crash(cluster.now, FOR_LONG)
        live(cluster, 3.0)
    for member in back:
        cluster.members[member].back_at = 0.0
        live(cluster, 3.0)

    assert until(cluster, 20.0), picture(cluster)
    stay(cluster)


def test_a_primary_and_its_standby_lost_together_serve_again_when_only_the_primary_returns() -> None:
    cluster = born(2)
    cluster.members["pg-2"].crash(cluster.now, FOR_LONG)
    cluster.members["pg-1"].crash(cluster.now, 1.0)
    live(cluster, 6.0)

    assert cluster.members["pg-1"].clients, picture(cluster)


def test_a_cut_off_primary_acknowledges_nothing_once_another_reigns_and_follows_when_it_is_back() -> None:
    cluster = born(2)
    cluster.cuts |= {frozenset(("pg-1", "pg-2")), frozenset(("pg-1", "op0"))}
    live(cluster, 5.0)
    assert cluster.store.history[-1].primary_member == "pg-2"
    assert cluster.members["pg-1"].pending, "clients still write there, and wait"
    cluster.cuts.clear()

    assert until(cluster, 20.0), picture(cluster)
    assert cluster.store.history[-1].primary_member == "pg-2"


def test_a_standby_that_lost_its_volume_is_made_anew_and_counted_again() -> None:
    for durability in ("preferred", "required"):
        cluster = born(2, durability=durability)
        cluster.check.volume_lost(cluster.members["pg-2"])
        cluster.members["pg-2"].lose_volume(cluster.now, 1.0)
        live(cluster, 2.0)
        assert until(cluster, 20.0), picture(cluster)
        stay(cluster)


def test_where_durability_is_required_nothing_is_acknowledged_by_a_primary_alone() -> None:
    cluster = born(2, durability="required")
    cluster.members["pg-1"].crash(cluster.now, FOR_LONG)
    live(cluster, 4.0)
    before = len(cluster.check.ledger)
    assert cluster.members["pg-2"].clients
    live(cluster, 5.0)

    assert len(cluster.check.ledger) == before
    assert cluster.members["pg-2"].pending


def test_a_document_edited_while_alone_takes_effect_at_once() -> None:
    cluster = born(2)
    cluster.members["pg-2"].crash(cluster.now, FOR_LONG)
    live(cluster, 4.0)
    edited = {**cluster.document.model_dump(by_alias=True)}
    edited["spec"]["durability"] = "required"
    cluster.operators[0].document = PostgresCluster.model_validate(edited)
    live(cluster, 2.0)
    before = len(cluster.check.ledger)
    live(cluster, 4.0)

    assert len(cluster.check.ledger) == before
