"""`make bench`: all parts in the order below, or those named in PARTS; then docs/benchmarks.md is made anew.

Each part's result is kept when it is done, so parts can be run one by one and again. A part that fails is said, the
others go on, and the exit code tells.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from rich.console import Console

from pgswarm.drill.stage import TOP
from pgswarm.errors import Failure
from tests.bench import clone, faults, floor, idle, load, passes, report, seed
from tests.bench.bench import FOLDER, Bench, Json

PARTS: dict[str, Callable[[Bench], Json]] = {
    "passes": passes.run,
    "floor": floor.run,
    "seed": seed.run,
    "idle": idle.run,
    "load": load.run,
    "clone": clone.run,
    "faults": faults.run,
    "faults-1s": faults.run_fast,
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
    try:
        for part in parts:
            if part in PARTS and not measure(bench, part):
                failed.append(part)
    except KeyboardInterrupt:
        tell("stopped; what is done is kept, and a long part goes on where it was")
        failed.append("the rest")
    try:
        bench.close()
    except Failure as failure:
        tell(f"what was installed could not be removed: {failure}")
        failed.append("the end")
    DOCUMENT.write_text(report.render(report.load(FOLDER, SOAK)))
    tell(f"{DOCUMENT.relative_to(TOP)} is made anew" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def measure(bench: Bench, part: str) -> bool:
    """Run one part and keep what it found; False if it failed."""
    bench.tell(f"== {part}")
    began = time.monotonic()
    try:
        figures = PARTS[part](bench)
    except (Failure, TimeoutError) as failure:
        bench.tell(f"{part} failed: {getattr(failure, 'reason', '') or failure}")
        return False
    bench.write(part, figures, time.monotonic() - began)
    return True


if __name__ == "__main__":
    sys.exit(main())
