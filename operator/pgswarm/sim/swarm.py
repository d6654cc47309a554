"""Swarm, played: its store behind Raft, its nodes, and the tasks that it keeps running where they are pinned.

As measured (facts): writes go through the leader or wait for one, and may happen after their caller gave up; a leader
that was cut off goes on answering reads from its memory; after a change of leader every node is `unknown` for a while;
a node that is not heard counts as down after some seconds, and its tasks go on there, with replacements pending; when
it comes back the replacements start at once, and the old containers are told to end a little later: for that while
two containers of one service run on one volume. Nothing is ever scheduled without a leader. What runs where is `tasks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgswarm import settings
from pgswarm.core.record import Record
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import Network, Node, Secret, Service, SwarmView, Task
from pgswarm.errors import Conflict
from pgswarm.sim import tenancy
from pgswarm.sim.clock import Signal
from pgswarm.sim.tasks import ENDED, Slot, Tasks

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

PARKED = 20.0
"""Seconds for which a manager keeps a write that no leader has taken yet."""

MEMORY = 16.0
"""Seconds for which a leader that was cut off goes on answering, at most."""


@dataclass(slots=True)
class Machine:
    """A node: what is true of it, and what Swarm believes."""

    name: str
    is_manager: bool
    up: bool = True
    engine: bool = True  # dockerd answers
    availability: str = "active"
    state: str = "ready"
    missed_since: float | None = None
    rate: float = 1.0  # of its clock, which is that of every member's agent there
    offset: float = 0.0
    boot: int = 0
    removed: bool = False  # taken out of the Swarm: `docker node rm`


class Swarm(Tasks):
    """The one truth; `manager.Manager` is how one operator sees it."""

    def __init__(self, site: Site, machines: list[Machine]) -> None:
        self.site = site
        self.machines = {one.name: one for one in machines}
        self.store: dict[str, Stored] = {}
        self.services: dict[str, Service] = {}
        self.removed: set[str] = set()  # names of services that were removed: another of that name has another id
        self.slots: list[Slot] = []
        self.changed = Signal()
        self.networks = [Network(name=settings.CONTROL_NETWORK, id="control", driver="overlay", scope="swarm")]
        self.secrets = [Secret(id=settings.CONTROL_SECRET, name=settings.CONTROL_SECRET)]
        self.leader: str | None = next(one.name for one in machines if one.is_manager)
        self.led_since = 0.0  # by the world's clock
        self.past: list[dict[str, Stored]] = [{}]
        self.down_after = 8.0
        self.election: float | None = None  # seconds that the next ones take; None: as it happens
        self.stop_lag = 2.0
        self.tenures = tenancy.Store(site)
        self._memory: tuple[str, float, dict[str, Stored], SwarmView] | None = None
        self._parked: list[tuple[float, str, Callable[[], object]]] = []
        self._view: SwarmView | None = None
        self._electing = False
        self._index = 100
        site.world(0.5, self._turn)

    # Who can reach whom

    def sees(self, one: str, other: str) -> bool:
        up = self.machines[one].up and self.machines[other].up and not self.machines[one].removed
        return up and not self.machines[other].removed and self.site.network.both_ways(one, other)

    def has_majority(self, name: str) -> bool:
        managers = [one for one in self.machines.values() if one.is_manager and not one.removed]
        return 2 * sum(self.sees(name, one.name) for one in managers) > len(managers)

    def access(self, node: str) -> str:
        """What a call on this manager's engine meets: the leader, a leader's memory, nobody, or no engine."""
        if not self.machines[node].engine or not self.machines[node].up:
            return "no engine"
        if self.leader is not None and self.sees(node, self.leader):
            return "leader"
        if self._memory is not None and self._memory[0] == node and self.site.loop.now < self._memory[1]:
            return "memory"
        return "nobody"

    # Raft

    def judge(self) -> None:
        """Something about links or machines has changed: is there still a leader, is there to be another?"""
        leader = self.leader
        if leader is not None and not self.has_majority(leader):
            if self.machines[leader].up:
                until = self.site.loop.now + self.site.draw(0.0, MEMORY)
                self._memory = (leader, until, dict(self.store), self.view())
                self.tenures.remember()
            self.leader = None
            self.site.story("swarm", f"{leader} no longer leads: it lost its majority", key=True)
            self.site.count("raft leader lost")
        if self.leader is None and not self._electing:
            self._electing = True
            self.site.world(self.election or self.site.draw(1.0, 4.0, rare=12.0), self._elect)
        self.settle()

    def depose(self) -> None:
        """A manager back from a long cut calls an election: the healthy leader steps down."""
        if self.leader is not None:
            self.site.story("swarm", f"{self.leader} was deposed", key=True)
            self.site.count("raft leader lost")
            self.leader = None
        self.judge()

    def _elect(self) -> None:
        self._electing = False
        able = [one.name for one in self.machines.values() if one.is_manager and one.up and self.has_majority(one.name)]
        if not able:
            self._electing = True
            self.site.world(1.0, self._elect)
            return
        self.leader = able[0] if self.site.shape.steady else self.site.rng.choice(able)
        if self._memory is not None and self._memory[0] == self.leader:
            self._memory = None
        self.led_since = self.site.loop.now
        self.site.story("swarm", f"{self.leader} leads", key=True)
        if self.site.draw(0.0, 1.0) < 0.5:
            for one in self.machines.values():
                one.state = "unknown" if one.state == "ready" else one.state
            self.site.world(self.site.draw(0.5, 3.0), self._known)
        parked, self._parked = self._parked, []
        for until, node, write in parked:
            if self.site.loop.now >= until:
                continue
            if self.access(node) != "leader":
                self._parked.append((until, node, write))  # a manager that is cut off gets it to nobody
            else:
                self.site.count("write done late")
                self.site.world(0.05 * self.site.rng.random(), write)
        self.touch()
        self.settle()

    def _known(self) -> None:
        for one in self.machines.values():
            one.state = "ready" if one.state == "unknown" else one.state
        self.touch()
        self.settle()

    def park(self, node: str, write: Callable[[], object]) -> None:
        """No leader: that node's manager keeps the write for a while."""
        self._parked.append((self.site.loop.now + PARKED, node, write))

    # The store

    def read(self, node: str) -> dict[str, Stored]:
        """What a read brings: the truth, something a little older, or a cut-off leader's memory."""
        if self.access(node) == "memory" and self._memory is not None:
            self.site.count("read from a cut-off leader")
            return self._memory[2]
        if self.site.unruly and len(self.past) > 1 and self.site.rng.random() < 0.04:
            self.site.count("stale read")
            return self.past[-min(len(self.past), self.site.rng.randint(2, 4))]
        return self.store

    def put(self, wanted: Stored, version: int | None) -> Stored:
        """Compare and set; the answer is what is stored then. Raises Conflict."""
        there = self.store.get(wanted.cluster)
        if not self.agrees(there, version):
            self.site.count("compare-and-set lost")
            raise Conflict("update out of sequence" if there else "there is one of that name")
        self._index += 1
        stored = wanted.model_copy(update={"version_index": self._index})
        self.store = {**self.store, wanted.cluster: stored}
        self.past.append(self.store)
        before: Record | None = there.record if there else None
        if stored.record is not None and stored.record != before:
            self.site.written(before, stored.record)
        self.changed.fire()
        return stored

    @staticmethod
    def agrees(there: Stored | None, version: int | None) -> bool:
        """Is what is there what the writer saw?"""
        return (there.version_index if there else None) == version

    # What is seen

    @property
    def nodes(self) -> list[str]:
        """The nodes that have not been taken out of it."""
        return [one.name for one in self.machines.values() if not one.removed]

    def remove_node(self, node: str) -> None:
        """`docker node rm`, of a machine that is off."""
        self.machines[node].removed = True
        self.site.story("swarm", f"node {node} is taken out of the Swarm", key=True)
        self.judge()
        self.touch()

    def view(self, node: str = "") -> SwarmView:
        if node and self.access(node) == "memory" and self._memory is not None:
            return self._memory[3]
        if self._view is None:
            self._view = self._look()
        return self._view

    def touch(self) -> None:
        """Something that a listing shows is different now."""
        self._view = None
        self.changed.fire()

    def _look(self) -> SwarmView:
        return SwarmView(
            nodes=tuple(
                Node.model_validate(
                    {
                        "id": one.name, "name": one.name, "role": "manager" if one.is_manager else "worker",
                        "state": one.state, "availability": one.availability,
                        "is_raft_leader": one.name == self.leader,
                    }
                )
                for one in self.machines.values()
                if not one.removed
            ),
            services=tuple(self.services[name] for name in sorted(self.services)),
            tasks=tuple(
                Task(
                    id=task.id, service_id=slot.service, node_id=task.node, slot=slot.number, state=task.state,
                    desired=task.desired, created=task.created,
                    container_id=f"c{task.id}" if task.container is not None else "",
                    exit_code=137 if task.container is not None and task.state in ENDED else None,
                    addresses={settings.CONTROL_NETWORK: task.address} if task.address else {},
                )
                for slot in self.slots
                for task in (slot.tasks[-3:] if slot.service and not self.machines[slot.node].removed else ())
            ),
            networks=tuple(self.networks),
            secrets=tuple(self.secrets),
        )  # fmt: skip

    def _turn(self) -> None:
        """The dispatcher's look at its nodes."""
        self.site.world(0.5, self._turn)
        leader, now = self.leader, self.site.loop.now
        if leader is None:
            return
        changed = False
        for one in self.machines.values():
            if one.removed:
                continue
            if self.sees(leader, one.name) and one.engine:
                one.missed_since = None
                if one.state == "down":
                    one.state, changed = "ready", True
                    self.site.story("swarm", f"node {one.name} is back", key=True)
            elif one.missed_since is None:
                one.missed_since = now
            elif one.state != "down" and now - one.missed_since > self.down_after:
                one.state, changed = "down", True
                self.site.count("node down")
                self.site.story("swarm", f"node {one.name} counts as down", key=True)
        if changed:
            self.touch()
            self.settle()
