"""The judge of the histories: it finds what is wrong, and nothing else (it once was not so: docs/protocol.md)."""

from __future__ import annotations

import pytest

from pgswarm.core import lapse
from pgswarm.core.record import Loss
from pgswarm.sim.history import Life
from pgswarm.sim.ledger import Violation
from pgswarm.sim.losses import UNHEARD
from pgswarm.sim.manager import Manager
from pgswarm.sim.play import Play


@pytest.mark.parametrize(
    ("consented", "told", "allowed"),
    [
        (None, UNHEARD - 0.1, True),
        (None, UNHEARD + 0.1, False),
        (14.0, 14.0 + UNHEARD - 0.1, True),
        (14.0, 14.0 + UNHEARD + 0.1, False),
        (14.0, 13.1, True),
        (14.0, 12.9, False),  # the members were told, and it is not counted
        (lapse.UNHEARD - 1.0, lapse.UNHEARD - 0.1, True),
        (lapse.UNHEARD - 1.0, lapse.UNHEARD + 0.1, False),
    ],
)
def test_what_was_written_unheard_may_be_lost_for_one_grant_after_the_last_leave(
    play: Play, consented: float | None, told: float, allowed: bool
) -> None:
    play.begin(members=3, durability="async", operators=1)
    before, now = play.record, play.site.loop.now
    loss = Loss(term=before.term + 1, member="pg-1", timeline=before.timeline, since=4, known=0)
    after = before.model_copy(update={"term": before.term + 1, "losses": (loss,)})
    losses = play.site.ledger.losses
    losses.heard, losses.told_at[900] = now, now + told
    order = play.agent("pg-1").memory.order
    assert order is not None
    losses._consented.clear()  # its beginning may have needed one
    losses._looked.clear()
    if consented is not None:
        losses.note_consent(order, now + consented, now + consented - 1.0)

    why = losses.judged(before, after, {900: 9})

    assert (why == "") is allowed, why


def test_a_removal_that_is_done_late_is_judged_by_what_it_removes(play: Play) -> None:
    play.begin(members=2)
    manager = Manager(play.site, "n1", play.site.operators[0])

    play.site.loop.create_task(manager.remove_service("main_pg-2#1"))  # of before: another service has the name now
    play.wait(1.0)
    assert "main_pg-2" in play.site.swarm.services

    play.site.loop.create_task(manager.remove_service("main_pg-2"))
    with pytest.raises(Violation, match="S6: service main_pg-2 is removed, and pg-2 is wanted"):
        play.wait(1.0)


def test_a_restart_that_waits_for_its_turn_is_no_rest(play: Play) -> None:
    play.begin(members=3)
    life = Life(play.site, "calm")
    assert not life._needs_restart()

    play.edit(postgres={"parameters": {"shared_buffers": "64MB"}})
    play.until("a restart is waited for", life._needs_restart, within=10)
    play.rest()

    assert not life._needs_restart()
