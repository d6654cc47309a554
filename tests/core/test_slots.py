"""Which slots a member keeps for the others, and how far they may move on."""

from __future__ import annotations

from pgswarm.core.claim import application_name, streamer
from pgswarm.core.slots import Advance, Drop, Make, Slot, advances, changes

PEERS = ("pg-a", "pg-c")


def _advances(*there: Slot, restartpoint: int = 100, **flushed: int) -> tuple[object, ...]:
    known = {name.replace("_", "-"): lsn for name, lsn in flushed.items()}
    return advances(there, PEERS, primary="pg-a", flushed=known, restartpoint=restartpoint)


def test_everybody_gets_a_slot_and_strangers_lose_theirs() -> None:
    there = [Slot(member="pg-c", restart=5), Slot(member="gone", restart=5)]
    assert changes(there, PEERS) == (Drop(member="gone", reason="no such peer"), Make(member="pg-a"))


def test_a_lost_slot_is_made_anew_but_never_under_somebody_who_streams_through_it() -> None:
    assert changes([Slot(member="pg-a", lost=True), Slot(member="pg-c", lost=True, active=True)], PEERS) == (
        Drop(member="pg-a", reason="lost"),
        Make(member="pg-a"),
    )


def test_a_peers_slot_follows_what_it_has_flushed() -> None:
    assert _advances(Slot(member="pg-c", restart=10), pg_c=50) == (Advance(member="pg-c", to=50),)


def test_no_slot_passes_the_place_from_which_this_member_would_recover() -> None:
    assert _advances(Slot(member="pg-c", restart=10), pg_c=5000) == (Advance(member="pg-c", to=100),)


def test_the_primarys_slot_keeps_what_a_rewind_of_it_would_ask_for() -> None:
    assert _advances(Slot(member="pg-a", restart=10)) == (Advance(member="pg-a", to=100),)


def test_a_peer_that_streams_from_nobody_keeps_its_place() -> None:
    assert _advances(Slot(member="pg-c", restart=10)) == ()


def test_no_slot_ever_goes_back() -> None:
    assert _advances(Slot(member="pg-c", restart=70), pg_c=50) == ()


def test_a_former_primarys_slot_does_not_hold_back_vacuum_for_ever() -> None:
    held = Slot(member="pg-c", restart=10, holds_xmin=True)
    assert _advances(held, pg_c=50) == (Advance(member="pg-c", to=50),)
    assert _advances(held, pg_c=100) == (Drop(member="pg-c", reason="it holds back vacuum"), Make(member="pg-c"))


def test_the_member_behind_a_stream_is_known_by_its_name() -> None:
    assert streamer(application_name("pg-a/0011aabb", 7)) == "pg-a"
    assert streamer("pgswarm-clone") == ""
    assert streamer("walreceiver") == ""
