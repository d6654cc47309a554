"""What this process uses, read from /proc when somebody asks."""

from __future__ import annotations

import os
from pathlib import Path

from pgswarm.core.metrics import Usage

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def usage() -> Usage:
    """Of this process alone; PostgreSQL and HAProxy beside it are others."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    user, system, started, resident = (int(fields[at]) for at in (11, 12, 19, 21))
    booted = next(
        float(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
    )
    return Usage(
        cpu_seconds=(user + system) / _TICK,
        resident_bytes=resident * _PAGE,
        started=booted + started / _TICK,
        open_files=len(os.listdir("/proc/self/fd")),
    )
