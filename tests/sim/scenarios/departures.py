"""The document names a member no more: it leaves, and nobody who writes notices."""

from __future__ import annotations

from pgswarm.sim.play import Play


def a_member_leaves(play: Play) -> None:
    """`instances` loses a standby that is counted. Claim and sync do without it first; then its place leaves the
    record, its service is scaled to zero and removed, its slots are dropped. Its volume is kept.
    """
    play.begin(members=3, operators=3)
    play.instances("pg-1", "pg-2")
    play.until("the record is without it", lambda: play.record.members == ("pg-1", "pg-2"), within=10)
    play.expect("nobody counts on it", not play.record.counts("pg-3"))
    play.until("its service is gone", lambda: "main_pg-3" not in play.site.swarm.services, within=15)
    play.wait(10.0)
    slots = [volume.slots for name, volume in play.site.volumes.items() if name != "pg-3"]
    play.expect("no slot is kept for it", all("pg-3" not in some for some in slots))
    play.expect("its data are kept", play.site.volumes["pg-3"].log)
    play.rest()


def the_primary_leaves(play: Play) -> None:
    """The document names the primary no more: another one is wished for, and once it reigns the old one leaves."""
    play.begin(members=3, operators=3, pace=0.1)
    play.instances("pg-2", "pg-3")
    play.until("another reigns", lambda: play.record.term == 2 and play.serves(play.primary), within=10)
    play.expect("by a switchover", play.record.answered and play.record.answered.done)
    play.until("it has left", lambda: play.record.members == ("pg-2", "pg-3"), within=20)
    play.rest()


def the_last_standby_leaves_and_comes_back(play: Play) -> None:
    """From two members to one, and back a while later: the primary goes on alone, as the record says before it does.
    The one that left comes back to its volume; what it had is on the line still, so it follows as it is.
    """
    play.begin(members=2, operators=1)
    play.instances("pg-1")
    play.until("it has left", lambda: play.record.members == ("pg-1",), within=10)
    play.rest()
    play.site.clients[0].idle = False
    before = play.acknowledged
    play.wait(5.0)
    play.expect("writes go on", play.acknowledged > before)
    play.instances("pg-1", "pg-2")
    play.until("it is counted again", lambda: play.record.claim.r == 2, within=20)
    play.expect("nothing was cloned", not play.site.seen["clone"])
    play.rest()


def who_leaves_is_counted_until_another_is(play: Play) -> None:
    """pg-2 is away when pg-3 is taken out of the document. The primary would be the only copy; so pg-3 stays until pg-2
    is counted again.
    """
    play.begin(members=3, operators=3)
    play.faults.isolate("n2")
    play.until("pg-2 counts no more", lambda: not play.record.counts("pg-2"), within=10)
    play.instances("pg-1", "pg-2")
    play.never("pg-3 is let go", lambda: not play.record.claim.names("pg-3"), during=8.0)
    play.faults.heal_all()
    play.until("pg-3 has left", lambda: play.record.members == ("pg-1", "pg-2"), within=30)
    play.expect("pg-2 is counted", play.record.claim.names("pg-2"))
    play.rest()


def another_name_is_another_member(play: Play) -> None:
    """Somebody renames pg-2 to pg-3 in the document. It is no rename: pg-3 is cloned and counted, then pg-2 leaves."""
    play.begin(members=2, operators=1)
    play.instances("pg-1", "pg-3")
    play.never("fewer than two copies", lambda: play.record.claim.r < 2, during=4.0)
    play.until("pg-2 has left", lambda: play.record.members == ("pg-1", "pg-3"), within=30)
    play.rest()


def killed_when_a_member_has_left(play: Play) -> None:
    """The operator dies when the record is without the member and before anything became of its service: the next one
    reads from the record that it is to go.
    """
    play.begin(members=3, operators=3)
    play.windows.killed_after_write(lambda record: "pg-3" not in record.members)
    play.instances("pg-1", "pg-2")
    play.until("its service is gone", lambda: "main_pg-3" not in play.site.swarm.services, within=30)
    play.rest()


def a_member_that_left_is_named_again_at_once(play: Play) -> None:
    """The document is put back as soon as the member has left: its service is not removed but wanted, and it is counted
    again.
    """
    play.begin(members=3, operators=1)
    play.instances("pg-1", "pg-2")
    play.until("it has left", lambda: "pg-3" not in play.record.members, look=0.001, within=10)
    play.instances("pg-1", "pg-2", "pg-3")
    play.until("it is counted again", lambda: play.record.claim.names("pg-3"), within=30)
    play.rest()


def the_node_of_the_primary_is_drained(play: Play) -> None:
    """`docker node update --availability drain`: Swarm ends the container some seconds later. The operator hears of the
    node and has the primary hand over first.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.05)
    play.site.swarm.stop_lag = 6.0
    play.faults.drain("n1")
    play.until("another reigns", lambda: play.record.term == 2 and play.serves(play.primary), within=10)
    play.expect("by a switchover", play.record.answered and play.record.answered.done)
    play.expect("the pause was short", max(client.longest for client in play.site.clients) < 1.5)
    play.until("the old one counts no more", lambda: not play.record.counts("pg-1"), within=20)
    play.faults.drain("n1", drained=False)
    play.rest()
