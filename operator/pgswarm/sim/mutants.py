"""A simulator that can fail: histories with one rule undone, and how many seeds it took to see that.

A mutant names the rule that it leaves out and undoes it by putting another function in its place (`Patch.put`), in the
core, in the loop, or in the played law of an agent. `hunt` lives seeds until one fails. A mutant that survives is a
rule that is not needed or not tested; both are worth knowing.

The list itself is in `tests/sim/mutants.py`: it is about the rules, this is about the hunt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pgswarm.sim.history import history


class Patch:
    """Functions put in the place of others, and put back at the end. Nothing remembered outlives either."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def put(self, where: Any, name: str, what: Any) -> None:
        """`where.name` is `what` from now on."""
        self._before.append((where, name, where.__dict__[name]))
        setattr(where, name, what)

    def __enter__(self) -> Patch:
        _forget()
        return self

    def __exit__(self, *failure: object) -> None:
        while self._before:
            where, name, what = self._before.pop()
            setattr(where, name, what)
        _forget()


def _forget() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("pgswarm."):
            for one in vars(module).values():
                if callable(clear := getattr(one, "cache_clear", None)):
                    clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One rule undone."""

    name: str
    rule: str  # the sentence that is left out, with its tag
    undo: Callable[[Patch], object]
    theme: str | None = None  # the troubles under which it shows soonest; None: any
    shows: tuple[str, ...] = ("S", "C", "law", "the record")  # how a finding of it may begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How a mutant was caught."""

    seed: int
    lived: int  # histories until then, that one included
    violation: str


def hunt(mutant: Mutant, seeds: Iterable[int]) -> Found | None:
    """Live these seeds until one shows the mutant; None if it survives them all."""
    wants_rest = any(one.startswith("L") for one in mutant.shows)
    with Patch() as patch:
        mutant.undo(patch)
        for lived, seed in enumerate(seeds, 1):
            outcome = history(seed, rest=wants_rest, theme=mutant.theme)
            if outcome.violation.startswith(mutant.shows):
                return Found(seed=seed, lived=lived, violation=outcome.violation.splitlines()[0])
    return None
