"""What goes wrong: every fault that a scenario can name and a history can draw.

A fault is a method of `Faults`, named by what happens, and says so in the transcript. Those that last are undone by
another method, and all of them by `calm`. `draw` begins one at random, with the weights of the history's theme, and
sees to it that it ends: short troubles and long ones, one at a time and several, so that each window of the protocol
is met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgswarm.core.disk import Room
from pgswarm.sim import wishes
from pgswarm.sim.container import Container
from pgswarm.sim.streaming import freeze

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

WEIGHTS: dict[str, int] = {
    "kill_container": 12, "kill_postgres": 10, "freeze_agent": 4, "freeze_postgres": 4, "freeze_node": 3,
    "cut": 8, "cut_one_way": 6, "isolate": 8, "slow_link": 4, "power_off": 6, "whole_site": 2,
    "raft_leader": 4, "depose": 3, "no_quorum": 3, "engine": 2, "drain": 2, "kill_operator": 6, "freeze_operator": 4,
    "kill_router": 2, "lose_volume": 4, "fill_disk": 3, "slow_disk": 4, "checkpoint": 8, "stop_container": 4,
    "needless_ballot": 4, "recycle": 2, "switchover": 8, "forced_failover": 2, "accept_loss": 2, "change_durability": 2,
}  # fmt: skip

THEMES: dict[str, tuple[str, ...]] = {
    "mixed": tuple(WEIGHTS),
    "partitions": ("cut", "cut_one_way", "isolate", "slow_link", "freeze_node", "kill_postgres", "no_quorum"),
    "crashes": ("kill_container", "kill_postgres", "stop_container", "whole_site", "power_off", "slow_disk"),
    "store": ("raft_leader", "depose", "no_quorum", "engine", "kill_operator", "freeze_operator", "kill_postgres"),
    "volumes": ("lose_volume", "fill_disk", "slow_disk", "kill_container", "isolate", "recycle", "kill_postgres"),
    "arming": ("checkpoint", "kill_postgres", "kill_container", "cut", "isolate", "freeze_postgres"),
    "pauses": ("freeze_agent", "freeze_postgres", "freeze_node", "freeze_operator", "kill_container", "isolate"),
    "hand-overs": ("switchover", "kill_container", "kill_operator", "freeze_operator", "cut", "raft_leader",
                   "freeze_agent"),
    "laggards": ("slow_link", "slow_disk", "kill_postgres", "isolate", "needless_ballot", "freeze_postgres"),
    "given up": ("power_off", "isolate", "lose_volume", "accept_loss", "cut", "kill_postgres", "freeze_node"),
    "operators": ("kill_operator", "freeze_operator", "cut", "isolate", "kill_container", "needless_ballot", "depose"),
}  # fmt: skip


class Faults:
    """Hands that break one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    # Members

    def kill_container(self, member: str) -> None:
        """SIGKILL to the agent, and so the end of PostgreSQL; Swarm starts another container."""
        self._say(f"the container of {member} is killed")
        for container in self._site.containers[member]:
            container.kill()

    def stop_container(self, member: str) -> None:
        """SIGTERM: an orderly shutdown."""
        container = self._site.container(member)
        if container is not None:
            self._say(f"the container of {member} is told to stop")
            container.end()

    def kill_postgres(self, member: str) -> None:
        """SIGKILL to the postmaster."""
        container = self._site.container(member)
        if container is not None and container.postgres.process.alive:
            container.postgres.crash()

    def freeze_agent(self, member: str, *, postgres: bool = False) -> None:
        """SIGSTOP to the agent alone, or to its PostgreSQL as well."""
        container = self._site.container(member)
        if container is not None:
            self._say(f"the agent of {member} is frozen" + (", PostgreSQL too" if postgres else ""))
            container.agent.process.freeze()
            if postgres:
                freeze(container.postgres)

    def freeze_postgres(self, member: str) -> None:
        """SIGSTOP to PostgreSQL alone."""
        container = self._site.container(member)
        if container is not None:
            self._say(f"PostgreSQL of {member} is frozen")
            freeze(container.postgres)

    def thaw(self, member: str) -> None:
        """SIGCONT to both."""
        for container in self._site.containers[member]:
            for process in (container.agent.process, container.postgres.process):
                if process.frozen:
                    self._say(f"{process.name} goes on")
                    process.thaw(self._site.rng.shuffle)

    def lose_volume(self, member: str) -> None:
        """The disk is replaced by an empty one."""
        self._say(f"{member} loses its volume")
        self._site.ledger.volume_lost(member)
        for container in self._site.containers[member]:
            container.kill()
        self._site.volumes[member].lose()

    def fill_disk(self, member: str, room: Room = Room.SPENT) -> None:
        self._say(f"the disk of {member} is {room.value}")
        self._site.volumes[member].fill(room)

    def slow_disk(self, member: str, seconds: float = 0.3) -> None:
        """Every fsync may take so much longer."""
        self._say(f"the disk of {member} is slow" if seconds else f"the disk of {member} is quick again")
        self._site.volumes[member].slow = seconds

    def busy_checkpointer(self, member: str, seconds: float) -> None:
        """A checkpoint is written: the shared flag changes when it is over (C12)."""
        self._say(f"a checkpoint of {member} takes {seconds:.1f} s")
        self._site.busy[member] = self._site.loop.now + seconds

    def recycle(self, member: str) -> None:
        """A member throws away old log, as far as its slots allow."""
        container = self._site.container(member)
        if container is not None and container.postgres.is_primary:
            keep, self._site.wal_keep = self._site.wal_keep, 3
            container.postgres.checkpoint()
            self._site.wal_keep = keep
            self._say(f"{member} keeps its log from {container.volume.kept_from} on")

    # Network and nodes

    def cut(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Nothing gets from `one` to `other`, nor back unless it is one way only."""
        if one == other:
            return
        self._say(f"cut: {one} {'→' if one_way else '↔'} {other}")
        self._site.network.cut(one, other)
        if not one_way:
            self._site.network.cut(other, one)
        self._links_changed()

    def isolate(self, node: str) -> None:
        """A node is cut off from all others."""
        self._say(f"{node} is cut off")
        for other in self._site.swarm.machines:
            self._site.network.cut(node, other)
            self._site.network.cut(other, node)
        self._links_changed()

    def heal(self, one: str, other: str) -> None:
        self._say(f"healed: {one} ↔ {other}")
        self._site.network.heal(one, other)
        self._site.network.heal(other, one)
        self._links_changed()

    def heal_all(self) -> None:
        if not self._site.network.is_whole:
            self._say("the network is whole")
        self._site.network.heal_all()
        self._links_changed()

    def power_off(self, node: str) -> None:
        """A machine is gone at once, and nobody says so."""
        site = self._site
        if not site.swarm.machines[node].up:
            return
        self._say(f"{node} loses its power")
        machine = site.swarm.machines[node]
        machine.up, machine.boot = False, machine.boot + 1
        machine.offset = -machine.rate * site.loop.now  # its clock begins anew
        for one in self._living(node):
            one.kill()
        site.swarm.judge()

    def power_on(self, node: str) -> None:
        machine = self._site.swarm.machines[node]
        if not machine.up and not machine.removed:
            self._say(f"{node} is up again")
            machine.up = True
            self._site.swarm.judge()

    def freeze_node(self, node: str) -> None:
        """SIGSTOP to everything of ours on a node."""
        self._say(f"everything on {node} is frozen")
        for one in self._living(node):
            one.process.freeze()
            if isinstance(one, Container):
                freeze(one.postgres)

    def thaw_all(self) -> None:
        for one in self._site.everyone:
            processes = [one.process, one.postgres.process] if isinstance(one, Container) else [one.process]
            for process in processes:
                if process.frozen:
                    process.thaw(self._site.rng.shuffle)

    # Swarm

    def drain(self, node: str, drained: bool = True) -> None:
        self._say(f"{node} is {'drained' if drained else 'active again'}")
        self._site.swarm.machines[node].availability = "drain" if drained else "active"
        self._site.swarm.touch()
        self._site.swarm.settle()

    def stop_engine(self, node: str, stopped: bool = True) -> None:
        """dockerd does not answer; containers go on."""
        self._say(f"dockerd on {node} {'hangs' if stopped else 'answers again'}")
        self._site.swarm.machines[node].engine = not stopped
        self._site.swarm.settle()

    def lose_raft_leader(self) -> None:
        """The manager that leads loses its power."""
        if self._site.swarm.leader is not None:
            self.power_off(self._site.swarm.leader)

    # Operators and routers

    def kill_operator(self, number: int = 0) -> None:
        if any(one.alive for one in self._site.operators):
            operator = self._site.operator(number)
            self._say(f"operator {operator.name} is killed")
            operator.kill()

    def freeze_operator(self, number: int = 0) -> None:
        if any(one.alive for one in self._site.operators):
            operator = self._site.operator(number)
            self._say(f"operator {operator.name} is frozen")
            operator.process.freeze()

    def kill_router(self, number: int = 0) -> None:
        living = [one for one in self._site.routers if one.alive]
        if living:
            router = living[number % len(living)]
            self._say(f"{router.name} is killed")
            router.kill()

    # By chance

    def draw(self, theme: str) -> None:
        """Begin one fault, and see to it that it ends."""
        rng = self._site.rng
        kinds = THEMES[theme]
        kind = rng.choices(kinds, [WEIGHTS[one] for one in kinds])[0]
        self._site.count(f"fault: {kind}")
        longer = (14.0, 25.0) if self._site.shape.durability == "async" else ()
        self._begin(kind, rng.choice((0.4, 1.5, 4.0, 9.0, *longer)))

    def _begin(self, kind: str, lasting: float) -> None:
        site, rng = self._site, self._site.rng
        machines = list(site.swarm.machines)
        one, other = rng.sample(machines, 2) if len(machines) > 1 else (machines[0], machines[0])
        record = site.record
        primary = record.primary_member if record else next(iter(site.volumes))
        member = primary if rng.random() < 0.5 else rng.choice(list(site.volumes))
        match kind:
            case "kill_container":
                self.kill_container(member)
            case "stop_container":
                self.stop_container(member)
            case "kill_postgres":
                self.kill_postgres(member)
            case "freeze_agent":
                self.freeze_agent(member, postgres=rng.random() < 0.3)
                self._later(lasting, self.thaw, member)
            case "freeze_postgres":
                self.freeze_postgres(member)
                self._later(lasting, self.thaw, member)
            case "freeze_node":
                self.freeze_node(one)
                self._later(lasting, self.thaw_all)
            case "cut" | "cut_one_way":
                self.cut(one, other, one_way=kind == "cut_one_way")
                self._later(lasting, self.heal, one, other)
            case "isolate":
                self.isolate(self._node_of(member) if rng.random() < 0.7 else one)
                self._later(lasting, self.heal_all)
            case "no_quorum":
                for node in machines:
                    self.cut(one, node)
                    self.cut(other, node)
                self._later(lasting, self.heal_all)
            case "slow_link":
                site.network.slow[(one, other)] = site.network.slow[(other, one)] = rng.choice((0.05, 0.5, 2.0))
                self._later(lasting, site.network.slow.clear)
            case "power_off":
                self.power_off(one)
                self._later(lasting, self.power_on, one)
            case "whole_site":
                for node in machines:
                    self.power_off(node)
                    self._later(lasting * rng.random(), self.power_on, node)
            case "raft_leader" if site.swarm.leader is not None:
                gone = site.swarm.leader
                self.power_off(gone)
                self._later(lasting, self.power_on, gone)
            case "depose":
                site.swarm.depose()
            case "engine":
                self.stop_engine(one)
                self._later(lasting, self.stop_engine, one, False)
            case "drain":
                self.drain(one)
                self._later(lasting, self.drain, one, False)
            case "kill_operator":
                self.kill_operator(rng.randrange(3))
            case "freeze_operator":
                self.freeze_operator(rng.randrange(3))
                self._later(lasting, self.thaw_all)
            case "kill_router":
                self.kill_router(rng.randrange(3))
            case "lose_volume":
                self.lose_volume(member)
            case "fill_disk":
                for filled in (member, *(one for one in site.volumes if one != member and rng.random() < 0.3)):
                    self.fill_disk(filled, rng.choice(list(Room)[1:]))
                    self._later(lasting, self.fill_disk, filled, Room.AMPLE)
            case "slow_disk":
                self.slow_disk(member, rng.choice((0.1, 0.5, 2.0)))
                self._later(lasting, self.slow_disk, member, 0.0)
            case "checkpoint":
                self.busy_checkpointer(member, rng.choice((0.5, 2.0, 5.0)))
            case "recycle":
                self.recycle(primary)
            case "switchover" | "forced_failover":
                wished: wishes.Kind = "switchover" if kind == "switchover" else "failover"
                self.wish(wished, rng.choice([None, *site.volumes]), within=rng.choice((2.0, 10.0)))
            case "accept_loss":
                dead = {one for one in site.volumes if not self._answers(one)} or {primary}
                if rng.random() < 0.2:
                    dead.add(rng.choice(list(site.volumes)))
                self.wish("accept-loss", None, dead=tuple(sorted(dead)), within=rng.choice((5.0, 15.0)))
            case "change_durability":
                others = ("preferred", "async") if len(site.wanted) == 1 else ("preferred", "required", "async")
                self.change_durability(rng.choice(others))
            case "needless_ballot":  # the leading operator is alone for just long enough
                self._cut_from_primary(primary, rng.choice((3.1, 3.6, 5.0)))
            case _:
                return

    def _cut_from_primary(self, primary: str, lasting: float) -> None:
        node, operators = self._node_of(primary), [one.node for one in self._site.operators if one.alive]
        for other in operators:
            self.cut(other, node)
            self._later(lasting, self.heal, other, node)

    def wish(self, kind: wishes.Kind, to: str | None, *, dead: tuple[str, ...] = (), within: float = 10.0) -> None:
        """No fault, but a person in the middle of them: asks for another primary, if nobody has."""
        record = self._site.record
        if record is not None and record.wish is None:
            wishes.wish(self._site, kind, to, dead=dead, within=within)

    def change_durability(self, durability: str) -> None:
        """A person edits the document."""
        document = self._site.document
        if document is not None and document.spec.durability != durability:
            spec = document.spec.model_copy(update={"durability": durability})
            self._say(f"durability shall be {durability}")
            self._site.edit(document.model_copy(update={"spec": spec}))

    def calm(self) -> None:
        """Undo everything that lasts."""
        site = self._site
        site.unruly = site.network.unruly = False
        site.network.heal_all()
        site.busy.clear()
        self.thaw_all()
        for volume in site.volumes.values():
            volume.fill(Room.AMPLE, slow=0.0)
        for machine in site.swarm.machines.values():
            machine.up, machine.engine = not machine.removed, True  # one that was thrown away stays away
            machine.availability = "active"
        self._say("the faults are over")
        site.swarm.touch()
        site.swarm.judge()

    # Helpers

    def _later(self, seconds: float, undo: Any, *args: Any) -> None:
        self._site.world(seconds, undo, *args)

    def _answers(self, member: str) -> bool:
        """Would its agent answer a person at the first living operator's node?"""
        site, container = self._site, self._site.container(member)
        if container is None or not container.alive or not container.process.runs or not site.is_up(container.node):
            return False
        here = next((one.node for one in site.operators if one.alive), container.node)
        return site.network.both_ways(here, container.node)

    def _node_of(self, member: str) -> str:
        nodes = [slot.node for slot in self._site.swarm.slots if slot.member == member]
        return nodes[-1] if nodes else next(iter(self._site.swarm.machines))

    def _living(self, node: str) -> list[Any]:
        return [one for one in self._site.everyone if one.node == node]

    def _links_changed(self) -> None:
        for containers in self._site.containers.values():
            for container in containers:
                container.postgres.link_was_cut()
        self._site.swarm.judge()

    def _say(self, what: str) -> None:
        self._site.story("FAULT", what, key=True)
