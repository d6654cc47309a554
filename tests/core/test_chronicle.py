"""What happened, for people: noted beside the record, and of no weight for any decision."""

from __future__ import annotations

import pytest

from pgswarm.core import chronicle
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.record import Loss, Record
from pgswarm.core.wal import Reign
from tests.core.builders import record, wish

FIRST = record("a", 1, "", revision=1)


def successor(of: Record, primary: str, reason: str, *, timeline: int) -> Record:
    reign = Reign(term=of.term + 1, incarnation=primary, timeline=timeline, fork=500)
    return of.amended(
        reason,
        term=of.term + 1,
        primary=primary,
        claim=Claim(members=(primary,), r=1),
        sync=Sync(),
        lineage=(*of.lineage, reign),
    )


SECOND = successor(FIRST, "b/1", "a has been silent for 3.1 s; b is furthest", timeline=2)


def test_the_first_record_and_every_new_term_are_events_with_their_time_and_reason() -> None:
    text = chronicle.continued("", None, FIRST, 10.0)
    text = chronicle.continued(text, FIRST, SECOND, 20.5)
    first, second = chronicle.events(text)
    assert (first.at, first.kind, first.primary) == (10.0, "began", "a")
    assert (second.at, second.kind, second.primary, second.term) == (20.5, "new primary", "b", 2)
    assert second.text == "a has been silent for 3.1 s; b is furthest"


def test_a_term_that_was_only_raised_and_a_primary_that_came_back_are_told_apart() -> None:
    raised = successor(FIRST, "a/1", "a ballot that was not needed", timeline=1)
    again = successor(FIRST, "a/1", "a is furthest", timeline=2)
    kinds = [chronicle.events(chronicle.continued("", FIRST, after, 1.0))[0].kind for after in (raised, again)]
    assert kinds == ["term raised", "same primary"]


def test_the_daily_moves_of_claim_and_sync_are_no_events() -> None:
    moved = FIRST.amended("b streams: commits shall wait for it", sync=Sync(k=1, names=("b/1",)))
    assert chronicle.continued("kept as it is", FIRST, moved, 1.0) == "kept as it is"
    assert chronicle.continued("kept as it is", FIRST, FIRST, 1.0) == "kept as it is"
    assert chronicle.continued("kept as it is", FIRST, None, 1.0) == "kept as it is"


def test_a_wish_that_was_refused_is_an_event_and_one_that_was_fulfilled_is_its_term() -> None:
    wished = FIRST.amended("ann wishes", wish=wish("switchover", "b"))
    refused = wished.answering("switchover to b refused: no standby streams from a")
    event = chronicle.events(chronicle.continued("", wished, refused, 1.0))[0]
    assert (event.kind, event.text) == ("refused", "switchover to b refused: no standby streams from a")
    done = successor(wished, "b/1", "switchover to b: a has handed over", timeline=2)
    assert [one.kind for one in chronicle.events(chronicle.continued("", wished, done, 1.0))] == ["new primary"]


def test_only_the_newest_events_are_kept_and_none_is_longer_than_a_label_can_bear() -> None:
    text = ""
    for number in range(chronicle.KEPT + 5):
        long = record("a", 1, "", revision=number + 2).model_copy(update={"reason": "x" * 5000})
        text = chronicle.continued(text, None, long, float(number))
    kept = chronicle.events(text)
    assert len(kept) == chronicle.KEPT
    assert kept[-1].at == chronicle.KEPT + 4
    assert len(kept[0].text) == chronicle.LONGEST
    assert len(text) < 100_000


@pytest.mark.parametrize("broken", ["not json", "{}", "[1]", '[{"term": 1}]'])
def test_a_chronicle_that_cannot_be_read_stops_nothing_and_begins_anew(broken: str) -> None:
    assert chronicle.events(broken) == ()
    assert [one.kind for one in chronicle.events(chronicle.continued(broken, FIRST, SECOND, 1.0))] == ["new primary"]


def test_history_fills_what_was_not_noted_from_the_lineage_and_names_what_was_lost() -> None:
    loss = Loss(term=2, member="a", timeline=1, since=500, known=16)
    third = successor(SECOND.model_copy(update={"losses": (loss,)}), "a/2", "switchover to a", timeline=3)
    text = chronicle.continued("", SECOND, third, 30.0)
    told = chronicle.history(third, text)
    assert [(one.term, one.kind, one.primary, one.at) for one in told] == [
        (1, "began", "a", None),
        (2, "new primary", "b", None),
        (3, "new primary", "a", 30.0),
    ]
    assert "at least 16 bytes" in told[1].lost
    assert not told[2].lost
