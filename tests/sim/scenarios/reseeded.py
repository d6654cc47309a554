"""A person has a member's data made anew."""

from __future__ import annotations

from pgswarm.sim.play import Play


def a_standby_is_made_anew_by_a_word(play: Play) -> None:
    """A counted standby of three is to be reseeded: claim and sync do without it, then it is decided, and the operators
    die at that moment. The next one goes on with it: another incarnation, which is counted again.
    """
    play.begin(members=3, operators=3, pace=0.1)
    before = play.agent("pg-2").memory.incarnation
    play.windows.killed_after_write(lambda record: bool(record.reseeds))
    play.windows.reseeded("pg-2")
    play.until("it is another incarnation", lambda: play.agent("pg-2").memory.incarnation != before, within=60)
    play.until("it is counted again", lambda: play.record.claim.names("pg-2"), within=30)
    play.rest()
    play.expect("the wish was fulfilled", play.record.answered is not None and play.record.answered.done)


def the_only_other_copy_is_not_made_anew(play: Play) -> None:
    """One of two is to be reseeded, and nobody has insisted: it is the only other copy, so it is not begun. The
    primary's machine goes down: the other has everything, and serves.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    before = play.agent("pg-2").memory.incarnation
    play.windows.reseeded("pg-2")
    play.never("it is let go", lambda: not play.record.counts("pg-2"), during=4)
    play.faults.power_off("n1")
    play.until("it serves", lambda: play.serves("pg-2"), within=20)
    play.expect("as it was", play.agent("pg-2").memory.incarnation == before)
    play.faults.power_on("n1")
    play.rest()


def the_primary_is_lost_while_the_other_is_made_anew(play: Play) -> None:
    """A person has insisted, and the only other member is being cloned when the primary's machine goes down. Nobody
    follows, for nobody else has everything; the primary comes back in the same term.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    before = play.agent("pg-2").memory.incarnation
    play.windows.reseeded("pg-2", fewer_copies=True)
    play.until("it has begun", lambda: play.agent("pg-2").memory.incarnation != before, look=0.01, within=20)
    play.faults.power_off("n1")
    play.never("another reigns", lambda: play.record.term > 1, during=15)
    play.faults.power_on("n1")
    play.until("it serves again", lambda: play.serves("pg-1"), within=40)
    play.rest()


def the_only_standby_is_not_made_anew_though_nobody_waits_for_it(play: Play) -> None:
    """`async`, and one of two is to be reseeded: no commit waits for it, and it is the only other copy all the same.
    Nobody has insisted, so it is not begun. The primary's machine goes down: the other has nearly everything, serves.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5, durability="async", pace=0.1, after=10.0)
    play.windows.led_by("n4")
    before = play.agent("pg-2").memory.incarnation
    play.windows.reseeded("pg-2")
    play.never("it is made anew", lambda: play.agent("pg-2").memory.incarnation != before, during=4)
    play.faults.power_off("n1")
    play.until("it serves", lambda: play.serves("pg-2"), within=60)
    play.faults.power_on("n1")
    play.rest()
