"""The other operators, and which of us acts for a cluster (core/leadership, decision 0005)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from pgswarm.core.leadership import SILENCE, Candidate, leader
from pgswarm.core.record import Record
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import CLOSED_GRACE
from pgswarm.loop.bell import Bell
from pgswarm.loop.listing import Listing
from pgswarm.loop.watches import Watches
from pgswarm.ports.agents import Agents
from pgswarm.settings import CONTROL_NETWORK
from pgswarm.wire import OPERATOR_PORT, OperatorReport

LOOK = 2.0
"""Seconds between two looks when nothing was heard of, and nobody is about to be silent for too long."""

AFTER = 0.002
"""Seconds past a deadline at which it has surely passed."""


Changed = Callable[[frozenset[str] | None], None]
"""Told for which clusters another operator may have to act now; None: for all."""


class Peers:
    """Watches the other operators of this Swarm."""

    def __init__(self, name: str, node_id: str, agents: Agents, listing: Listing, changed: Changed) -> None:
        self.name = name
        self.node_id = node_id
        self._listing = listing
        self._changed = changed
        self._bell = Bell()
        self._watches = Watches(agents, OperatorReport, OPERATOR_PORT, self._bell)

    async def run(self, tasks: TaskGroup) -> None:
        """Keep a stream to every operator task, for ever; ring when somebody came, went, or fell silent."""
        before: list[Candidate] = []
        while True:
            self._watches.keep(self._others(), tasks)
            candidates = self.candidates()
            if candidates != before:
                self._changed(_concerned(before, candidates))
                before = candidates
            await self._bell.wait(self._pause())

    def look(self) -> None:
        """Look again: who the others are, or whether we are able, may have changed."""
        self._bell.ring()

    def _pause(self) -> float:
        """Seconds until the clock alone may have made a difference."""
        now = anyio.current_time()
        due = [now + LOOK, self._listing.able_until]
        for sighting in self._watches.sightings.values():
            if sighting.heard_at is not None:
                due.append(sighting.heard_at + SILENCE)
            if sighting.closed_at is not None and not sighting.connected:
                due.append(sighting.closed_at + CLOSED_GRACE)
        return min(at for at in due if at + AFTER > now) + AFTER - now

    def leader(self, record: object, cluster: str = "", *, deaf: bool = False) -> str | None:
        """The name of the operator that acts for a cluster with this record; None if it is this one.

        `deaf`: the primary is silent to this one.
        """
        place = record.place(record.primary_member) if isinstance(record, Record) else None
        candidates = self.candidates(frozenset({cluster} if deaf else ()))
        chosen = leader(candidates, place.node_id if place else None, cluster)
        return None if chosen == self.name else chosen

    def candidates(self, deaf: frozenset[str] = frozenset()) -> list[Candidate]:
        """Everyone who may act, as far as is known at this moment; `deaf`: what this one would say of itself."""
        now = anyio.current_time()
        candidates = [Candidate(name=self.name, node_id=self.node_id, able=self._listing.able, deaf=deaf)]
        for sighting in self._watches.sightings.values():
            report = sighting.report
            closed = not sighting.connected and sighting.closed_at is not None
            if report is None or report.leaving or report.operator == self.name or sighting.silence(now) > SILENCE:
                continue
            if closed and now - (sighting.closed_at or now) > CLOSED_GRACE:
                continue
            candidates.append(
                Candidate(
                    name=report.operator,
                    node_id=report.node_id,
                    able=report.able,
                    deaf=None if report.deaf is None else frozenset(report.deaf),
                )
            )
        return candidates

    def told(self) -> frozenset[str]:
        """What the others that are heard say they have told to webhooks lately."""
        reports = [one.report for one in self._watches.sightings.values() if one.report is not None]
        return frozenset(word for report in reports for word in report.told)

    def address_of(self, name: str) -> str | None:
        """Where an operator can be asked."""
        for sighting in self._watches.sightings.values():
            if sighting.report is not None and sighting.report.operator == name:
                return sighting.address
        return None

    def addresses(self) -> tuple[str, ...]:
        """Where the other operators are that are heard."""
        return tuple(one.address for one in self._watches.sightings.values() if one.connected and one.address)

    def _others(self) -> dict[str, str | None]:
        view = self._listing.view
        if not isinstance(view, SwarmView):
            return {key: sighting.address for key, sighting in self._watches.sightings.items()}
        return {
            task.id: task.addresses[CONTROL_NETWORK]
            for service in view.services
            if service.kind == "operator"
            for task in view.tasks_of(service)
            if task.is_live and task.is_wanted and CONTROL_NETWORK in task.addresses
            if not self.name.endswith(f".{task.id}")  # this one, by the name that the service gives it
        }


def _concerned(before: list[Candidate], after: list[Candidate]) -> frozenset[str] | None:
    """The clusters for which somebody has become deaf, or ceased to be; None if there is any other difference."""
    concerned: frozenset[str] = frozenset()
    if len(before) != len(after):
        return None
    for old, new in zip(before, after, strict=True):
        if old.deaf is None or new.deaf is None or replace(old, deaf=new.deaf) != new:
            return None
        concerned |= old.deaf ^ new.deaf
    return concerned
