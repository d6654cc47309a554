"""A person has members restarted."""

from __future__ import annotations

from pgswarm.sim.play import Play


def everybody_is_restarted(play: Play) -> None:
    """All three are asked for: the standbys one after the other, each counted again before the next, then the primary,
    and another follows. Nobody is restarted twice, though the operator that acts is killed in the middle.
    """
    play.begin(members=3, operators=3, nodes=5, managers=5)
    play.windows.led_by("n4")
    before = {member: play.agent(member) for member in ("pg-1", "pg-2", "pg-3")}
    play.windows.restarts("pg-1", "pg-2", "pg-3")
    play.until("the first is through", lambda: play.record.wish and len(play.record.wish.restarts) == 2, within=60)
    play.faults.kill_operator()
    play.until("the wish is answered", lambda: play.record.wish is None, within=120)
    play.expect("it was met", play.record.answered and play.record.answered.done)
    play.expect("another follows", play.record.term == 2 and play.primary != "pg-1")
    play.rest()
    play.expect("all are new", all(play.agent(member) is not agent for member, agent in before.items()))
    changed = play.site.ledger.changed_services
    play.expect("each was asked for once", sorted(changed) == sorted(set(changed)) and len(changed) == 3)
