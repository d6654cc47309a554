"""The tenure's store as one operator meets it: `ports/tenures` over the Swarm that is played.

Its contract is kept word for word, as `manager` keeps that of records: a write whose outcome is unknown is read back
and compared. A process that was killed does nothing more; what it had sent may still happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgswarm.core.tenure import Tenure
from pgswarm.errors import Again, Conflict
from pgswarm.ports.tenures import Found

if TYPE_CHECKING:
    from pgswarm.sim.manager import Manager
    from pgswarm.sim.operator import Operator
    from pgswarm.sim.site import Site


class Store:
    """What Swarm holds: every tenure that was ever stored, of which the last is the truth."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stored: list[Found] = []
        self._remembered: Found | None = None
        self.changed_at = 0.0  # when it last changed hands, by the world's clock

    @property
    def now(self) -> Tenure | None:
        return self._stored[-1].tenure if self._stored else None

    def remember(self) -> None:
        """What a Raft leader that is cut off now will go on answering."""
        self._remembered = self._stored[-1] if self._stored else None

    def read(self, *, from_memory: bool) -> Found | None:
        """What a read brings: the truth, something a little older, or a cut-off leader's memory."""
        if from_memory or not self._stored:
            return self._remembered if from_memory else None
        if self._site.unruly and self._site.rng.random() < 0.04:
            return self._stored[-min(len(self._stored), self._site.rng.randint(2, 4))]
        return self._stored[-1]

    def put(self, before: Found | None, tenure: Tenure) -> Found:
        """Compare and set. Raises Conflict."""
        if (self._stored[-1].version if self._stored else None) != (before.version if before else None):
            self._site.count("tenure lost")
            raise Conflict("update out of sequence")
        if self.now is None or (self.now.number, self.now.holder) != (tenure.number, tenure.holder):
            self.changed_at = self._site.loop.now
        if self.now is None or self.now.number != tenure.number:
            self._site.story("tenure", f"{tenure.number} is taken by {tenure.holder or 'nobody yet'}")
            self._site.count("tenure taken")
        self._stored.append(Found(config_id="tenure", version=len(self._stored) + 1, tenure=tenure))
        return self._stored[-1]


class Tenancy:
    """The port of one operator."""

    def __init__(self, operator: Operator, manager: Manager) -> None:
        self._operator, self._manager = operator, manager

    async def read(self) -> Found | None:
        self._lives()
        return await self._manager.read_tenure()

    async def write(self, before: Found | None, tenure: Tenure) -> Found:
        self._lives()
        try:
            return await self._manager.write_tenure(before, tenure)
        except (Conflict, Again) as failure:
            self._lives()
            try:
                there = await self.read()
            except Again as unknown:
                raise Conflict(f"{failure}; and it cannot be read back yet: {unknown}") from unknown
            if there is None or there.tenure != tenure:
                raise Conflict(failure.reason) from failure
            return there

    def _lives(self) -> None:
        if not self._operator.alive:
            raise Again("this operator is gone")
