"""A member is wanted on another node, or its node is gone for good: it leaves its place and comes back at another."""

from __future__ import annotations

from pgswarm.core.record import Grant
from pgswarm.sim.play import Play


def a_member_moves(play: Play) -> None:
    """The document wants a counted standby on another node. Claim and sync do without it, its place leaves the record,
    its service is removed; then it is added there, empty, cloned and counted. Its volume on the old node is kept.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.places(n1="pg-1", n2="pg-2", n4="pg-3")
    play.until("it has left", lambda: "pg-3" not in play.record.members, look=0.01, within=10)
    play.expect("two copies are counted", play.record.claim.r == 2)
    play.until("it is there", lambda: play.home("pg-3") == "n4", within=20)
    play.expect("the old container was gone before", not any(one.alive for one in play.site.containers["pg-3"]))
    play.until("it is counted again", lambda: play.record.claim.names("pg-3"), within=30)
    play.expect("its old volume is kept", [place.node_name for place in play.record.departed] == ["n3"])
    play.rest()


def the_primary_moves(play: Play) -> None:
    """The document wants the primary on another node: it hands over first, and moves as a standby."""
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.1)
    play.places(n4="pg-1", n2="pg-2", n3="pg-3")
    play.until("another reigns", lambda: play.record.term == 2 and play.serves(play.primary), within=10)
    play.expect("by a switchover", play.record.answered and play.record.answered.done)
    play.until("it has moved", lambda: play.home("pg-1") == "n4", within=30)
    play.rest()


def everybody_moves(play: Play) -> None:
    """All three are wanted elsewhere: one after the other, each counted before the next leaves; the primary last."""
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.places(n3="pg-1", n4="pg-2", n5="pg-3")
    play.never("fewer than two copies", lambda: play.record.claim.r < 2 and play.record.term == 1, during=20.0)
    play.until("they have moved", lambda: [play.home(f"pg-{n}") for n in (1, 2, 3)] == ["n3", "n4", "n5"], within=120)
    play.rest()


def the_only_other_copy_stays(play: Play) -> None:
    """Two members, and one of them is wanted elsewhere: while it was cloned there would be one copy only. It stays, and
    the status says why, until there is a third.
    """
    play.begin(members=2, operators=1)
    play.places(n1="pg-1", n3="pg-2")
    play.never("it is let go", lambda: not play.record.claim.names("pg-2"), during=8.0)
    play.expect("it is said why", "there would be one copy only" in " ".join(play.waits))
    play.places(n1="pg-1", n3="pg-2", n2="pg-3")
    play.until("it has moved", lambda: play.home("pg-2") == "n3", within=40)
    play.rest()


def a_member_is_left_behind_on_a_node_that_is_cut_off(play: Play) -> None:
    """The node of a standby is cut off, and a person wants the member elsewhere. Its old container lives on there, by
    its name, with an order and promises of before; when the cut is over it is still there for a moment, beside the
    new one. It obeys nobody's order for the member, and nobody hears it as the member.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.faults.isolate("n3")
    play.until("it counts no more", lambda: not play.record.counts("pg-3"), within=10)
    play.until("its node counts as down", lambda: play.site.swarm.machines["n3"].state == "down", within=20)
    play.places(n1="pg-1", n2="pg-2", n4="pg-3")
    play.until("it is counted elsewhere", lambda: play.record.claim.names("pg-3"), within=40)
    play.expect("and the old one lives", sum(one.alive for one in play.site.containers["pg-3"]) == 2)
    play.site.swarm.stop_lag = 4.0
    play.faults.heal_all()
    play.wait(2.0)
    play.rest()


def a_node_that_is_lost_for_a_moment_ends_its_container_first(play: Play) -> None:
    """The node of a standby is cut off, and a person wants the member elsewhere. Swarm calls the node down, and it is
    back in a moment: its container has lived all the while, and is stopped in order before the member begins anew.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.faults.isolate("n3")
    play.until("it counts no more", lambda: not play.record.counts("pg-3"), within=10)
    play.until("its node counts as down", lambda: play.site.swarm.machines["n3"].state == "down", within=20)
    play.places(n1="pg-1", n2="pg-2", n4="pg-3")

    def lives_twice() -> bool:
        return sum(one.alive for one in play.site.containers["pg-3"]) > 1

    play.never("another one of it is made", lives_twice, during=4)
    play.faults.heal_all()
    play.never("another one of it is made", lives_twice, during=6)
    play.until("it is counted elsewhere", lambda: play.record.claim.names("pg-3"), within=40)
    play.rest()


def a_container_left_behind_gives_no_consent(play: Play) -> None:
    """async. The standby's node is cut off, and the member is made elsewhere. Then the primary is cut off together with
    that old container, at an address that its side of the overlay still has for the member. No operator answers it, and
    the old container may not let it write on in the member's name: the member itself has promised the next term.
    """
    play.begin(members=3, operators=2, nodes=5, managers=5, durability="async", pace=0.1)
    play.places(n1="pg-1", n3="pg-3")
    play.until("there are two members", lambda: play.record.members == ("pg-1", "pg-3"), within=20)
    left_behind = play.agent("pg-3").container
    play.faults.isolate("n3")
    play.until("its node counts as down", lambda: play.site.swarm.machines["n3"].state == "down", within=20)
    play.places(n1="pg-1", n4="pg-3")
    play.until("it lives elsewhere", lambda: play.home("pg-3") == "n4", within=60)
    play.until(
        "it follows under a grant",
        lambda: play.site.container("pg-3") and play.agent("pg-3").streaming and play.record.grant is Grant.HELD,
    )
    play.faults.isolate("n1")
    play.faults.heal("n1", "n3")
    play.agent("pg-1").neighbours.mistake("pg-3", left_behind.address)
    play.until("another reigns", lambda: play.record.term > 1 and play.serves("pg-3"), within=40)
    play.wait(2.0)
    play.faults.heal_all()
    play.rest()


def a_node_is_gone_for_good(play: Play) -> None:
    """replaceAfter: the node of a standby is without power for longer than that, and the document leaves open where the
    member lives: it is made anew on another node. When the machine is back its container is not started again.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.edit(instances=3, replaceAfter="30s")
    play.wait(1.0)
    play.faults.power_off("n3")
    play.until("its node counts as down", lambda: play.site.swarm.machines["n3"].state == "down", within=20)
    play.never("it is given another place", lambda: play.home("pg-3") != "n3", during=28.0)
    play.until("it lives elsewhere", lambda: play.home("pg-3") not in ("", "n3"), within=10)
    play.until("it is counted again", lambda: play.record.claim.names("pg-3"), within=30)
    play.faults.power_on("n3")
    play.wait(5.0)
    play.expect("it stays there", play.home("pg-3") != "n3")
    play.rest()


