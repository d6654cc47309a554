"""A whole cluster in virtual time: members, a store with compare-and-set, operators that run the real plan.

Everything that a network and Swarm's store may do happens by chance and by seed: messages are lost, late and
repeated; reads of the store are sometimes old; a write that succeeded may look failed; links are cut in any pair.
`check.py` looks on and knows what must never happen.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pgswarm import settings
from pgswarm.core import plan as plan_
from pgswarm.core.claim import Incarnation, application_name
from pgswarm.core.orders import Order, OrderMessage
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data, MemberReport, Role, Serving
from pgswarm.core.sightings import Sighting
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import AskPromise, Plan, ReadRecord, SendOrder, WriteRecord
from pgswarm.core.swarmview import Network, Secret, SwarmView
from pgswarm.core.wish import Wish
from pgswarm.core.world import Told, Unknown, World
from tests.scenarios.check import Check
from tests.scenarios.members import Member, follow_duty, holders

TICK = 0.1
HEARTBEAT = 0.5

SWARM = SwarmView(
    networks=tuple(Network(name=name, id=name, scope="swarm") for name in (settings.CONTROL_NETWORK, "webnet")),
    secrets=tuple(Secret(id=n, name=n) for n in (settings.CONTROL_SECRET, "main-owner", "main-replication")),
)


@dataclass
class Store:
    """Swarm's store: writes are compare-and-set, reads may be old."""

    rng: random.Random
    history: list[Record] = field(default_factory=list)
    down_until: float = 0.0
    unruly: bool = True

    @property
    def record(self) -> Record | None:
        return self.history[-1] if self.history else None

    def read(self, now: float) -> Record | Unknown | None:
        if now < self.down_until:
            return Unknown(why="no leader")
        if self.unruly and self.rng.random() < 0.1 and len(self.history) > 1:
            return self.history[max(0, len(self.history) - self.rng.randint(1, 4))]
        return self.record

    def write(self, record: Record, now: float) -> bool:
        """True if it is known to have succeeded."""
        seen = self.record.revision if self.record else 0
        if now < self.down_until or not self.may_write(record, seen):
            return False
        self.history.append(record)
        return not (self.unruly and self.rng.random() < 0.05)

    def may_write(self, record: Record, seen: int) -> bool:
        return record.revision == seen + 1


@dataclass
class Operator:
    """One operator: what it remembers between two passes."""

    name: str
    rng: random.Random
    document: PostgresCluster
    places: tuple[Place, ...]
    record: Record | Unknown | None = None
    read_at: float = 0.0
    awake_since: float = 1000.0
    asleep_until: float = 0.0
    sightings: dict[str, Sighting[MemberReport]] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    absent_since: dict[Incarnation, float] = field(default_factory=dict)
    not_serving_since: float | None = None
    plan: Plan = field(default_factory=Plan)

    def restart(self, now: float) -> None:
        self.record, self.read_at, self.awake_since = None, 0.0, now
        self.sightings, self.told, self.absent_since, self.not_serving_since = {}, {}, {}, None

    def hear(self, report: MemberReport, now: float) -> None:
        before = self.sightings.get(report.member)
        known = before.report if before else None
        if known and (int(known.boot), known.sequence) >= (int(report.boot), report.sequence):
            return
        self.sightings[report.member] = Sighting(address="x", report=report, heard_at=now, connected=True, why="")
        record = self.record
        if not isinstance(record, Record) or report.incarnation != record.primary:
            return
        if report.serving is Serving.PRIMARY:
            self.not_serving_since = None
        elif self.not_serving_since is None:
            self.not_serving_since = now
        streams = {row.name for row in report.walsenders}
        named = {*record.claim.members, *record.sync.names} - {record.primary}
        absent = {name for name in named if application_name(name, record.term) not in streams}
        self.absent_since = {name: self.absent_since.get(name, now) for name in absent}

    def hear_end(self, member: str, now: float) -> None:
        known = self.sightings.get(member)
        if known is not None and known.connected:
            self.sightings[member] = replace(known, connected=False, closed_at=now, why="closed")

    def world(self, now: float) -> World:
        return World(
            cluster="main",
            document=self.document,
            stored=True,
            record=self.record,
            record_read_at=self.read_at,
            swarm=SWARM,
            places=self.places,
            addresses={place.member: "10.0.0.1" for place in self.places},
            members=dict(self.sightings),
            absent_since=dict(self.absent_since),
            not_serving_since=self.not_serving_since,
            told=dict(self.told),
            awake_since=self.awake_since,
            wall=now,
            fresh_id=f"{self.rng.getrandbits(32):08x}",
        )


