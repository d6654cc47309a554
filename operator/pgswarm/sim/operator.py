"""An operator: the real `loop.House` with all its parts, as tasks of a process that can be killed and frozen."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio

from pgswarm.core.record import Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.world import FoundDocument
from pgswarm.loop.house import House, Identity
from pgswarm.loop.listing import PERIOD
from pgswarm.loop.observe import Images
from pgswarm.sim.calls import Calls
from pgswarm.sim.clock import PROCESS
from pgswarm.sim.manager import Manager
from pgswarm.sim.speech import Speaker
from pgswarm.sim.tenancy import Tenancy
from pgswarm.wire import HEARTBEAT, OperatorReport

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

IMAGES = Images(member="pgswarm/member:sim", router="pgswarm/router:sim")


class Operator:
    """One operator's container."""

    def __init__(self, site: Site, name: str, node: str, address: str) -> None:
        self.site, self.name, self.node, self.address = site, name, node, address
        self.process = site.process(name)
        self.speaker = Speaker(site, node)
        self.alive = self.is_open = True
        self.house: House | None = None
        context = copy_context()
        context.run(PROCESS.set, self.process)
        self._task = site.loop.create_task(self._run(), context=context)
        self._task.add_done_callback(self._over)

    @property
    def report(self) -> OperatorReport:
        """What the other operators are told."""
        if self.house is None:
            return OperatorReport(operator=self.name, node_id=self.node, boot="", able=False, deaf=())
        before, self.site.loop.current = self.site.loop.current, self.process
        report = self.house.report()
        self.site.loop.current = before
        return report

    @property
    def is_informed(self) -> bool:
        """Has it seen Swarm as often as it does when nothing is wrong, and since there is a leader?"""
        if self.house is None:
            return False
        ago = self.process.now - self.house.listing.able_at
        return ago < min(1.2 * PERIOD, (self.site.loop.now - self.site.swarm.led_since) * self.process.rate)

    def heard_primary(self) -> float | None:
        """When, on the world's clock, it had last heard the primary as it planned what it does now."""
        worker = self.house.workers.get(self.site.cluster) if self.house is not None else None
        world, record = (worker.world, worker.lookout.record) if worker is not None else (None, None)
        if world is None or not isinstance(record, Record):
            return None
        sighting = world.members.get(record.primary_member)
        return self.process.world(sighting.heard_at) if sighting is not None and sighting.heard_at is not None else None

    def found(self, document: PostgresCluster, edited_at: float) -> None:
        """A document lies in the folder that it watches."""
        if self.house is not None:
            lookout = self.house._worker(document.name).lookout
            lookout.found = FoundDocument(document=document, edited_at=edited_at, source=f"{self.node}:main.yaml")
            lookout.bell.ring()

    def end(self) -> None:
        """SIGTERM: it ends in a moment, and passes its tenure on before."""
        house = self.house
        if house is None or house.tenure is None or house.tenure.standing() is None:
            self.process.after(0.05, self.kill)
            return
        self._task.cancel()
        self.process.after(0.5, self.kill)

    def kill(self) -> None:
        """Gone at once; what it had asked for may still happen."""
        if not self.alive:
            return
        self.alive = self.is_open = False
        self.process.kill()
        self._task.cancel()
        self.speaker.end(said=self.site.is_up(self.node))
        self.site.swarm.ended(self)

    async def _run(self) -> None:
        site = self.site
        await anyio.sleep(site.draw(0.2, 0.6))
        manager, calls = Manager(site, self.node, self), Calls(site, self.process, self.node)
        identity = Identity(name=self.name, node_id=self.node, node_name=self.node)
        tenancy = Tenancy(self, manager)
        self.house = house = House(identity, manager, manager, calls, IMAGES, None, tenancy)  # type: ignore[arg-type]
        if house.tenure is not None:
            house.tenure._slept = lambda: 0.0  # no machine sleeps here
        calls.is_able = lambda: house.listing.able
        if site.document is not None:
            self.found(site.document, site.edited_at)
        self._beat()
        await self.house.run()

    def _beat(self) -> None:
        if self.alive:
            self.speaker.say(self.report)
            self.process.after(HEARTBEAT, self._beat)

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.site.ledger.broke(failure)
