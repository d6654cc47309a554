"""The rules of `async`, each undone by itself: grants, tenure, consent, and what a failover gives up.

Beside `undoing`, which has the rules of every cluster; `undone` lists both with the story that each spoils.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgswarm.core import (
    grant,
    lapse,
    tenure,
)
from pgswarm.core.memory import Memory, Verdict
from pgswarm.core.record import Record
from pgswarm.loop import observe
from pgswarm.sim import aside, leave
from pgswarm.sim.mutants import Patch
from tests.sim.undoing import nothing


def a_grant_that_never_ends(patch: Patch) -> None:
    patch.put(leave.Leave, "_enforce", nothing)


def no_timer_in_the_kernel(patch: Patch) -> None:
    patch.put(leave.Deadman, "set", lambda self, at: None)


def the_grant_is_not_waited_for(patch: Patch) -> None:
    patch.put(lapse, "freed", lambda world, record, promised, now: lapse.Free(at=0.0, why="it will have run out"))


def the_former_holder_is_not_waited_for(patch: Patch) -> None:
    real = tenure.taken

    def hasty(take: tenure.Take, *, begun: float, succeeded: float) -> tenure.Standing:
        return replace(real(take, begun=begun, succeeded=succeeded), over=succeeded)

    patch.put(tenure, "taken", hasty)


def one_consent_suffices(patch: Patch) -> None:
    patch.put(leave, "must_consent", lambda order: order.peers[:1])


def who_has_no_data_consents(patch: Patch) -> None:
    real = grant.may_lend

    def trusting(memory: Memory, **asked: Any) -> Verdict:
        said = real(memory, **asked)
        return Verdict(ok=True, reason="why not") if "has no data" in said.reason else said

    patch.put(grant, "may_lend", trusting)


def the_loss_is_not_said(patch: Patch) -> None:
    real = Record.amended

    def silent(self: Record, reason: str, **changes: object) -> Record:
        changes.pop("losses", None)
        return real(self, reason, **changes)

    patch.put(Record, "amended", silent)


def any_lag_is_small(patch: Patch) -> None:
    patch.put(lapse, "limit", lambda world: 1 << 40)


def the_last_word_is_forgotten(patch: Patch) -> None:
    patch.put(observe, "LastEnd", lambda **given: None)


def nothing_is_kept_aside(patch: Patch) -> None:
    patch.put(aside, "keep", lambda agent, order: None)
