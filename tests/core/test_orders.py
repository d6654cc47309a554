"""Orders are a function of the record, so two of one revision are one order."""

from __future__ import annotations

from pgswarm.core.orders import contacts_of, order_for, router_order_for
from tests.core.builders import record


def test_two_operators_with_one_record_give_one_order() -> None:
    for member in "abc":
        assert order_for("main", record(), member) == order_for("main", record(), member)


def test_the_primary_is_ordered_by_incarnation_and_the_uncounted_as_they_are() -> None:
    said = record("ab", 2, sync="b")
    assert (order_for("main", said, "a").role, order_for("main", said, "a").incarnation) == ("primary", "a/1")
    assert (order_for("main", said, "b").role, order_for("main", said, "b").incarnation) == ("standby", "b/1")
    assert order_for("main", said, "c").incarnation is None


def test_only_the_uncounted_may_be_made_anew() -> None:
    said = record("ab", 2, sync="b")
    assert [order_for("main", said, member).counted for member in "abc"] == [True, True, False]


def test_a_member_that_is_only_waited_for_is_counted_too() -> None:
    assert order_for("main", record("a", 1, sync="b"), "b").counted


def test_a_data_directory_is_created_only_while_the_record_knows_no_system() -> None:
    assert order_for("main", record("a", 1, sync="", system_id=""), "a").create
    assert not order_for("main", record("a", 1, sync="", system_id=""), "b").create
    assert not order_for("main", record("a", 1, sync=""), "a").create


def test_an_order_carries_sync_lineage_and_peers() -> None:
    order = order_for("main", record("ab", 2, sync="b"), "a")
    assert order.sync.names == ("b/1",)
    assert order.timeline == 1
    assert order.peers == ("b", "c")
    assert order.key == (1, 5)


def test_routers_hear_the_primary_and_its_term() -> None:
    said = router_order_for("main", record())
    assert (said.term, said.primary, said.key) == (1, "a/1", (1, 5))


def test_an_address_that_is_not_known_is_not_told() -> None:
    assert contacts_of({"b": None, "a": "10.0.0.1"}) == {"a": "10.0.0.1"}
