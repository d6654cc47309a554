"""What processes cost: processor time and memory over a while, read from /proc.

    python -m pgswarm.drill.cost 60 4711 operator=4712        seconds, then process ids, named or not

`Meter` is for the bench: it takes process ids by name, and says what each of them used since it was made. A container's
process is docker's init, and PostgreSQL or HAProxy live beside the agent; so of a process id the whole family counts,
and `agents_of` finds in it the one process that is ours.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process used over a while."""

    seconds: float
    cpu: float
    """Seconds of processor time, of the kernel's for it too."""
    rss: int
    """Bytes that are in memory at the end, shared ones counted whole."""
    pss: int
    """Bytes, shared ones counted by their share."""

    @property
    def share(self) -> float:
        """Of one core."""
        return self.cpu / self.seconds

    def __str__(self) -> str:
        return f"{100 * self.share:.2f} % of a core, RSS {self.rss / 1e6:.1f} MB, PSS {self.pss / 1e6:.1f} MB"


class Meter:
    """Begins to measure these processes, given by name, when it is made."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._before = {name: cpu_of(pid) for name, pid in processes.items()}
        self._began = time.monotonic()

    def read(self) -> dict[str, Cost]:
        """What each has used since; one that has ended is left away."""
        took = time.monotonic() - self._began
        found: dict[str, Cost] = {}
        for name, pid in self._processes.items():
            start, end = self._before[name], cpu_of(pid)
            if start is not None and end is not None:
                rss, pss = memory_of(pid)
                found[name] = Cost(seconds=took, cpu=end - start, rss=rss, pss=pss)
        return found


def cpu_of(pid: int) -> float | None:
    """Seconds of processor time so far; None if there is no such process."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_of(pid: int) -> tuple[int, int]:
    """RSS and PSS in bytes; zeros if there is no such process."""
    found = {"Rss": 0, "Pss": 0}
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0, 0
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * 1024
    return found["Rss"], found["Pss"]


def agents_of(pid: int) -> list[int]:
    """In the family of this process, those that run Python: the agent, without postgres, haproxy and init."""
    return [one for one in _family(pid) if b"python" in _command(one).split(b"\0")[0]]


def _family(pid: int) -> Iterable[int]:
    yield pid
    try:
        children = (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _command(pid: int) -> bytes:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def main(words: list[str]) -> int:
    """Measure once and print a line for each."""
    seconds = float(words[0])
    processes = {word.partition("=")[0]: int(word.rpartition("=")[2]) for word in words[1:]}
    meter = Meter(processes)
    threading.Event().wait(seconds)
    for name, cost in meter.read().items():
        sys.stdout.write(f"{name}: {cost}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
