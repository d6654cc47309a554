"""`async`: a primary that waits for nobody, and the windows of its grant (decision 0008)."""

from __future__ import annotations

from pgswarm.core.record import Grant
from pgswarm.sim.play import Play


def _begin(play: Play, members: int = 2, **shape: object) -> None:
    """Three operators, a client on each node, and the wait of a new tenure over."""
    play.begin(members=members, operators=3, clients=3, durability="async", after=10.0, **shape)


def _is_over(play: Play, term: int = 2) -> bool:
    return play.record.term >= term


def _acknowledges(play: Play, member: str) -> bool:
    """Has a commit of this member's log been acknowledged in the last half second?"""
    since = play.site.loop.now - 0.5
    told = {number for number, at in play.site.ledger.losses.told_at.items() if at > since}
    container = play.site.container(member)
    return container is not None and any(number in told for _, number in container.volume.log[-20:])


def the_grant_runs_out_while_cut_off(play: Play) -> None:
    """The primary's node is cut off together with a router and a client. It writes on under its last grant, turns its
    clients out two seconds before that ends, and only when it has surely ended is the other elected. What was written
    unheard is lost, as the record says; the diverged log is kept aside before it is rewound.
    """
    _begin(play)
    play.faults.isolate(play.node("pg-1"))
    play.wait(4.0)
    play.expect("it still writes", _acknowledges(play, "pg-1"))
    play.expect("nobody was elected yet", not _is_over(play))
    play.until("the other reigns", lambda: _is_over(play), within=30)
    play.expect("its clients were turned out", play.site.seen["turned out for want of a grant"])
    play.expect("the record says what was given up", play.record.losses[-1].member == "pg-1")
    play.rest()
    play.expect("commits are missing", play.site.ledger.losses.lost)
    play.expect("and lie aside", play.site.volumes["pg-1"].kept)


def a_stopped_agent_beside_a_postgres_that_runs(play: Play) -> None:
    """The agents of the primary and of the router beside it are stopped (SIGSTOP) and cannot look at any clock; their
    PostgreSQL and HAProxy go on, and so does the session of a client that is cut off together with them. The kernel's
    timer ends PostgreSQL with its agent half a second before the grant ends.
    """
    _begin(play)
    play.faults.freeze_agent("pg-1")
    play.windows.frozen(next(one for one in play.site.routers if one.node == play.node("pg-1")))
    play.faults.isolate(play.node("pg-1"))
    play.wait(4.0)
    play.expect("it still writes", _acknowledges(play, "pg-1"))
    play.expect("nobody was elected while it may", not _is_over(play))
    play.until("the other reigns", lambda: _is_over(play), within=30)
    play.wait(1.0)
    play.expect("it was ended", play.site.seen["ended by the kernel"])
    play.rest()


def a_machine_of_which_everything_is_stopped(play: Play) -> None:
    """All processes on the primary's node are stopped, and go on after another reigns: too late, for the kernel has
    ended them meanwhile. A stopped process gets SIGKILL, too.
    """
    _begin(play)
    play.faults.freeze_node(play.node("pg-1"))
    play.until("the other reigns", lambda: _is_over(play), within=30)
    play.faults.thaw_all()
    play.rest()
    play.expect("it follows", play.primary == "pg-2")


def the_grantor_is_replaced(play: Play) -> None:
    """The operator that grants hangs, and the primary is cut off at the same moment. Whoever takes the tenure next does
    not know what was granted last, and waits until nothing of it can be left. The one that hung finds its tenure gone.
    """
    _begin(play, members=3, nodes=5, managers=5)
    holder = play.tenure
    operator = next(one for one in play.site.operators if one.name == holder.holder)
    began = play.site.now
    play.windows.frozen(operator)
    play.faults.isolate(play.node("pg-1"))
    play.until("another grants", lambda: play.tenure.number > holder.number, within=15)
    play.until("another reigns", lambda: _is_over(play), within=30)
    play.expect("a whole tenure was waited for", play.site.now - began > 15)
    play.faults.thaw_all()
    play.rest()


