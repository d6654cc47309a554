"""What a router remembers over a restart: the newest order, the last primary it routed to, and where members were.

It is written before it is acted upon, so a crash between the two leaves a floor that is too high by nothing or by one
decided term, never too low. It is not forced to the disk: what must survive a power cut is on the members' volumes,
whose accepted terms raise the floor again, and an fsync on a busy node would be an outage of the fast path.
A file that cannot be read is the same as none, and is said.
"""

from __future__ import annotations

import os
from pathlib import Path

from loguru import logger
from pydantic import ValidationError

from pgswarm.core.base import Value
from pgswarm.core.orders import RouterOrder
from pgswarm.core.routing import Target

FILE = "memory.json"


class Memory(Value):
    """Kept in the work directory."""

    order: RouterOrder | None = None
    routed: Target | None = None
    contacts: dict[str, str] = {}


def load(directory: Path, cluster: str) -> Memory:
    """Read what was remembered of this cluster, or nothing."""
    try:
        memory = Memory.model_validate_json((directory / FILE).read_bytes())
    except FileNotFoundError:
        return Memory()
    except (OSError, ValidationError) as exc:
        logger.warning("{} cannot be read and is ignored: {}", directory / FILE, type(exc).__name__)
        return Memory()
    if memory.order and memory.order.cluster != cluster:
        logger.warning("{} is of the cluster {} and is ignored", directory / FILE, memory.order.cluster)
        return Memory()
    return memory


def save(directory: Path, memory: Memory) -> None:
    """Replace what is remembered, whole or not at all."""
    fresh = directory / f"{FILE}.new"
    try:
        fresh.write_text(memory.model_dump_json())
        os.replace(fresh, directory / FILE)
    except OSError as exc:
        # Routing goes on: this process remembers all the same, and after a restart the members tell.
        logger.error("{} cannot be written: {}", directory / FILE, exc.strerror)
