"""Figures made readable: medians, worsts, ratios, and tables in Markdown. Pure.

What the soak and the benchmark have measured is kept as plain JSON; everything that a person reads is made from it
here, so that a document can be made again without measuring again.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One fault that was struck, and what a writing client saw of it."""

    kind: str
    scene: str
    outage: float
    """Seconds: the longest time without an acknowledged write, from the blow until everything was at rest again."""
    after: float = 0.0
    """Seconds from the blow to the begin of that time: a fault that lasts may be felt when it ends."""
    slowest: float
    """Seconds: the same for the unluckiest single writer."""
    failed: int
    acknowledged: int
    missing: int
    rest: float
    """Seconds from the end of the fault until everything was at rest."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def soak_table(blows: Sequence[Blow]) -> str:
    """Faults by kind, in the order in which they first came."""
    rows = []
    for kind in dict.fromkeys(blow.kind for blow in blows):
        rows.append(_soak_row(kind, [blow for blow in blows if blow.kind == kind]))
    if len(rows) > 1:
        rows.append(_soak_row("**all**", blows))
    head = ("fault", "n", "outage, median", "worst", "slowest writer", "failed attempts", "acknowledged", "missing",
            "to rest, worst")  # fmt: skip
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def seconds(value: float) -> str:
    """With as many digits as are worth something."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def _soak_row(kind: str, blows: Sequence[Blow]) -> tuple[str, ...]:
    outages = [blow.outage for blow in blows]
    return (
        kind,
        str(len(blows)),
        seconds(median(outages)),
        seconds(max(outages)),
        seconds(max(blow.slowest for blow in blows)),
        str(sum(blow.failed for blow in blows)),
        str(sum(blow.acknowledged for blow in blows)),
        str(sum(blow.missing for blow in blows)),
        seconds(max(blow.rest for blow in blows)),
    )
