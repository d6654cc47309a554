"""A member as the protocol's laws describe it, small enough to be read in one go.

The log is a list of (timeline, commit); its length is the LSN. What a crash keeps is what a real agent fsyncs: log,
promise, accepted order, incarnation. What it loses: the boot, what it heeds, streams, the sync setting in force.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pgswarm.core.claim import Incarnation, Sync, application_name, incarnation, member_of
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, InForce, MemberReport, Postgres, Role, Serving, Walsender
from pgswarm.core.wal import Position, lies_on

Entry = tuple[int, int]

YIELDS = 1.5
"""Seconds that a primary turns new clients away before it takes them again because nobody went on."""


@dataclass
class Member:
    """One agent with its PostgreSQL and volume."""

    name: str
    rng: random.Random
    alive: bool = True
    back_at: float = 0.0
    boot: int = 0
    sequence: int = 0
    # durable
    data: Data = Data.NONE
    ident: Incarnation | None = None
    log: list[Entry] = field(default_factory=list)
    timeline: int = 1
    begun: int = 0  # the timeline that was begun here as primary
    reigned: int = 0
    promised: int = 0
    order: Order | None = None
    system: str = ""
    # lost with the agent
    heeded: tuple[int, int] | None = None
    role: Role = Role.NONE
    postgres: Postgres = Postgres.STOPPED
    settled: bool = False
    unread: int = 0
    busy_until: float = 0.0
    busy_with: str = ""
    upstream: Incarnation | None = None
    upstream_term: int = 0
    flushed: dict[str, int] = field(default_factory=dict)
    leaving: dict[str, float] = field(default_factory=dict)
    syncs: list[tuple[Sync, int]] = field(default_factory=list)  # with terms; a commit may wait for any of them
    adopt_at: float = 0.0
    in_force: InForce | None = None
    clients: bool = False
    quarantine: int | None = None
    yields: int = 0  # the term for which it turns new clients away, until `yields_until`
    yields_until: float = 0.0
    pending: list[int] = field(default_factory=list)  # indexes of commits that wait for a standby

    @property
    def bound(self) -> Order | None:
        return self.order if self.order is not None and self.order.term >= self.promised else None

    @property
    def told_data(self) -> Data:
        foreign = self.order is not None and self.order.system_id not in ("", self.system)
        return Data.FOREIGN if foreign and self.data is Data.READY else self.data

    @property
    def reigns(self) -> bool:
        return self.alive and self.role is Role.PRIMARY

    def reigns_by(self, order: Order) -> bool:
        return self.role is Role.PRIMARY and order.role == "primary"

    def crash(self, now: float, away: float) -> None:
        """The container is gone, PostgreSQL with it."""
        self.alive, self.back_at = False, now + away
        self.boot += 1
        self.heeded, self.role, self.postgres = None, Role.NONE, Postgres.STOPPED
        self.settled, self.upstream, self.busy_with = False, None, ""
        self.end_reign()

    def crash_postgres(self) -> None:
        """Only PostgreSQL ends; the agent sees it at once."""
        if self.postgres is Postgres.RUNNING:
            self.role, self.postgres, self.settled, self.upstream = Role.NONE, Postgres.CRASHED, False, None
            self.end_reign()

    def end_reign(self) -> None:
        self.flushed, self.leaving, self.syncs, self.in_force = {}, {}, [], None
        self.clients, self.quarantine, self.pending, self.yields = False, None, [], 0

    def lose_volume(self, now: float, away: float) -> None:
        """Everything durable is gone, promises too."""
        self.crash(now, away)
        self.data, self.ident, self.log, self.timeline, self.begun = Data.NONE, None, [], 1, 0
        self.reigned, self.promised, self.order, self.system = 0, 0, None, ""

    def hear_order(self, order: Order, now: float) -> tuple[bool, str]:
        """Law 2 and 3: durable before it is acted upon; older, other or contradicting is refused."""
        known = self.order
        if order.term < self.promised:
            return False, f"promised {self.promised}"
        if known is not None and order.key < known.key:
            return False, f"older than {known.key}"
        if known is not None and order.key == known.key and order != known:
            raise AssertionError(f"two orders of {order.key} for {self.name} differ")
        fits = order.create or order.incarnation is None or order.incarnation == self.ident
        if not fits or (order.create and self.ident not in (None, order.incarnation)):
            return False, f"for {order.incarnation}, here is {self.ident}"
        if self.reigns_by(order) and known is not None and (known.sync, known.term) != (order.sync, order.term):
            self.syncs = [*self.syncs, (order.sync, order.term)]
            self.adopt_at = now + self.rng.choice((0.0, 0.2, 0.7))
        self.order, self.heeded = order, order.key
        self.promised = max(self.promised, order.term)
        return True, ""

    def hear_promise(self, term: int, now: float) -> bool:
        """Durable first; then it receives nothing and serves nobody. What it has is told once it is settled."""
        if term < self.promised or (self.order is not None and self.order.term >= term):
            return False
        if term > self.promised:
            self.promised = term
            self.fence(now)
        return True

    def make_ready(self, term: int, now: float) -> None:
        """A primary turns new clients away for a while; nothing is promised."""
        if self.reigns and self.clients and term > self.promised:
            self.yields, self.yields_until = term, now + YIELDS

    def fence(self, now: float) -> None:
        self.end_reign()
        self.upstream, self.settled = None, False
        if self.data is Data.READY:
            self.role, self.postgres = Role.FENCED, Postgres.RUNNING
            self.unread = self.rng.choice((0, 1, 5))
            self.busy("settle", now, (0.0, 0.1, 0.6))

    def busy(self, what: str, now: float, times: tuple[float, ...]) -> None:
        self.busy_with, self.busy_until = what, now + self.rng.choice(times)

    def report(self) -> MemberReport:
        position = None
        if self.data is Data.READY:  # until it is settled, recovery has not come to the end of the log (C8)
            unread = self.unread if self.role is Role.FENCED and not self.settled else 0
            position = Position(timeline=self.timeline, lsn=max(0, len(self.log) - unread))
        serving = Serving.NONE
        if self.reigns and self.clients and not self.yields:
            serving = Serving.PRIMARY
        elif self.role is Role.STANDBY and self.upstream:
            serving = Serving.REPLICA
        self.sequence += 1
        return MemberReport.model_construct(
            cluster="main",
            member=self.name,
            boot=str(self.boot),
            sequence=self.sequence,
            data=self.told_data,
            incarnation=self.ident,
            system_id=self.system,
            promised=self.promised,
            accepted=self.order.key if self.order else None,
            heeded=self.heeded,
            reigned=self.reigned,
            postgres=self.postgres,
            role=self.role,
            serving=serving,
            position=position,
            settled=self.settled,
            in_force=self.in_force,
            answers=True,
            yields=self.yields,
            walsenders=tuple(
                Walsender.model_construct(name=name, state="streaming", flush=at, replay=at)
                for name, at in sorted(self.flushed.items())
            ),
            upstream=self.upstream,
            progress=None,
            problem=None,
            settings_digest="",
        )


def follow_duty(me: Member, members: dict[str, Member], linked: bool, now: float) -> None:
    """What an agent does between two moments: one duty at a time."""
    if not me.alive:
        return
    order = me.bound
    if me.yields and now >= me.yields_until:
        me.yields = 0
    if me.busy_with:
        if now < me.busy_until:
            return
        done, me.busy_with = me.busy_with, ""
        _finish(me, done, members, linked, now)
        return
    if me.told_data is Data.FOREIGN:
        me.role, me.postgres, me.upstream = Role.NONE, Postgres.STOPPED, None
        me.end_reign()
    elif me.data is not Data.READY:
        _obtain(me, order, members, linked, now)
    elif order is None:
        if me.promised and me.role is not Role.FENCED:
            me.fence(now)
    elif order.role == "primary":
        _reign(me, order, now)
    else:
        _follow(me, order, members, linked, now)


def _obtain(me: Member, order: Order | None, members: dict[str, Member], linked: bool, now: float) -> None:
    if order is None or me.heeded is None:
        return
    if order.create and order.role == "primary":
        me.data, me.ident = Data.BUILDING, order.incarnation
        me.busy("create", now, (0.1, 0.5))
    elif order.role == "standby" and not order.counted and linked and members[member_of(order.primary)].reigns:
        me.data, me.ident = Data.BUILDING, _fresh(me)
        me.busy("clone", now, (0.3, 1.5))


def _fresh(me: Member) -> Incarnation:
    return incarnation(me.name, f"{me.rng.getrandbits(32):08x}")


def _finish(me: Member, what: str, members: dict[str, Member], linked: bool, now: float) -> None:
    order = me.bound
    match what:
        case "settle":
            me.settled = True
        case "create":
            if me.data is Data.BUILDING:
                me.data, me.log, me.system, me.timeline, me.begun, me.reigned = (
                    Data.READY,
                    [],
                    f"{me.rng.getrandbits(32)}",
                    1,
                    1,
                    1,
                )
                me.role, me.postgres, me.settled = Role.NONE, Postgres.STOPPED, False
        case "clone":
            source = members[member_of(order.primary)] if order else None
            if source is None or order is None or not linked or not source.reigns or source.ident != order.primary:
                me.data, me.ident = Data.NONE, None
                return
            me.log, me.timeline, me.system, me.data = list(source.log), source.timeline, source.system, Data.READY
            me.begun, me.reigned = 0, 0
            me.role, me.postgres, me.settled = Role.FENCED, Postgres.RUNNING, True
        case "start":
            me.role, me.postgres, me.settled, me.clients = Role.PRIMARY, Postgres.RUNNING, False, False
            me.syncs, me.adopt_at = ([(order.sync, order.term)] if order else []), now + me.rng.choice((0.0, 0.3))
            me.quarantine = len(me.log)
        case "promote":
            if order is not None and order.role == "primary" and me.settled:
                me.timeline = me.begun = order.timeline
                me.reigned, me.role, me.settled, me.quarantine = order.term, Role.PRIMARY, False, None
                me.syncs, me.adopt_at = [(order.sync, order.term)], now
        case _:
            raise AssertionError(what)


def _reign(me: Member, order: Order, now: float) -> None:
    if me.heeded is None or me.ident != order.primary:
        return
    in_place = me.begun == order.timeline == me.timeline
    if me.role is Role.PRIMARY:
        if not in_place:
            me.fence(now)
            return
        me.reigned = order.term
        if not me.syncs or now < me.adopt_at:
            return
        me.syncs = [(order.sync, order.term)]
        if me.in_force is None or (me.in_force.term, me.in_force.revision) != order.key:
            me.in_force = InForce(term=order.term, revision=order.revision, since=len(me.log))
        if me.quarantine is not None and holders(me, order.sync, order.term, me.quarantine) >= order.sync.k:
            me.quarantine = None
        me.clients = me.quarantine is None and not order.create  # before the record knows the system, nobody
    elif in_place:
        me.postgres = Postgres.STARTING
        me.busy("start", now, (0.1, 0.6))
    elif me.role is Role.FENCED and me.settled:
        me.busy("promote", now, (0.05, 0.3))
    elif me.role is not Role.FENCED:
        me.fence(now)


def _follow(me: Member, order: Order, members: dict[str, Member], linked: bool, now: float) -> None:
    if me.role is Role.PRIMARY:
        me.fence(now)
        return
    if me.upstream == order.primary and me.upstream_term == order.term:
        source = members[member_of(order.primary)]
        if not linked or not source.reigns or source.ident != order.primary or source.promised > order.term:
            me.upstream = None
            return
        _receive(me, source, order)
        return
    me.upstream = None
    if not me.settled:
        me.fence(now)
        return
    source = members[member_of(order.primary)]
    ordered = source.bound
    if (
        not linked
        or not source.reigns
        or source.ident != order.primary
        or ordered is None
        or ordered.term != order.term
    ):
        return
    if not lies_on(Position(timeline=me.timeline, lsn=len(me.log)), order.lineage):
        if not order.counted and me.heeded is not None:
            me.data, me.ident, me.role, me.settled = Data.BUILDING, _fresh(me), Role.NONE, False
            me.busy("clone", now, (0.3, 1.0))
        return
    if me.log != source.log[: len(me.log)]:
        raise AssertionError(f"{me.name} was found to lie on the line of {order.primary}, and does not")
    me.upstream, me.upstream_term, me.role, me.settled = order.primary, order.term, Role.STANDBY, False
    me.postgres = Postgres.RUNNING
    _receive(me, source, order)


def _receive(me: Member, source: Member, order: Order) -> None:
    if me.rng.random() < 0.2:
        return  # nothing came this time
    more = me.rng.choice((1, 5, 10_000))
    me.log.extend(source.log[len(me.log) : len(me.log) + more])
    if len(me.log) >= order.lineage[-1].fork:
        me.timeline = source.timeline
    elif me.log:
        me.timeline = max(me.timeline, me.log[-1][0])
    if me.ident is not None and me.rng.random() < 0.8:
        source.flushed[application_name(me.ident, order.term)] = len(me.log)


def holders(me: Member, sync: Sync, term: int, until: int) -> int:
    """How many of the names have flushed the log up to there, as far as their streams have said."""
    return sum(me.flushed.get(application_name(name, term), -1) >= until for name in sync.names)
