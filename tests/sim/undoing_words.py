"""The rules about what people ask for in the record, each undone by itself.

Beside `undoing`, which has the rules of every cluster; `undone` lists both with the story that each spoils.
"""

from __future__ import annotations

from typing import Any

from pgswarm.core import ballot, durability, letters, reseeding
from pgswarm.core.record import Record
from pgswarm.core.steps import Plan
from pgswarm.core.world import World
from pgswarm.sim.mutants import Patch


def who_is_fenced_is_stopped_at_once(patch: Patch) -> None:
    patch.put(Record, "keeps_down", lambda self, member: self.fence(member) is not None)


def who_is_fenced_is_elected(patch: Patch) -> None:
    real = ballot.ballot

    def forgets(world: World, record: Record, *given: Any) -> Plan:
        return real(world, record.model_copy(update={"fences": ()}), *given)

    patch.put(ballot, "ballot", forgets)


def who_is_fenced_is_counted(patch: Patch) -> None:
    real = durability.moves

    def forgets(world: World, record: Record, now: float) -> Plan:
        to_let_go = any(record.counts(fence.member) for fence in record.fences)
        return real(world, record if to_let_go else record.model_copy(update={"fences": ()}), now)

    patch.put(durability, "moves", forgets)


def the_only_other_copy_is_given_up(patch: Patch) -> None:
    patch.put(durability, "held_back", lambda *given: "")


def a_copy_that_nobody_counts_on_is_none(patch: Patch) -> None:
    patch.put(reseeding, "_only_other_copy", lambda *given: "")


def who_is_made_anew_is_counted(patch: Patch) -> None:
    patch.put(durability, "is_put_out", lambda record, member: False)


def routers_hold_late(patch: Patch) -> None:
    patch.put(letters, "hold_after", lambda detection: 2.0)
