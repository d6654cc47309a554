"""`make bench`: all parts in the order below, or those named in PARTS; then docs/benchmarks.md is made anew.

Each part's result is kept when it is done, so parts can be run one by one and again. A part that fails is said, the
others go on, and the exit code tells. Whoever ends it early (Ctrl-C, SIGTERM) has what was measured until then.

The whole is to fit into an hour of a machine that does nothing else: what each part takes is said before.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from pgswarm.drill.stage import TOP
from pgswarm.errors import Failure
from tests.bench import clone, faults, floor, idle, load, passes, report, rolls, seed
from tests.bench.bench import FOLDER, Bench, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part, and the minutes that it takes on two quiet cores: in full, and with few samples."""

    run: Callable[[Bench], Json]
    minutes: float
    quick: float


PARTS = {
    "floor": Part(run=floor.run, minutes=1.5, quick=0.8),
    "faults": Part(run=faults.run, minutes=24.0, quick=5.0),
    "faults-1s": Part(run=faults.run_fast, minutes=7.5, quick=3.5),
    "rolls": Part(run=rolls.run, minutes=12.0, quick=5.0),
    "idle": Part(run=idle.run, minutes=5.5, quick=3.5),
    "clone": Part(run=clone.run, minutes=4.5, quick=2.0),
    "load": Part(run=load.run, minutes=7.0, quick=1.5),
    "seed": Part(run=seed.run, minutes=2.0, quick=1.5),
    "passes": Part(run=passes.run, minutes=4.0, quick=1.0),
}
DOCUMENT = TOP / "docs" / "benchmarks.md"
SOAK = TOP / "artefacts" / "soak.json"

say = Console(highlight=False, soft_wrap=True)


def main() -> int:
    arguments = argparse.ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--parts", default="", help=f"of {','.join(PARTS)},report; all if not given")
    arguments.add_argument("--quick", action="store_true", help="few samples, to see that it works")
    asked = arguments.parse_args()
    parts = [word for word in asked.parts.split(",") if word] or [*PARTS, "report"]
    if unknown := [part for part in parts if part not in PARTS and part != "report"]:
        say.print(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)} and report")
        return 2
    began, failed = time.monotonic(), list[str]()

    def tell(text: str) -> None:
        say.print(f"[{time.monotonic() - began:7.1f} s] {text}", markup=False)

    bench = Bench(tell, quick=asked.quick)
    expected = {part: PARTS[part].quick if asked.quick else PARTS[part].minutes for part in parts if part in PARTS}
    if expected:
        each = ", ".join(f"{part} {minutes:g}" for part, minutes in expected.items())
        tell(f"about {sum(expected.values()):.0f} minutes on a quiet machine: {each}")
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        for part in parts:
            if part in PARTS and not measure(bench, part):
                failed.append(part)
    except KeyboardInterrupt:
        tell("stopped; what is done is kept, and a long part goes on where it was, on the same commit")
        failed.append("the rest")
    try:
        bench.close()
    except Failure as failure:
        tell(f"what was installed could not be removed: {failure}")
        failed.append("the end")
    before = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    DOCUMENT.write_text(report.render(report.load(FOLDER, SOAK), before))
    tell(f"{DOCUMENT.relative_to(TOP)} is made anew" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def measure(bench: Bench, part: str) -> bool:
    """Run one part and keep what it found; False if it failed."""
    bench.tell(f"== {part}")
    began, done = time.monotonic(), False
    try:
        figures = PARTS[part].run(bench)
        done = True
    except Exception as failure:  # what nobody foresaw in one part must not cost the others their hour
        bench.tell(f"{part} failed: {getattr(failure, 'reason', '') or repr(failure)}")
        if not isinstance(failure, (Failure, TimeoutError)):
            say.print_exception(max_frames=8)
        return False
    finally:
        took = time.monotonic() - began
        if not done and (samples := bench.keep(part, took)):
            bench.tell(f"{part}: {samples} samples of it are kept")
    bench.write(part, figures, took)
    bench.tell(f"{part} took {took / 60:.1f} min")
    return True


def _interrupted(number: int, frame: object) -> None:
    """SIGTERM, as `timeout` sends it, ends a run like Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
