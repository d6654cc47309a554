"""Outages: each fault that the aims name, often enough for a median, with the default detection and with one second.

    the primary where the fault wants it → strike → writes are steady again, for every writer → end the fault → rest

The *outage* is the longest time without an acknowledged write by any of the writers, who use all routers: from the
blow until writes are steady while the fault still lasts. *Slowest* is the same for the unluckiest single writer,
whose router may be on the node that was lost. *Again* is the longest pause from the end of the fault until
everything is at rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pgswarm.drill import faults
from pgswarm.drill.ledger import Ledger
from pgswarm.drill.whole import DATABASE, OWNER, Whole
from tests.bench.bench import Bench, Json

STEADY, PAUSE = 2.0, 0.5
"""Writes are steady when this many seconds have had no pause longer than that."""

RESUMED = 120.0
REST = 300.0

PARAMETERS = "shared_buffers: 64MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the plan: a fault, how often, and where the primary must be for it."""

    kind: str
    strike: Callable[[faults.Scene], object]
    times: int
    lasts: bool = False
    on_leader: bool | None = None
    """Must the primary be on the node of Swarm's leader (True), on another (False), or does it not matter (None)?"""


def switch_over(scene: faults.Scene) -> None:
    scene.whole.switch_over(scene.other)


PROCESSES = (
    Row(kind="postmaster killed", strike=faults.kill_postmaster, times=20),
    Row(kind="container killed", strike=faults.kill_container, times=20),
    Row(kind="service scaled to 0", strike=faults.scale_to_zero, times=20),
    Row(kind="switchover", strike=switch_over, times=20),
)
NODES = (
    Row(kind="node loses power", strike=faults.power_off, times=6, lasts=True, on_leader=False),
    Row(kind="node cut off", strike=faults.cut, times=6, lasts=True, on_leader=False),
    Row(kind="node frozen", strike=faults.freeze, times=6, lasts=True, on_leader=False),
    Row(kind="node of primary and Swarm's leader loses power", strike=faults.power_off, times=5, lasts=True,
        on_leader=True),
)  # fmt: skip


def run(bench: Bench) -> Json:
    """With the default `detectionTimeout`."""
    return _run(bench, "faults", (*PROCESSES, *NODES), "")


def run_fast(bench: Bench) -> Json:
    """With `detectionTimeout: 1s`, which only silence depends on."""
    return _run(bench, "faults-1s", NODES, "  detectionTimeout: 1s\n")


def _run(bench: Bench, part: str, rows: tuple[Row, ...], more: str) -> Json:
    notes = bench.notes(part)
    whole = bench.whole()
    whole.repair()
    whole.stage.write_document(whole.document(base=PARAMETERS, more=more))
    whole.wait_healthy(REST)
    dice = Random(1)
    with Ledger(whole.stage.target(whole.password, 5432, DATABASE, OWNER), writers=6) as ledger:
        ledger.wait_for_writes(50)
        for row in rows:
            wanted = bench.times(row.times)
            while len(notes.of(kind=row.kind)) < wanted:
                sample = _sample(whole, row, ledger, dice)
                notes.add(sample)
                bench.tell(f"{row.kind} {len(notes.of(kind=row.kind))}/{wanted}: {_words(sample)}")
        ledger.stop()
        missing = len(ledger.missing())
    samples = [one for one in notes.samples if one["kind"] in {row.kind for row in rows}]
    figures = {"samples": samples, "acknowledged": ledger.acknowledged, "missing": missing}
    notes.close()
    whole.stage.write_document(whole.document(base=PARAMETERS))
    whole.wait_healthy(REST)
    return figures


def _sample(whole: Whole, row: Row, ledger: Ledger, dice: Random) -> Json:
    if row.on_leader is not None:
        whole.place_primary(on_leader=row.on_leader, deadline=REST)
    scene = faults.draw(whole, dice, victim=whole.primary())
    ledger.spread()
    began, clock = time.monotonic(), time.time()
    row.strike(scene)
    try:
        ledger.wait_until_steady(STEADY, PAUSE, RESUMED)
        outage = ledger.gap(began)
        ledger.wait_for_all_writers(RESUMED)
        slowest = ledger.gap(began).slowest
        elected = whole.elected_at(clock, scene.other_node) if row.on_leader else None
    finally:
        ended = time.monotonic()
        if row.lasts:
            whole.repair()
    ledger.wait_for_all_writers(RESUMED)
    whole.wait_healthy(REST)
    return {
        "kind": row.kind,
        "primary": scene.primary,
        "leader": scene.leader,
        "outage": round(outage.seconds, 3),
        "slowest": round(slowest, 3),
        "failed": outage.failed,
        "acknowledged": ledger.gap(began).acknowledged,
        "again": round(ledger.gap(ended).seconds, 3),
        "rest": round(time.monotonic() - ended, 1),
        "missing": len(ledger.missing(newest=True)),
        "elected": None if elected is None else round(elected - clock, 3),
    }


def _words(sample: Json) -> str:
    return (
        f"outage {sample['outage']:.2f} s, slowest writer {sample['slowest']:.2f} s, {sample['failed']} failed, again "
        f"{sample['again']:.2f} s, rest {sample['rest']:.0f} s, missing {sample['missing']}"
    )
