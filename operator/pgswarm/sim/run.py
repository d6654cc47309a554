"""`python -m pgswarm.sim`: many seeds at once, or one of them told as a story.

Prints the rate, what the histories have met (faults, and windows of the protocol), and, for a seed that fails, the
invariant, its transcript, and the one command that replays it.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from loguru import logger

from pgswarm.sim.history import Life, Outcome, history, shape_of
from pgswarm.sim.ledger import Violation
from pgswarm.sim.site import Site, log_to

REPORT = 10.0
"""Seconds between two lines of progress."""

MOST_FAILURES = 5
"""Failing seeds that are told; a run that has found so many ends."""

SELDOM = (100_000, 20, 20)
"""How seldom those who live histories collect garbage (`gc.set_threshold`): 7 % faster once, for 17 MB more each."""


def outcomes(seeds: Iterable[int], jobs: int, *, rest: bool = True) -> Iterator[Outcome]:
    """Live all of these, several at once, in no order."""
    logger.remove()
    gc.collect()
    gc.freeze()  # what is imported stays for ever: the collector need not look at it again with every history
    if jobs <= 1:
        for seed in seeds:
            yield history(seed, rest=rest)
        return
    with multiprocessing.get_context("fork").Pool(jobs, gc.set_threshold, SELDOM) as pool:
        yield from pool.imap_unordered(history, seeds, chunksize=8)


def replay(seed: int, *, logs: bool) -> int:
    """Tell one history."""
    logger.remove()
    shape, theme = shape_of(seed)
    site = Site(seed, shape)
    if logs:
        log_to(site)
    life = Life(site, theme)
    found = ""
    try:
        life.trouble()
        life.rest()
    except (Violation, RuntimeError) as wrong:
        found = str(wrong)
    site.close()
    print(f"seed {seed}: {theme}; {shape}")
    print(site.transcript.text())
    print(f"\n{found or 'all was well'}")
    return 1 if found else 0


def survey(first: int, count: int, jobs: int, *, safety: bool = False) -> int:
    """Live many, and say what came of them. `safety`: one that comes to no rest (L1, L2) is told, but is no failure."""
    began = said = time.monotonic()
    seen: Counter[str] = Counter()
    failures: list[Outcome] = []
    rested: list[float] = []
    restless: list[int] = []
    done = commits = 0
    for outcome in outcomes(range(first, first + count), jobs):
        done += 1
        commits += outcome.commits
        seen.update(set(outcome.seen))
        if outcome.rested_after is not None:
            rested.append(outcome.rested_after)
        if safety and outcome.violation.startswith("L"):
            restless.append(outcome.seed)
        elif outcome.violation:
            failures.append(outcome)
            print(f"\nseed {outcome.seed} ({outcome.theme}): {outcome.violation}", flush=True)
            print(f"replay: make sim SEED={outcome.seed}", flush=True)
            if len(failures) >= MOST_FAILURES:
                break
        if time.monotonic() - said > REPORT:
            said = time.monotonic()
            print(f"{done} seeds, {done / (said - began):.1f}/s, {len(failures)} failed", flush=True)
    took = time.monotonic() - began
    print(
        f"\n{done} histories in {took:.0f} s: {done / took:.1f}/s with {jobs} processes; {commits} commits acknowledged"
    )
    if rested:
        rested.sort()
        print(f"at rest after the last fault: median {rested[len(rested) // 2]:.1f} s, longest {rested[-1]:.1f} s")
    print("histories that met:")
    for what, number in sorted(seen.items(), key=lambda pair: (pair[0].startswith("fault"), -pair[1])):
        print(f"  {number:7d}  {what}")
    if restless:
        print(f"came to no rest (L1, L2): {', '.join(map(str, restless))}")
    print(f"failed: {len(failures)}")
    return 1 if failures else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pgswarm.sim", description="Histories of a whole site in virtual time.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once (one for each core)")
    parser.add_argument("--seed", type=int, help="tell this one as a story")
    parser.add_argument("--logs", action="store_true", help="with --seed: the operators' own log lines too")
    parser.add_argument(
        "--safety", action="store_true", help="only S1-S7 and the laws fail; who comes to no rest is told"
    )
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return replay(given.seed, logs=given.logs)
    return survey(given.first, given.seeds, given.jobs, safety=given.safety)


if __name__ == "__main__":
    sys.exit(main())
