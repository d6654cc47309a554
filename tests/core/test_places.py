"""A member is known by its place: who bears its name elsewhere has no say, and is heard by nobody as that member."""

from __future__ import annotations

import pytest

from pgswarm.core.grant import may_lend
from pgswarm.core.memory import Memory, accept, accepted, consent
from pgswarm.core.orders import Circumstances, Order, order_for
from pgswarm.core.record import Record
from pgswarm.core.reports import Data
from pgswarm.core.resumption import Heard, heard_as, may_resume
from pgswarm.ports.agents import not_member
from tests.core.builders import NOW, promiser, record, standby

OF = record("ab", 2, sync="b")
HERE, ELSEWHERE = "id-b/main_b", "id-d/main_b"


def at(place: str) -> Memory:
    return Memory(cluster="main", member="b", place=place)


def older(order: Order) -> Order:
    """As an operator before this version would have said it."""
    return order.model_copy(update={"place": "", "peer_places": ()})


def test_an_order_says_where_everybody_lives() -> None:
    order = order_for("main", OF, "b")
    assert order.place == HERE
    assert [order.place_of(peer) for peer in ("a", "c", "z")] == ["id-a/main_a", "id-c/main_c", ""]


@pytest.mark.parametrize(("place", "ok"), [(HERE, True), (ELSEWHERE, False), ("", True)])
def test_a_container_that_was_left_behind_accepts_no_order_for_the_member_that_moved(place: str, ok: bool) -> None:
    order = order_for("main", OF, "c").model_copy(update={"member": "b", "place": HERE})
    verdict = accept(at(place), order)
    assert verdict.ok == ok
    assert ok or f"this is b at {ELSEWHERE}, which has moved to {HERE}" in verdict.reason


@pytest.mark.parametrize(("place", "ok"), [(HERE, True), (ELSEWHERE, False), ("", True)])
def test_nor_does_it_promise_anything_or_let_a_primary_write_on(place: str, ok: bool) -> None:
    assert consent(at(place), "main", 2, HERE).ok == ok
    following = at(place).model_copy(update={"data": Data.READY, "order": order_for("main", OF, "b")})
    assert may_lend(following, cluster="main", term=1, primary="a/1", place=HERE).ok == ok


def test_what_an_operator_of_before_did_not_say_is_no_contradiction() -> None:
    said = order_for("main", OF, "b")
    held = accepted(at(HERE).model_copy(update={"data": "ready", "incarnation": "b/1"}), older(said), Circumstances())
    assert accept(held, said).ok
    other = said.model_copy(update={"sync": record("ac", 2, sync="c").sync})
    assert "a different order" in accept(held, other).reason


def test_where_both_orders_name_places_they_must_be_the_same() -> None:
    said = order_for("main", OF, "b")
    held = accepted(at(HERE).model_copy(update={"data": "ready", "incarnation": "b/1"}), said, Circumstances())
    moved = said.model_copy(update={"peer_places": ("id-z/main_a", "id-c/main_c")})
    assert "a different order" in accept(held, moved).reason


def test_a_report_from_another_place_is_a_strangers() -> None:
    said = standby(OF, "b")
    assert not_member("main", "b", HERE)(said) == ""
    assert not_member("main", "b", HERE)(said.model_copy(update={"place": HERE})) == ""
    assert "has moved to" in not_member("main", "b", HERE)(said.model_copy(update={"place": ELSEWHERE}))
    assert not_member("main", "b")(said.model_copy(update={"place": ELSEWHERE})) == ""


def resuming(of: Record, *heard: tuple[str, int]) -> bool:
    order = order_for("main", of, "a")
    memory = Memory(cluster="main", member="a", incarnation="a/1", system_id="7301", promised=1, order=order)
    words = {}
    for place, promised in heard:
        said = promiser(of, "b", promised).model_copy(update={"place": place})
        words[heard_as(said, order)] = Heard(report=said, at=NOW)
    return may_resume(memory, order, words, 9.0, NOW).ok


def test_who_is_left_behind_does_not_answer_for_the_member_of_the_claim() -> None:
    assert resuming(OF, (HERE, 1))
    assert not resuming(OF, (ELSEWHERE, 1))


def test_but_its_newer_promise_says_that_the_term_is_over() -> None:
    assert not resuming(OF, (HERE, 1), (ELSEWHERE, 2))
