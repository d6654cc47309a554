"""What people ask for, told as lives: a switchover with everything dying in its middle, and loss that is accepted."""

from __future__ import annotations

import pytest

from pgswarm.core.record import Record
from tests.scenarios.chaos import picture, stay, until
from tests.scenarios.cluster import Cluster
from tests.scenarios.test_stories import FOR_LONG, born, live


def answered(cluster: Cluster, limit: float = 20.0) -> Record:
    """The record in which the wish has its answer."""
    end = cluster.now + limit
    while cluster.now < end:
        record = cluster.store.history[-1]
        if record.wish is None and record.answered is not None:
            return record
        cluster.tick()
    raise AssertionError(f"no answer\n{picture(cluster)}")


@pytest.mark.parametrize("size", [2, 3])
def test_a_switchover_makes_the_named_member_primary_and_nobody_is_made_anew(size: int) -> None:
    cluster = born(size)
    before = {member.ident for member in cluster.members.values()}
    cluster.wish("switchover", "pg-2")
    record = answered(cluster)

    assert record.answered is not None
    assert record.answered.done, record.answered.text
    assert (record.primary_member, record.term) == ("pg-2", 2)
    assert until(cluster, 10.0), picture(cluster)
    assert {member.ident for member in cluster.members.values()} == before, "the old primary follows as it is"
    stay(cluster)


def test_primaries_may_be_switched_to_and_fro() -> None:
    cluster = born(3)
    for to in ("pg-3", "pg-1", "pg-2", "pg-1"):
        cluster.wish("switchover", to)
        assert answered(cluster).primary_member == to, picture(cluster)
        assert until(cluster, 10.0), picture(cluster)
    stay(cluster)


@pytest.mark.parametrize("ticks", range(0, 14, 2))
@pytest.mark.parametrize("victim", ["op0", "pg-1", "pg-2", "pg-3"])
def test_whoever_dies_at_any_moment_of_a_switchover_nothing_is_lost_and_it_comes_to_rest(
    victim: str, ticks: int
) -> None:
    cluster = born(3, seed=ticks)
    cluster.wish("switchover", "pg-2")
    live(cluster, 0.1 * ticks)
    if victim == "op0":
        cluster.operators[0].restart(cluster.now)
        cluster.operators[0].asleep_until = cluster.now + 2.0
    else:
        cluster.members[victim].crash(cluster.now, 3.0)

    answered(cluster)
    assert until(cluster, 30.0), picture(cluster)
    stay(cluster)


def test_a_switchover_that_nobody_can_begin_is_over_when_its_time_is() -> None:
    cluster = born(2)
    cluster.operators[0].asleep_until = cluster.now + 5.0
    cluster.wish("switchover", "pg-2", within=3.0)
    record = answered(cluster)

    assert record.answered is not None
    assert not record.answered.done
    assert record.primary_member == "pg-1"


def test_loss_is_accepted_by_the_one_who_names_the_dead_and_they_follow_when_they_come_back() -> None:
    cluster = born(3)
    live(cluster, 2.0)
    record = cluster.store.history[-1]
    cluster.clients = False  # what is acknowledged from here on would be lost rightly; nothing is
    live(cluster, 2.0)
    for name in ("pg-1", "pg-2"):
        cluster.members[name].crash(cluster.now, FOR_LONG)
    live(cluster, 5.0)
    assert cluster.store.history[-1].term == record.term, "nobody is elected without a word"
    cluster.wish("accept-loss", dead=("pg-1", "pg-2"))
    new = answered(cluster)

    assert new.primary_member == "pg-3"
    assert "loss accepted by ann" in new.reason
    for name in ("pg-1", "pg-2"):
        cluster.members[name].back_at = 0.0
    assert until(cluster, 30.0), picture(cluster)
    stay(cluster)


def test_loss_is_not_accepted_for_a_member_that_was_not_named() -> None:
    cluster = born(3)
    for name in ("pg-1", "pg-2"):
        cluster.members[name].crash(cluster.now, FOR_LONG)
    live(cluster, 5.0)
    cluster.wish("accept-loss", dead=("pg-1",))
    record = answered(cluster)

    assert record.answered is not None
    assert not record.answered.done
    assert "not named dead: pg-2" in record.answered.text
