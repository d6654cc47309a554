"""Histories of grants: nobody holds one once its successor is decided, whatever is late, lost, stale or fast.

The decisions are the real ones (plan, tenure, grant, lapse). Played are two operators that see each other never and
the store sometimes, a primary, one other member, a network that keeps everything for as long as it likes, writes of
which nobody knows the outcome, and four clocks that run apart as far as `DRIFT` allows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pgswarm.core import grant, tenure
from pgswarm.core.leadership import Candidate
from pgswarm.core.memory import Memory, consent
from pgswarm.core.orders import order_for
from pgswarm.core.plan import plan
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import MemberReport
from pgswarm.core.sightings import Sighting
from pgswarm.core.steps import AskPromise, SendGrant, WriteRecord
from pgswarm.core.world import Granted
from tests.core.builders import document, primary, promiser, record, standby, world

ASYNC = document("ab", durability="async")
HISTORIES, STEPS = 150, 300


@dataclass
class Clock:
    rate: float
    offset: float

    def at(self, true: float) -> float:
        return true * self.rate + self.offset

    def true(self, own: float) -> float:
        return (own - self.offset) / self.rate


@dataclass
class Operator:
    name: str
    clock: Clock
    record: Record
    sightings: dict[str, Sighting[MemberReport]] = field(default_factory=dict)
    found: tenure.Tenure | None = None
    standing: tenure.Standing | None = None
    granted: Granted = field(default_factory=Granted)
    spoiled: int = 0


class History:
    """One small cluster and what happens to it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.true = 1000.0
        self.stored = record("a", 1, sync="", members="ab", grant=Grant.HELD)
        self.tenure: tenure.Tenure | None = None
        self.decided_at: float | None = None
        self.holding = grant.Holding()
        self.clock = {name: self._clock() for name in "ab"}
        self.memory = {
            name: Memory(cluster="main", member=name, promised=1, order=order_for("main", self.stored, name))
            for name in "ab"
        }
        self.consented = self.clock["b"].at(self.true)
        self.operators = [Operator(name, self._clock(), self.stored) for name in ("op1", "op2")]
        self.under_way: list[Any] = []
        self.wrote = 0.0
        self.cut = False  # the primary is not heard

    def _clock(self) -> Clock:
        return Clock(self.random.uniform(1 - grant.DRIFT / 2, 1 + grant.DRIFT / 2), self.random.uniform(1e3, 1e6))

    def run(self) -> None:
        deeds = [self.ask, self.say, self.say, self.lend, self.keep, self.keep, self.read]
        deeds += [self.deliver] * 4 + [self.turn] * 4
        for _ in range(STEPS):
            self.true += self.random.choice((0.0, 0.02, 0.1, 0.2, 0.7))
            if self.random.random() < 0.005:
                self.true += self.random.uniform(5.0, 15.0)
            if self.random.random() < 0.03:
                self.cut = not self.cut
            self.random.choice(deeds)()
            self.check()

    def check(self) -> None:
        until = self.clock["a"].true(self.holding.until)
        if self.true < until and self.memory["a"].bound is not None:
            self.wrote = self.true
        if self.decided_at is not None:
            assert until <= self.decided_at, f"it may write for {until - self.decided_at:.2f} s beside its successor"

    # the members

    def ask(self) -> None:
        now = self.clock["a"].at(self.true)
        self.holding = grant.asking(self.holding, f"n{self.random.random()}", now)

    def say(self) -> None:
        one = self.random.choice(self.operators)
        name = "b" if self.cut else self.random.choice("aab")
        report = self.report(name)
        self.under_way.append(lambda: self.hear(one, report))

    def report(self, name: str) -> MemberReport:
        clock = self.clock[name].at(self.true)
        if name == "a":
            return primary(self.stored_of("a"), asks=self.holding.nonce, granted=True, clock=clock, boot="x")
        of = self.stored_of("b")
        says: dict[str, Any] = {"clock": clock, "consented": self.consented}
        promised = self.memory["b"].promised
        return promiser(of, "b", promised, **says) if promised > 1 else standby(of, "b", **says)

    def stored_of(self, name: str) -> Record:
        """The record as this member knows it: its first one."""
        order = self.memory[name].order
        assert order is not None
        return record("a", 1, sync="", members="ab", grant=Grant.HELD, revision=order.revision)

    def lend(self) -> None:
        """The primary asks b, now or from long ago; the answer may be as late."""
        order = self.memory["a"].order
        assert order is not None
        asked_at = self.clock["a"].at(self.true)

        def asked() -> None:
            verdict = grant.may_lend(self.memory["b"], cluster="main", term=1, primary="a/1")
            if verdict.ok:
                self.consented = self.clock["b"].at(self.true)
                self.under_way.append(self.extended(asked_at))

        self.under_way.append(asked)

    def extended(self, asked_at: float) -> Any:
        def answered() -> None:
            self.holding = grant.extended(self.holding, asked_at)

        return answered

    # the network, which keeps, re-orders and forgets

    def deliver(self) -> None:
        if self.under_way:
            index = self.random.randrange(len(self.under_way))
            what = self.under_way.pop(index)
            if self.random.random() < 0.9:
                what()

    def hear(self, one: Operator, report: MemberReport) -> None:
        now, before = one.clock.at(self.true), one.sightings.get(report.member)
        if before is not None and before.report is not None and before.report.clock > report.clock:
            return  # a stream keeps its order
        one.sightings[report.member] = Sighting(
            address="x", report=report, heard_at=now, said_at=now, connected=True, why=""
        )

    # the operators

    def read(self) -> None:
        one = self.random.choice(self.operators)
        one.record, one.found = self.stored, self.tenure

    def keep(self) -> None:
        """The tenure: each believes itself to be alone."""
        one = self.random.choice(self.operators)
        now = one.clock.at(self.true)
        move = tenure.next_move(
            tenure.Scene(
                me=one.name, token=one.name, found=one.found, standing=one.standing, nodes=("n",),
                candidates=(Candidate(name=one.name, node_id="m", able=True),),
                granted_until=one.granted.until, grantor=one.record.grantor,
            ),
            now,
        )  # fmt: skip
        if move is None or self.tenure != one.found:
            return
        begun, self.tenure = now, move.tenure
        self.true += self.random.choice((0.0, 0.0, 1.0))
        one.found = self.tenure
        if isinstance(move, tenure.Take):
            one.standing = tenure.taken(move, begun=begun, succeeded=one.clock.at(self.true))
        elif one.standing is not None:
            one.standing = replace(one.standing, until=begun + tenure.LENGTH)

    def turn(self) -> None:
        one = self.random.choice(self.operators)
        now = one.clock.at(self.true)
        view = replace(
            world(one.record, document=ASYNC, standing=one.standing, granted=one.granted, spoiled=one.spoiled),
            members=dict(one.sightings), awake_since=now - 100.0, record_read_at=now,
        )  # fmt: skip
        for step in plan(view, now).steps:
            match step:
                case SendGrant():
                    boots = {step.boot: max(step.until, one.granted.boots.get(step.boot, 0.0))}
                    one.granted = Granted(nonce=step.nonce, boots=boots)
                    self.under_way.append(self.grants(step))
                case AskPromise(member="b"):
                    self.under_way.append(lambda term=step.term: self.promises("b", term))
                case WriteRecord():
                    self.write(one, step.record)
                case _:
                    pass

    def grants(self, step: SendGrant) -> Any:
        def arrived() -> None:
            self.holding, _ = grant.given(
                self.holding, self.memory["a"], term=step.term, nonce=step.nonce, ttl=step.ttl
            )

        return arrived

    def promises(self, name: str, term: int) -> None:
        memory = self.memory[name]
        if consent(memory, "main", term).ok:
            self.memory[name] = memory.model_copy(update={"promised": term})

    def write(self, one: Operator, wanted: Record) -> None:
        before = one.record
        if wanted.term > before.term:
            one.spoiled = max(one.spoiled, before.revision)

        def written() -> None:
            if self.stored != before:
                return  # somebody else wrote first
            self.stored = wanted
            if wanted.primary != before.primary and self.decided_at is None:
                self.decided_at = self.true

        if self.random.random() < 0.4:
            self.under_way.append(written)  # its outcome is unknown to who wrote it
        else:
            written()
            one.record = self.stored


@pytest.mark.parametrize("block", range(4))
def test_nobody_holds_a_grant_once_its_successor_is_decided(block: int) -> None:
    decided, wrote = 0, 0
    for seed in range(block * HISTORIES, (block + 1) * HISTORIES):
        history = History(seed)
        try:
            history.run()
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}: {exc}") from exc
        decided += history.decided_at is not None
        wrote += history.wrote > 0
    assert decided > HISTORIES // 20, f"only {decided} successions: the histories show nothing"
    assert wrote > HISTORIES // 4, f"only {wrote} primaries held a grant: the histories show nothing"
