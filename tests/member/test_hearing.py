"""Whose word tells a primary that it is not cut off."""

from __future__ import annotations

from pgswarm.core.reports import REPLIED, Walsender
from pgswarm.member.hearing import Hearing

STREAM = Walsender(name="b-00000001-1", state="streaming", flush=9)


def test_a_router_alone_does_not_vouch_for_a_primary_that_others_could_replace() -> None:
    hearing = Hearing()
    hearing.note_caller("router", 100.0)
    assert hearing.is_isolated(101.0, 5.0, replaceable=True)
    assert not hearing.is_isolated(101.0, 5.0, replaceable=False)
    assert hearing.is_isolated(106.0, 5.0, replaceable=False)


def test_an_operator_or_a_standby_does() -> None:
    hearing = Hearing()
    hearing.note_caller("operator", 100.0)
    assert not hearing.is_isolated(104.0, 5.0, replaceable=True)
    hearing.note_caller("person", 110.0)
    hearing.note_caller("witness", 110.0)
    assert hearing.is_isolated(110.0, 5.0, replaceable=True)
    hearing.note_standbys([(STREAM, 1.0)], 110.0)
    assert not hearing.is_isolated(114.0, 5.0, replaceable=True)


def test_the_newest_word_counts_though_an_older_one_comes_later() -> None:
    hearing = Hearing()
    hearing.note_caller("operator", 100.0)
    hearing.note_caller("operator", 90.0)
    assert hearing.operator_at == 100.0


def test_a_row_says_for_how_long_its_standby_has_replied_whatever_its_clock_says() -> None:
    hearing = Hearing()
    assert hearing.note_standbys([(STREAM, 5000.0)], 100.0)[0].replied
    assert hearing.note_standbys([(STREAM, 5000.0)], 100.0 + REPLIED)[0].replied
    assert not hearing.note_standbys([(STREAM, 5000.0)], 100.1 + REPLIED)[0].replied
    assert hearing.standby_at == 100.0
    assert hearing.note_standbys([(STREAM, 4000.0)], 110.0)[0].replied
    assert hearing.standby_at == 110.0
