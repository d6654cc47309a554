"""Which operator acts: one that can, and not beside the primary."""

from __future__ import annotations

from pgswarm.core.leadership import Candidate, leader


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


def test_nobody_leads_nobody() -> None:
    assert leader([], None) is None
