"""How the operator grows: passes a second, CPU at rest and memory for 1, 10, 100 and 1,000 clusters.

The operator's whole loop runs in one process, against the town of `tests/loop`: agents that do at once what they
are told, a store and a Swarm in memory. So what is measured is the operator's own work, without any network and
with the town's memory and heartbeats on top. Each size has a process of its own (`python -m tests.bench.passes
100`), begins with nothing but documents, and is measured once every cluster is at rest.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import anyio
from loguru import logger

from pgswarm.drill.stage import TOP, Broken
from pgswarm.drill.stage import run as run_program
from pgswarm.loop.house import House
from tests.bench.bench import Bench, Json
from tests.loop.town import Town

SIZES = (1, 10, 100, 1000)
PATIENCE = 420.0
"""Seconds for all clusters to come to rest."""

BUSY, IDLE = 4.0, 10.0
"""Seconds of passes without a pause, and of rest."""


def run(bench: Bench) -> Json:
    rows = []
    for size in SIZES[: 3 if bench.quick else None]:
        output = run_program(
            [sys.executable, "-m", "tests.bench.passes", str(size)], text=None, deadline=PATIENCE + 120,
            environment={"PYTHONPATH": f"{TOP}:{TOP / 'operator'}"},
        )  # fmt: skip
        rows.append(json.loads(output))
        bench.tell(
            "{clusters} clusters: {passes:.0f} passes/s, {cpu:.1%} of a core at rest, {rss:.0f} MB".format(**rows[-1])
        )
    return {"rows": rows}


async def measure(size: int) -> Json:
    with tempfile.TemporaryDirectory() as folder:
        town = Town(Path(folder), *(f"c{number}" for number in range(size)))
        house = town.house()
        names, began = [f"c{number}" for number in range(size)], time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.run)
            while not all(town.is_whole(name) for name in names):
                if time.monotonic() - began > PATIENCE:
                    there = sum(town.is_whole(name) for name in names)
                    raise Broken(f"{there} of {size} clusters at rest after {PATIENCE:.0f} s")
                await anyio.sleep(0.2)
            settled = time.monotonic() - began
            await anyio.sleep(3.0)
            cpu = await _at_rest()
            passes = await _busy(house)
            tasks.cancel_scope.cancel()
    return {"clusters": size, "passes": passes, "cpu": cpu, "rss": _rss(), "settled": settled}


async def _at_rest() -> float:
    """The share of a core that it takes to do nothing."""
    cpu, began = time.process_time(), time.monotonic()
    await anyio.sleep(IDLE)
    return (time.process_time() - cpu) / (time.monotonic() - began)


async def _busy(house: House) -> float:
    """Passes in a second of processor time, made one after the other."""
    count = 0
    async with anyio.create_task_group() as tasks:
        cpu, began = time.process_time(), time.monotonic()
        while time.monotonic() - began < BUSY:
            for worker in list(house.workers.values()):
                worker.one_pass(tasks, anyio.current_time())
                count += 1
                if time.monotonic() - began >= BUSY:
                    break
        taken = time.process_time() - cpu
        tasks.cancel_scope.cancel()
    return count / taken


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    logger.remove()
    print(json.dumps(anyio.run(measure, int(sys.argv[1]))))
