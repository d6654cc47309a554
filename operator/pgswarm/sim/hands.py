"""What people do beside the document in the middle of everything: members are fenced, and the fences taken back.

Like `edits` a history has this by a chance of its own, so a seed without it is the same history with or without. A
fence may still stand at the end: the cluster must then come to rest around it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pgswarm.core.record import Record
from pgswarm.core.wish import Fence

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

OFTEN = 0.25
"""How many of the histories have a person who fences."""


class Hands:
    """One person's hands on the record of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._rng = random.Random(f"hands {site.seed}")
        self._left = self._rng.randint(1, 5) if self._rng.random() < OFTEN else 0

    def maybe(self) -> None:
        """Now and then, do something."""
        if self._left and self._rng.random() < 0.5:
            self._left -= 1
            self._fence_or_not()

    def _fence_or_not(self) -> None:
        record, rng = self._site.record, self._rng
        if record is None or not record.system_id or self._site.swarm.leader is None:
            return
        member = rng.choice(record.members)
        if record.fence(member) is not None:
            others = tuple(one for one in record.fences if one.member != member)
            self._amend(record, f"ann unfences {member}", others)
        elif len(record.fences) + 1 < len(record.members):
            fence = Fence(member=member, by="ann", since=0.0, fewer_copies=rng.random() < 0.6)
            self._amend(record, str(fence), (*record.fences, fence))

    def _amend(self, record: Record, what: str, fences: tuple[Fence, ...]) -> None:
        site = self._site
        stored = site.swarm.store[site.cluster]
        site.count("a fence is put up" if len(fences) > len(record.fences) else "a fence is taken back")
        site.story("ann", what, key=True)
        changed = record.amended(what, fences=fences)
        site.swarm.put(stored.model_copy(update={"record": changed}), stored.version_index)
