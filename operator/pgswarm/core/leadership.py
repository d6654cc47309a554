"""Which operator acts. It saves work; safety never depends on it (decision 0005).

Several operators run, one on each manager. Each keeps a stream to the others, so each sees another's death as fast as
an agent's, and all apply this one function to what they see. Where they disagree for a moment, two act: orders are
equal because they are functions of the record, promises are idempotent, and the record changes by compare-and-set.

Two nodes may be cut from each other while both hear a third. An operator on the wrong side calls a healthy primary
silent, and elects another; and that one's streams it may not see either. So each tells the others of which clusters
it is *deaf* to the primary, and whoever is not deaf acts first (decision 0029).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgswarm.core.sightings import Sighting

SILENCE = 2.0
"""Seconds without a word after which another operator is not counted on."""

HEARTBEAT = 0.5
"""Seconds between two words of an operator, at most (`wire.HEARTBEAT`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An operator that is alive as far as the caller sees."""

    name: str
    node_id: str
    able: bool  # it reached Swarm's store lately
    deaf: frozenset[str] = frozenset()  # clusters whose primary is silent to it, though nobody saw that process end


PATIENT = SILENCE + HEARTBEAT
"""Seconds of a cluster's detection time from which on there is time to ask the others first: by then an operator that
is lost with the primary counts no more, and those that live have said that they, too, hear nothing."""


def deaf_after(detection: float) -> float:
    """Seconds of a primary's silence after which an operator says that it is deaf to it.

    Half the detection time, so that who still hears it is known before anybody is elected. Where the detection time is
    too short for that, only once every operator that was lost with the primary has been dropped: nothing may delay a
    ballot, but after a needless one somebody acts who hears the new primary.
    """
    return detection / 2 if detection >= PATIENT else SILENCE + 2 * HEARTBEAT


def is_deaf(primary: Sighting[object], detection: float, now: float, awake_since: float) -> bool:
    """Has the primary been silent for so long? Not if its process was seen to end: then nobody knows more.

    Times are seconds of this operator's clock, which has been running without a gap since `awake_since`.
    """
    if primary.closed_at is not None:
        return False
    heard_at = primary.sought_since if primary.heard_at is None else primary.heard_at
    return now - max(awake_since, heard_at) >= deaf_after(detection)


def leader(candidates: Iterable[Candidate], primary_node: str | None, cluster: str = "") -> str | None:
    """The operator that acts for a cluster: able, not deaf to its primary, and not on the primary's node, so that one
    loss is not two.
    """
    ranked = sorted(
        candidates, key=lambda one: (not one.able, cluster in one.deaf, one.node_id == primary_node, one.name)
    )
    return ranked[0].name if ranked else None
