"""What people do beside the document in the middle of everything: fences, taken back or not, and members made anew.

Like `edits` a history has this by a chance of its own, so a seed without it is the same history with or without. A
fence may still stand at the end: the cluster must then come to rest around it, or say that it cannot for the fence,
which is then taken back.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pgswarm.core.record import Record
from pgswarm.core.wish import Fence, Wish

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
            if self._rng.random() < 0.3:
                self._reseed()
            else:
                self._fence_or_not()

    def _reseed(self) -> None:
        record, rng, site = self._site.record, self._rng, self._site
        if record is None or not record.system_id or site.swarm.leader is None or record.wish is not None:
            return
        member = rng.choice(record.members)
        container = site.container(member)
        data = container.agent.memory.incarnation if container else None
        until = site.loop.now + rng.choice((3.0, 15.0))
        few = rng.random() < 0.5
        wish = Wish(
            id="hands", kind="reseed", term=record.term, to=member, data=data or "", fewer_copies=few, until=until
        )
        site.count("a reseed is wished for")
        site.story("ann", f"wishes for a {wish}", key=True)
        self._put(record.amended(f"ann wishes for a {wish}", wish=wish))

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

    def relent(self, waits: tuple[str, ...]) -> None:
        """Take back every fence because of which, as the operators say, nothing goes on."""
        record = self._site.record
        if record is not None and record.fences and any("fenced by" in text for text in waits):
            self._amend(record, "ann unfences everybody", ())

    def _amend(self, record: Record, what: str, fences: tuple[Fence, ...]) -> None:
        site = self._site
        site.count("a fence is put up" if len(fences) > len(record.fences) else "a fence is taken back")
        site.story("ann", what, key=True)
        self._put(record.amended(what, fences=fences))

    def _put(self, record: Record) -> None:
        stored = self._site.swarm.store[self._site.cluster]
        self._site.swarm.put(stored.model_copy(update={"record": record}), stored.version_index)
