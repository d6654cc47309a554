"""`pgswarm delete`: a cluster is taken down, in an order that loses nothing, and its volumes are kept.

    1 the record says that it is being deleted: from that write on every operator stands still for it
    2 routers go: nobody writes any more
    3 standbys are stopped, then the primary, each in order (SIGTERM, and its grace): so the primary's volume has all
    4 their services go, then the secrets and the network that were made for it, if nobody else uses them
    5 volumes of this node, only if that was said twice; those of other nodes are named, with the command
    6 the store object with record and document goes last: until then all this can be repeated, and finishes

Only what bears the cluster's labels is touched (`core/belongings`). Everything is asked of this manager's engine, so it
works while no operator lives. A crash leaves a cluster that is marked and half gone; the same command goes on, and
`--cancel` takes the mark away: then the operators make again what is missing, on the volumes that are there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import anyio

from pgswarm.core.belongings import Belongings, belongings, is_live
from pgswarm.core.plan import RESTORED_AFTER
from pgswarm.core.record import Record
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import Service
from pgswarm.core.wish import Deletion
from pgswarm.errors import Again, Conflict, Failure, Refused
from pgswarm.loop import shelf
from pgswarm.loop.worker import PERIOD
from pgswarm.ports import removing
from pgswarm.ports.records import SwarmRecords
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.ports.swarm_http import Engine

LOOK = 0.5
"""Seconds between two looks whether containers have ended."""

STOPPING = 90.0
"""Seconds for one group of members to stop; their grace is 60."""

IN_USE = 30.0
"""Seconds for which what a container that is ending still uses is tried again."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What there is of a cluster, and how it is stored."""

    belongings: Belongings
    stored: Stored | None
    node: str  # this manager


