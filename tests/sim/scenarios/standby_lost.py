"""A standby is gone for good, and its service with it."""

from __future__ import annotations

from pgswarm.sim.play import Play


def a_dead_standby_stays_dead_when_its_address_is_forgotten(play: Play) -> None:
    """Its container is killed and its node drained at once: a refused connection proves within milliseconds that it is
    gone, and the primary goes on alone. Then Swarm names no address for it any more; that must not make it seem alive
    again for the rest of the moment in which a closed stream may come back (found by the arming scenario: the record
    went from alone to waiting and to alone within a tenth of a second).
    """
    play.begin(members=2)
    play.faults.kill_container("pg-2")
    play.faults.drain(play.node("pg-2"))
    play.until("pg-1 goes on alone", lambda: play.record.claim.r == 1)
    revision = play.record.revision
    play.never("the record changes", lambda: play.record.revision != revision, during=3.0)
    play.rest()
