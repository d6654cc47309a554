"""Swarm's store, nodes and tasks as they really behave."""

from __future__ import annotations

from pgswarm.core.reports import Role
from pgswarm.sim.play import Play


def a_returning_manager_demotes_nobody(play: Play) -> None:
    """A healed etcd member forced an election and demoted a healthy primary (facts/peers). Here a manager comes back
    and calls an election, twice, and then there is no leader for a while: writes go on, and the record stays as it is.
    """
    play.begin(members=2, operators=3, pace=0.1)
    revision = play.record.revision
    for _ in range(2):
        play.site.swarm.depose()
        play.never("it stops serving", lambda: not play.serves("pg-1"), during=6.0)
    play.rest()
    play.expect("nothing was decided", play.record.revision == revision)


def no_quorum_and_no_operator(play: Play) -> None:
    """The control plane is down for a long time: two of three managers are cut off from everything, and no operator
    lives. Primary and standby go on; nobody needs the record while all is well.
    """
    play.begin(members=2, operators=1, nodes=5, pace=0.1)
    for node in ("n3", "n4", "n5"):
        play.faults.isolate(node)
    play.faults.stop_engine("n1")
    play.faults.stop_engine("n2")
    for operator in play.site.operators:
        operator.process.freeze()
    before = play.acknowledged
    play.never("it stops serving", lambda: not play.serves("pg-1"), during=30.0)
    play.expect("writes went on", play.acknowledged > before + 100)
    play.expect("nothing was promoted", play.record.timeline == 1)
    play.rest()


def a_heartbeat_blip(play: Play) -> None:
    """moby #43508, #38203: a node misses some heartbeats, counts as down, is back, and Swarm ends its containers and
    starts others in their place. The primary is told to stop in order: another takes over, and nothing is lost.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.windows.led_by("n3")
    play.site.swarm.down_after = 0.6
    play.faults.cut("n1", "n3")
    play.wait(1.7)
    play.faults.heal("n1", "n3")
    play.site.swarm.down_after = 9.0
    play.wait(4.0)
    play.rest()


def shown_running_and_gone(play: Play) -> None:
    """moby #30327: the container is gone, and Swarm shows its task as running, because its engine hangs. Swarm is not
    asked: the stream has ended, and that is enough.
    """
    play.begin(members=2, operators=3)
    play.windows.led_by("n2")
    play.faults.stop_engine("n1")
    play.faults.kill_container("pg-1")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=2.0)
    play.expect(
        "Swarm still shows it", any(t.node_id == "n1" and t.state == "running" for t in play.site.swarm.view().tasks)
    )
    play.faults.stop_engine("n1", False)
    play.rest()


def no_empty_database_elsewhere(play: Play) -> None:
    """mattermost-docker #377, swarmpit #559, galera-swarm #69: a local volume, a reschedule, and an empty database on
    another node is seeded from. A member lives on one node for ever: while that is drained there is simply none of it.
    """
    play.begin(members=2, operators=3, nodes=4)
    play.faults.drain("n1")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=20)
    play.until("Swarm has ended the first one", lambda: play.site.container("pg-1") is None, within=5)
    play.never("the first one lives elsewhere", lambda: play.site.container("pg-1") is not None, during=15.0)
    play.faults.drain("n1", False)
    play.rest()
    play.expect("it lives where it lived", play.site.volumes["pg-1"].log)


def restored_from_a_backup(play: Play) -> None:
    """Swarm is restored from a backup that is one failover old. Members have accepted newer orders than the record: no
    ballot, no wipe, no order; the running primary goes on, and a person is called.
    """
    play.begin(members=2, operators=3, pace=0.1)
    play.windows.led_by("n2")
    before = play.record.revision
    play.faults.kill_postgres("pg-1")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=10)
    play.until("both are claimed", lambda: play.record.claim.r == 2, within=30)
    play.windows.restored(before)
    revision, acknowledged = play.record.revision, play.acknowledged
    play.never("the record changes", lambda: play.record.revision != revision, during=70.0)
    waits = [
        wait for one in play.site.operators if one.house for w in one.house.workers.values() for wait in w.plan.waits
    ]
    play.expect("a person is called", any("restored from a backup" in wait for wait in waits))
    play.expect("the primary goes on", play.serves("pg-2") and play.acknowledged > acknowledged + 200)
    play.expect("the other one follows it", play.agent("pg-1").role is Role.STANDBY)


def a_leader_that_remembers(play: Play) -> None:
    """Stale read, and CNPG #11346 (a failover was reverted), Patroni #2676 (an old leader comes back with old data):
    the primary's node was Raft leader, is cut off, and its manager goes on answering reads from its memory. The
    operator there sees the old record and a healthy primary, and can write nothing. After the heal its orders are
    refused.
    """
    play.begin(members=3, operators=3, clients=2, pace=0.1)
    play.windows.led_by("n1")
    play.faults.isolate("n1")
    play.until("another one serves", lambda: play.record.term == 2 and play.serves(play.primary), within=30)
    reigns = play.primary
    play.faults.heal_all()
    play.rest()
    play.expect("it was not reverted", play.primary == reigns and play.record.term == 2)


def killed_when_the_claim_is_weaker(play: Play) -> None:
    """The operator dies between the write of a weaker claim and its order: the primary does more than is claimed."""
    play.begin(members=2, operators=3, pace=0.1)
    play.windows.killed_after_write(lambda record: record.claim.r == 1)
    play.faults.power_off("n2")
    before = play.acknowledged
    play.until("commits go on", lambda: play.acknowledged > before + 10)
    play.faults.power_on("n2")
    play.rest()


def killed_when_the_claim_is_stronger(play: Play) -> None:
    """The operator dies at each step to a stronger claim: when the sync is written, and before the claim is."""
    play.begin(members=2, operators=3, pace=0.1)
    play.faults.power_off("n2")
    play.until("the primary is alone", lambda: play.record.claim.r == 1)
    play.windows.killed_after_write(lambda record: record.sync.k == 1)
    play.windows.killed_before_write(lambda record: record.claim.r == 2)
    play.faults.power_on("n2")
    play.rest()


def an_open_session_ends(play: Play) -> None:
    """Patroni #421 (an open session hangs until the NIC returns): a client has a session to the primary through a
    router on another node, and the primary's node is cut off. The router ends the session when another reigns.
    """
    play.begin(members=2, operators=3, nodes=4, managers=4, clients=2, pace=0.2, detection="1s")
    play.windows.led_by("n3")
    sessions = [one for router in play.site.routers for one in router.sessions if router.node != "n1"]
    play.expect("there is one", sessions)
    play.faults.isolate("n1")
    play.until("the other one serves", lambda: play.serves("pg-2"), within=2.5)
    play.until("it is ended", lambda: all(one.over for one in sessions), within=0.2, look=0.01)
    play.faults.heal_all()
    play.rest()
