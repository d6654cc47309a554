"""Making a document the one in force, from a person's shell: `apply`, `rollback`, and what they would change.

It is the same write as an operator's when it finds an edited file: document, time of the edit, source, in Swarm's store
by compare-and-set. So all operators on all managers see one truth, and whichever acts converges to it. The time is
never before that of the document it replaces, though the clocks of two managers differ: the newest edit wins, and
this one is newer.

What cannot be true beside another cluster's document is refused here, before it is stored, as it is between files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgswarm.core import relocation
from pgswarm.core.editions import Change, Edition, differences, editions
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Stored
from pgswarm.errors import Conflict, Refused
from pgswarm.loop.shelf import TRIES
from pgswarm.ports.documents import Found
from pgswarm.ports.documents_clashes import clashes
from pgswarm.ports.documents_words import show_path
from pgswarm.ports.records import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a document would change in one cluster."""

    cluster: str
    is_new: bool
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()


async def compared(records: Records, wanted: Sequence[PostgresCluster]) -> tuple[Difference, ...]:
    """What each of these documents would change now."""
    known = await records.by_cluster()
    return tuple(_difference(_readable(known.get(one.name)), one) for one in wanted)


def hindrances(found: Sequence[Found], known: Mapping[str, Stored | Refused]) -> tuple[str, ...]:
    """Why these documents cannot be true beside those of other clusters, each as a line with its place."""
    named = {one.cluster.name for one in found}
    others = [
        one.document
        for name, one in sorted(known.items())
        if isinstance(one, Stored) and one.document is not None and name not in named
    ]
    lines = []
    for clash in clashes([*(one.cluster for one in found), *others]):
        if clash.one.index < len(found) <= clash.other.index:
            mine, theirs = found[clash.one.index], others[clash.other.index - len(found)]
            where = f"{mine.source}:{mine.line}: {show_path(clash.one.path)}"
            lines.append(f"{where}: {clash.text} {theirs.name!r}, whose document is in force")
    return tuple(lines)


async def applied(records: Records, wanted: PostgresCluster, source: str) -> Difference:
    """Make it the document in force. What it changed; nothing is written if that is nothing. Raises Failure."""
    for tried in range(TRIES):
        stored = await records.read(wanted.name)
        difference = _difference(stored, wanted)
        if not difference.is_new and not difference.changes:
            return difference
        try:
            await _write(records, stored, wanted, source)
        except Conflict:
            if tried == TRIES - 1:
                raise
        else:
            return difference
    raise AssertionError("the last try ends above")


def to_go_back_to(stored: Stored, number: int | None) -> Edition:
    """The edition that is meant: the one before that in force, or the one of this number. Refused if there is none."""
    kept = editions(stored.editions)
    if number is not None:
        found = next((one for one in kept if one.number == number), None)
        if found is None:
            known = ", ".join(str(one.number) for one in kept) or "none"
            raise Refused(f"{stored.cluster}: edition {number} is not kept; there is: {known}")
        return found
    before = next((one for one in reversed(kept[:-1]) if one.document != stored.document), None)
    if before is None:
        raise Refused(f"{stored.cluster}: no earlier document is kept, so there is nothing to go back to")
    return before


async def _write(records: Records, stored: Stored | None, wanted: PostgresCluster, source: str) -> None:
    now = time.time()
    if stored is None:
        await records.create(wanted.name, wanted, edited_at=now, source=source)
        return
    pause = stored.record.paused(now) if stored.record is not None else None
    if pause is not None:
        raise Refused(f"{wanted.name} is {pause}; `pgswarm resume` first")
    await records.write(stored, document=wanted, edited_at=max(now, stored.edited_at), source=source)


def _difference(stored: Stored | None, wanted: PostgresCluster) -> Difference:
    before = stored.document if stored is not None else None
    record = stored.record if stored is not None else None
    return Difference(
        cluster=wanted.name,
        is_new=before is None,
        changes=differences(before, wanted),
        warnings=relocation.foreseen(wanted, record) if record is not None else (),
    )


def _readable(stored: Stored | Refused | None) -> Stored | None:
    if isinstance(stored, Refused):
        raise stored
    return stored
