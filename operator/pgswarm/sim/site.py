"""A whole site in virtual time: nodes, Swarm, operators, members, routers, clients, and the network between them.

`Site` holds the parts together and knows where everything is; it decides nothing. A site is made from a `Shape` and a
seed, and everything that happens by chance in it is drawn from that seed, so that a seed is a history.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loguru import logger

from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Data, Role, Serving
from pgswarm.core.reports import Postgres as State
from pgswarm.core.spec import PostgresCluster
from pgswarm.sim import calls, founding
from pgswarm.sim import telling as told
from pgswarm.sim.client import Client
from pgswarm.sim.clock import BEGINNING, Process, Timer, VirtualLoop
from pgswarm.sim.container import Container
from pgswarm.sim.disks import Disks
from pgswarm.sim.ledger import Ledger
from pgswarm.sim.network import Network
from pgswarm.sim.operator import Operator
from pgswarm.sim.postgres import Postgres
from pgswarm.sim.router import Router
from pgswarm.sim.swarm import Machine, Swarm
from pgswarm.sim.tasks import Placed, Slot
from pgswarm.sim.transcript import Transcript
from pgswarm.sim.volume import Volume
from pgswarm.wire import MEMBER_PORT, OPERATOR_PORT, ConsentRequest

SETTLED = 8.0
"""Seconds after which a tenure that changed hands will stay where it is, if nothing happens: two readings and more."""

RARELY = 0.04
"""How often something takes far longer than usual, in an unruly site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What kind of site it is."""

    members: int = 2
    operators: int = 1
    nodes: int = 3
    managers: int = 3
    durability: str = "preferred"
    detection: str = "3s"
    clients: int = 1
    pace: float = 0.25  # seconds between two commits of one client
    born: bool = True  # False: it begins with empty volumes
    steady: bool = False  # everything takes as long as it usually does, and nothing is left to chance
    drift: float = 0.0  # how far clocks may run faster or slower than the world's
    lag: str = "16MB"  # maxLagOnFailover; a place in the log counts a byte here


class Site:
    """Everything there is."""

    cluster = "main"

    def __init__(self, seed: int, shape: Shape) -> None:
        self.seed, self.shape = seed, shape
        self.rng = random.Random(seed)
        self.loop = VirtualLoop()
        self.transcript = Transcript(BEGINNING)
        self.seen: Counter[str] = Counter()
        self.unruly = self.closing = False
        self.edited = False
        self.edited_at = 1.0
        self.wal_keep = 1 << 40
        self.busy: dict[str, float] = {}  # until when a member's checkpointer looks at nothing else
        self.ledger = Ledger(self)
        self.network = Network(self.loop, self.rng, steady=shape.steady)
        names = [f"n{number}" for number in range(1, shape.nodes + 1)]
        self.swarm = Swarm(self, [Machine(name, is_manager=i < shape.managers) for i, name in enumerate(names)])
        clocks = random.Random(f"clocks {seed}")
        for machine in self.swarm.machines.values():
            machine.rate = 1.0 + shape.drift * (2.0 * clocks.random() - 1.0)
            machine.offset = float(clocks.randrange(0, 100_000))
        self.document: PostgresCluster | None = founding.document(shape)
        self.disks = Disks(self.cluster)
        self.disks.wanted(self.document)
        self.volumes: dict[str, Volume] = self.disks.now
        self.places: dict[str, Any] = {}  # address → whoever lived there last
        self.operators: list[Operator] = []
        self.routers: list[Router] = []
        self.containers: dict[str, list[Container]] = {name: [] for name in self.volumes}
        self._nodes: dict[str, str] = {}
        self._refusing: dict[str, bool] = {}
        self._numbers = self._commits = 0
        founding.found(self)
        self.clients = [
            Client(self, f"client-{i + 1}", names[i % len(names)], shape.pace) for i in range(shape.clients)
        ]

    def run(self, seconds: float) -> None:
        """Let time pass. Raises Violation if something must not have happened."""
        with self._chance():
            self.loop.run_for(seconds)

    def close(self) -> None:
        """End every task, so that nothing is left of this site."""
        self.loop.failure, self.closing = None, True
        with self._chance():
            for operator in self.operators:
                operator.kill()
            self.loop.later(0.001, self.loop.stop)
            self.loop.run_forever()
        self.loop.failure = None
        self.loop.close()

    @contextmanager
    def _chance(self) -> Iterator[None]:
        """What the real code draws by chance is drawn from the seed."""
        token, clock = secrets.token_hex, time.time
        secrets.token_hex = lambda nbytes=None: f"{self.rng.getrandbits(8 * (nbytes or 4)):0{2 * (nbytes or 4)}x}"
        time.time = lambda: self.loop.now
        try:
            yield
        finally:
            secrets.token_hex, time.time = token, clock

    # Story

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.loop.now - BEGINNING

    def story(self, who: str, what: str, *, key: bool = False) -> None:
        self.transcript.say(self.loop.now, who, what, key=key)

    def count(self, what: str) -> None:
        self.seen[what] += 1

    # Chance

    def draw(self, low: float, high: float, *, rare: float | None = None) -> float:
        """How long something takes."""
        if rare is not None and self.unruly and self.rng.random() < RARELY:
            return high + (rare - high) * self.rng.random()
        return low + (high - low) * (0.5 if self.shape.steady else self.rng.random())

    def checkpointer(self, member: str) -> float:
        """Seconds until the checkpointer looks at its settings: in the middle of a checkpoint, late (C12)."""
        wait = self.draw(0.001, 0.01, rare=4.0)
        wait = max(wait, self.busy.get(member, 0.0) - self.loop.now)
        if wait > 0.3:
            self.count("shared flag late")
        return wait

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def commit_number(self) -> int:
        self._commits += 1
        return self._commits

    def process(self, name: str, node: str = "") -> Process:
        """A new process, with a clock of its own; `node`: with the clock of that node, which outlives it."""
        drift = self.shape.drift
        rate = 1.0 + drift * (2.0 * self.rng.random() - 1.0) if drift else 1.0
        offset = float(self.rng.randrange(0, 100_000))
        if node:
            rate, offset = self.swarm.machines[node].rate, self.swarm.machines[node].offset
        return Process(self.loop, name, rate=rate, offset=offset)

    def world(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Something that no process does by itself."""
        return self.loop.later(seconds, fn, *args)

    # Where things are

    @property
    def record(self) -> Record | None:
        stored = self.swarm.store.get(self.cluster)
        return stored.record if stored else None

    def is_up(self, node: str) -> bool:
        return self.swarm.machines[node].up

    def node_of(self, address: str) -> str:
        return self._nodes[address]

    def endpoint(self, address: str, port: int) -> Any:
        """Whoever listens there."""
        found = self.places.get(address)
        if found is None or not found.alive or not self.is_up(found.node):
            return None
        expected = Container if port == MEMBER_PORT else Operator if port == OPERATOR_PORT else Router
        return found if isinstance(found, expected) else None

    def refuses(self, address: str) -> bool:
        """Does a kernel say that nobody listens there? A container that is gone has no kernel that would."""
        return self.is_up(self._nodes[address]) and self._refusing.setdefault(address, self.rng.random() < 0.5)

    def postgres_at(self, address: str, here: str) -> Postgres | None:
        """The postgres at an address, if it can be reached from a node."""
        found = self.places.get(address)
        if not isinstance(found, Container) or not found.alive or not self.is_up(found.node):
            return None
        return found.postgres if self.network.both_ways(here, found.node) else None

    def ask_report(self, here: str, address: str, reply: Callable[[Any], object]) -> None:
        calls.ask_report(self, here, address, reply)

    def ask_consent(self, here: str, address: str, request: ConsentRequest, reply: Callable[[Any], object]) -> None:
        calls.ask_consent(self, here, address, request, reply)

    def members_alias(self, here: str) -> list[str]:
        """What the name of all members resolves to: running containers, and some that were."""
        return [address for address, one in self.places.items() if isinstance(one, Container) and one.alive]

    @property
    def wanted(self) -> list[str]:
        """The members that the document names."""
        return [one.name for one in self.document.instances()] if self.document else []

    def container(self, member: str) -> Container | None:
        """The container that lives on the member's volume now."""
        return self.volumes[member].holder

    def operator(self, number: int) -> Operator:
        """The number-th living operator."""
        living = [one for one in self.operators if one.alive]
        return living[number % len(living)]

    def edit(self, document: PostgresCluster) -> None:
        """A person saves the document's file; every operator that watches it finds it so."""
        self.document, self.edited, self.edited_at = document, True, self.edited_at + 1.0
        self.disks.wanted(document)
        for one in document.instances():
            self.containers.setdefault(one.name, [])
        self.story("ann", "edits the document", key=True)
        for operator in self.operators:
            if operator.alive:
                operator.found(document, self.edited_at)

    @property
    def everyone(self) -> list[Any]:
        """Every container of ours that is alive."""
        members: list[Any] = [one for containers in self.containers.values() for one in containers]
        return [one for one in (*members, *self.operators, *self.routers) if one.alive]

    def cut_sessions(self, postgres: Postgres, why: str) -> None:
        for router in self.routers:
            for session in router.sessions:
                session.over = session.over or session.postgres is postgres

    @staticmethod
    def image(reference: str) -> str:
        return f"{reference}@sha256:0"

    # Containers

    def address(self, node: str) -> str:
        """An address for a new container; now and then one that another has just left."""
        free = [at for at, one in self.places.items() if not one.alive and self._nodes[at] == node]
        if self.unruly and free and self.rng.random() < 0.15:
            self.count("address given to another")
            del self.places[free[-1]]  # nobody is there until the new one has started
            return free[-1]
        address = f"10.{node[1:]}.{self.number()}"
        self._nodes[address] = node
        return address

    def spawn(self, slot: Slot, task: Placed) -> Any:
        """Start the container of a task."""
        node, address = slot.node, task.address
        made: Any
        if slot.kind == "member":
            volume = self.disks.of_service(self.swarm.spec(slot.service), slot.member, self.record)
            made = Container(self, slot.member, node, address, volume, task.id)
            if any(one.alive and one.volume is volume for one in self.containers[slot.member]):
                self.count("two containers on one volume")
                self.story(slot.member, "a second container starts on its volume", key=True)
            self.containers[slot.member] = [one for one in self.containers[slot.member] if one.alive]
            self.containers[slot.member].append(made)
        elif slot.kind == "operator":
            made = Operator(self, f"pgswarm_operator.{slot.number}.{task.id}", node, address)
            self.operators = [one for one in self.operators if one.alive] + [made]
        else:
            made = Router(self, f"router-{node}", node, address)
            self.routers = [one for one in self.routers if one.alive] + [made]
        self.places[address] = made
        return made

    # What the record says

    def written(self, before: Record | None, record: Record) -> None:
        self.story(
            "record",
            f"{record.term}.{record.revision} primary {record.primary_member}, {record.claim.r} of "
            f"{' '.join(sorted(name.partition('/')[0] for name in record.claim.members))}: {record.reason}",
            key=True,
        )
        if before is not None and before.wish is not None and record.wish is None and record.answered is not None:
            self.count(f"{record.answered.kind}: {'done' if record.answered.done else 'not done'}")
        self.disks.recorded(record)
        self.ledger.written(before, record)

    def unrest(self, *, settled: float = SETTLED) -> str:
        """Why the cluster is not as the document says; empty if it is. `settled`: seconds that a tenure must be old."""
        record = self.record
        if record is None or self.document is None:
            return "there is no record"
        # Who is to leave may be held back by a fence, as the only copy that is left.
        held = [name for name in record.members if name not in self.wanted] if record.fences else []
        down = [member for member in (*self.wanted, *held) if record.keeps_down(member)]
        if risen := [one for one in down if not self._is_down(one)]:
            return f"fenced, and PostgreSQL runs, or no agent does: {', '.join(risen)}"
        up = [member for member in (*self.wanted, *held) if member not in down]
        if down and len(up) == 1 and self.document.spec.durability == "required":
            return ""  # a person has insisted: writes wait, and after a crash nobody is let in
        own = self.container(record.primary_member)
        serving, why = told.serving(own.agent) if own else (Serving.NONE, "no container")
        if own is None or serving is not Serving.PRIMARY:
            return f"{record.primary} does not serve: {why}"
        for member in up:
            container = self.container(member)
            if container is None or container.agent.memory.data is not Data.READY:
                return f"{member} has no data"
            agent = container.agent
            if member != record.primary_member and (agent.role is not Role.STANDBY or not agent.streaming):
                return f"{member} does not stream ({agent.role.value}; {agent.why})"
        if set(record.members) != {*self.wanted, *held}:
            return f"the record has {', '.join(record.members)}"
        if elsewhere := told.misplaced(record, self.document):
            return elsewhere
        if replaced := self.swarm.replaced():
            return f"another container is on its way: {', '.join(replaced)}"
        for member in {place.member for place in record.departed}:
            if any(self.disks.is_left_behind(one) for one in self.containers[member]):
                return f"{member} has left, and its container lives"
            if member not in self.wanted and any(one.alive for one in self.containers[member]):
                return f"{member} has left, and its container lives"
        wanted = {self.volumes[member].memory.incarnation for member in up}
        if self.document.spec.durability == "async":
            if record.grant is not Grant.HELD:
                return f"the grant is {record.grant}"
            tenure = self.swarm.tenures.now
            if tenure is None or not tenure.holder or tenure.number != record.grantor:
                return f"nobody grants: {tenure}"
            if self.loop.now - self.swarm.tenures.changed_at < settled:
                return f"tenure {tenure.number} has just changed hands"
            wanted = {record.primary}
        elif record.grant is not Grant.NONE:
            return f"the grant is {record.grant}"
        if set(record.claim.members) != wanted or record.claim.r != min(2, len(wanted)):
            return f"the claim is {record.claim}"
        if len(wanted) > 1 and {record.primary, *record.sync.names} != wanted:
            return f"commits wait for {record.sync}"
        if self.swarm.leader is None or not any(one.alive for one in self.operators):
            return "there is no operator, or nobody leads Swarm"
        for operator in self.operators:
            if operator.alive and not operator.is_informed:
                return f"{operator.name} has not seen Swarm lately"
        for router in self.routers:
            if router.alive and (router.write is None or router.write.address != own.address):
                return f"{router.name} does not send writers to {own.address}"
        if self._broken():
            return self._broken()
        return ""

    def _is_down(self, member: str) -> bool:
        """Is its PostgreSQL stopped, and its agent there? It may be on a node that was taken out of the Swarm."""
        container, place = self.container(member), self.record.place(member) if self.record else None
        if container is None and place is not None and self.swarm.machines[place.node_name].removed:
            return True
        return container is not None and container.postgres.state in (State.STOPPED, State.CRASHED)

    def _broken(self) -> str:
        for operator in self.operators:
            for worker in operator.house.workers.values() if operator.house else ():
                if worker.broken:
                    return worker.broken
        return ""


def log_to(site: Site) -> int:
    """Have the real code's log lines in the transcript of this site: for a replay."""

    def sink(message: Any) -> None:
        process = site.loop.current
        site.story(process.name[-14:] if process else "-", f"[log] {message.record['message']}")

    return logger.add(sink, level="INFO", filter="pgswarm", format="{message}")
