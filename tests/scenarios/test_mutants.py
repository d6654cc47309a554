"""The histories can find faults: each rule that safety stands on is broken once, and some seed must show it.

A rule whose mutant survives is either not needed or not tested; both are worth knowing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgswarm.core import ballot, bootstrap, durability, orders, wal
from pgswarm.core import plan as plan_
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, MemberReport
from pgswarm.core.steps import NOTHING
from tests.scenarios import members
from tests.scenarios.chaos import history
from tests.scenarios.cluster import Store

Patch = pytest.MonkeyPatch
SEEDS = range(400)


def quorum_one_too_small(patch: Patch) -> None:
    patch.setattr(Claim, "quorum", property(lambda self: max(1, len(self.members) - self.r)))


def claim_not_narrowed_after_a_ballot(patch: Patch) -> None:
    """The winner is alone, and the record goes on to count whom it cannot know to have everything."""
    amended = Record.amended

    def kept(self: Record, reason: str, **changes: object) -> Record:
        new = amended(self, reason, **changes)
        if new.term > self.term and new.primary != self.primary and self.claim.r > 1:
            return new.model_copy(update={"claim": self.claim})
        return new

    patch.setattr(Record, "amended", kept)
    patch.setattr(Sync, "implies", lambda self, claim, primary: True)


def flush_not_waited_for(patch: Patch) -> None:
    real = durability._unproved

    def blind(*given: object) -> str | None:
        why = real(*given)  # type: ignore[arg-type]
        return None if why and "flushed" in why else why

    patch.setattr(durability, "_unproved", blind)


def in_force_not_waited_for(patch: Patch) -> None:
    real = durability._unproved

    def blind(*given: object) -> str | None:
        why = real(*given)  # type: ignore[arg-type]
        return None if why and ("in force" in why or "flushed" in why or "acknowledged" in why) else why

    patch.setattr(durability, "_unproved", blind)


def writes_not_compared(patch: Patch) -> None:
    patch.setattr(Store, "may_write", lambda self, record, seen: True)


def promises_taken_before_they_are_settled(patch: Patch) -> None:
    def hasty(report: MemberReport, term: int) -> bool:
        return report.data is Data.READY and report.promised >= term and report.position is not None

    patch.setattr(ballot, "has_promised", hasty)


def the_nearest_instead_of_the_furthest(patch: Patch) -> None:
    real = wal.progress
    patch.setattr(ballot, "progress", lambda position, lineage: tuple(-part for part in real(position, lineage)))


def orders_that_depend_on_more_than_the_record(patch: Patch) -> None:
    said = iter(range(10**9))

    def moody(cluster: str, record: Record, member: str) -> orders.Order:
        return orders.order_for(cluster, record, member).model_copy(update={"system_id": str(next(said))})

    patch.setattr(plan_, "order_for", moody)


def an_agent_that_ignores_its_promise(patch: Patch) -> None:
    def deaf(self: members.Member, term: int, now: float) -> bool:
        self.promised, self.settled = max(self.promised, term), True
        return True

    patch.setattr(members.Member, "hear_promise", deaf)
    patch.setattr(members.Member, "bound", property(lambda self: self.order))


def a_crashed_primary_that_shows_all_it_has(patch: Patch) -> None:
    patch.setattr(members, "holders", lambda me, sync, term, until: sync.k)  # cluster.py acknowledges by its own name


def no_raise_after_an_abandoned_ballot(patch: Patch) -> None:
    patch.setattr(ballot, "raised", lambda world, record, now: NOTHING)


def the_lost_are_never_dropped(patch: Patch) -> None:
    patch.setattr(durability, "_is_lost", lambda *given: False)


def the_record_is_written_though_nothing_changes(patch: Patch) -> None:
    def restless(world: object, record: Record, now: float) -> object:
        return durability._write(record, "again")

    patch.setattr(bootstrap, "completed", restless)


UNSAFE = [
    quorum_one_too_small,
    claim_not_narrowed_after_a_ballot,
    flush_not_waited_for,
    in_force_not_waited_for,
    writes_not_compared,
    promises_taken_before_they_are_settled,
    the_nearest_instead_of_the_furthest,
    orders_that_depend_on_more_than_the_record,
    an_agent_that_ignores_its_promise,
    a_crashed_primary_that_shows_all_it_has,
]
RESTLESS = [
    no_raise_after_an_abandoned_ballot,
    the_lost_are_never_dropped,
    the_record_is_written_though_nothing_changes,
]


def first_violation(*, rest: bool) -> tuple[int, str] | None:
    for seed in SEEDS:
        try:
            history(seed, rest=rest)
        except AssertionError as found:
            return seed, str(found)
    return None


@pytest.mark.parametrize("mutate", UNSAFE, ids=lambda mutate: mutate.__name__)
def test_a_rule_of_safety_left_out_is_found(mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutate(monkeypatch)

    found = first_violation(rest=False)

    assert found is not None, f"{mutate.__name__} survived {len(SEEDS)} seeds"
    assert not found[1].startswith(("L1", "L2"))


@pytest.mark.parametrize("mutate", RESTLESS, ids=lambda mutate: mutate.__name__)
def test_a_rule_of_rest_left_out_is_found(mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutate(monkeypatch)

    found = first_violation(rest=True)

    assert found is not None, f"{mutate.__name__} survived {len(SEEDS)} seeds"
    assert found[1].startswith(("L1", "L2"))
