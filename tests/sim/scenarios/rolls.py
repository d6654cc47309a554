"""What a document asks for and a running member cannot take goes round the members."""

from __future__ import annotations

from pgswarm.sim.play import Play

MORE, FEWER = {"parameters": {"max_connections": "200"}}, {"parameters": {"max_connections": "50"}}


def settings_that_need_a_restart(play: Play) -> None:
    """More connections: each standby's PostgreSQL is started anew, one after the other and each counted again before
    the next; then the primary hands over and is the last. The operator that acts is killed in the middle, and another
    goes on, for who has yet to go is what members say.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    before = {member: play.agent(member) for member in ("pg-1", "pg-2", "pg-3")}
    play.edit(postgres=MORE)
    play.until("the first has more", lambda: _has(play, "pg-2") == 200, within=20)
    play.expect("no other is away", _has(play, "pg-3") == 100)
    play.faults.kill_operator()
    play.until("all have more", lambda: all(_has(play, member) == 200 for member in before), within=90)
    play.expect("another follows, once", play.record.term == 2)
    play.rest()
    play.expect("no container was replaced", all(play.agent(member) is agent for member, agent in before.items()))


def fewer_connections_than_a_standby_may_have(play: Play) -> None:
    """A standby may not have less than its primary, so the primary is the first: its PostgreSQL is started anew where
    it is, for nobody with less could follow. No term changes, and no PostgreSQL ends for want of connections.
    """
    play.begin(members=3, operators=3, pace=0.1)
    starts = {member: play.agent(member).postgres.starts for member in ("pg-1", "pg-2", "pg-3")}
    play.edit(postgres=FEWER)
    play.until("all have less", lambda: all(_has(play, member) == 50 for member in starts), within=90)
    play.expect("the same reign", play.record.term == 1)
    play.rest()
    again = {member: play.agent(member).postgres.starts - before for member, before in starts.items()}
    play.expect(f"each was started once: {again}", set(again.values()) == {1})


def the_only_standby_is_let_go_before_it_is_away(play: Play) -> None:
    """Of two members one is to be restarted: commits do not wait for it any more when it goes, and do again when it is
    back. Then it follows, and the other one goes.
    """
    play.begin(members=2, operators=1, pace=0.05)
    play.edit(postgres=MORE)
    play.until("pg-1 goes on alone", lambda: play.record.claim.r == 1, within=20)
    play.expect("for that reason", "pg-2 is about to be restarted" in play.record.reason)
    play.until("both have more", lambda: _has(play, "pg-1") == _has(play, "pg-2") == 200, within=60)
    play.rest()
    play.expect("both are counted again", play.record.claim.r == 2)


def who_does_not_come_back_stops_the_roll(play: Play) -> None:
    """A standby's node is lost while the other standby is being restarted. Nobody else is touched, the primary least of
    all; when it is back, the roll goes on.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    play.edit(postgres=MORE)
    play.until("the first is restarted", lambda: _has(play, "pg-2") == 200, within=20)
    play.faults.power_off("n3")
    play.never("the primary goes", lambda: play.record.term > 1 or _has(play, "pg-1") != 100, during=20.0)
    play.faults.power_on("n3")
    play.until("all have more", lambda: all(_has(play, f"pg-{n}") == 200 for n in (1, 2, 3)), within=90)
    play.rest()


def an_image_goes_round(play: Play) -> None:
    """Another image for the members: the standbys' services are changed one by one, each back in the claim before the
    next; the primary hands over before its own is.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5, pace=0.1)
    play.windows.led_by("n4")
    play.edit(postgres={"image": "registry/member:2"})
    play.until("another reigns", lambda: play.record.term == 2, within=90)
    changed = list(play.site.ledger.changed_services)
    play.expect(f"both standbys were first: {changed}", sorted(changed) == ["main_pg-2", "main_pg-3"])
    play.rest()
    play.expect(
        "each was changed once", sorted(play.site.ledger.changed_services) == [f"main_pg-{n}" for n in (1, 2, 3)]
    )


def _has(play: Play, member: str) -> int:
    """How many connections its PostgreSQL was started with."""
    return play.agent(member).tuning.has
