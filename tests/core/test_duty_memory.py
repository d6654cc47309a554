"""What an agent agrees to, and what it refuses, word for word."""

from __future__ import annotations

import pytest

from pgswarm.core.memory import Memory, accept, accepted, consent
from pgswarm.core.orders import Circumstances, Order
from pgswarm.core.reports import Data
from pgswarm.core.wal import Reign

A, B = "a/0000000a", "b/0000000b"


def _fields(**fields: object) -> dict[str, object]:
    return fields


def order(term: int = 2, revision: int = 5, **changes: object) -> Order:
    fields = _fields(
        cluster="main", member="b", term=term, revision=revision, role="standby", incarnation=None, primary=A,
        timeline=2, lineage=(Reign(term=term, incarnation=A, timeline=2, fork=0),), system_id="77",
    )  # fmt: skip
    return Order.model_validate({**fields, **changes})


def memory(known: Order | None = None, **changes: object) -> Memory:
    fields = {"promised": known.term if known else 0, "order": known, "data": Data.READY, "incarnation": B}
    return Memory(cluster="main", member="b").model_copy(update={**fields, **changes})


REFUSED = {
    "of another cluster": (memory(), order(cluster="other"), "not b of other"),
    "for another member": (memory(), order(member="c"), "not c of main"),
    "of a term below the promise": (memory(promised=3), order(term=2), "promised term 3"),
    "of an older revision": (memory(order(revision=6)), order(revision=5), "older"),
    "of an older term": (memory(order(term=3)), order(term=2, revision=9), "promised term 3"),
    "different at an equal key": (memory(order()), order(timeline=3), "a different order"),
    "of a second primary in one term": (memory(order()), order(revision=6, primary="c/1"), "is a/0000000a, not c/1"),
    "for an older incarnation": (memory(), order(incarnation="b/00000001"), "the order is for b/00000001"),
    "for data that is not here": (
        memory(data=Data.NONE, incarnation=None),
        order(incarnation=B, role="primary", primary=B),
        "there is no data here",
    ),
    "to create over data of another incarnation": (
        memory(),
        order(incarnation="b/1", primary="b/1", role="primary", create=True),
        "this data directory is",
    ),
    "to create over a clone that has begun": (
        memory(data=Data.BUILDING),
        order(incarnation="b/1", primary="b/1", role="primary", create=True),
        "is being built here",
    ),
    "for foreign data": (memory(data=Data.FOREIGN), order(incarnation=B), "foreign data"),
    "to be a primary of no name": (memory(), order(role="primary", primary=B), "must name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_order_is_refused(case: str) -> None:
    given, asked, words = REFUSED[case]
    verdict = accept(given, asked)
    assert not verdict.ok
    assert words in verdict.reason
    assert "\n" not in verdict.reason


ACCEPTED = {
    "the first": (memory(), order()),
    "the same again": (memory(order()), order()),
    "a newer revision": (memory(order()), order(revision=6)),
    "a newer term with a lower revision": (memory(order(revision=9)), order(term=3, revision=1)),
    "one of the promised term": (memory(promised=2), order()),
    "that names this incarnation": (memory(), order(incarnation=B)),
    "to create where nothing is": (
        memory(data=Data.NONE, incarnation=None),
        order(incarnation=B, primary=B, role="primary", create=True),
    ),
    "to create, again, while it is being created": (
        memory(data=Data.BUILDING),
        order(incarnation=B, primary=B, role="primary", create=True),
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_an_order_is_accepted(case: str) -> None:
    given, asked = ACCEPTED[case]
    assert accept(given, asked).ok
    assert accepted(given, asked, Circumstances()).promised >= asked.term


def test_accepting_never_lowers_a_promise() -> None:
    assert accepted(memory(promised=2), order(term=2), Circumstances()).promised == 2
    assert accepted(memory(promised=7), order(term=7), Circumstances()).promised == 7


@pytest.mark.parametrize(
    ("given", "term", "words"),
    [
        (memory(promised=5), 4, "promised term 5 already"),
        (memory(order(term=5)), 5, "term 5 has begun here"),
        (memory(order(term=6), promised=6), 5, "promised term 6"),
    ],
)
def test_a_promise_is_refused(given: Memory, term: int, words: str) -> None:
    verdict = consent(given, "main", term)
    assert not verdict.ok
    assert words in verdict.reason


def test_a_promise_can_be_given_again() -> None:
    assert consent(memory(order(term=2), promised=3), "main", 3).ok
    assert consent(memory(order(term=2)), "main", 3).ok
    assert not consent(memory(), "other", 3).ok


def test_an_order_no_longer_holds_once_something_newer_is_promised() -> None:
    assert memory(order()).bound == order()
    assert memory(order(), promised=3).bound is None


def test_another_systems_data_is_told_as_foreign() -> None:
    assert memory(order(), system_id="77").told_data is Data.READY
    assert memory(order(), system_id="78").told_data is Data.FOREIGN
    assert memory(order(system_id=""), system_id="78").told_data is Data.READY


def test_a_memory_survives_being_written_and_read() -> None:
    before = memory(order(), follows=(A, 2), system_id="77")
    assert Memory.model_validate_json(before.model_dump_json()) == before
