"""The half of the played Swarm that runs containers: services, the places for their tasks, and the tasks in them.

A service has a *slot* for each task that it shall have; a slot has one task that is wanted and those that were before
it. As measured: nothing is ever scheduled without a leader; a task on a node that counts as down goes on there, with
its replacement pending; what is told to end ends a little later, so that for a while two containers may run on one
volume. `swarm` is the other half, and whom everybody asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgswarm import settings
from pgswarm.core.swarmview import Service
from pgswarm.errors import Conflict

if TYPE_CHECKING:
    from pgswarm.sim.site import Site
    from pgswarm.sim.swarm import Machine

ENDED = ("failed", "shutdown")
"""States that a node reports once a container of its has ended."""


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
    updating: bool = False  # its service was changed, and the container of before has not ended yet


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

    @property
    def lives(self) -> bool:
        return self.container is not None and bool(self.container.alive)


class Tasks:
    """What runs where, and what shall."""

    site: Site
    machines: dict[str, Machine]
    leader: str | None
    stop_lag: float
    services: dict[str, Service]
    removed: set[str]
    slots: list[Slot]
    _index: int

    def sees(self, one: str, other: str) -> bool:
        raise NotImplementedError

    def touch(self) -> None:
        raise NotImplementedError

    def add_service(self, spec: dict[str, Any]) -> str:
        name: str = spec["Name"]
        if name in self.services:
            raise Conflict("there is a service of that name")
        self._index += 1
        replicas = None if "Global" in spec["Mode"] else spec["Mode"]["Replicated"]["Replicas"]
        ident = f"{name}#{self._index}" if name in self.removed else name
        self.services[name] = Service(
            id=ident, version=self._index, name=name, labels=spec["Labels"], spec=spec, replicas=replicas
        )
        labels = spec["Labels"]
        kind, member = labels[settings.LABEL_KIND], labels.get(settings.LABEL_MEMBER, "")
        for number, node in enumerate(self._nodes_for(spec), 1):
            self.slots.append(Slot(service=ident, node=node, kind=kind, member=member, number=number))
        self.touch()
        self.settle()
        return name

    def change_service(self, service: str, version: int, spec: dict[str, Any]) -> None:
        found = self._service(service)
        if found is None or found.version != version:
            raise Conflict("update out of sequence, or there is no such service")
        self._index += 1
        restarts = found.spec.get("TaskTemplate") != spec.get("TaskTemplate")
        replicas = None if "Global" in spec["Mode"] else spec["Mode"]["Replicated"]["Replicas"]
        changes = {"spec": spec, "labels": spec["Labels"], "version": self._index, "replicas": replicas}
        self.services[found.name] = found.model_copy(update=changes)
        for slot in [slot for slot in self.slots if slot.service == service]:
            slot.wanted = replicas != 0
            slot.updating = restarts  # stop-first: the new task begins when the old container has ended
            for task in slot.tasks if restarts or not slot.wanted else ():
                task.desired = "shutdown"
        self.touch()
        self.settle()

    def remove_service(self, service: str) -> None:
        """Its tasks are no longer told of; containers that can be reached are told to end."""
        if (found := self._service(service)) is None:
            return
        del self.services[found.name]
        self.removed.add(found.name)
        for slot in [slot for slot in self.slots if slot.service == service]:
            slot.wanted, slot.service = False, ""
            for task in slot.tasks:
                task.desired = "shutdown"
        self.touch()
        self.settle()

    def spec(self, service: str) -> dict[str, Any]:
        """The spec of the service with this id."""
        found = self._service(service)
        return found.spec if found is not None else {}

    def _service(self, ident: str) -> Service | None:
        found = self.services.get(ident.partition("#")[0])
        return found if found is not None and found.id == ident else None

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
            if slot.updating and (machine.state == "down" or not any(one.lives for one in slot.tasks)):
                slot.updating = False
            if current is None and slot.wanted and not slot.updating:
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

    def replaced(self) -> list[str]:
        """Members whose container of before is still to end, since their service was changed."""
        return [slot.member for slot in self.slots if slot.updating and any(one.lives for one in slot.tasks)]

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
            self.touch()
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
