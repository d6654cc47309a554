"""What people ask for, told as lives: a switchover with everything dying in its middle, and loss that is accepted."""

from __future__ import annotations

import pytest

from pgswarm.sim.play import Play


@pytest.mark.parametrize("members", [2, 3])
def test_a_switchover_makes_the_named_member_primary_and_nobody_is_made_anew(play: Play, members: int) -> None:
    play.begin(members=members)
    before = {name: play.agent(name).memory.incarnation for name in play.site.volumes}
    play.wish("switchover", "pg-2")
    answer = play.answer()

    assert answer.done, answer.text
    assert (play.primary, play.record.term) == ("pg-2", 2)
    play.rest()
    now = {name: play.agent(name).memory.incarnation for name in play.site.volumes}
    assert now == before, "the old primary follows as it is"


def test_primaries_may_be_switched_to_and_fro(play: Play) -> None:
    play.begin(members=3)
    for to in ("pg-3", "pg-1", "pg-2", "pg-1"):
        play.wish("switchover", to)
        play.answer()
        assert play.primary == to
        play.rest()
        play.site.clients[0].idle = False


@pytest.mark.parametrize("victim", ["operator", "pg-1", "pg-2", "pg-3"])
def test_whoever_dies_at_any_moment_of_a_switchover_nothing_is_lost_and_it_comes_to_rest(
    play: Play, victim: str
) -> None:
    for moment in (0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7):
        play.begin(members=3, after=1.0)
        play.wish("switchover", "pg-2")
        play.wait(moment)
        if victim == "operator":
            play.faults.kill_operator()
        else:
            play.faults.kill_container(victim)
        play.answer(within=40)
        play.rest()
        play.close()


def test_a_switchover_that_nobody_can_begin_is_over_when_its_time_is(play: Play) -> None:
    play.begin(members=2)
    play.faults.freeze_operator()
    play.wish("switchover", "pg-2", within=3.0)
    play.wait(5.0)
    play.faults.thaw_all()
    answer = play.answer()

    assert not answer.done
    assert play.primary == "pg-1"


def test_loss_is_accepted_by_the_one_who_names_the_dead_and_they_follow_when_they_come_back(play: Play) -> None:
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.site.clients[0].idle = True  # what is acknowledged from here on would be lost rightly; nothing is
    play.wait(2.0)
    for name in ("pg-1", "pg-2"):
        play.faults.power_off(play.node(name))
    play.wait(6.0)
    assert play.record.term == 1, "nobody is elected without a word"
    play.until("Swarm can be written", lambda: play.site.swarm.leader is not None)
    play.wish("accept-loss", dead=("pg-1", "pg-2"))
    play.answer()

    assert play.primary == "pg-3"
    assert "loss accepted by ann" in play.record.reason
    play.rest()


def test_loss_is_not_accepted_for_a_member_that_was_not_named(play: Play) -> None:
    play.begin(members=3, operators=3, nodes=5, managers=5)
    for name in ("pg-1", "pg-2"):
        play.faults.power_off(play.node(name))
    play.wait(6.0)
    play.until("Swarm can be written", lambda: play.site.swarm.leader is not None)
    play.wish("accept-loss", dead=("pg-1",))
    answer = play.answer()

    assert not answer.done
    assert "not named dead: pg-2" in answer.text
