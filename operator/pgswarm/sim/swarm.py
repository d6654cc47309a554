"""Swarm, played: its store behind Raft, its nodes, and the tasks that it keeps running where they are pinned.

As measured (facts): writes go through the leader or wait for one, and may happen after their caller gave up; a leader
that was cut off goes on answering reads from its memory; after a change of leader every node is `unknown` for a while;
a node that is not heard counts as down after some seconds, and its tasks go on there, with replacements pending; when
it comes back the replacements start at once, and the old containers are told to end a little later: for that while
two containers of one service run on one volume. Nothing is ever scheduled without a leader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgswarm import settings
from pgswarm.core.record import Record
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import Network, Node, Secret, Service, SwarmView, Task
from pgswarm.errors import Conflict
from pgswarm.sim import tenancy
from pgswarm.sim.clock import Signal

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

PARKED = 20.0
"""Seconds for which a manager keeps a write that no leader has taken yet."""

MEMORY = 16.0
"""Seconds for which a leader that was cut off goes on answering, at most."""


ENDED = ("failed", "shutdown")
"""States that a node reports once a container of its has ended."""


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


@dataclass(slots=True)
class Slot:
    """A place for one task of a service."""

    service: str
    node: str
    kind: str
    member: str = ""
    number: int = 1
    tasks: list[Placed] = field(default_factory=list)
    wanted: bool = True  # False: scaled to zero, or its service is removed


@dataclass(slots=True)
class Placed:
    """A task, and its container once it has one."""

    id: str
    node: str
    address: str
    created: float
    state: str = "pending"
    desired: str = "running"
    container: Any = None
    stopping: bool = False


class Swarm:
    """The one truth; `manager.Manager` is how one operator sees it."""

    def __init__(self, site: Site, machines: list[Machine]) -> None:
        self.site = site
        self.machines = {one.name: one for one in machines}
        self.store: dict[str, Stored] = {}
        self.services: dict[str, Service] = {}
        self.slots: list[Slot] = []
        self.changed = Signal()
        self.networks = [Network(name=settings.CONTROL_NETWORK, id="control", driver="overlay", scope="swarm")]
        self.secrets = [Secret(id=settings.CONTROL_SECRET, name=settings.CONTROL_SECRET)]
        self.leader: str | None = next(one.name for one in machines if one.is_manager)
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
        up = self.machines[one].up and self.machines[other].up
        return up and self.site.network.both_ways(one, other)

    def has_majority(self, name: str) -> bool:
        managers = [one for one in self.machines.values() if one.is_manager]
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
                for task in (slot.tasks[-3:] if slot.service else ())
            ),
            networks=tuple(self.networks),
            secrets=tuple(self.secrets),
        )  # fmt: skip

    # Services and their tasks

    def add_service(self, spec: dict[str, Any]) -> str:
        name: str = spec["Name"]
        if name in self.services:
            raise Conflict("there is a service of that name")
        self._index += 1
        replicas = None if "Global" in spec["Mode"] else spec["Mode"]["Replicated"]["Replicas"]
        self.services[name] = Service(
            id=name, version=self._index, name=name, labels=spec["Labels"], spec=spec, replicas=replicas
        )
        labels = spec["Labels"]
        kind, member = labels[settings.LABEL_KIND], labels.get(settings.LABEL_MEMBER, "")
        for number, node in enumerate(self._nodes_for(spec), 1):
            self.slots.append(Slot(service=name, node=node, kind=kind, member=member, number=number))
        self.touch()
        self.settle()
        return name

    def change_service(self, service: str, version: int, spec: dict[str, Any]) -> None:
        found = self.services.get(service)
        if found is None or found.version != version:
            raise Conflict("update out of sequence")
        self._index += 1
        restarts = found.spec.get("TaskTemplate") != spec.get("TaskTemplate")
        replicas = None if "Global" in spec["Mode"] else spec["Mode"]["Replicated"]["Replicas"]
        changes = {"spec": spec, "labels": spec["Labels"], "version": self._index, "replicas": replicas}
        self.services[service] = found.model_copy(update=changes)
        for slot in [slot for slot in self.slots if slot.service == service]:
            slot.wanted = replicas != 0
            for task in slot.tasks if restarts or not slot.wanted else ():
                task.desired = "shutdown"
        self.touch()
        self.settle()

    def remove_service(self, service: str) -> None:
        """Its tasks are no longer told of; containers that can be reached are told to end."""
        if self.services.pop(service, None) is None:
            return  # another operator was first
        for slot in [slot for slot in self.slots if slot.service == service]:
            slot.wanted, slot.service = False, ""
            for task in slot.tasks:
                task.desired = "shutdown"
        self.touch()
        self.settle()

    def _nodes_for(self, spec: dict[str, Any]) -> list[str]:
        constraints: list[str] = spec["TaskTemplate"]["Placement"]["Constraints"]
        for constraint in constraints:
            if constraint.startswith("node.id=="):
                return [constraint.removeprefix("node.id==")]
        managers = "node.role==manager" in constraints
        nodes = [one.name for one in self.machines.values() if one.is_manager or not managers]
        return nodes if "Global" in spec["Mode"] else nodes[: spec["Mode"]["Replicated"]["Replicas"]]

    def settle(self) -> None:
        """Make the tasks as they are wanted, as far as the leader can reach."""
        leader = self.leader
        if leader is None:
            return
        for slot in self.slots:
            machine = self.machines[slot.node]
            reachable = self.sees(leader, slot.node) and machine.engine
            current = slot.tasks[-1] if slot.tasks and slot.tasks[-1].desired == "running" else None
            if current is not None and machine.state == "down" and current.state != "pending":
                current.desired, current = "shutdown", None
            if current is not None and machine.availability == "drain":
                current.desired, current = "shutdown", None
            if current is not None and current.container is not None and not current.container.alive and reachable:
                current.state, current.desired, current = "failed", "shutdown", None
            if current is None and slot.wanted:
                if slot.kind == "operator" and (machine.state == "down" or machine.availability == "drain"):
                    slot.node = self._another(slot.node)
                    machine = self.machines[slot.node]
                    reachable = self.sees(leader, slot.node) and machine.engine
                current = Placed(id=f"t{self.site.number()}", node=slot.node, address="", created=self.site.loop.now)
                slot.tasks.append(current)
                self.touch()
            takes = reachable and machine.state == "ready" and machine.availability == "active"
            if current is not None and current.state == "pending" and takes:
                current.state, current.address = "starting", self.site.address(slot.node)
                self.site.world(self.site.draw(0.1, 0.5), self._begin, slot, current)
                self.touch()
            for task in slot.tasks if current is None else slot.tasks[:-1]:
                if task.container is not None and task.container.alive and reachable and not task.stopping:
                    task.stopping = True
                    self.site.world(self.site.draw(0.0, self.stop_lag), self._stop, task)
                elif task.state == "running" and reachable and (task.container is None or not task.container.alive):
                    task.state = "shutdown"
                    self.touch()

    def _another(self, node: str) -> str:
        """Where an operator goes whose node is lost: operators are pinned to managers only."""
        fit = [
            one.name
            for one in self.machines.values()
            if one.is_manager and one.state == "ready" and one.availability == "active"
        ]
        taken = [slot.node for slot in self.slots if slot.kind == "operator"]
        return min(fit, key=lambda name: (taken.count(name), name), default=node)

    def _begin(self, slot: Slot, task: Placed) -> None:
        """The node starts the container."""
        machine = self.machines[slot.node]
        if not machine.up or task.desired != "running" or task.container is not None:
            task.state = "failed" if task.container is None else task.state
            if task.container is None and task.desired == "running":
                task.desired = "shutdown"
            self.site.world(0.5, self.settle)
            return
        task.state = "running"
        task.container = self.site.spawn(slot, task)
        self.touch()

    def _stop(self, task: Placed) -> None:
        task.stopping = False
        if task.container is not None and task.container.alive and self.machines[task.node].up:
            task.stopping = True
            task.container.end()

    def ended(self, container: object) -> None:
        """A container has ended by itself: its node says so, and the leader replaces it."""
        self.site.world(self.site.draw(0.05, 0.3), self.settle)

    def _turn(self) -> None:
        """The dispatcher's look at its nodes."""
        self.site.world(0.5, self._turn)
        leader, now = self.leader, self.site.loop.now
        if leader is None:
            return
        changed = False
        for one in self.machines.values():
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
