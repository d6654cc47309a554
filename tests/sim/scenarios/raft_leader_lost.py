"""Swarm's store has no leader when it is needed most."""

from __future__ import annotations

from pgswarm.sim.play import Play


def the_raft_leader_dies_with_the_primary(play: Play) -> None:
    """One machine is Raft leader and carries the primary. The promises are given at once; the decision waits for an
    election, for that write is the decision (step 4). Nothing is demoted meanwhile, and nobody serves.
    """
    play.begin(members=3, operators=3)
    primary, node = play.primary, play.node(play.primary)
    play.site.swarm.leader = node
    play.site.swarm.touch()
    play.site.swarm.election = 8.0
    play.faults.power_off(node)
    play.until("a standby has promised", lambda: play.agent("pg-2").memory.promised == 2, within=20)
    play.expect("nothing is decided yet", play.record.term == 1)
    play.until("there is a leader", lambda: play.site.swarm.leader is not None)
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=10)
    play.faults.power_on(node)
    play.rest()
    play.expect("the old primary follows", play.primary != primary)


def a_new_operator_hears_of_the_members_late(play: Play) -> None:
    """An operator that starts while its engine hangs learns only after many seconds where the members are. That it has
    not heard them until then is no silence: found by seed 8 of the first histories, which took a healthy standby out of
    the claim, and could have begun a ballot against a healthy primary.
    """
    play.begin(members=2)
    play.faults.kill_operator()
    play.until("Swarm starts another", lambda: any(one.alive for one in play.site.operators))
    play.site.swarm.down_after = 60.0
    play.faults.stop_engine("n1")
    play.wait(9.0)
    revision = play.record.revision
    play.faults.stop_engine("n1", False)
    play.never("the record changes", lambda: play.record.revision != revision, during=6.0)
    play.rest()
