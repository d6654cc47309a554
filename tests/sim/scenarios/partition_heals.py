"""Swarm runs two containers of one service on one volume when a partition heals."""

from __future__ import annotations

from pgswarm.sim.play import Play


def two_containers_on_one_volume(play: Play) -> None:
    """The primary's node is cut off long enough to count as down. When it is back, Swarm starts the replacement at once
    and ends the old container a little later; the old one, still primary as far as it knows, is reachable under its old
    address meanwhile. Law 8: the new agent waits for the lock. Nobody is fenced by a clock; the old primary could not
    acknowledge anything since its standby promised.
    """
    play.begin(members=2)
    old = play.primary
    play.site.swarm.down_after, play.site.swarm.stop_lag = 4.0, 8.0
    play.faults.isolate(play.node(old))
    play.until("the other one serves", lambda: play.serves("pg-2"), within=20)
    play.wait(6.0)
    acknowledged = play.acknowledged
    play.faults.heal_all()
    play.until("two containers live", lambda: sum(one.alive for one in play.site.containers[old]) == 2, within=5)
    play.expect("one of them holds the volume", play.site.container(old) is not None)
    play.rest()
    play.expect("clients went on", play.acknowledged > acknowledged)
    play.expect("the old primary follows", play.primary == "pg-2")
