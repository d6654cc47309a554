"""Between promise, decision and order: what a ballot leaves when it is cut short."""

from __future__ import annotations

from pgswarm.sim.play import Play


def a_ballot_that_was_not_needed(play: Play) -> None:
    """Abandoned ballot, then raise: the leading operator is cut off from the primary for just long enough to ask for
    promises, and dies before it can write. The standby has promised and receives nothing any more, so
    commits wait. The term is raised over the promise: same primary, same claim, nobody is fenced, nothing is promoted.
    """
    play.begin(members=2, operators=3, pace=0.05)
    play.windows.led_by("n2")
    play.windows.watched_from("n3")
    play.windows.killed_before_write(lambda record: record.term == 2)
    play.faults.cut("n3", "n1")
    play.until("the standby has promised", lambda: play.agent("pg-2").memory.promised == 2, look=0.001)
    play.wait(0.05)
    play.faults.heal_all()
    play.rest()
    play.expect("the same primary reigns, in the next term", play.primary == "pg-1" and play.record.term == 2)
    play.expect("on the same timeline", play.record.timeline == 1)


def killed_between_promise_and_decision(play: Play) -> None:
    """The operator dies with the promises in its hand. A ballot has no state: the next operator hears of the promises
    in the reports, and goes on.
    """
    play.begin(members=3, operators=3)
    play.windows.led_by("n2")
    play.windows.killed_before_write(lambda record: record.term == 2)
    play.faults.power_off("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.power_on("n1")
    play.rest()


def killed_between_decision_and_order(play: Play) -> None:
    """The operator dies when it has written, and nobody has been told. The write was the decision: the next operator
    turns the record into the same orders.
    """
    play.begin(members=3, operators=3)
    play.windows.led_by("n2")
    play.windows.killed_after_write(lambda record: record.term == 2)
    play.faults.power_off("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.power_on("n1")
    play.rest()
    play.expect("there was one election", play.site.ledger.elections == 1)


def the_deciding_write_happened_after_all(play: Play) -> None:
    """Unknown outcome, the one way: the answer to the deciding write is lost, and the write was done. It is read back
    and found, not repeated.
    """
    play.begin(members=3, operators=3)
    play.windows.led_by("n2")
    play.windows.write_unanswered(lambda record: record.term == 2)
    play.faults.power_off("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.power_on("n1")
    play.rest()
    play.expect("there was one election", play.site.ledger.elections == 1)


def the_deciding_write_never_happened(play: Play) -> None:
    """Unknown outcome, the other way: the connection broke before the write. It is read back, and planned anew."""
    play.begin(members=3, operators=3)
    play.windows.led_by("n2")
    play.windows.write_lost(lambda record: record.term == 2)
    play.faults.power_off("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.power_on("n1")
    play.rest()


def two_operators_at_once(play: Play) -> None:
    """The leading operator is frozen in the middle of a ballot, another decides it, the first goes on where it was: its
    write is of an older version and is refused. Orders of both are functions of the same record.
    """
    play.begin(members=3, operators=3)
    frozen = next(one for one in play.site.operators if one.node == "n2")
    play.windows.before_write(lambda record: record.term == 2, frozen.process.freeze)
    play.faults.freeze_agent("pg-1", postgres=True)
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=30)
    play.faults.thaw_all()
    play.rest()
    play.expect("there was one election", play.site.ledger.elections == 1)


def the_old_primary_alone_with_its_clients(play: Play) -> None:
    """CNPG #7407, #7465, #11280 (a partitioned primary kept writing for three minutes) and Patroni #3194 (two primaries
    under a partition): the primary's node is cut off together with a router and a client. No clock is needed: the
    standbys have promised, so nothing can be acknowledged there, and what the others acknowledge is in one history.
    """
    play.begin(members=3, operators=3, clients=2, pace=0.05)
    play.faults.isolate("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.expect("the old one is still read-write", play.agent("pg-1").postgres.is_primary)
    play.wait(5.0)
    play.faults.heal_all()
    play.rest()


def the_old_primary_confirms_late(play: Play) -> None:
    """C13: a standby has flushed a commit, but its reply is late; then it promises, and wins. When the reply arrives
    the old primary acknowledges in the old term, after the new one was decided. That is no harm, and must not be
    forbidden: the winner has the commit. So the invariant says 'only commits that the winner has', not 'nothing any
    more'.
    """
    play.begin(members=2, operators=3, nodes=4, pace=0.02)
    play.windows.led_by("n2")
    play.windows.watched_from("n3")
    play.faults.cut("n3", "n1")
    play.wait(2.3)
    play.faults.cut("n2", "n1", one_way=True)
    play.until("it is decided", lambda: play.record.term == 2, look=0.001)
    before = play.acknowledged
    play.faults.heal("n2", "n1")
    play.until("an old commit is acknowledged", lambda: play.acknowledged > before, look=0.001, within=0.3)
    play.faults.heal_all()
    play.rest()


def the_furthest_is_taken(play: Play) -> None:
    """CNPG #8701 (a lagging local standby was promoted while others were ahead) and #1688 (promoted by order): the
    first standby of the document lags, a later one has confirmed. Both promise; the furthest wins, wherever it stands.
    """
    play.begin(members=3, operators=3, pace=0.05)
    play.windows.led_by("n3")
    play.faults.slow_disk("pg-2", 3.0)
    play.wait(1.0)
    play.faults.power_off("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.expect("it is the one that was ahead", play.primary == "pg-3")
    play.faults.slow_disk("pg-2", 0)
    play.faults.power_on("n1")
    play.rest()


def a_position_that_still_grows(play: Play) -> None:
    """C8: the primary is well and cut off from the operators only, so it streams to its standby all the while, even
    while the decision has not been told. The standby stops receiving before its promise is answered; else it confirmed
    commits that it would not have as the winner.
    """
    play.begin(members=2, operators=3, pace=0.01)
    play.windows.led_by("n2")
    play.windows.watched_from("n3")
    play.windows.killed_after_write(lambda record: record.term == 2)
    play.faults.cut("n3", "n1")
    play.until("it is decided", lambda: play.record.term == 2, look=0.001)
    play.wait(0.3)
    play.faults.heal_all()
    play.rest()


def one_of_three_is_not_enough(play: Play) -> None:
    """Claim (3 members, 2 copies): one standby lags, the other and the primary are lost. One promise is not a quorum,
    for nobody can know what the missing ones hold. With the second one back there is a successor.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.05)
    play.windows.led_by("n4")
    play.faults.slow_disk("pg-2", 3.0)
    play.wait(1.0)
    play.faults.power_off("n1")
    play.faults.power_off("n3")
    play.never("somebody is elected", lambda: play.record.term > 1, during=8.0)
    play.faults.slow_disk("pg-2", 0)
    play.faults.power_on("n3")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=20)
    play.faults.power_on("n1")
    play.rest()


def another_operator_was_first(play: Play) -> None:
    """Two operators in one term: the second has changed the record since the first looked. Terms are equal, revisions
    are not: the first one's write is refused, whatever it says.
    """
    play.begin(members=2, operators=3)
    play.windows.overtaken(lambda record: record.claim.r == 1)
    play.faults.power_off("n2")
    play.until("the primary is alone", lambda: play.record.claim.r == 1)
    play.expect("in a revision of its own", play.record.revision == 11)
    play.faults.power_on("n2")
    play.rest()


def an_order_that_comes_late(play: Play) -> None:
    """A sender's kernel holds an order for as long as a link is cut. It arrives when its reign is long over, and says
    to the old primary that it is primary. It is older than what was accepted, and is refused.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.windows.led_by("n3")
    late = play.windows.order_to("pg-1")
    play.faults.kill_postgres("pg-1")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=20)
    play.until("the old one follows", lambda: play.agent("pg-1").memory.promised == 2, within=20)
    play.expect("it is refused", not play.windows.delivered(late, "pg-1"))
    play.rest()


def an_order_for_data_that_is_gone(play: Play) -> None:
    """C5: the standby's volume was replaced, and its promises and memory went with it. A late order names the data
    directory that was there before: it is refused, for the new one knows nothing of what the old one had.
    """
    play.begin(members=2, operators=3, pace=0.1)
    late = play.windows.order_to("pg-2")
    play.faults.lose_volume("pg-2")
    for operator in play.site.operators:
        operator.process.freeze()
    play.until("its agent begins", lambda: play.site.container("pg-2") is not None)
    play.expect("it is refused", not play.windows.delivered(late, "pg-2"))
    play.rest()


def two_operators_of_two_minds(play: Play) -> None:
    """One operator does not hear the primary, another does, and neither hears the other. The first asks for promises,
    the second raises the term over them; then the first must not begin anew at once, or they duel fifty times a second,
    and each promise cuts the stream. A raise is the word of somebody who hears the primary: it counts as if it was
    heard.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.windows.led_by("n2")
    play.windows.watched_from("n3")
    play.windows.overtaken_by_a_raise(lambda record: record.term == 2)
    play.faults.cut("n3", "n1")
    play.until("the term is raised", lambda: play.record.term == 2, look=0.001)
    play.never("it asks again", lambda: play.agent("pg-2").memory.promised > 2, during=2.0)
    play.faults.heal_all()
    play.rest()
    play.expect("the same primary reigns", play.primary == "pg-1")


def the_one_that_acts_is_deaf(play: Play) -> None:
    """Two nodes are cut from each other, and the operator that acts is on the wrong one: to it the primary is silent. A
    third node hears both. Its operator acts at once, so nobody is elected, and the cut standby alone is let go.
    """
    play.begin(members=3, operators=3, pace=0.1)
    play.faults.cut("n1", "n2")
    play.never("a member is asked to promise", lambda: play.agent("pg-3").memory.promised > 1, during=10.0)
    play.expect("the same primary reigns in the same term", (play.primary, play.record.term) == ("pg-1", 1))
    play.expect("commits wait for the other standby", "pg-3" in str(play.record.sync.names))
    play.expect("and not for the one that is cut off", "pg-2" not in str(play.record.sync.names))
    play.faults.heal_all()
    play.rest()
    play.expect("it is still the same", (play.primary, play.record.term) == ("pg-1", 1))


def elected_by_the_deaf(play: Play) -> None:
    """The detection time is too short to ask the other operators first, and two nodes are cut from each other. So the
    primary is replaced by a member on the other side of the cut; and then the operator that is to act hears nothing of
    the new one. Whoever hears it must act instead, or its commits have one copy for as long as the cut lasts.
    """
    play.begin(members=3, operators=3, detection="1s", pace=60.0)  # so nobody is further than the others
    play.windows.led_by("n3")
    play.faults.cut("n1", "n2")
    play.until("pg-2 is elected", lambda: play.record.primary_member == "pg-2", within=5.0)
    play.until("a second copy counts", lambda: "pg-3" in str(play.record.claim.members), within=10.0)
    play.faults.heal_all()
    play.rest()


def a_short_silence(play: Play) -> None:
    """The primary's agent is frozen for two seconds, less than the detection time, and PostgreSQL goes on: nobody is
    asked, and nothing changes.
    """
    play.begin(members=2, operators=3, pace=0.1)
    revision = play.record.revision
    play.faults.freeze_agent("pg-1")
    play.wait(2.0)
    play.faults.thaw("pg-1")
    play.rest()
    play.expect("nothing was decided", play.record.revision == revision)


def a_frozen_node_and_a_short_detection(play: Play) -> None:
    """Everything on the primary's node is frozen, and a member is lost after a second of silence. Its kernel goes on to
    take connections, so every router holds new ones before anybody is elected: who is cut at one router and comes to
    another, which switches a moment later, must not be sent to the frozen primary once more.
    """
    play.begin(members=3, operators=3, detection="1s", pace=0.1)
    node = play.node("pg-1")
    play.faults.freeze_node(node)
    others = [router for router in play.site.routers if router.node != node]
    play.until("every other router holds writers", lambda: all(one.write is None for one in others), within=1.0)
    play.expect("nobody is elected yet", play.record.term == 1)
    play.until("another serves", lambda: play.record.term == 2 and play.serves(play.primary), within=1.0)
    play.faults.thaw_all()
    play.rest()
