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


def deaf(name: str) -> Candidate:
    return replace(candidate(name), deaf=frozenset({"main"}))


def test_one_that_is_deaf_to_the_primary_leaves_it_to_one_that_hears_it() -> None:
    assert leader([deaf("a"), candidate("b")], None, "main") == "b"
    assert leader([deaf("a"), candidate("b")], None, "other") == "a"
    assert leader([deaf("a"), candidate("b", able=False)], None, "main") == "a"
    assert leader([deaf("a"), deaf("b")], None, "main") == "a"


def test_hearing_the_primary_on_its_own_node_ranks_nobody_before_others() -> None:
    assert leader([deaf("a"), candidate("b")], "node-b", "main") == "a"
    assert leader([deaf("a"), candidate("b"), candidate("c")], "node-b", "main") == "c"


def test_beside_an_operator_of_a_version_before_this_all_go_by_the_order_of_before() -> None:
    old = replace(candidate("c"), deaf=None)
    assert leader([deaf("a"), candidate("b"), old], None, "main") == "a"


def test_deaf_is_who_hears_nothing_for_half_the_detection_time_and_saw_no_end() -> None:
    heard: Sighting[object] = Sighting(report=object(), heard_at=10.0, connected=True)
    assert [is_deaf(heard, 3.0, now) for now in (11.4, 11.5)] == [False, True]
    ended = replace(heard, closed_at=10.1, connected=False)
    assert not is_deaf(ended, 3.0, 20.0)
    assert is_deaf(replace(ended, dialled_at=15.0), 3.0, 20.0), "it is said to be elsewhere, and not heard there"


def test_who_has_not_listened_yet_vouches_for_nobody() -> None:
    assert is_deaf(None, 3.0, 1.0)
    assert is_deaf(Sighting(sought_since=1.0), 3.0, 1.1)


@pytest.mark.parametrize("detection", [0.5, 1.0, 2.0, 2.5, 3.0, 10.0, 30.0])
def test_that_somebody_is_deaf_is_known_before_anybody_is_elected_or_changes_nothing_by_then(detection: float) -> None:
    """Streams are heard up to a heartbeat apart, and an operator speaks every heartbeat."""
    known = HEARTBEAT + deaf_after(detection) + HEARTBEAT
    assert max(known, SILENCE + HEARTBEAT) <= detection or deaf_after(detection) >= detection


def test_the_heartbeat_is_that_of_the_wire() -> None:
    assert HEARTBEAT == wire.HEARTBEAT


def test_nobody_leads_nobody() -> None:
    assert leader([], None) is None