class Deleter:
    """One deletion, through this manager's engine."""

    def __init__(self, cluster: str, tell: Tell) -> None:
        self._cluster = cluster
        self._tell = tell
        self._swarm = DockerSwarm()
        self._records = SwarmRecords(self._swarm.engine)

    async def look(self) -> Looked:
        """What there is. Refused if there is nothing at all of that name."""
        here = await self._swarm.info()
        found = await self._records.by_cluster()
        stored = found.get(self._cluster)
        if isinstance(stored, Refused):
            raise stored
        record, document = (stored.record, stored.document) if stored is not None else (None, None)
        view = await self._swarm.view()
        there = belongings(view, self._cluster, record, document, exists=stored is not None)
        if stored is None and not (there.routers or there.members or there.secrets):
            raise Refused(f"there is no cluster {self._cluster!r} here; there is: {', '.join(sorted(found)) or 'none'}")
        return Looked(belongings=there, stored=stored, node=here.node_name)

    async def cancel(self, by: str) -> bool:
        """Take the mark away; False if there was none."""
        marked: list[bool] = []

        def change(record: Record) -> Record | None:
            marked.append(record.deletion is not None)
            return record.amended(f"not deleted after all, says {by}", deletion=None) if marked[-1] else None

        await shelf.amended(self._records, self._cluster, change)
        return marked[-1]

    async def run(self, by: str, *, volumes: bool) -> Sequence[str]:
        """Do it all; what is left to a person to do. Raises Failure; then the same again goes on."""
        stored = await self._mark(by)
        if stored is not None and stored.record is None:
            await self._forgotten(stored)
        there = (await self.look_again(stored)).belongings
        for service in there.routers:
            await self._swarm.remove_service(service.id)
            self._tell(f"service {service.name} is removed: nobody writes any more")
        primary = stored.record.primary_member if stored is not None and stored.record is not None else ""
        for group in (
            [one for one in there.members if one.member != primary],
            [one for one in there.members if one.member == primary],
        ):
            await self._still(stored)
            await self._stopped(group)
        await self._still(stored)
        for service in there.members:
            await self._swarm.remove_service(service.id)
            self._tell(f"service {service.name} is removed")
        for secret in there.secrets:
            await self._when_free(f"secret {secret.name}", partial(removing.secret, self._engine, secret.id))
        left = await self._network(there)
        await self._still(stored)
        left += await self._volumes(there, volumes=volumes)
        await self._still(stored)
        if stored is not None and stored.record is not None:
            await removing.config(self._swarm.engine, stored.config_id)
            self._tell(f"the record is removed; it said: term {stored.record.term}, primary {stored.record.primary}")
        return left

    async def _still(self, stored: Stored | None) -> None:
        """Is it still meant? Asked before whatever cannot be taken back: somebody may have cancelled it meanwhile."""
        if stored is None or stored.record is None:
            return
        now = await self._records.read(self._cluster)
        meant = now.record.deletion if now is not None and now.record is not None else None
        if now is None or now.config_id != stored.config_id or meant != stored.record.deletion:
            raise Refused(
                "the deletion was taken back meanwhile: nothing more is removed; `pgswarm status` says how it is"
            )

    async def look_again(self, stored: Stored | None) -> Looked:
        """The same, with what was stored a moment ago."""
        record, document = (stored.record, stored.document) if stored is not None else (None, None)
        there = belongings(await self._swarm.view(), self._cluster, record, document, exists=stored is not None)
        return Looked(belongings=there, stored=stored, node=(await self._swarm.info()).node_name)

    @property
    def _engine(self) -> Engine:
        return self._swarm.engine

    async def _mark(self, by: str) -> Stored | None:
        stored = await self._records.read(self._cluster)
        if stored is None or stored.record is None or stored.record.deletion is not None:
            return stored
        mark = Deletion(by=by, since=round(time.time(), 3))

        def change(record: Record) -> Record | None:
            return record.amended(str(mark), deletion=mark) if record.deletion is None else None

        marked = await shelf.amended(self._records, self._cluster, change)
        self._tell("the record says so: every operator stands still for it")
        return marked

    async def _forgotten(self, stored: Stored) -> None:
        """Of a cluster without a record, where nobody counts on anything yet: the document first.

        Operators go by what they have read for as long as a read may be stale, and make again what is missing.
        """
        await removing.config(self._engine, stored.config_id)
        self._tell(f"its document is removed; operators forget it within {RESTORED_AFTER:.0f} s")
        deadline = time.monotonic() + RESTORED_AFTER + 2 * PERIOD
        while time.monotonic() < deadline:
            for service in (await self.look_again(stored)).belongings.members:
                await self._swarm.remove_service(service.id)
            await anyio.sleep(LOOK)

    async def _stopped(self, group: Sequence[Service]) -> None:
        none = {"Mode": {"Replicated": {"Replicas": 0}}}
        for service in group:
            if service.replicas != 0:
                await self._swarm.update_service(service.id, service.version, {**service.spec, **none})
        deadline = time.monotonic() + STOPPING
        while True:
            view = await self._swarm.view()
            running = {one.name: where for one in group if (where := is_live(view, one))}
            if not running:
                break
            if time.monotonic() > deadline:
                said = ", ".join(f"{name} on {where}" for name, where in sorted(running.items()))
                raise Again(f"still running after {STOPPING:.0f} s: {said}; the same command goes on from here")
            await anyio.sleep(LOOK)
        away = [task.node_id for one in group for task in view.tasks_of(one) if task.is_live]
        for ident in sorted(set(away)):  # `is_live` waits for every other
            node = view.node(ident)
            self._tell(f"node {node.name if node else ident} is down: what ran there ends when it is back")
        if group:
            self._tell(f"stopped: {', '.join(one.name for one in group)}")

    async def _network(self, there: Belongings) -> list[str]:
        if there.network is None:
            return []
        ident = there.network.id
        try:
            await self._when_free(f"network {there.network.name}", partial(removing.network, self._engine, ident))
        except Failure as failure:
            return [f"network {there.network.name} is left: {failure.reason}"]
        return []

    async def _volumes(self, there: Belongings, *, volumes: bool) -> list[str]:
        if not volumes:
            return [f"kept: volume {place.volume} on {place.node_name}" for place in there.volumes]
        here = await removing.volumes(self._engine, self._cluster)
        for name in here:
            await self._when_free(f"volume {name}", partial(removing.volume, self._engine, name, self._cluster))
        node = (await self._swarm.info()).node_id
        return [
            f"on {place.node_name}: docker volume rm {place.volume}" for place in there.volumes if place.node_id != node
        ]

    async def _when_free(self, what: str, remove: Callable[[], Awaitable[None]]) -> None:
        """Docker refuses what a container that is just ending still uses."""
        deadline = time.monotonic() + IN_USE
        while True:
            try:
                await remove()
            except (Again, Conflict, Refused):
                if time.monotonic() > deadline:
                    raise
                await anyio.sleep(LOOK)
            else:
                self._tell(f"{what} is removed")
                return
