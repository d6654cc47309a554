"""The part of an inspection that is the same for every agent: the clock, the interfaces, the names."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import anyio

from pgswarm.core.inspection import Inspection

LOOKUP = 2.0
"""Seconds for one name: a resolver that does not answer is itself the finding."""

INTERFACES = Path("/sys/class/net")


async def inspection(names: tuple[str, ...]) -> Inspection:
    """What this container's machine looks like now."""
    found: dict[str, tuple[str, ...]] = {}

    async def look_up(name: str) -> None:
        found[name] = ()
        with anyio.move_on_after(LOOKUP, shield=False):
            try:
                rows = await anyio.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
            except OSError:
                return
            found[name] = tuple(sorted({str(row[4][0]) for row in rows}))

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(look_up, name)
    return Inspection(wall=time.time(), mtus=_mtus(), shm=_shm(), names=found)


def _mtus() -> dict[str, int]:
    found = {}
    for interface in sorted(INTERFACES.glob("*")) if INTERFACES.is_dir() else ():
        try:
            if interface.name != "lo":
                found[interface.name] = int((interface / "mtu").read_text())
        except (OSError, ValueError):
            continue
    return found


def _shm() -> int:
    try:
        there = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return there.f_blocks * there.f_frsize
