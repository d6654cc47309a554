"""Which operator acts. It saves work; safety never depends on it (decision 0005).

Several operators run, one on each manager. Each keeps a stream to the others, so each sees another's death as fast as
an agent's, and all apply this one function to what they see. Where they disagree for a moment, two act: orders are
equal because they are functions of the record, promises are idempotent, and the record changes by compare-and-set.

Two nodes may be cut from each other while both hear a third. An operator on the wrong side calls a healthy primary
silent, and elects another; and that one's streams it may not see either. So each tells the others to which clusters'
primary it is *deaf*, and of those that are not beside the primary one that is not deaf acts first (decision 0029).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgswarm.core.sightings import Sighting

SILENCE = 2.0
"""Seconds without a word after which another operator is not counted on."""

HEARTBEAT = 0.5
"""Seconds between two words of an operator, at most (`wire.HEARTBEAT`)."""

LONGEST = 3.0
"""Seconds of a primary's silence after which any operator counts as deaf to it, however long the detection time."""

PATIENT = SILENCE + HEARTBEAT
"""Seconds of a cluster's detection time from which on there is time to ask the others first: by then an operator that
is lost with the primary counts no more, and those that live have said that they, too, hear nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An operator that is alive as far as the caller sees."""

    name: str
    node_id: str
    able: bool  # it reached Swarm's store lately
    deaf: frozenset[str] | None = frozenset()  # clusters to whose primary it is deaf; None: of a version before this


def deaf_after(detection: float) -> float:
    """Seconds of a primary's silence after which an operator says that it is deaf to it.

    Half the detection time, so that who still hears it is known before anybody is elected. Where the detection time is
    too short for that, only once every operator that was lost with the primary has been dropped: no ballot begins
    later for it, but after a needless one somebody acts who hears the new primary.
    """
    return min(detection / 2, LONGEST) if detection >= PATIENT else SILENCE + 2 * HEARTBEAT


def is_deaf(primary: Sighting[object] | None, detection: float, now: float) -> bool:
    """Can this operator not say that the primary lives? None: it has not been looked for yet.

    Not deaf is who has seen its process end and knows of no other address since: that is as much as any can know.
    An operator that was itself frozen is deaf at first: whoever did not listen vouches for nobody. Times are seconds of
    its clock.
    """
    if primary is None:
        return True
    if primary.closed_at is not None and primary.dialled_at <= primary.closed_at:
        return False
    return primary.heard_at is None or now - primary.heard_at >= deaf_after(detection)


def leader(candidates: Iterable[Candidate], primary_node: str | None, cluster: str = "") -> str | None:
    """The operator that acts for a cluster: able, not on the primary's node, so that one loss is not two, and not deaf
    to the primary.

    Beside the primary it is heard though nobody else may, so hearing it there ranks nobody before others. And while one
    of them does not say to whom it is deaf, because it is of a version before this, all go by what it goes by.
    """
    known = list(candidates)
    all_say = all(one.deaf is not None for one in known)

    def rank(one: Candidate) -> tuple[bool, bool, bool, str]:
        return not one.able, one.node_id == primary_node, all_say and cluster in (one.deaf or ()), one.name

    return min(known, key=rank).name if known else None
