"""C12: SHOW says that commits wait, and they do not."""

from __future__ import annotations

from pgswarm.sim.play import Play


def the_checkpointer_is_busy_when_sync_begins(play: Play) -> None:
    """A standby comes to a primary that was alone while a checkpoint runs: until the checkpointer raises the shared
    flag, commits are acknowledged alone, whatever SHOW and pg_stat_replication say (measured on PostgreSQL 15: 4 s).
    Then the primary is killed. Nothing acknowledged may be missing from its successor, or there is none.
    """
    play.begin(members=2, pace=0.05)
    play.faults.kill_container("pg-2")
    play.faults.drain(play.node("pg-2"))
    play.until("pg-1 goes on alone", lambda: play.record.claim.r == 1)
    play.wait(0.5)
    play.faults.busy_checkpointer("pg-1", 5.0)
    play.faults.drain(play.node("pg-2"), False)
    play.until("commits are to wait for pg-2", lambda: play.record.sync.k == 1, within=8)
    before = play.acknowledged
    play.never("two copies are claimed", lambda: play.record.claim.r == 2, during=1.0)
    play.expect("commits are acknowledged alone meanwhile", play.acknowledged > before)
    play.faults.kill_container("pg-1")
    play.rest()
