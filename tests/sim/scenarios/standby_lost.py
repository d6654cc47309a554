"""A standby is gone for good, and its service with it."""

from __future__ import annotations

from pgswarm.core.reports import Data
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


def one_operator_does_not_hear_the_standby(play: Play) -> None:
    """The operator that acts is cut off from the standby alone, and so from the operator on that node, which hears
    both members. Each acts by what it hears: one would drop the standby and the other claim it, by turns, with every
    revision a new setting for PostgreSQL (seed 941 did so twenty times). It is dropped once; then the record shows that
    somebody has called upon it, and the primary says that it hears its replies: nobody drops it again.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.faults.cut("n3", "n2")
    play.until("it is dropped", lambda: play.record.claim.r == 1, within=10)
    play.until("it is claimed again", lambda: play.record.claim.r == 2, within=10)
    revision = play.record.revision
    play.never("the record changes", lambda: play.record.revision != revision, during=12.0)
    play.rest()


def the_source_of_a_clone_moves(play: Play) -> None:
    """The standby has lost its volume and is being cloned when no operator lives any more and the primary's container
    is killed. The primary is alone in its claim and resumes at a new address, which nobody can tell the standby: it
    asks for it itself, though it has no data yet (seed 1413: with `required` a primary that waits for its first
    standby, and a standby that called at an empty address, waited for each other for ever).
    """
    play.begin(members=2, durability="required", pace=0.1)
    play.faults.lose_volume("pg-2")
    play.until("it is being cloned", lambda: play.site.volumes["pg-2"].memory.data is Data.BUILDING, look=0.005)
    play.windows.nobody_operates()
    for operator in play.site.operators:
        operator.process.freeze()
    play.faults.kill_container("pg-1")
    play.until("it streams again", lambda: play.agent("pg-2").streaming, within=60)
    play.rest()
