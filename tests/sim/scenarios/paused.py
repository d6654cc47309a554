"""A person has paused the cluster, and then the machines do what they were expected to do."""

from __future__ import annotations

from pgswarm.sim.play import Play


def a_pause_in_which_the_primary_is_lost(play: Play) -> None:
    """The primary's machine goes down while the cluster is paused: nobody follows, for as long as the pause lasts.
    Resumed, it is an ordinary failover.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.windows.led_by("n4")
    play.windows.paused()
    play.faults.power_off("n1")
    play.never("another primary", lambda: play.record.term > 1, during=20)
    play.windows.resumed()
    play.until("another serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.power_on("n1")
    play.rest()


def a_pause_in_which_the_standby_is_lost(play: Play) -> None:
    """The only standby goes down while the cluster is paused: commits do not wait for it, because a reign that goes on
    needs that; and once it is back it is counted again, still in the pause.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5)
    play.windows.led_by("n4")
    play.windows.paused()
    play.faults.power_off("n2")
    play.until("it goes on alone", lambda: play.record.claim.r == 1, within=15)
    before = play.acknowledged
    play.until("commits are acknowledged", lambda: play.acknowledged > before + 3, within=15)
    play.faults.power_on("n2")
    play.until("both are counted again", lambda: play.record.claim.r == 2, within=40)
    play.expect("it is still paused", play.record.pause)
    play.windows.resumed()
    play.rest()


def a_pause_in_the_middle_of_a_switchover(play: Play) -> None:
    """The primary has promised the next term when somebody pauses the cluster. Its reign is over by its own word, and
    there is none to keep: the switchover is ended.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.windows.wished("switchover", to="pg-2")
    play.until("it has promised", lambda: play.agent("pg-1").memory.promised == 2, look=0.001, within=10)
    play.windows.paused()
    play.until("somebody serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.windows.resumed()
    play.rest()
