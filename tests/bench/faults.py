"""Outages: each fault that the aims name, often enough for a median, with the default detection and with one second.

The faults take turns, so that a run that is ended early has some of each, and noise meets all. With one second only
silence is struck: how long Swarm's own election takes does not depend on it.

    the primary where the fault wants it → strike → writes are steady again, for every writer → end the fault → rest

The *outage* is the longest time without an acknowledged write by any of the writers, who use all routers: from the
blow until writes are steady while the fault still lasts. *Slowest* is the same for the unluckiest single writer,
whose router may be on the node that was lost. *Again* is the longest pause from the end of the fault until
everything is at rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from pgswarm.drill import faults
from pgswarm.drill.ledger import Ledger
from pgswarm.drill.stage import Broken
from pgswarm.drill.whole import DATABASE, OWNER, Whole
from pgswarm.errors import Failure
from tests.bench.bench import Bench, Json, Notes

STEADY, PAUSE = 2.0, 0.5
"""Writes are steady when this many seconds have had no pause longer than that."""

RESUMED = 120.0
REST = 300.0

MOST_BROKEN = 3
"""Samples that may not come to their end before the part is given up."""

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
    Row(kind="node loses power", strike=faults.power_off, times=5, lasts=True, on_leader=False),
    Row(kind="node cut off", strike=faults.cut, times=5, lasts=True, on_leader=False),
    Row(kind="node frozen", strike=faults.freeze, times=5, lasts=True, on_leader=False),
)
LEADER = Row(
    kind="node of primary and Swarm's leader loses power", strike=faults.power_off, times=5, lasts=True, on_leader=True
)


def run(bench: Bench) -> Json:
    """With the default `detectionTimeout`."""
    return sampled(bench, "faults", (*PROCESSES, *NODES, LEADER), "")


def run_fast(bench: Bench) -> Json:
    """With `detectionTimeout: 1s`, which only silence depends on."""
    return sampled(bench, "faults-1s", NODES, "  detectionTimeout: 1s\n")


def sampled(bench: Bench, part: str, rows: tuple[Row, ...], more: str) -> Json:
    """Each row as often as it says, in turn; what was seen, with what is missing at the end."""
    notes = bench.notes(part)
    whole = bench.whole()
    whole.repair()
    whole.stage.write_document(whole.document(base=PARAMETERS, more=more))
    whole.wait_healthy(REST)
    dice = Random(1)
    with Ledger(whole.stage.target(whole.password, 5432, DATABASE, OWNER), writers=6) as ledger:
        ledger.wait_for_writes(50)
        for row in _in_turn(rows, bench, notes):
            try:
                sample = _sample(whole, row, ledger, dice)
            except (Failure, TimeoutError) as failure:
                _mend(bench, whole, notes, f"{row.kind}: {getattr(failure, 'reason', '') or failure}")
                continue
            notes.add(sample)
            bench.tell(f"{row.kind} {len(notes.of(kind=row.kind))}/{bench.times(row.times)}: {_words(sample)}")
        ledger.stop()
        missing = len(ledger.missing())
    figures = {**notes.figures(), "missing": missing}
    notes.close()
    whole.stage.write_document(whole.document(base=PARAMETERS))
    whole.wait_healthy(REST)
    return figures


def _in_turn(rows: tuple[Row, ...], bench: Bench, notes: Notes) -> Iterator[Row]:
    """Each row as often as it is still wanted: everyone's first, everyone's second, …"""
    for turn in range(max(row.times for row in rows)):
        for row in rows:
            while len(notes.of(kind=row.kind)) <= turn < bench.times(row.times):
                yield row


def _mend(bench: Bench, whole: Whole, notes: Notes, text: str) -> None:
    """One sample did not come to its end: say so in the results, and go on from a cluster at rest."""
    bench.tell(f"broken: {text}")
    notes.add_broken(text.partition("\n")[0])
    if len(notes.broken) > MOST_BROKEN:
        raise Broken(f"{len(notes.broken)} samples did not come to their end; the last: {text}")
    whole.repair()
    whole.wait_healthy(REST)


def _sample(whole: Whole, row: Row, ledger: Ledger, dice: Random) -> Json:
    leads = row.on_leader
    primary = whole.primary() if leads is None else whole.place_primary(on_leader=leads, deadline=REST)
    scene = faults.draw(whole, dice, primary)
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
