"""The record store: one Swarm config object per cluster, changed by compare-and-set and by nothing else.

Everything that pgswarm decides is a write here that succeeded (PROTOCOL). Docker sends each write through Raft and
refuses it unless it names the version that is in force; that refusal is the whole lock. Four things make it firm:

- *Absent* is an answer, *unknown* is an error. `read` says None only when Docker listed the configs and ours was not
  among them; without an answer it raises, and nobody may conclude anything.
- A write whose outcome is unknown is read back and compared. Ours is there: it succeeded. Something else is there:
  it did not. Nothing can be read: `Conflict`, and the caller reads again before anything else. The same after "out of
  sequence", since Docker's own forwarding to the leader may send one write twice.
- A write that succeeded is read back, too, for the version that the next one must name. Reads may be stale (a leader
  that was cut off answers from its memory), so only a read that shows what we wrote counts.
- A new object is created under a name that only one can have; whoever loses, reads.

The record carries its own revision, one more with each write, so a content is never written twice (decision 0002).
"""

from __future__ import annotations

import base64
import datetime
import secrets
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

import anyio
from loguru import logger

from pgswarm import settings
from pgswarm.core import chronicle, editions
from pgswarm.core import stored as storing
from pgswarm.core.record import Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Identity, Stored
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.ports.swarm_http import Engine, Missing

READ_BACK = 2.0
"""Seconds within which a write that succeeded must be seen by a read; then it is a Conflict."""

READ_BACK_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Seconds between two of those reads; the last one for ever. The first read nearly always shows it."""

LISTING = "listing records"

_OURS = {"name": [settings.record_name("")]}
"""By name, not by label: a label can be edited away, and then a cluster would seem absent."""

Raw = Mapping[str, Any]


class Unchanged(Enum):
    """Said for a part of the store object that a write leaves as it was read."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


class Records(Protocol):
    """Where records and documents in force are kept. Failures are those of `pgswarm.errors`."""

    async def read(self, cluster: str) -> Stored | None:
        """What is stored; None if the store says that there is nothing. Refused if it cannot be understood."""
        ...

    async def names(self) -> tuple[str, ...]:
        """The clusters that have a store object, readable or not."""
        ...

    async def list(self) -> tuple[Stored, ...]:
        """Everything, by name. Refused if only one of them cannot be understood."""
        ...

    async def by_cluster(self) -> Mapping[str, Stored | Refused]:
        """Everything, each by itself: one that cannot be understood hides no other, and is not absent."""
        ...

    async def create(self, cluster: str, document: PostgresCluster, *, edited_at: float, source: str) -> Stored:
        """The new object, without a record yet. Conflict if there is one of that name."""
        ...

    async def write(
        self,
        before: Stored,
        *,
        record: Record | Unchanged = UNCHANGED,
        document: PostgresCluster | Unchanged = UNCHANGED,
        edited_at: float | Unchanged = UNCHANGED,
        source: str | Unchanged = UNCHANGED,
    ) -> Stored:
        """What is stored then, if nobody wrote since `before` was read; else Conflict."""
        ...


