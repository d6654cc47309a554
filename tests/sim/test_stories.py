"""Lives that are told, not drawn: the losses that every operator of a database fears, in every order."""

from __future__ import annotations

from itertools import permutations

import pytest

from pgswarm.core.spec import PostgresCluster
from pgswarm.sim.play import Play

THREE = ("pg-1", "pg-2", "pg-3")


@pytest.mark.parametrize("lost", list(permutations(THREE)))
def test_three_members_may_be_lost_and_come_back_in_any_order(play: Play, lost: tuple[str, ...]) -> None:
    for back in (lost, lost[::-1]):
        play.begin(members=3, operators=3, nodes=5, managers=5, after=1.0)
        for member in lost:
            play.faults.power_off(play.node(member))
            play.wait(4.0)
        for member in back:
            play.faults.power_on(play.node(member))
            play.wait(3.0)
        play.rest()
        play.close()


def test_a_primary_and_its_standby_lost_together_serve_again_when_only_the_primary_returns(play: Play) -> None:
    play.begin(members=2, operators=3)
    play.faults.drain(play.node("pg-2"))
    play.faults.kill_container("pg-2")
    play.faults.kill_container("pg-1")

    play.until("pg-1 serves alone", lambda: play.serves("pg-1"), within=15)
    play.rest()


def test_a_cut_off_primary_acknowledges_nothing_once_another_reigns_and_follows_when_it_is_back(play: Play) -> None:
    play.begin(members=2, operators=3, clients=3)
    play.faults.isolate(play.node("pg-1"))
    play.until("another reigns", lambda: play.record.primary_member == "pg-2", within=20)
    old = play.agent("pg-1").postgres
    last = len(old.volume.log)
    play.wait(1.0)
    told = [number for _, number in old.volume.log[last:] if number in play.site.ledger.commits]

    assert not told, "its clients still write there, and wait"
    play.rest()
    assert play.primary == "pg-2"


@pytest.mark.parametrize("durability", ["preferred", "required"])
def test_a_standby_that_lost_its_volume_is_made_anew_and_counted_again(play: Play, durability: str) -> None:
    play.begin(members=2, durability=durability)
    before = play.agent("pg-2").memory.incarnation
    play.faults.lose_volume("pg-2")
    play.wait(2.0)
    play.rest()

    assert play.agent("pg-2").memory.incarnation != before
    assert play.record.claim.r == 2


def test_where_durability_is_required_nothing_is_acknowledged_by_a_primary_alone(play: Play) -> None:
    play.begin(members=2, operators=3, durability="required")
    play.faults.drain(play.node("pg-1"))
    play.faults.kill_container("pg-1")
    play.until("pg-2 is promoted", lambda: play.record.primary_member == "pg-2")
    play.wait(3.0)
    before = play.acknowledged
    play.wait(5.0)

    assert play.acknowledged == before
    play.rest()
    play.until("clients go on", lambda: play.acknowledged > before)


def test_a_document_edited_while_alone_takes_effect_at_once(play: Play) -> None:
    play.begin(members=2, operators=1)
    play.faults.drain(play.node("pg-2"))
    play.until("pg-1 goes on alone", lambda: play.record.claim.r == 1 and not play.record.sync.k)
    document = play.site.document
    assert document is not None
    edited = document.model_dump(by_alias=True)
    edited["spec"]["durability"] = "required"
    play.site.edit(PostgresCluster.model_validate(edited))
    play.until("commits wait", lambda: play.record.sync.k == 1, within=5)
    play.wait(1.0)
    before = play.acknowledged
    play.wait(4.0)

    assert play.acknowledged == before


def test_an_untroubled_cluster_of_three_is_born_within_ten_seconds_and_counts_everyone(play: Play) -> None:
    play.begin(members=3, born=False)
    play.until("it is as the document says", lambda: not play.site.unrest(), within=10)

    assert (len(play.record.claim.members), play.record.claim.r, play.record.sync.k) == (3, 2, 1)
    play.rest()
