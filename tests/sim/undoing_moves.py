"""How the rules of moving a member are undone. The list is in `undone`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgswarm.core import bootstrap, relocation, retirement
from pgswarm.core.memory import Memory
from pgswarm.loop.away import Away
from pgswarm.sim.mutants import Patch


def who_is_left_behind_speaks(patch: Patch) -> None:
    patch.put(Memory, "is_at", lambda self, place: True)


def one_listing_ends_a_container(patch: Patch) -> None:
    patch.put(retirement, "REMOVED_AFTER", 0.0)


def two_services_of_one_member(patch: Patch) -> None:
    patch.put(bootstrap, "_still_elsewhere", lambda *given: False)


def the_only_copy_moves(patch: Patch) -> None:
    patch.put(relocation, "_is_spared", lambda *given: True)


def unknown_is_gone(patch: Patch) -> None:
    real = Away.seen

    def counting_on(self: Away, record: Any, swarm: Any, now: float, awake_since: float) -> Mapping[str, float]:
        nodes = [one.model_copy(update={"state": "down"}) if one.state == "unknown" else one for one in swarm.nodes]
        return real(self, record, swarm.model_copy(update={"nodes": tuple(nodes)}), now, awake_since)

    patch.put(Away, "seen", counting_on)