def the_furthest_lacks_more_than_is_allowed(play: Play) -> None:
    """The standby has not streamed for a while when the primary's node is lost: it is known to lack more than
    maxLagOnFailover. Nobody is elected; the primary comes back, is granted again and goes on in its term.
    """
    _begin(play, lag="10B")
    play.faults.freeze_postgres("pg-2")
    play.wait(8.0)
    play.faults.power_off(play.node("pg-1"))
    play.faults.thaw("pg-2")
    play.never("somebody is elected", lambda: _is_over(play), during=25.0)
    play.rest()
    play.expect("it goes on in its own term", (play.primary, play.record.term) == ("pg-1", 1))
    play.expect("nothing was given up", not play.record.losses)


def the_members_consent(play: Play) -> None:
    """No operator answers for half a minute: the other members let the primary write on. Then one of them cannot be
    reached: that is enough, and the primary turns its clients out. When operators are back it goes on where it was.
    """
    _begin(play, members=3)
    play.windows.nobody_operates()
    for operator in play.site.operators:
        operator.kill()
    play.never("it stops", lambda: not _acknowledges(play, "pg-1"), during=30.0)
    play.expect("by consent", play.site.seen["extended by consent"] > 2)
    play.faults.freeze_agent("pg-3")
    play.until("its clients are turned out", lambda: play.site.seen["turned out for want of a grant"], within=15)
    play.wait(5.0)
    play.expect("it does not write", not _acknowledges(play, "pg-1"))
    play.faults.thaw_all()
    play.rest()
    play.expect("it goes on in its own term", (play.primary, play.record.term) == ("pg-1", 1))
    play.expect("nothing was lost", not play.site.ledger.losses.lost)


def an_elected_member_that_has_lost_its_volume(play: Play) -> None:
    """The other is elected while the primary's machine is off; then it loses its disk, and with it its promise and that
    it was elected. No operator lives when the old primary comes back, believes that it reigns, and asks it for consent.
    (Found by seed 57941: it consented, and the old term acknowledged commits beside the next.)
    """
    _begin(play)
    node = play.node("pg-1")
    play.faults.power_off(node)
    play.until("the other reigns", lambda: _is_over(play), within=60)
    play.windows.nobody_operates()
    for operator in play.site.operators:
        operator.kill()
    play.faults.lose_volume("pg-2")
    before = play.site.seen["extended by consent"]
    play.faults.power_on(node)
    play.never("it is let write on", lambda: play.site.seen["extended by consent"] > before, during=30.0)
    play.expect("it was asked for consent", play.site.seen["asked for consent in vain"])
    play.rest()


def waiting_is_given_up_and_taken_up_again(play: Play) -> None:
    """The document goes from preferred to async and back. The primary asks for a grant before an order demands one, so
    nobody is turned out; on the way back the claim grows as it always does.
    """
    play.begin(members=2, operators=3)
    play.faults.change_durability("async")
    play.until("it writes under a grant", lambda: play.record.grant is Grant.HELD, within=25)
    play.expect("and waits for nobody", not play.record.sync.k)
    play.rest()
    play.faults.change_durability("preferred")
    play.until("two are claimed", lambda: play.record.claim.r == 2, within=10)
    play.expect("without a grant", play.record.grant is Grant.NONE)
    play.expect("nobody was turned out", not play.site.seen["turned out for want of a grant"])
    play.rest()


def a_primary_that_comes_back_with_an_empty_disk(play: Play) -> None:
    """The primary's disk is replaced while operators hang for a moment, so the first that they hear is its new agent,
    with nothing to tell of the log that was there. What it had said before still holds: once its grant has run out the
    other is elected, without a person. (Found by seeds: nobody was, for good, because the new agent's word took the
    place of the old one's.)
    """
    _begin(play)
    for operator in play.site.operators:
        play.windows.frozen(operator)
    play.faults.lose_volume("pg-1")
    play.wait(2.0)
    play.faults.thaw_all()
    play.until("the other reigns", lambda: _is_over(play), within=30)
    play.rest()
    play.expect("it was cloned", play.primary == "pg-2")
