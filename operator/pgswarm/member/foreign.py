"""A volume that holds data which this agent did not make: sealed, and only looked at.

No order and no promise is taken for it, and nothing on it is touched, with one exception that a person must have asked
for by name: an order to take over exactly the system that lies here. So that it can be given, what lies here is told in
the report, looked at again every second, for the old service may only just be ending.

The official image has its data directory on the volume's root, or in a folder of the volume.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from pgswarm.core.adoptable import ROOT, STANDBY_AT_REST
from pgswarm.core.reports import Data, Found
from pgswarm.errors import Failure
from pgswarm.member import tools, waldir
from pgswarm.member.config import Config

if TYPE_CHECKING:
    from pgswarm.core.orders import Order
    from pgswarm.member.agent import Agent

EVERY = 1.0
"""Seconds between two looks at what lies on the volume."""

SLOT_MAGIC, SLOT_DATABASE = 0x1051CA1, 16 + 64
"""The first word of a replication slot's file, and where the oid of a logical slot's database stands in it: after four
words and the name (replication/slot.c; the same from PostgreSQL 9.4 to 17)."""


@dataclass(slots=True)
class Seal:
    """Why nothing may be done with this volume, and what lies on it."""

    text: str = ""  # empty: it is not sealed
    looks: bool = False  # data without a memory of ours: a directory that could be adopted
    found: Found | None = None

    def against(self, order: Order) -> str:
        """Why this order is not even considered; empty if it is."""
        if not self.text or (order.adopt and self.looks and self.found is not None):
            return ""
        return self.text


async def watch(agent: Agent) -> None:
    """Tell what lies here, for as long as it is nobody's."""
    while agent.seal.looks and agent.memory.data is Data.FOREIGN:
        found = await look(agent.config)
        if found != agent.seal.found:
            agent.seal.found = found
            agent.publish()
        await anyio.sleep(EVERY)


async def look(config: Config) -> Found | None:
    """The data directory on this volume; None if there is none."""
    try:
        folders = await to_thread.run_sync(_folders, config.volume)
        if not folders:
            return None
        folder, *others = folders
        seen = await to_thread.run_sync(_seen, config.volume / folder, folder, tuple(others))
        control = await tools.control_data(config, config.volume / folder)
    except (Failure, OSError) as exc:
        return Found(folder=ROOT, unreadable=f"it cannot be read: {_why(exc, config)}")
    return seen.model_copy(update=_controlled(control, config.volume / folder, seen))


def owner(path: Path) -> str:
    """Whose this is, if it is not this agent's, and what to do."""
    uid, own = path.stat().st_uid, os.geteuid()
    if uid == own:
        return ""
    return (
        f"it belongs to user {uid}, and this agent is user {own} (as in the official image on Debian; its Alpine "
        f"variant has 70): with everything on it stopped, on that node, "
        f"`docker run --rm -v VOLUME:/v IMAGE chown -R {own}:{os.getegid()} /v`"
    )


def _folders(volume: Path) -> list[str]:
    """Every place that may be a data directory: the root first."""
    places = [ROOT, *sorted(entry.name for entry in os.scandir(volume) if entry.is_dir(follow_symlinks=False))]
    return [place for place in places if (volume / place / "global" / "pg_control").exists()]


def _seen(directory: Path, folder: str, others: tuple[str, ...]) -> Found:
    slots = _logical_slots(directory / "pg_replslot")
    return Found(
        folder=folder,
        others=others,
        major=(directory / "PG_VERSION").read_text().strip(),
        standby=any((directory / name).exists() for name in ("standby.signal", "recovery.signal")),
        lock_file=(directory / "postmaster.pid").exists(),
        backup_label=(directory / "backup_label").exists(),
        tablespaces=sum(1 for _ in os.scandir(directory / "pg_tblspc")),
        linked_wal=(directory / "pg_wal").is_symlink(),
        logical_slots=slots,
    )


def _controlled(control: dict[str, str], directory: Path, seen: Found) -> dict[str, object]:
    """What pg_control adds."""
    state = control.get("Database cluster state", "unknown")
    timeline = int(control.get("Latest checkpoint's TimeLineID", "1"))
    standby = seen.standby or state in (STANDBY_AT_REST, "in archive recovery")
    reached = int(control.get("Min recovery ending loc's timeline", "0"))
    newest = waldir.newest(directory / "pg_wal", timeline) if not seen.linked_wal else timeline
    if standby and max(reached, newest) > timeline:
        state = f"{state}, between timelines {timeline} and {max(reached, newest)}"
    return {
        "system_id": control.get("Database system identifier", ""),
        "state": state,
        "timeline": timeline,
        "standby": standby,
    }


def _logical_slots(folder: Path) -> tuple[str, ...]:
    found = []
    for entry in os.scandir(folder):
        head = b""
        if entry.is_dir() and (state := Path(entry.path) / "state").exists():
            head = state.read_bytes()[: SLOT_DATABASE + 4]
        if len(head) == SLOT_DATABASE + 4 and struct.unpack_from("=I", head)[0] == SLOT_MAGIC:
            found += [entry.name] if struct.unpack_from("=I", head, SLOT_DATABASE)[0] else []
    return tuple(sorted(found))


def _why(exc: Exception, config: Config) -> str:
    if isinstance(exc, PermissionError):
        try:
            return owner(config.volume) or owner(Path(exc.filename)) or str(exc)
        except OSError:
            return str(exc)
    return str(exc)
