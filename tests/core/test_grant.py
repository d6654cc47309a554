"""A grant in its holder's hands: what it is worth, when it runs out, and who may lend."""

from __future__ import annotations

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from pgswarm.core import grant
from pgswarm.core.claim import Claim
from pgswarm.core.grant import (
    CLOSE_FROM,
    MEMBERS_FROM,
    TTL,
    Holding,
    Stage,
    asking,
    consented,
    elsewhere,
    extended,
    given,
    may_lend,
    outlasts,
)
from pgswarm.core.memory import Consented, Memory
from pgswarm.core.orders import order_for
from pgswarm.core.record import Grant
from pgswarm.core.reports import Data, Lent
from pgswarm.core.wal import Position
from tests.core.builders import record, report

HELD = record("a", 1, sync="", grant=Grant.HELD)


def remembering(member: str = "a", promised: int = 1, **changes: object) -> Memory:
    order = order_for("main", HELD, member)
    known = Memory(cluster="main", member=member, promised=promised, order=order, data=Data.READY)
    return known.model_copy(update=changes)


def test_a_grant_counts_from_when_it_was_asked_however_late_the_answer() -> None:
    held, verdict = given(asking(Holding(), "n1", 100.0), remembering(), term=1, nonce="n1", ttl=TTL)
    assert verdict.ok
    assert held.until == 110.0


def test_an_answer_to_an_older_word_is_worth_less_and_takes_nothing_away() -> None:
    asked = asking(asking(Holding(), "n1", 100.0), "n2", 103.0)
    newer, _ = given(asked, remembering(), term=1, nonce="n2", ttl=TTL)
    older, verdict = given(newer, remembering(), term=1, nonce="n1", ttl=TTL)
    assert verdict.ok
    assert older.until == 113.0


def test_nobody_can_grant_longer_than_the_rule_allows() -> None:
    held, _ = given(asking(Holding(), "n1", 100.0), remembering(), term=1, nonce="n1", ttl=3600.0)
    assert held.until == 110.0


@pytest.mark.parametrize("nonce", ["", "n0"])
def test_a_word_that_was_never_made_here_grants_nothing(nonce: str) -> None:
    held, verdict = given(asking(Holding(), "n1", 100.0), remembering(), term=1, nonce=nonce, ttl=TTL)
    assert not verdict.ok
    assert held.until == 0.0


def test_words_of_long_ago_are_forgotten() -> None:
    held = Holding()
    for turn in range(grant.KEPT + 1):
        held = asking(held, f"n{turn}", 100.0 + turn)
    assert not given(held, remembering(), term=1, nonce="n0", ttl=TTL)[1].ok


def test_a_grant_for_another_term_or_role_or_for_one_who_promised_more_is_refused() -> None:
    asked = asking(Holding(), "n1", 100.0)
    assert not given(asked, remembering(), term=2, nonce="n1", ttl=TTL)[1].ok
    assert not given(asked, remembering("b"), term=1, nonce="n1", ttl=TTL)[1].ok
    refused = given(asked, remembering(promised=2), term=1, nonce="n1", ttl=TTL)[1]
    assert not refused.ok
    assert "promised term 2" in refused.reason


def test_what_is_left_says_what_to_do() -> None:
    held = Holding(until=110.0)
    assert held.stage(100.0) is Stage.CALM
    assert held.stage(110.0 - MEMBERS_FROM) is Stage.ASK_MEMBERS
    assert held.stage(110.0 - CLOSE_FROM) is Stage.CLOSE
    assert not held.lets_write(110.0 - CLOSE_FROM)
    assert not Holding().lets_write(0.0), "who never held one may never write"


def test_consent_extends_from_when_it_was_asked_and_never_shortens() -> None:
    assert extended(Holding(until=105.0), 101.0).until == 111.0
    assert extended(Holding(until=120.0), 101.0).until == 120.0


def test_a_consent_counts_only_with_the_word_that_it_is_given_at_that_place() -> None:
    said = report("c", data=Data.READY, place="pc")
    assert elsewhere("pc", said) == ""
    assert elsewhere("pd", said) == "it consents at pc, not at pd"
    assert "does not say" in elsewhere("pd", report("c", data=Data.READY))
    assert "does not say" in elsewhere("pd", None)
    assert elsewhere("", report("c", data=Data.READY)) == ""


