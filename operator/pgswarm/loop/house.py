"""The operator's parts put together: one listing, one set of agents' streams, a worker for each cluster.

Which clusters there are follows from two places: what Swarm's store holds, and the documents in the watched folder.
A cluster that disappears from both keeps its worker: nothing is deleted by an omission.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm.core.world import FoundDocument, Unknown
from pgswarm.loop.act import MOST_SLOW, Hands
from pgswarm.loop.clockwork import Clockwork
from pgswarm.loop.listing import Listing
from pgswarm.loop.noticing import Noticing
from pgswarm.loop.observe import Images, Lookout
from pgswarm.loop.peers import Peers
from pgswarm.loop.tenure import Keeper
from pgswarm.loop.worker import Worker
from pgswarm.ports import documents
from pgswarm.ports.agents import Agents
from pgswarm.ports.records import Records
from pgswarm.ports.swarm import Swarm
from pgswarm.ports.tenures import Tenures
from pgswarm.wire import OperatorReport

BEGIN_AGAIN = 2.0
"""Seconds before a part that failed is begun again."""

BROKEN_LATELY = 60.0
"""Seconds for which the status tells of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this operator is."""

    name: str
    node_id: str
    node_name: str


class House:
    """Everything that one operator process holds."""

    def __init__(
        self,
        identity: Identity,
        swarm: Swarm,
        records: Records,
        agents: Agents,
        images: Images,
        folder: Path | None,
        tenures: Tenures | None = None,
        noticing: Noticing | None = None,
    ) -> None:
        self.identity = identity
        self.workers: dict[str, Worker] = {}
        self.documents = documents.Documents()
        self.listing = Listing(swarm, records, self._listed)
        self.clockwork = Clockwork()
        self.noticing = noticing or Noticing()
        self.began = anyio.current_time()
        self.peers = Peers(identity.name, identity.node_id, agents, self.listing, self.ring)
        self.noticing.is_alive = lambda name: any(one.name == name for one in self.peers.candidates())
        self.noticing.told_by_others = self.peers.told
        self.tenure = Keeper(identity.name, tenures, self.peers, self._lookouts, self.ring) if tenures else None
        self._swarm = swarm
        self.records = records
        self._agents = agents
        self._images = images
        self._folder = folder
        self._boot = secrets.token_hex(4)
        self._deaf: frozenset[str] = frozenset()
        self._broken: dict[str, tuple[float, str]] = {}
        self._slow = anyio.CapacityLimiter(MOST_SLOW)
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Reconcile every cluster until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for worker in self.workers.values():
                tasks.start_soon(worker.run)
            tasks.start_soon(self.clockwork.run)
            self.noticing.start(tasks)
            tasks.start_soon(self._lasting, "watching the other operators", partial(self.peers.run, tasks))
            tasks.start_soon(self._lasting, "listing Swarm", self.listing.run)
            tasks.start_soon(self._lasting, "listening to Docker's events", self.listing.events)
            if self.tenure is not None:
                tasks.start_soon(self._lasting, "keeping the tenure", self.tenure.run)
            if self._folder is not None:
                tasks.start_soon(self._lasting, "watching documents", partial(self._watch, self._folder))

    async def look_once(self, tasks: TaskGroup, patience: float) -> None:
        """Observe everything one time: documents, store, Swarm, and every agent that has an address."""
        if self._folder is not None:
            await self.read_documents(self._folder)
        await self.listing.refresh()
        deadline = anyio.current_time() + patience
        for worker in list(self.workers.values()):
            worker.lookout.world(tasks, anyio.current_time(), None, self.began)
        while anyio.current_time() < deadline and any(  # noqa: ASYNC110 - each worker has a bell of its own
            worker.lookout.unheard for worker in self.workers.values()
        ):
            await anyio.sleep(0.05)

    def _lookouts(self) -> dict[str, Lookout]:
        return {name: worker.lookout for name, worker in self.workers.items()}

    def ring(self, clusters: frozenset[str] | None = None) -> None:
        """Wake these workers; None: every one."""
        for name, worker in self.workers.items():
            if clusters is None or name in clusters:
                worker.lookout.bell.ring()

    def report(self) -> OperatorReport:
        """What the other operators are told; whoever has become deaf, or ceased to be, looks who is to act now."""
        deaf = frozenset(name for name, worker in self.workers.items() if worker.is_deaf)
        self.ring(deaf ^ self._deaf)
        self._deaf = deaf
        return OperatorReport(
            operator=self.identity.name,
            node_id=self.identity.node_id,
            able=self.listing.able,
            deaf=tuple(sorted(deaf)),
            told=self.noticing.told(),
            boot=self._boot,
        )

    async def _lasting(self, what: str, part: Callable[[], Awaitable[None]]) -> None:
        """One part, begun again when it fails: what nobody foresaw in one place must not end the whole operator."""
        while True:
            try:
                await part()
            except Exception as exc:
                logger.exception("{} failed; again in {:g} s", what, BEGIN_AGAIN)
                text = f"{what} failed: {type(exc).__name__}: {exc} (a bug; see the operator's log)"
                self._broken[what] = (anyio.current_time(), text)
            await anyio.sleep(BEGIN_AGAIN)

    def broken(self) -> tuple[str, ...]:
        """Parts that have failed lately."""
        now = anyio.current_time()
        lately = tuple(text for at, text in self._broken.values() if now - at < BROKEN_LATELY)
        return (*lately, self.listing.bug) if self.listing.bug else lately

    async def _watch(self, folder: Path) -> None:
        await self.read_documents(folder)
        async for _ in documents.watch(folder):
            await self.read_documents(folder)

    async def read_documents(self, folder: Path) -> None:
        """Read the folder; what is broken is reported, and changes nothing."""
        read = await anyio.to_thread.run_sync(documents.read, folder)
        for error in read.errors:
            if error not in self.documents.errors:
                logger.error("{}", error)
        self.documents = read
        there = {found.cluster.name for found in read.clusters}
        for name, worker in self.workers.items():
            if name not in there and worker.lookout.found is not None:
                logger.warning("{}: no good document in {} any more; what was stored stays in force", name, folder)
            if name not in there:
                worker.lookout.found = None  # the stored document stays in force
        for found in read.clusters:
            lookout = self._worker(found.cluster.name).lookout
            source = f"{self.identity.node_name}:{found.source}"
            lookout.found = FoundDocument(document=found.cluster, edited_at=found.edited_at, source=source)
            lookout.bell.ring()

    def _listed(self) -> None:
        """A new listing: hire a worker for each stored cluster, hand out what was read, wake whom it concerns."""
        stored = self.listing.stored
        if not isinstance(stored, Unknown):
            for cluster in (*stored, *self.listing.unreadable):
                self._worker(cluster)
        for cluster, worker in self.workers.items():
            worker.lookout.keep(self.listing.of(cluster), self.listing.read_at)
        self.peers.look()
        concerns = self.listing.concerns
        for cluster, worker in self.workers.items():
            if concerns is None or cluster in concerns:
                worker.lookout.bell.ring()

    def _worker(self, cluster: str) -> Worker:
        if cluster not in self.workers:
            lookout = Lookout(cluster, self.identity.name, self._agents, self.listing, self._images)
            lookout.keep(self.listing.of(cluster), self.listing.read_at)
            hands = Hands(lookout, self.listing, self._swarm, self.records, self._agents, self._slow)
            worker = Worker(lookout, hands, self.peers, self.clockwork, self.tenure)
            hands.still_wants = worker.still_wants
            worker.passed = self.noticing.look
            self.workers[cluster] = worker
            if self._tasks is not None:
                self._tasks.start_soon(worker.run, name=f"worker {cluster}")
        return self.workers[cluster]
