"""The soak: one random fault after the other on the lab, while clients write, for as long as one likes.

    draw a scene → strike → let it last → end it → wait for rest → was anything acknowledged that is not there?

The kinds come from a shuffled bag, so that each of them has had its turn before one comes again; victims, pauses and
the order come from a seed, which is printed. What Swarm and the members make of it is theirs: the same seed gives the
same blows at other moments, not the same history (the simulator is for that).

It ends with the time, with Ctrl-C, or at the first failure: an acknowledged write that is missing, or a cluster that
does not come to rest within `REST`. Then the state of everything and the containers' logs are kept.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg

from pgswarm.drill import faults
from pgswarm.drill.ledger import Ledger
from pgswarm.drill.stage import Broken
from pgswarm.drill.tally import Blow
from pgswarm.drill.whole import CLUSTER, DATABASE, OWNER, Whole
from pgswarm.errors import Failure

REST = 240.0
"""Seconds after the end of a fault within which everything must be at rest: Swarm alone may take 40 twice."""

RESUME = 120.0
"""Seconds after the end of a fault within which every writer must have been served."""

Tell = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Soak:
    """What came of it so far."""

    seed: int
    blows: list[Blow] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    acknowledged: int = 0
    missing: int = 0
    broke: str = ""

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.began) / 60

    def save(self, file: Path) -> None:
        """In one step, so that a file that is there is whole."""
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "seed": self.seed,
            "minutes": round(self.minutes, 1),
            "acknowledged": self.acknowledged,
            "missing": self.missing,
            "broke": self.broke.partition("\n")[0],
            "blows": [blow.as_json() for blow in self.blows],
        }
        new = file.with_suffix(".new")
        new.write_text(json.dumps(kept, indent=1))
        new.rename(file)


def soak(whole: Whole, minutes: float, seed: int, chosen: Sequence[faults.Fault], file: Path, tell: Tell) -> Soak:
    """Break and mend until the time is over; what came of it is also in `file`, after each fault."""
    dice, done = Random(seed), Soak(seed=seed)
    whole.wait_healthy(REST)
    with Ledger(whole.stage.target(whole.password, 5432, DATABASE, OWNER), writers=6) as ledger:
        try:
            ledger.wait_for_writes(50)
            bag: list[faults.Fault] = []
            while done.minutes < minutes:
                if not bag:
                    bag = list(chosen)
                    dice.shuffle(bag)
                fault = bag.pop()
                blow = strike(whole, fault, faults.draw(whole, dice), ledger, tell)
                done.blows.append(blow)
                done.acknowledged = ledger.acknowledged
                done.save(file)
                tell(_line(blow, done))
                if blow.missing:
                    raise Broken(f"{blow.missing} acknowledged writes are missing after: {fault.kind}, {blow.scene}")
        except (Failure, TimeoutError, RuntimeError, psycopg.Error) as failure:
            done.broke = getattr(failure, "reason", "") or str(failure)
            tell(f"BROKE: {done.broke}")
            keep_evidence(whole, file.with_suffix(".evidence"))
        except KeyboardInterrupt:
            tell("stopped; healing what is broken, and counting")
        whole.repair()
        ledger.stop()
        done.acknowledged, done.missing = ledger.acknowledged, _count(ledger, done)
        done.save(file)
    return done


def strike(
    whole: Whole, fault: faults.Fault, scene: faults.Scene, ledger: Ledger, tell: Tell = lambda text: None
) -> Blow:
    """One fault from its blow to rest. Raises Broken or TimeoutError if there is none."""
    tell(f"{fault.kind}: {scene}")
    ledger.spread()
    began = time.monotonic()
    mend = fault.strike(scene)
    try:
        if fault.lasts:
            threading.Event().wait(scene.hold)  # that it lasts is the fault
    finally:
        if mend is not None:
            mend()
        if fault.lasts:
            whole.repair()
    ended = time.monotonic()
    ledger.wait_for_writes(20, deadline=RESUME)
    ledger.wait_for_all_writers(deadline=RESUME)
    whole.wait_healthy(REST)
    rest, gap = time.monotonic() - ended, ledger.gap(began)
    missing = ledger.missing(newest=True)
    return Blow(
        kind=fault.kind,
        scene=str(scene),
        outage=gap.seconds,
        after=gap.began - began,
        slowest=gap.slowest,
        failed=gap.failed,
        acknowledged=gap.acknowledged,
        missing=len(missing),
        rest=rest,
    )


def keep_evidence(whole: Whole, folder: Path) -> None:
    """The picture and every log of the cluster and of the operators, as far as they can be had."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "picture.txt").write_text(whole.stage.picture(CLUSTER))
    for node in range(1, len(whole.stage.nodes) + 1):
        try:
            rows = whole.stage.docker("ps", "-a", "--format", "{{.ID}} {{.Names}}", node=node, deadline=20)
            for row in rows.splitlines():
                ident, name = row.split()
                text = whole.stage.docker_all("logs", "--timestamps", "--tail", "4000", ident, node=node, deadline=20)
                (folder / f"node{node}.{name}.{ident}.log").write_text(text)
        except Broken as broken:
            (folder / f"node{node}.txt").write_text(broken.reason)


def _count(ledger: Ledger, done: Soak) -> int:
    """All that was ever acknowledged, once more; -1 if nobody can be asked."""
    try:
        return len(ledger.missing())
    except Exception as error:
        done.broke = done.broke or f"the ledger cannot be read: {error}"
        return -1


def _line(blow: Blow, done: Soak) -> str:
    return (
        f"[{done.minutes:5.1f} min] {len(done.blows):3} {blow.kind}: "
        f"outage {blow.outage:.2f} s from {blow.after:.1f} s on, slowest writer {blow.slowest:.1f} s, "
        f"{blow.failed} failed, rest {blow.rest:.0f} s, missing {blow.missing}"
    )