def test_nobody_becomes_a_member_or_moves_while_something_runs_to_which_they_did_not_consent() -> None:
    bound = order_for("main", HELD, "a").model_copy(update={"peers": ("b", "c"), "peer_places": ("pb", "pc")})
    held = extended(asking(Holding(), "n", 100.0), 100.0)
    for peers, places, who in [
        (("b", "c"), ("pb", "elsewhere"), "c"),
        (("b", "c", "d"), ("pb", "pc", "pd"), "d"),
        (("b",), ("pb",), ""),
        (("c", "b"), ("pc", "pb"), ""),
    ]:
        order = bound.model_copy(update={"revision": 9, "peers": peers, "peer_places": places})
        assert outlasts(held, bound, order, 100.0 + TTL - 0.1).startswith(f"{who} did not consent" if who else "")
        assert bool(outlasts(held, bound, order, 105.0)) == bool(who)
        assert outlasts(held, bound, order, 100.0 + TTL) == ""
        assert outlasts(Holding(until=200.0), bound, order, 105.0) == "", "an operator's grant asked nobody"
        assert outlasts(held, None, order, 105.0) == ""


def test_the_doors_close_well_before_the_kernel_ends_it_and_that_before_the_grant_ends() -> None:
    assert 0 < grant.END_BEFORE < CLOSE_FROM < MEMBERS_FROM < TTL - grant.ASK_EVERY


def test_a_member_lends_to_the_primary_of_the_term_and_not_after_a_higher_promise() -> None:
    assert may_lend(remembering("b"), cluster="main", term=1, primary="a/1").ok
    refused = may_lend(remembering("b", promised=2), cluster="main", term=1, primary="a/1")
    assert not refused.ok
    assert "promised term 2" in refused.reason


def test_a_member_lends_to_nobody_but_the_primary_it_knows_of_that_term() -> None:
    assert not may_lend(remembering("b"), cluster="main", term=1, primary="c/1").ok
    assert not may_lend(remembering("b"), cluster="other", term=1, primary="a/1").ok


def test_a_consent_keeps_the_furthest_word_of_the_primary_and_forgets_that_of_another() -> None:
    def end(lsn: int, timeline: int = 1) -> Position:
        return Position(timeline=timeline, lsn=lsn)

    memory = remembering("b")
    for at, (primary, said, kept) in enumerate(
        (
            ("a/1", None, None),
            ("a/1", end(700), Lent(primary="a/1", end=end(700))),
            ("a/1", None, Lent(primary="a/1", end=end(700))),
            ("a/1", end(650), Lent(primary="a/1", end=end(700))),
            ("a/1", end(600, timeline=2), Lent(primary="a/1", end=end(600, timeline=2))),
            ("c/1", None, None),
            ("c/1", end(300), Lent(primary="c/1", end=end(300))),
        )
    ):
        memory = consented(memory, "boot", float(at), primary, said)
        assert memory.consented == Consented(node_boot="boot", at=float(at), lent=kept)


def test_who_has_no_data_or_knows_of_no_term_may_have_lost_what_it_promised_and_lends_to_nobody() -> None:
    for changes in ({"data": Data.NONE}, {"data": Data.BUILDING}, {"order": None}):
        refused = may_lend(remembering("b", **changes), cluster="main", term=1, primary="a/1")
        assert not refused.ok
        assert "has no data" in refused.reason


def test_a_record_under_a_grant_claims_nobody_but_its_primary() -> None:
    with pytest.raises(ValueError, match="claims nobody but itself"):
        record("ab", 2, sync="b", grant=Grant.HELD)
    with pytest.raises(ValueError, match="waits for nobody"):
        record("a", 1, sync="b", grant=Grant.HELD)
    assert Claim(members=("a/1",), r=1) == HELD.claim


@any_of(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 60), st.floats(0, 30)), max_size=12))
def test_no_order_of_answers_makes_more_of_a_grant_than_ttl_after_an_asking(
    asked: list[tuple[float, float, float]],
) -> None:
    """Each: asked at, answered so much later, for so long."""
    held, rows = Holding(), sorted(asked)
    for index, (at, _, _) in enumerate(rows):
        held = asking(held, f"n{index}", at)
    for index, (_, _, ttl) in enumerate(rows):
        held, _ = given(held, remembering(), term=1, nonce=f"n{index}", ttl=ttl)
    assert held.until <= max((at for at, _, _ in rows), default=0.0) + TTL
