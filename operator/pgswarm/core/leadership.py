"""Which operator acts. It saves work; safety never depends on it (decision 0005).

Several operators run, one on each manager. Each keeps a stream to the others, so each sees another's death as fast as
an agent's, and all apply this one function to what they see. Where they disagree for a moment, two act: orders are
equal because they are functions of the record, promises are idempotent, and the record changes by compare-and-set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An operator that is alive as far as the caller sees."""

    name: str
    node_id: str
    able: bool  # it reached Swarm's store lately


def leader(candidates: Iterable[Candidate], primary_node: str | None) -> str | None:
    """The operator that acts for a cluster: able, and not on the primary's node, so that one loss is not two."""
    ranked = sorted(candidates, key=lambda one: (not one.able, one.node_id == primary_node, one.name))
    return ranked[0].name if ranked else None