def what_is_unknown_is_not_gone(play: Play) -> None:
    """A node is down, and then all nodes are unknown for a moment, as they are after each change of Swarm's leader: the
    time of replaceAfter begins anew, for nobody knows what was meanwhile.
    """
    play.begin(members=3, operators=1, nodes=5, managers=5)
    play.edit(instances=3, replaceAfter="20s")
    play.faults.power_off("n3")
    play.until("its node counts as down", lambda: play.site.swarm.machines["n3"].state == "down", within=20)
    play.wait(15.0)
    for machine in play.site.swarm.machines.values():
        machine.state = "unknown"
    play.site.swarm.touch()
    play.wait(3.0)
    for machine in play.site.swarm.machines.values():
        machine.state = "ready" if machine.up else "down"
    play.site.swarm.touch()
    play.never("it is given another place", lambda: play.home("pg-3") != "n3", during=15.0)
    play.until("it lives elsewhere", lambda: play.home("pg-3") not in ("", "n3"), within=20)
    play.rest()


def who_has_what_others_lack_is_not_replaced(play: Play) -> None:
    """The standby is lost, the primary goes on alone, as the record says, and then its node is gone for longer than
    replaceAfter. It alone has what it wrote: it is waited for.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5)
    play.edit(instances=2, replaceAfter="40s")
    play.wait(1.0)
    play.faults.isolate("n2")
    play.until("pg-1 goes on alone", lambda: play.record.claim.r == 1, within=10)
    play.wait(3.0)
    play.faults.power_off("n1")
    play.faults.heal_all()
    play.never("anything is decided without it", lambda: play.primary != "pg-1" or not play.home("pg-1"), during=90.0)
    play.faults.power_on("n1")
    play.rest()


def the_only_standby_that_writes_wait_for_is_gone(play: Play) -> None:
    """required, two members, and the standby's node is taken out of the Swarm: writes wait. Claim and sync do without
    the member first, then it is made anew elsewhere, and writes go on.
    """
    play.begin(members=2, operators=3, nodes=5, managers=5, durability="required")
    play.edit(instances=2)
    play.wait(1.0)
    play.faults.power_off("n2")
    play.until("its node counts as down", lambda: play.site.swarm.machines["n2"].state == "down", within=20)
    before = play.acknowledged
    play.site.swarm.remove_node("n2")
    play.until("it lives elsewhere", lambda: play.home("pg-2") not in ("", "n2"), within=45)
    play.expect("nothing was acknowledged meanwhile", play.acknowledged == before)
    play.until("it is counted again", lambda: play.record.claim.r == 2, within=30)
    play.until("writes go on", lambda: play.acknowledged > before, within=10)
    play.rest()


def as_many_as_are_asked_for(play: Play) -> None:
    """`instances` is a number: two, three, and two again, on two nodes. Nobody moves; the third shares a node, leaves
    when it is wanted no more, and comes back to its volume when it is.
    """
    play.begin(members=2, operators=1, nodes=2, managers=1)
    play.edit(instances=3)
    play.until("the third is counted", lambda: play.record.claim.names("pg-3"), within=20)
    homes = [play.home(f"pg-{n}") for n in (1, 2, 3)]
    play.expect("nobody has moved", homes[:2] == ["n1", "n2"])
    play.edit(instances=2)
    play.until("it has left", lambda: play.record.members == ("pg-1", "pg-2"), within=20)
    play.until("its service is gone", lambda: "main_pg-3" not in play.site.swarm.services, within=15)
    play.edit(instances=3)
    play.until("it is counted again", lambda: play.record.claim.names("pg-3"), within=20)
    play.expect("where it was", [play.home(f"pg-{n}") for n in (1, 2, 3)] == homes)
    play.expect("and nothing was cloned for that", play.site.seen["clone"] <= 1)
    play.rest()
