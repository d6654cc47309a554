"""`make model`: explore, and say what was visited and what held.

    python -m pgswarm.sim.model --members 2 --minutes 30 [--terms 3 --commits 2 --crashes 1 --losses 0 …]

Ends with 0 if nothing was broken within the bounds or the time, with 1 and the shortest trace if something was.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from dataclasses import replace

from pgswarm.sim.model.moves import Bounds
from pgswarm.sim.model.search import Found, search
from pgswarm.sim.model.state import resting
from pgswarm.sim.model.tell import story

WHOLE = {
    2: Bounds(members=2, terms=3, commits=2, crashes=1, losses=0, held=0, wishes=0),
    3: Bounds(members=3, terms=2, commits=1, crashes=0, losses=0, held=0, wishes=0),
}
"""What is explored unless something else is asked for."""


def main() -> int:
    """Run from a shell."""
    parser = argparse.ArgumentParser(prog="pgswarm.sim.model", description="Explore the protocol's small model.")
    parser.add_argument("--minutes", type=float, default=10.0)
    for name in Bounds.__slots__:
        parser.add_argument(f"--{name}", type=int)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    minutes = given.pop("minutes")
    bounds = replace(WHOLE.get(given.get("members", 2), WHOLE[2]), **given)
    began = time.monotonic()
    gc.disable()  # nothing here is ever given back, and looking for it takes most of the time
    say(f"within {bounds}, {minutes:g} minutes")

    def tell(found: Found) -> None:
        passed = time.monotonic() - began
        say(f"depth {found.depth:3}: {_counts(found, passed)}")

    found = search(resting(bounds.members), bounds, is_over=lambda: time.monotonic() - began > minutes * 60, tell=tell)
    passed = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if found.broken:
        say(story(found.trace, found.broken))
    how = "broken" if found.broken else "complete" if found.complete else "out of time"
    say(f"{how}: depth {found.depth}, {_counts(found, passed)}, {memory} MB")
    return 1 if found.broken else 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _counts(found: Found, passed: float) -> str:
    rate = found.transitions / max(passed, 0.001)
    return f"{found.states:,} states, {found.transitions:,} transitions in {passed:.0f} s ({rate:,.0f} a second)"


if __name__ == "__main__":
    sys.exit(main())
