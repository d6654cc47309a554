"""C1-C7 and C12: what may go wrong while claim and sync move."""

from __future__ import annotations

import itertools

from pgswarm.sim.play import Play


def goes_on_alone_only_once_the_record_says_so(play: Play) -> None:
    """C1, and pg_auto_failover's fast loss of sync: the standby dies while nobody can write the record. Until the
    record says that the primary is alone, its commits wait, since the standby could be elected meanwhile: sync always
    implies the claim. CNPG #5257 (writes hang for ever after a standby's node lost its power) is the other side: once
    the record can be written, they go on by themselves.
    """
    play.begin(members=2, managers=1, pace=0.1)
    play.faults.stop_engine("n1")
    play.faults.power_off("n2")
    play.wait(3.5)
    before = play.acknowledged
    play.never("anything is acknowledged on one copy", lambda: play.acknowledged > before, during=4.0)
    play.expect("two copies are claimed", play.record.claim.r == 2)
    play.faults.stop_engine("n1", False)
    play.until("the record says that it is alone", lambda: play.record.claim.r == 1)
    play.until("commits go on", lambda: play.acknowledged > before + 5)
    play.faults.power_on("n2")
    play.rest()


def who_is_no_longer_claimed_is_no_longer_asked(play: Play) -> None:
    """pg_auto_failover (facts/peers: fast, async): the standby was given up, the primary wrote on alone and then died.
    The standby is back and healthy, and lacks what was acknowledged since: its promise makes no quorum. It waits for
    the primary, and says so.
    """
    play.begin(members=2, pace=0.1)
    play.faults.power_off("n2")
    play.until("the primary is alone", lambda: play.record.claim.r == 1)
    play.wait(2.0)
    play.faults.power_off(play.node("pg-1"))
    play.faults.power_on("n2")
    play.never("the other one is elected", lambda: play.record.term > 1, during=15.0)
    play.faults.power_on(play.node("pg-1"))
    play.rest()


def a_word_that_was_not_durable(play: Play) -> None:
    """C2: a standby has promised, the operator dies with the promise in its hand, and the standby's container is
    killed. It comes back bound by its promise, although the old primary is well and reachable: it streams from nobody
    before the next term has begun.
    """
    play.begin(members=2, operators=3, pace=0.05)
    play.windows.led_by("n2")
    play.windows.watched_from("n3")
    play.windows.killed_before_write(lambda record: record.term == 2)
    play.faults.cut("n3", "n1")
    play.until("the standby has promised", lambda: play.agent("pg-2").memory.promised == 2, look=0.001)
    play.faults.kill_container("pg-2")
    play.until("its agent is back", lambda: play.site.container("pg-2") is not None, within=60)
    play.expect("it remembers", play.agent("pg-2").memory.promised == 2)
    while play.record.term == 1:
        play.expect("it streams from nobody", not play.agent("pg-2").streaming)
        play.wait(0.05)
    play.rest()


def who_counts_has_said_that_it_knows(play: Play) -> None:
    """C3: a standby streams, but the order that names it does not reach it. As far as it knows it may throw its data
    away and clone anew, so it is not counted before it has durably accepted an order of a revision that names it.
    """
    play.begin(members=2, operators=3)
    play.windows.led_by("n3")
    play.windows.watched_from("n3")
    play.faults.kill_container("pg-2")
    play.faults.drain("n2")
    play.until("the primary is alone", lambda: play.record.claim.r == 1)
    play.faults.drain("n2", False)
    play.until("the sync names it", lambda: play.record.sync.k == 1, look=0.001)
    play.faults.cut("n3", "n2", one_way=True)
    play.never("it is claimed", lambda: play.record.claim.r == 2, during=2.5)
    play.faults.heal_all()
    play.until("it is claimed", lambda: play.record.claim.r == 2)
    play.rest()


