"""Processes, disks and machines that end, come back, or do neither."""

from __future__ import annotations

from pgswarm.core.disk import Room
from pgswarm.core.reports import Data
from pgswarm.sim.play import Play


def what_a_crash_would_show(play: Play) -> None:
    """C11, and Patroni #1412: commits that wait for a standby are in the primary's log. It crashes and starts again,
    and would show them to everybody, though a failover could still take them back. So nobody is let in before its own
    sync covers its last record; then the primary is lost for good, and the other has everything that anybody saw. No
    operator on the primary's side of the cut is awake, or it would hear of the crash and elect the other at once.
    """
    play.begin(members=2, operators=3, pace=0.05)
    play.windows.led_by("n2")
    play.windows.watched_from("n2")
    play.faults.cut("n1", "n2")
    play.wait(0.5)
    play.faults.kill_postgres("pg-1")
    play.until("PostgreSQL runs again", lambda: play.agent("pg-1").postgres.is_primary, within=10)
    play.wait(0.5)
    play.expect("nobody is let in", not play.agent("pg-1").postgres.doors)
    play.faults.power_off("n1")
    play.faults.heal("n1", "n2")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=20)
    play.faults.power_on("n1")
    play.rest()


def a_crash_loop(play: Play) -> None:
    """Patroni #1663 (three hours of crash loop inside the start time-out) and CNPG #6091 (a delay that never elapses,
    because each restart begins it anew): PostgreSQL of the primary dies whenever it has come up. A crash is known at
    once and is reason enough: no time-out has to elapse.
    """
    play.begin(members=2, operators=3)
    for _ in range(4):
        play.faults.kill_postgres("pg-1")
        play.wait(0.6)
    play.until("the other one serves", lambda: play.serves("pg-2"), within=1.0)
    play.rest()


def a_dead_disk_under_a_living_kernel(play: Play) -> None:
    """CNPG #10591 (failover blocked for 45 minutes): the primary's disk is gone, its kernel answers, PostgreSQL hangs
    in its writes and its walsenders go on. Its agent says that it does not answer; it is replaced without being asked.
    """
    play.begin(members=3, operators=3)
    play.faults.freeze_postgres("pg-1")
    play.faults.slow_disk("pg-1", 20.0)
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.slow_disk("pg-1", 0)
    play.faults.thaw("pg-1")
    play.rest()


def a_standby_that_is_there_for_a_moment(play: Play) -> None:
    """Patroni #3468: a standby comes back, commits begin to wait for it, and it is gone again before it is claimed. It
    is taken out of the sync again, and commits go on.
    """
    play.begin(members=2, pace=0.1)
    play.faults.power_off("n2")
    play.until("the primary is alone", lambda: play.record.claim.r == 1)
    play.faults.power_on("n2")
    play.until("the sync names it", lambda: play.record.sync.k == 1, look=0.001)
    play.faults.power_off("n2")
    play.until("it is taken out again", lambda: play.record.sync.k == 0, within=8)
    before = play.acknowledged
    play.until("commits go on", lambda: play.acknowledged > before + 3)
    play.faults.power_on("n2")
    play.rest()


def a_full_disk(play: Play) -> None:
    """Stolon #912 and Patroni #1732: the primary's disk is full. It hands over to the other one before PostgreSQL ends;
    when there is space again, the old one follows without a hand.
    """
    play.begin(members=2, operators=3)
    play.faults.fill_disk("pg-1")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=10)
    play.wait(5.0)
    play.faults.fill_disk("pg-1", Room.AMPLE)
    play.rest()


def an_empty_one_is_never_elected(play: Play) -> None:
    """Stolon #783 (an outdated member promoted, six days lost) and #917 (an empty one promoted during its resync): the
    standby has lost its volume and is being cloned when the primary's machine dies. There is no failover, and it is
    said why; nothing is created anew. The primary comes back with everything.
    """
    play.begin(members=2, operators=3)
    play.windows.led_by("n3")
    play.faults.lose_volume("pg-2")
    play.until("it is being cloned", lambda: play.site.volumes["pg-2"].memory.data is Data.BUILDING, look=0.01)
    play.faults.power_off("n1")
    play.never("somebody is elected", lambda: play.record.term > 1, during=15.0)
    play.faults.power_on("n1")
    play.rest()


def the_returning_primary_finds_nobody(play: Play) -> None:
    """bitnami charts #20998, #21614, repmgr #766: a former primary starts, finds no partner, 'starting normally', and
    is a second primary. Here its last durable order names a claim, and it waits until everybody of that says that
    nothing was promised above.
    """
    play.begin(members=3, operators=3)
    play.windows.led_by("n2")
    play.faults.power_off("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    for node in ("n2", "n3"):
        play.faults.power_off(node)
    play.faults.power_on("n1")
    play.never("the old one serves", lambda: play.site.container("pg-1") and play.serves("pg-1"), during=15.0)
    for node in ("n2", "n3"):
        play.faults.power_on(node)
    play.rest()
    play.expect("it follows", play.primary != "pg-1")


def a_power_cut_at_the_whole_site(play: Play) -> None:
    """Law 5: everything was off, and when the members are back no operator comes. The primary resumes by its own word,
    once everybody of the claim has said that nothing was promised above; nobody needs to elect it.
    """
    play.begin(members=2, operators=1, nodes=5, managers=5)
    for node in ("n1", "n2", "n3", "n4", "n5"):
        play.faults.power_off(node)
    play.windows.nobody_operates()
    play.wait(2.0)
    for node in ("n1", "n2", "n3", "n4", "n5"):
        play.faults.power_on(node)
    play.until("it serves again", lambda: play.site.container("pg-1") and play.serves("pg-1"), within=40)
    before = play.acknowledged
    play.until("clients write", lambda: play.acknowledged > before + 5, within=10)
    play.expect("nobody was elected", play.record.term == 1)


def counted_data_is_not_wiped(play: Play) -> None:
    """canonical postgresql-operator #1152, #1153: a member whose log seemed to diverge was wiped, and it had the only
    copy. Here the primary wrote on alone, crashed and was away; the other, which lacks those commits, is up first. It
    does not become primary, and the one that has them is not made a copy of it.
    """
    play.begin(members=2, operators=3, pace=0.05)
    play.windows.led_by("n3")
    play.faults.freeze_postgres("pg-2")
    play.until("the primary is alone", lambda: play.record.claim.r == 1, within=20)
    play.wait(1.0)
    play.faults.power_off("n1")
    play.faults.thaw("pg-2")
    play.never("the other one is elected", lambda: play.record.term > 1, during=10.0)
    play.faults.power_on("n1")
    play.rest()


def a_promise_whose_end_is_never_told(play: Play) -> None:
    """pg_auto_failover #1113, #1060 (stuck in report_lsn): a member has promised and dies before it could say where its
    log ends, and it is needed. The ballot waits for it and goes on as soon as it is back: it has no state to be stuck
    in.
    """
    play.begin(members=3, operators=3)
    play.windows.led_by("n2")
    play.faults.power_off("n1")
    play.until("it has promised", lambda: play.agent("pg-3").memory.promised == 2, look=0.001)
    play.faults.kill_container("pg-3")
    play.faults.power_off("n3")
    play.never("somebody is elected", lambda: play.record.term > 1, during=6.0)
    play.faults.power_on("n3")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.power_on("n1")
    play.rest()
