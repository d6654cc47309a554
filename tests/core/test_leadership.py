"""Which operator acts: one that can, and not beside the primary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgswarm import wire
from pgswarm.core.leadership import HEARTBEAT, SILENCE, Candidate, deaf_after, is_deaf, leader
from pgswarm.core.sightings import Sighting


def candidate(name: str, *, able: bool = True) -> Candidate:
    return Candidate(name=name, node_id=f"node-{name}", able=able)


def test_all_operators_that_see_the_same_name_the_same_leader() -> None:
    seen = [candidate("b"), candidate("a"), candidate("c")]
    assert leader(seen, None) == leader(reversed(seen), None) == "a"


def test_the_leader_is_not_on_the_primarys_node_if_there_is_another() -> None:
    assert leader([candidate("a"), candidate("b")], "node-a") == "b"
    assert leader([candidate("a")], "node-a") == "a"


def test_one_that_cannot_reach_the_store_leads_only_if_nobody_can() -> None:
    assert leader([candidate("a", able=False), candidate("b")], "node-b") == "b"
    assert leader([candidate("a", able=False)], None) == "a"


def test_one_that_is_deaf_to_the_primary_leaves_it_to_one_that_hears_it() -> None:
    deaf = Candidate(name="a", node_id="n1", able=True, deaf=frozenset({"main"}))
    assert leader([deaf, candidate("b")], None, "main") == "b"
    assert leader([deaf, candidate("b")], "node-b", "main") == "b"
    assert leader([deaf, candidate("b")], None, "other") == "a"
    assert leader([deaf, candidate("b", able=False)], None, "main") == "a"
    both = Candidate(name="b", node_id="n2", able=True, deaf=frozenset({"main"}))
    assert leader([deaf, both], None, "main") == "a"


def test_deaf_is_who_hears_nothing_for_half_the_detection_time_and_saw_no_end() -> None:
    heard: Sighting[object] = Sighting(report=object(), heard_at=10.0, connected=True)
    assert [is_deaf(heard, 3.0, now, 0.0) for now in (11.4, 11.5)] == [False, True]
    assert not is_deaf(heard, 3.0, 21.0, 20.0), "it was not awake before"
    assert not is_deaf(replace(heard, closed_at=10.1, connected=False), 3.0, 20.0, 0.0)
    never: Sighting[object] = Sighting(sought_since=5.0)
    assert [is_deaf(never, 3.0, now, 0.0) for now in (6.4, 6.5)] == [False, True]


@pytest.mark.parametrize("detection", [0.5, 1.0, 2.0, 2.5, 3.0, 10.0, 30.0])
def test_that_somebody_is_deaf_is_known_before_anybody_is_elected_or_changes_nothing_by_then(detection: float) -> None:
    """Streams are heard up to a heartbeat apart, and an operator speaks every heartbeat."""
    known = HEARTBEAT + deaf_after(detection) + HEARTBEAT
    assert max(known, SILENCE + HEARTBEAT) <= detection or deaf_after(detection) >= detection


def test_the_heartbeat_is_that_of_the_wire() -> None:
    assert HEARTBEAT == wire.HEARTBEAT


def test_nobody_leads_nobody() -> None:
    assert leader([], None) is None
