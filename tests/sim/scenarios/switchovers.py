"""A hand-over that goes wrong in its middle."""

from __future__ import annotations

from pgswarm.sim.play import Play


def handed_over(play: Play) -> None:
    """All goes well: the primary makes ready, promises, shuts down; the candidate has everything and begins the next
    term.
    """
    play.begin(members=3, operators=3, pace=0.05)
    play.windows.wished("switchover", to="pg-3")
    play.until("it serves", lambda: play.record.term == 2 and play.serves("pg-3"), within=5)
    play.rest()
    play.expect("the wish was met", play.record.answered and play.record.answered.done)


def the_candidate_lacks_the_last_record(play: Play) -> None:
    """C9, and CNPG #11114, #11293 (the candidate was chosen before the old primary was down: acknowledged commits lost,
    the old primary in a crash loop): the link to the candidate is cut as the primary shuts down. The candidate's log
    does not end where the old primary's does, so the old primary itself begins the next term. It never goes back into
    the old one.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.02)
    play.windows.led_by("n4")
    play.windows.watched_from("n3")
    play.wait(3.0)
    play.windows.wished("switchover", to="pg-2")
    play.until("it is ready", lambda: play.agent("pg-1").yields == 2, look=0.0005, within=10)
    play.faults.slow_disk("pg-2", 3.0)
    play.until("it has promised", lambda: play.agent("pg-1").memory.promised == 2, look=0.0005, within=10)
    play.faults.cut("n1", "n2")
    play.until("the next term has begun", lambda: play.record.term == 2, within=40)
    play.expect("the old primary's", play.primary == "pg-1")
    play.faults.slow_disk("pg-2", 0)
    play.faults.heal_all()
    play.rest()


def the_candidate_dies_in_the_middle(play: Play) -> None:
    """pg_auto_failover #683 (unrecoverable after a failed switchover): the primary has promised the next term and is
    down, and the candidate's machine dies. Going back is the same write as going on: a new term.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    play.windows.wished("switchover", to="pg-2")
    play.until("it has promised", lambda: play.agent("pg-1").memory.promised == 2, look=0.001, within=10)
    play.faults.power_off("n2")
    play.until("the old one serves again", lambda: play.record.term == 2 and play.serves("pg-1"), within=20)
    play.faults.power_on("n2")
    play.rest()


def the_operator_dies_in_the_middle(play: Play) -> None:
    """The operators die when the primary has promised and shut down. What is left is in the record (the wish) and on
    two volumes (promises): the next operator goes on from there.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.windows.wished("switchover", to="pg-2")
    play.until("it has promised", lambda: play.agent("pg-1").memory.promised == 2, look=0.001, within=10)
    for _ in range(3):
        play.faults.kill_operator()
    play.until("somebody serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.rest()


def told_to_stop(play: Play) -> None:
    """moby: `service update`, `node update --availability drain` and a reboot end a container by SIGTERM, whatever is
    in it. The primary says so and goes on serving until another is made primary by a switchover; nobody asked for one.
    """
    play.begin(members=3, operators=3, pace=0.05)
    play.faults.stop_container("pg-1")
    play.until("another serves", lambda: play.record.term == 2 and play.serves(play.primary), within=5)
    play.expect("handed over, not lost", "told to stop" in play.record.reason or "promised" in play.record.reason)
    play.rest()


def told_to_stop_with_nobody_to_hear_it(play: Play) -> None:
    """The same, and no operator answers: it serves for a moment more, then shuts down in order and says so; who hears
    it late decides by an ordinary ballot.
    """
    play.begin(members=2, operators=1, pace=0.1)
    for operator in play.site.operators:
        operator.process.freeze()
    play.faults.stop_container("pg-1")
    play.until("it has ended", lambda: not play.serves("pg-1"), within=2)
    play.rest()


def one_that_was_planned_is_begun_at_its_time(play: Play) -> None:
    """A switchover at a time to come is in the record; every operator is frozen when it comes, and one is back within
    the window: it is begun then. Another, whose window closes while nobody is there, is missed and not done.
    """
    play.begin(members=2, operators=1, pace=0.1)
    play.windows.planned("pg-2", after=5.0, window=30.0)
    play.never("another primary", lambda: play.record.term > 1, during=4.5)
    play.faults.freeze_operator()
    play.wait(10.0)
    play.faults.thaw_all()
    play.until("it is primary", lambda: play.serves("pg-2"), within=40)
    play.rest()
    play.windows.planned("pg-1", after=5.0, window=10.0)
    play.faults.freeze_operator()
    play.wait(20.0)
    play.faults.thaw_all()
    play.until("it is answered", lambda: play.record.appointment is None, within=15)
    play.expect("it was missed", play.record.answered is not None and "missed" in play.record.answered.text)
    play.never("another primary", lambda: play.primary != "pg-2", during=10)
    play.rest()
