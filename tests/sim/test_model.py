"""The model holds within small bounds, and it can fail: with a rule undone the shortest counterexample is found.

The whole exploration is `make model`; this is as much of it as fits in seconds, so that its loss would be noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from pgswarm.core import ballot, durability, loss, memory, wal
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.memory import Verdict
from pgswarm.core.record import Record
from pgswarm.sim.model import canon, law, moves, operators, postgres, state
from pgswarm.sim.model.moves import Bounds
from pgswarm.sim.model.search import Found, search
from pgswarm.sim.model.state import Member, Rec, Seen, resting
from pgswarm.sim.model.tell import story

Patch = pytest.MonkeyPatch
SMALL = Bounds(members=2, terms=2, commits=1, crashes=0, losses=0, held=0, wishes=0)
MEMOS = (operators.decide, operators.real_record, law.hear, law.promise, law.next_duty, law._order)


def explore(bounds: Bounds, most: int) -> Found:
    for memo in MEMOS:
        memo.cache_clear()
    return search(resting(bounds.members), bounds, most=most)


def test_within_small_bounds_every_state_of_two_members_keeps_every_invariant() -> None:
    found = explore(SMALL, most=100_000)
    assert found.complete
    assert not found.broken, story(found.trace, found.broken)
    assert found.states > 10_000, "the world has become too small to show anything"


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(members=2, terms=3, commits=2, crashes=1, losses=1, held=1, wishes=1),
        Bounds(members=3, terms=2, commits=1, crashes=1, losses=1, held=1, wishes=1),
    ],
    ids=["two members", "three members"],
)
def test_the_first_states_of_a_wider_world_keep_every_invariant(bounds: Bounds) -> None:
    found = explore(bounds, most=15_000)
    assert not found.broken, story(found.trace, found.broken)
    assert found.states >= 15_000


def quorum_one_too_small(patch: Patch) -> None:
    patch.setattr(Claim, "quorum", property(lambda self: max(1, len(self.members) - self.r)))


def the_nearest_wins(patch: Patch) -> None:
    patch.setattr(
        ballot, "progress", lambda position, lineage: tuple(-part for part in wal.progress(position, lineage))
    )


def claim_not_narrowed_after_a_ballot(patch: Patch) -> None:
    amended = Record.amended

    def kept(self: Record, reason: str, **changes: object) -> Record:
        new = amended(self, reason, **changes)
        if new.primary != self.primary and self.claim.r > 1:
            return new.model_copy(update={"claim": self.claim})
        return new

    patch.setattr(Record, "amended", kept)
    patch.setattr(Sync, "implies", lambda self, claim, primary: True)


def stronger_claim_written_first(patch: Patch) -> None:
    real: Callable[..., Any] = durability._from_one

    def hasty(world: Any, record: Record, primary: Any, streaming: list[str], *rest: Any) -> Any:
        if not streaming or record.sync.k:
            return real(world, record, primary, streaming, *rest)
        claim = Claim(members=(record.primary, streaming[0]), r=2)
        return durability._write(record, "it streams", claim=claim, sync=Sync(k=1, names=(streaming[0],)))

    patch.setattr(durability, "_from_one", hasty)


def _without(*proofs: str) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        real: Callable[..., str | None] = durability._unproved

        def blind(*given: Any) -> str | None:
            why = real(*given)
            return None if why and any(proof in why for proof in proofs) else why

        patch.setattr(durability, "_unproved", blind)

    return apply


def writes_compared_by_the_term_only(patch: Patch) -> None:
    patch.setattr(operators, "succeeds", lambda newest, read: newest.term == read.term)


def orders_of_an_older_revision_accepted(patch: Patch) -> None:
    real = memory.accept

    def forgiving(known: Any, order: Any) -> Verdict:
        verdict = real(known, order)
        return Verdict(ok=True, reason="") if "older" in verdict.reason else verdict

    patch.setattr(memory, "accept", forgiving)


def taking_up_not_waited_for(patch: Patch) -> None:
    """In force, it says, while a walsender that has just left the sync still goes by the old setting (C7)."""
    real = postgres.proved

    def hasty(primary: Member, rec: Rec | None) -> Member:
        taken = tuple(one._replace(taken=primary.setting) for one in primary.senders)
        force = real(primary._replace(senders=taken), rec).force
        return primary if force == primary.force else primary._replace(force=force)

    patch.setattr(postgres, "proved", hasty)


def no_quarantine_after_a_crash(patch: Patch) -> None:
    def hasty(primary: Member, rec: Rec | None) -> bool:
        return not primary.open and state.fits(primary, rec)

    patch.setattr(postgres, "may_open", hasty)


def promise_answered_while_log_is_still_received(patch: Patch) -> None:
    def hasty(member: Member, rec: Rec | None, newest: Rec) -> Seen:
        said = state.seen(member, rec, newest)
        if member.role == state.STANDBY and member.promised > newest.term:
            return said._replace(end=(member.tl, len(member.log)))
        return said

    patch.setattr(moves, "seen", hasty)
    patch.setattr(canon, "seen", hasty)


def loss_accepted_of_members_whom_nobody_named(patch: Patch) -> None:
    patch.setattr(loss, "missing", lambda world, record, now: ())


THREE = Bounds(members=3, terms=2, commits=1, crashes=0, losses=0, held=0, wishes=0)
CLAIMS = Bounds(members=3, terms=1, commits=1, crashes=0, losses=0, held=0, wishes=0)
CRASH = Bounds(members=2, terms=2, commits=1, crashes=1, losses=0, held=0, wishes=0)
WISHES = Bounds(members=2, terms=2, commits=1, crashes=0, losses=0, held=0, wishes=1)
FOUR = Bounds(members=2, terms=1, commits=1, crashes=0, losses=0, held=0, wishes=0, revisions=4)


@cache
def _mutants() -> dict[str, tuple[Callable[[Patch], None], Bounds, str, int]]:
    """Each rule undone: where it shows, what breaks, and after how many moves at the earliest."""
    return {
        "quorum one too small": (quorum_one_too_small, THREE, "S2", 5),
        "the nearest wins": (the_nearest_wins, THREE, "S3", 7),
        "claim not narrowed after a ballot": (claim_not_narrowed_after_a_ballot, SMALL, "S4", 6),
        "stronger claim written first": (stronger_claim_written_first, SMALL, "S4", 5),
        "flush not waited for": (_without("flushed"), SMALL, "S4", 9),
        "setting in force not waited for": (_without("in force", "flushed", "acknowledged"), SMALL, "S4", 7),
        "writes compared by the term only": (writes_compared_by_the_term_only, SMALL, "S7", 5),
        "loss accepted of members whom nobody named": (loss_accepted_of_members_whom_nobody_named, WISHES, "S3", 8),
        "walsenders' taking up not waited for": (taking_up_not_waited_for, CLAIMS, "S4", 6),
        "no quarantine after a crash": (no_quarantine_after_a_crash, CRASH, "S4", 3),
        "promise answered while log is received": (promise_answered_while_log_is_still_received, SMALL, "S2", 4),
        "older orders accepted": (orders_of_an_older_revision_accepted, FOUR, "S4", 8),
    }


@pytest.mark.parametrize("name", _mutants())
def test_a_rule_that_is_undone_is_missed_after_so_many_moves(name: str, monkeypatch: Patch) -> None:
    undo, bounds, invariant, length = _mutants()[name]
    undo(monkeypatch)
    found = explore(bounds, most=60_000)
    for memo in MEMOS:
        memo.cache_clear()
    assert found.broken.startswith(invariant), f"{found.states} states, and nothing broke"
    assert found.depth == len(found.trace) == length, story(found.trace, found.broken)
    assert "BROKEN" in story(found.trace, found.broken)