def one_name_at_a_time(play: Play) -> None:
    """C6: PostgreSQL takes k from the process that evaluates and membership from each standby's own, so one change of
    sync alters k or one name, never both. Five members come and go together; every step of the record is looked at.
    """
    play.begin(members=5, nodes=5, operators=3, pace=0.1)
    seen = [play.record.sync]

    def look() -> bool:
        if play.record.sync != seen[-1]:
            seen.append(play.record.sync)
        return False

    for node in ("n3", "n4", "n5"):
        play.faults.isolate(node)
    play.until("three are given up", lambda: look() or len(play.record.sync.names) == 1, look=0.001)
    play.faults.heal_all()
    play.until("all are counted again", lambda: look() or len(play.record.sync.names) == 4, look=0.001)
    for before, after in itertools.pairwise(seen):
        altered = len(set(before.names) ^ set(after.names))
        play.expect(f"{before} → {after}: k or one name", altered <= 1 and (before.k == after.k or altered == 0))
    play.rest()


def a_walsender_that_has_not_heard_of_it(play: Play) -> None:
    """C7: a standby is taken out of the sync, but its walsender is busy and has not taken the setting up: its replies
    still release commits. The setting is in force only when every walsender has taken it up, also those that leave;
    before that the others are not claimed as if every commit were on them.
    """
    play.begin(members=3, operators=3, pace=0.03)
    play.windows.slow_to_take_up("pg-1", "pg-2", 4.0)
    play.faults.slow_disk("pg-3", 0.4)
    play.faults.freeze_agent("pg-2")
    play.until("it is taken out", lambda: len(play.record.sync.names) == 1)
    play.never("the other is claimed alone", lambda: len(play.record.claim.members) == 2, during=3.0)
    play.until("now it is", lambda: len(play.record.claim.members) == 2)
    play.faults.slow_disk("pg-3", 0)
    play.rest()


def named_before_it_has_streamed(play: Play) -> None:
    """CNPG #8790 (47 % of Jepsen runs lost data: the sync was set before there was a stream): a cluster is born, its
    standby is cloned and appears, and commits begin to wait for it. Before that is proved the primary dies. Only what
    is proved is claimed, so the standby is not elected, and the primary comes back with everything.
    """
    play.begin(members=2, operators=3, born=False, pace=0.05)
    play.until("the sync names it", lambda: play.site.record and play.record.sync.k == 1, look=0.001)
    play.windows.led_by("n3")
    play.faults.power_off("n1")
    play.never("the standby is elected", lambda: play.record.term > 1, during=10.0)
    play.faults.power_on("n1")
    play.rest()


def slots_that_stay_lost(play: Play) -> None:
    """Patroni #3641 (slots stay 'lost', and so does the replica), and C3 with an agent's law 4: a standby that counts
    finds that the primary no longer has the log it needs. It may hold the second copy of something, so it is not made
    anew before an operator has taken it out of the claim; then it is, without a hand.
    """
    play.begin(members=2, operators=3, pace=0.05)
    for operator in play.site.operators:
        operator.process.freeze()
    play.faults.cut("n1", "n2")
    play.wait(6.0)
    play.windows.slots_lost("pg-1")
    play.faults.heal_all()
    play.never("it is made anew", lambda: play.site.seen["clone"], during=4.0)
    play.faults.thaw_all()
    play.rest()
    play.expect("it was made anew", play.site.seen["clone"] == 1)


def required_waits(play: Play) -> None:
    """`durability: required`: the standby's machine is gone for long. The claim may shrink, but no commit is
    acknowledged on one copy; the primary waits for a name that nobody bears until a standby is there.
    """
    play.begin(members=2, operators=3, durability="required", pace=0.1)
    play.windows.led_by("n3")
    play.faults.power_off("n2")
    play.wait(1.0)
    before = play.acknowledged
    play.never("anything is acknowledged", lambda: play.acknowledged > before, during=15.0)
    play.faults.power_on("n2")
    play.rest()
    play.expect("clients write again", play.acknowledged > before)