@dataclass
class Cluster:
    """The members, the operators and what is between them."""

    seed: int
    size: int
    operators_: int = 1
    durability: str = "preferred"
    now: float = 1000.0
    unruly: bool = True
    clients: bool = True

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        names = [f"pg-{n}" for n in range(1, self.size + 1)]
        self.members = {name: Member(name, self.rng) for name in names}
        places = tuple(Place(member=n, node_id=n, node_name=n, volume=n) for n in names)
        self.document = PostgresCluster.model_validate(
            {
                "apiVersion": "pgswarm/v1",
                "kind": "PostgresCluster",
                "metadata": {"name": "main"},
                "spec": {"instances": self.size, "detectionTimeout": "1s", "durability": self.durability},
            }
        )
        self.operators = [Operator(f"op{n}", self.rng, self.document, places) for n in range(self.operators_)]
        self.store = Store(self.rng)
        self.check = Check(self.members, self.store)
        self.cuts: set[frozenset[str]] = set()
        self.mail: list[tuple[float, Callable[[], None]]] = []
        self.spoken: dict[str, tuple[object, float]] = {}
        self.commits = 0

    def linked(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self.cuts

    def tick(self) -> None:
        self.now += TICK
        self._deliver()
        for member in self.members.values():
            if not member.alive and self.now >= member.back_at:
                member.alive = True
            order = member.bound
            upstream = order.primary.partition("/")[0] if order else member.name
            was = member.ident
            follow_duty(member, self.members, self.linked(member.name, upstream), self.now)
            self.check.directory(member, was)
        self._end_streams()
        self._write_and_acknowledge()
        self._speak()
        for operator in self.operators:
            if self.now >= operator.asleep_until:
                self._pass(operator)
        self.check.look(self.now)

    # the network

    def later(self, act: Callable[[], None], *ends: str) -> None:
        """Deliver a message, or lose it, or deliver it twice."""
        copies = 1
        if self.unruly:
            copies = self.rng.choices((0, 1, 2), (5, 90, 5))[0]
        for _ in range(copies):
            delay = self.rng.choice((0.0, 0.05, 0.3, 4.0)) if self.unruly and self.rng.random() < 0.3 else 0.0

            def arrive() -> None:
                if self.linked(*ends):
                    act()

            self.mail.append((self.now + delay, arrive))

    def _deliver(self) -> None:
        due = [item for item in self.mail if item[0] <= self.now]
        self.mail = [item for item in self.mail if item[0] > self.now]
        if self.unruly:
            self.rng.shuffle(due)
        for _, act in due:
            act()

    def _speak(self) -> None:
        for member in self.members.values():
            if not member.alive:
                self.spoken.pop(member.name, None)
                for operator in self.operators:
                    if self.linked(operator.name, member.name) and self.now >= operator.asleep_until:
                        operator.hear_end(member.name, self.now)
                continue
            report = member.report()
            content = report.model_copy(update={"sequence": 0})
            said, at = self.spoken.get(member.name, (None, 0.0))
            if said == content and self.now - at < HEARTBEAT:
                continue
            self.spoken[member.name] = (content, self.now)
            for operator in self.operators:
                if self.now >= operator.asleep_until:
                    self.later(lambda to=operator, it=report: to.hear(it, self.now), operator.name, member.name)  # type: ignore[misc]

    def _end_streams(self) -> None:
        """A walsender outlives its stream for a while; what it has counted was flushed."""
        for primary in self.members.values():
            for name in list(primary.flushed):
                streams = any(
                    m.alive
                    and m.ident is not None
                    and m.upstream == primary.ident
                    and application_name(m.ident, m.upstream_term) == name
                    for m in self.members.values()
                )
                if not streams and self.rng.random() < 0.4:
                    del primary.flushed[name]

    # clients

    def _write_and_acknowledge(self) -> None:
        for member in self.members.values():
            if not member.reigns or not member.syncs:
                continue
            if self.clients and member.clients and self.rng.random() < 0.5:
                self.commits += 1
                member.log.append((member.timeline, self.commits))
                member.pending.append(len(member.log))
            waiting = []
            for lsn in member.pending:
                if any(holders(member, sync, term, lsn) >= sync.k for sync, term in member.syncs):
                    self.check.acknowledged(member, member.log[lsn - 1])
                else:
                    waiting.append(lsn)
            member.pending = waiting

    # operators

    def _pass(self, operator: Operator) -> None:
        if self.now - operator.read_at > 1.0 or isinstance(operator.record, Unknown):
            self._read(operator)
        operator.plan = plan_.plan(operator.world(self.now), self.now)
        for step in operator.plan.steps:
            match step:
                case ReadRecord():
                    self._read(operator)
                case WriteRecord(record=record):
                    before = self.store.record
                    known = self.store.write(record, self.now)
                    if self.store.record is not before:
                        self.check.written(before, record)
                    if known:
                        operator.record, operator.read_at = record, self.now
                    else:
                        self._read(operator)
                case AskPromise(member=name, term=term, prepare=prepare):
                    self.later(lambda n=name, t=term, p=prepare: self._ask(n, t, p), operator.name, name)  # type: ignore[misc]
                case SendOrder(member=name, message=message, digest=digest):
                    self.check.ordered(message.order)
                    self.later(
                        lambda o=operator, n=name, m=message, d=digest: self._order(o, n, m, d),  # type: ignore[misc]
                        operator.name,
                        name,
                    )
                case _:
                    raise AssertionError(f"not in this model: {step}")

    def _read(self, operator: Operator) -> None:
        operator.record, operator.read_at = self.store.read(self.now), self.now

    def _ask(self, name: str, term: int, prepare: bool) -> None:
        member = self.members[name]
        if not member.alive:
            return
        if prepare:
            member.make_ready(term, self.now)
            return
        if member.yields == term:  # a fast shutdown sends what it still has to whoever streams
            for other in self.members.values():
                if other.alive and other.upstream == member.ident and self.linked(name, other.name):
                    other.log.extend(member.log[len(other.log) :])
        member.hear_promise(term, self.now)

    def wish(self, kind: str, to: str | None = None, *, dead: tuple[str, ...] = (), within: float = 30.0) -> None:
        """A person writes a wish into the record."""
        record = self.store.history[-1]
        fields = {"id": f"w{len(self.store.history)}", "kind": kind, "term": record.term, "to": to, "dead": dead}
        wish = Wish.model_validate({**fields, "by": "ann", "until": self.now + within})
        self.store.history.append(record.amended(f"{wish} asked for", wish=wish))

    def _order(self, operator: Operator, name: str, message: OrderMessage, digest: str) -> None:
        member = self.members[name]
        if not member.alive:
            return
        order: Order = message.order
        accepted, reason = member.hear_order(order, self.now)
        if not (self.unruly and self.rng.random() < 0.1):
            operator.told[name] = Told(digest=digest, accepted=accepted, reason=reason, at=self.now)

    @property
    def at_rest(self) -> bool:
        """As the document says: everyone streams and is counted, clients are served."""
        record = self.store.record
        if record is None:
            return False
        primary = self.members[record.primary_member]
        wanted = {m.ident for m in self.members.values()}
        return (
            primary.reigns
            and primary.clients
            and primary.ident == record.primary
            and all(m.alive and m.data is Data.READY for m in self.members.values())
            and all(m.role is Role.STANDBY for m in self.members.values() if m is not primary)
            and set(record.claim.members) == wanted
            and record.claim.r == min(2, self.size)
        )
