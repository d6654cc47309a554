"""A person works on a node."""

from __future__ import annotations

from pgswarm.sim.play import Play


def the_node_of_the_primary_is_worked_on(play: Play) -> None:
    """The primary's node is said to be under maintenance: it hands over, and only then the machine goes down. Nothing
    is elected while it is away, and when it is back and the maintenance is over, nothing moves back by itself.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.05)
    play.windows.led_by("n4")
    play.windows.maintained("n1")
    play.until("another serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.wait(5.0)
    play.faults.power_off("n1")
    play.never("another term", lambda: play.record.term > 2, during=15)
    play.faults.power_on("n1")
    play.wait(10.0)
    play.windows.maintained()
    play.rest()
    play.expect("nothing moved back", play.record.term == 2)