class SwarmRecords:
    """Records in the labels of Swarm configs, through the Docker socket of a manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: tuple[bytes, Mapping[str, Stored | Refused]] | None = None

    async def read(self, cluster: str) -> Stored | None:
        name = settings.record_name(cluster)
        raw = await self._find(name)
        return None if raw is None else _understand(raw)

    async def names(self) -> tuple[str, ...]:
        prefix = settings.record_name("")
        return tuple(sorted(raw["Spec"]["Name"].removeprefix(prefix) for raw in await self._all()))

    async def list(self) -> tuple[Stored, ...]:
        return tuple(sorted((_understand(raw) for raw in await self._all()), key=lambda one: one.cluster))

    async def by_cluster(self) -> Mapping[str, Stored | Refused]:
        content = await self._engine.read("/configs", doing=LISTING, filters=_OURS)
        if self._seen is not None and self._seen[0] == content:
            return self._seen[1]  # at rest: nothing to parse, and the same objects again
        found: dict[str, Stored | Refused] = {}
        for raw in _of_clusters(self._engine.parsed(content, LISTING)):
            try:
                stored: Stored | Refused = _understand(raw)
            except Refused as refusal:
                stored = refusal
            found[raw["Spec"]["Name"].removeprefix(settings.record_name(""))] = stored
        self._seen = (content, found)
        return found

    async def create(self, cluster: str, document: PostgresCluster, *, edited_at: float, source: str) -> Stored:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        identity = Identity(cluster=cluster, id=secrets.token_hex(8), createdAt=now)
        wanted = Stored(
            config_id="", version_index=0, identity=identity, document=document, edited_at=edited_at, source=source
        )
        wanted = wanted.model_copy(update={"editions": editions.continued("", None, wanted.edition)})
        body = {
            "Name": settings.record_name(cluster),
            "Labels": storing.labels_of(wanted),
            "Data": base64.b64encode(storing.identity_bytes(identity)).decode(),
        }
        try:
            answer = await self._engine.post("/configs/create", body, doing=f"creating the record of {cluster}")
        except (Conflict, Again) as failure:
            there = await self._look_again(cluster, failure)
            if there is None or there.identity != identity:
                raise Conflict(f"the record of {cluster} was created by somebody else") from failure
        else:
            wanted = wanted.model_copy(update={"config_id": answer["ID"]})
            there = await self._read_back(wanted)
        logger.info("record of {} created, config {}", cluster, there.config_id)
        return there

    async def write(
        self,
        before: Stored,
        *,
        record: Record | Unchanged = UNCHANGED,
        document: PostgresCluster | Unchanged = UNCHANGED,
        edited_at: float | Unchanged = UNCHANGED,
        source: str | Unchanged = UNCHANGED,
    ) -> Stored:
        given = {"record": record, "document": document, "edited_at": edited_at, "source": source}
        wanted = before.model_copy(update={name: value for name, value in given.items() if value is not UNCHANGED})
        if wanted.says_the_same(before):
            return before
        _check_succession(before, wanted)
        told = chronicle.continued(before.chronicle, before.record, wanted.record, time.time())
        kept = editions.continued(before.editions, before.edition, wanted.edition)
        wanted = wanted.model_copy(update={"chronicle": told, "editions": kept})
        # Without `Data`, which never changes: Docker keeps what is there, and refuses anything else.
        spec = {"Name": settings.record_name(before.cluster), "Labels": storing.labels_of(wanted)}
        try:
            await self._engine.post(
                f"/configs/{before.config_id}/update",
                spec,
                doing=f"writing the record of {before.cluster}",
                version=before.version_index,
            )
        except (Conflict, Again, Missing) as failure:
            there = await self._look_again(before.cluster, failure)
            if there is None or there.version_index == before.version_index or not there.says_the_same(wanted):
                raise Conflict(failure.reason) from failure
        else:
            there = await self._read_back(wanted, than=before.version_index)
        changed = there.record if there.record != before.record else None
        if changed is not None:
            logger.info(
                "record of {} written: revision {}, term {}, primary {}: {}",
                before.cluster, changed.revision, changed.term, changed.primary, changed.reason,
            )  # fmt: skip
        else:
            logger.info("document in force of {} written, from {}", before.cluster, there.source or "nowhere")
        return there

    async def _find(self, name: str) -> Raw | None:
        found = await self._engine.get("/configs", doing=f"reading config {name}", filters={"name": [name]})
        return next((raw for raw in _configs(found) if raw["Spec"]["Name"] == name), None)

    async def _all(self) -> Sequence[Raw]:
        return _of_clusters(await self._engine.get("/configs", doing=LISTING, filters=_OURS))

    async def _look_again(self, cluster: str, failure: Exception) -> Stored | None:
        """After a write that failed or whose outcome is unknown: what is there now."""
        try:
            return await self.read(cluster)
        except Again as unknown:
            raise Conflict(f"{failure}; and it cannot be read back yet: {unknown}") from unknown

    async def _read_back(self, wanted: Stored, *, than: int = -1) -> Stored:
        """The object as written, with its new version; Conflict when no read shows it in time."""
        deadline = time.monotonic() + READ_BACK
        seen: Stored | None = None
        reads = 0
        while True:
            try:
                seen = await self.read(wanted.cluster)
            except Again as unknown:
                logger.debug("reading back the record of {}: {}", wanted.cluster, unknown)
            if seen is not None and seen.version_index > than:
                if seen.says_the_same(wanted):
                    return seen
                raise Conflict(f"the record of {wanted.cluster} was written, and changed again by somebody else")
            if time.monotonic() > deadline:
                break
            await anyio.sleep(READ_BACK_PAUSES[min(reads, len(READ_BACK_PAUSES) - 1)])
            reads += 1
        raise Conflict(f"the record of {wanted.cluster} was written, but cannot be read back yet; read again")


def _check_succession(before: Stored, wanted: Stored) -> None:
    """A revision names one content for ever: each write takes exactly the next one. Anything else is a bug here."""
    if wanted.record is None or wanted.record == before.record:
        return
    expected = before.record.revision + 1 if before.record else wanted.record.revision
    if wanted.record.revision != expected:
        raise AssertionError(f"revision {wanted.record.revision} must not follow {expected - 1}")


def _understand(raw: Raw) -> Stored:
    spec = raw["Spec"]
    return storing.understand(
        name=spec["Name"],
        config_id=raw["ID"],
        version_index=raw["Version"]["Index"],
        data=_data(raw),
        labels=spec.get("Labels") or {},
    )


def _data(raw: Raw) -> bytes:
    return base64.b64decode(raw["Spec"].get("Data") or "")


def _of_clusters(answer: Any) -> Sequence[Raw]:
    return [
        raw
        for raw in _configs(answer)
        if storing.is_ours(name=raw["Spec"]["Name"], data=_data(raw), labels=raw["Spec"].get("Labels") or {})
    ]


def _configs(answer: Any) -> Sequence[Raw]:
    if not isinstance(answer, list):
        raise Again("reading the record: Docker's answer is not a list")
    return answer
