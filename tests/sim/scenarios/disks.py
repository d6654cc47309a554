"""Volumes that fill: what goes on, what waits, and nobody who follows in a circle."""

from __future__ import annotations

from pgswarm.core.disk import Room
from pgswarm.sim.play import Play


def everybody_is_as_full(play: Play) -> None:
    """Volumes of one size with the same data on them fill at one time, and CNPG #9928 lists what is stuck after it. A
    transaction that is under way takes the rest, and PostgreSQL ends. Whoever followed would end too, and so on in a
    circle; so nobody follows. It comes up once more on its ballast, is read from and not written to, and with space it
    is as before, without a hand.
    """
    play.begin(members=2, operators=3)
    play.faults.fill_disk("pg-2", Room.FULL)
    play.wait(1.0)
    play.faults.fill_disk("pg-1")
    play.faults.kill_postgres("pg-1")
    play.expect("it does not serve", not play.serves("pg-1"))
    play.until("it is read from", lambda: play.serves("pg-1"), within=10)
    before = play.acknowledged
    play.never("somebody is elected", lambda: play.record.term > 1, during=20.0)
    play.expect("it has not ended again", play.agent("pg-1").postgres.crashes == 1)
    play.expect("nothing was written", play.acknowledged == before)
    for member in ("pg-1", "pg-2"):
        play.faults.fill_disk(member, Room.AMPLE)
    play.until("clients write", lambda: play.acknowledged > before + 5, within=10)
    play.rest()
    play.expect("nobody was elected", play.record.term == 1)


def before_it_is_full(play: Play) -> None:
    """The primary's disk fills while another has ample room: it hands over before PostgreSQL ends of it, once. When the
    other fills as well, it stays: it would be no better where it came from.
    """
    play.begin(members=2, operators=3)
    play.faults.fill_disk("pg-1", Room.TIGHT)
    play.until("it hands over", lambda: play.record.term == 2 and play.serves("pg-2"), within=20)
    play.expect("PostgreSQL has not crashed", play.agent("pg-1").postgres.crashes == 0)
    play.wait(5.0)
    play.faults.fill_disk("pg-2", Room.FULL)
    play.never("it hands back", lambda: play.record.term > 2, during=40.0)
    play.expect("it is read from", play.serves("pg-2"))
    before = play.acknowledged
    play.faults.fill_disk("pg-2", Room.AMPLE)
    play.until("clients write", lambda: play.acknowledged > before + 5, within=10)
    play.rest()


def a_standby_whose_disk_is_full(play: Play) -> None:
    """Patroni #3184, #2949: a standby's disk is full. It can receive nothing, so commits wait for it no more, and it is
    not taken in and let go by turns; with space it is back in the claim, without a hand.
    """
    play.begin(members=2, operators=3, pace=0.05)
    play.faults.fill_disk("pg-2")
    play.until("it is not waited for", lambda: play.record.claim.r == 1, within=5)
    before, revision = play.acknowledged, play.record.revision
    play.wait(20.0)
    play.expect("commits go on", play.acknowledged > before + 50)
    play.expect("it is let alone", play.record.revision <= revision + 1)
    play.faults.fill_disk("pg-2", Room.AMPLE)
    play.until("it counts again", lambda: play.record.claim.r == 2, within=30)
    play.rest()


def a_promise_without_a_free_byte(play: Play) -> None:
    """The standby's disk is full, and in the same moment the primary's machine is gone. It is counted still, so its
    promise is what is needed: it can be made durable, for room is kept for that, and it follows, to be read from. With
    space it is written to.
    """
    play.begin(members=2, operators=3)
    play.windows.led_by("n3")
    play.faults.power_off("n1")
    play.faults.fill_disk("pg-2")
    play.until("it follows", lambda: play.record.term == 2 and play.serves("pg-2"), within=20)
    before = play.acknowledged
    play.wait(5.0)
    play.expect("nothing was written", play.acknowledged == before)
    play.faults.fill_disk("pg-2", Room.AMPLE)
    play.until("clients write", lambda: play.acknowledged > before + 5, within=10)
    play.faults.power_on("n1")
    play.rest()
