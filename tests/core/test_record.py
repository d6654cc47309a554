"""The record: it cannot be written falsely, and every write is a new revision."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.wal import Reign
from tests.core.builders import WALL, empty, names, record, standby, wish


def test_a_record_whose_sync_does_not_imply_its_claim_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="does not imply"):
        record("ab", 2, sync="")
    with pytest.raises(ValidationError, match="does not imply"):
        record("ab", 2, sync="bc")


def test_a_claim_without_the_primary_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="does not imply"):
        record("bc", 1, sync="")


def test_the_last_reign_is_that_of_the_term() -> None:
    with pytest.raises(ValidationError, match="lineage"):
        record(term=2)
    with pytest.raises(ValidationError):
        record(lineage=())


def test_an_amended_record_is_the_next_revision_and_checked_again() -> None:
    old = record("ab", 2, sync="b")
    new = old.amended("b is gone", claim=Claim(members=names("a"), r=1), sync=Sync())
    assert (new.revision, new.reason, new.term) == (6, "b is gone", 1)
    with pytest.raises(ValidationError):
        old.amended("nobody is waited for", sync=Sync())


def test_a_member_counts_whether_claim_or_sync_names_any_incarnation_of_it() -> None:
    said = record("abc", 2, sync="c")
    assert said.counts("b")
    assert record("a", 1, sync="b").counts("b")
    assert not record("a", 1, sync="b").counts("c")


def test_a_data_directory_of_the_same_name_in_another_system_is_not_the_one_that_is_counted() -> None:
    said = record()
    assert said.is_held_by(standby(said, "b"), "b/1")
    assert not said.is_held_by(standby(said, "b", system_id="8"), "b/1")
    assert not said.is_held_by(standby(said, "b", incarnation="b/2"), "b/1")
    assert not said.is_held_by(empty(said, "b"), "b/1")
    assert not said.is_held_by(None, "b/1")


def test_before_the_record_knows_the_system_any_will_do() -> None:
    said = record("a", 1, sync="", system_id="")
    assert said.is_held_by(standby(said, "b"), "b/1")


def test_places_are_found_by_member() -> None:
    place = record().place("b")
    assert place is not None
    assert place.node_name == "node-b"
    assert record().place("z") is None


def test_a_new_term_answers_the_wish_of_the_old_one() -> None:
    old = record("ab", 2, sync="b", wish=wish("switchover", "b"))
    same = old.amended("c streams")
    assert same.wish == old.wish
    reign = Reign(term=2, incarnation="b/1", timeline=2, fork=500)
    alone = {"claim": Claim(members=names("b"), r=1), "sync": Sync(), "lineage": (*old.lineage, reign)}
    new = old.amended("b follows", term=2, primary="b/1", **alone)
    assert new.wish is None
    assert new.answered is not None
    assert (new.answered.id, new.answered.done, new.answered.text) == ("w1", True, "b follows")
    raised = old.amended("raised", term=2, lineage=(*old.lineage, old.lineage[0].model_copy(update={"term": 2})))
    assert raised.answered is not None
    assert not raised.answered.done


def test_a_wish_holds_until_its_time_and_in_its_term_only() -> None:
    said = record("ab", 2, sync="b", wish=wish("failover"))
    assert said.wished(WALL) == said.wish
    assert said.wished(WALL + 60.0) is None
    assert record("ab", 2, sync="b").wished(WALL) is None
