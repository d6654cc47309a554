"""How each rule about full disks is undone (`undone`)."""

from __future__ import annotations

from pgswarm.core import ballast, ballot, handover
from pgswarm.core.disk import Room
from pgswarm.core.memory import Memory
from pgswarm.errors import Refused
from pgswarm.sim.agent import Agent
from pgswarm.sim.clock import Job
from pgswarm.sim.mutants import Patch


def who_is_as_full_follows(patch: Patch) -> None:
    patch.put(ballot, "_nowhere_to_go", lambda *given: None)


def nothing_is_done_before_it_is_full(patch: Patch) -> None:
    patch.put(handover, "_is_filling", lambda *given: "")


def there_is_no_ballast(patch: Patch) -> None:
    patch.put(ballast, "can_start", lambda room, *, has_ballast: False)


def there_is_no_reserve(patch: Patch) -> None:
    real = Agent.save

    def save(self: Agent, memory: Memory) -> Job:
        if self.volume.room is Room.SPENT:
            raise Refused("cannot write the memory: no space left on device (disk full)")
        yield from real(self, memory)

    patch.put(Agent, "save", save)
