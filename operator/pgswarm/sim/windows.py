"""Between two lines of the protocol: hands that stop the world exactly there.

A crash that counts happens between a promise and the write that it allows, or between that write and the order that
follows from it; in random histories such moments are milliseconds. A scenario opens them by name:

    Windows(play.site).killed_before_write(lambda record: record.term == 2)

Each window waits for the first write of the record, or the first message, that it is about, and closes behind it.
After `play` it is the second half of a scenario's vocabulary; `faults` breaks what a person could break.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgswarm import settings
from pgswarm.core.orders import OrderMessage
from pgswarm.core.record import Record
from pgswarm.core.stored import Stored
from pgswarm.core.wish import Appointment, Fence, Maintenance, Pause, Restart, Wish
from pgswarm.errors import Conflict
from pgswarm.wire import Answer

if TYPE_CHECKING:
    from pgswarm.sim.operator import Operator
    from pgswarm.sim.router import Router
    from pgswarm.sim.site import Site
    from pgswarm.sim.streaming import Sender

Which = Callable[[Record], bool]
Put = Callable[[Stored, "int | None"], Stored]


class Windows:
    """Moments of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    # The deciding write

    def killed_before_write(self, which: Which) -> None:
        """Every operator dies as it is about to write such a record: promises are given, nothing is decided."""

        def dies(put: Put, wanted: Stored, version: int | None) -> Stored:
            self._kill_operators("before it could write", wanted)
            raise Conflict("the operator is gone")

        self._once(which, dies)

    def killed_after_write(self, which: Which) -> None:
        """Every operator dies when such a record is written: it is decided, and nobody was told."""

        def dies(put: Put, wanted: Stored, version: int | None) -> Stored:
            stored = put(wanted, version)
            self._kill_operators("right after it wrote", wanted)
            return stored

        self._once(which, dies)

    def write_lost(self, which: Which) -> None:
        """The write never happens, and its writer learns only that the connection broke."""

        def lost(put: Put, wanted: Stored, version: int | None) -> Stored:
            self._say("the engine's connection breaks before the write", wanted)
            raise Conflict("connection reset by the engine; the outcome is unknown")

        self._once(which, lost)

    def write_unanswered(self, which: Which) -> None:
        """The write happens, and its writer learns only that the connection broke."""

        def unanswered(put: Put, wanted: Stored, version: int | None) -> Stored:
            put(wanted, version)
            self._say("the engine's connection breaks after the write", wanted)
            raise Conflict("connection reset by the engine; the outcome is unknown")

        self._once(which, unanswered)

    def before_write(self, which: Which, happens: Callable[[], object]) -> None:
        """Something happens just before such a write."""

        def first(put: Put, wanted: Stored, version: int | None) -> Stored:
            happens()
            return put(wanted, version)

        self._once(which, first)

    # The store

    def overtaken(self, which: Which) -> None:
        """Another operator writes first, in the same term."""

        def second(put: Put, wanted: Stored, version: int | None) -> Stored:
            there = self._site.swarm.store[wanted.cluster]
            if there.record is not None:
                put(there.model_copy(update={"record": there.record.amended("another was first")}), version)
            return put(wanted, version)

        self._once(which, second)

    def overtaken_by_a_raise(self, which: Which) -> None:
        """Another operator, which hears the primary, lifts the term first."""

        def second(put: Put, wanted: Stored, version: int | None) -> Stored:
            there = self._site.swarm.store[wanted.cluster]
            if there.record is not None:
                reign = there.record.lineage[-1].model_copy(update={"term": there.record.term + 1})
                changes = {"term": reign.term, "lineage": (*there.record.lineage, reign)}
                raised = there.record.amended("another operator hears the primary", **changes)
                put(there.model_copy(update={"record": raised}), version)
            return put(wanted, version)

        self._once(which, second)

    # Messages

    def order_to(self, member: str) -> OrderMessage:
        """The order that this member holds now, to be delivered when its time is over."""
        memory = self._site.volumes[member].memory
        if memory.order is None:
            raise AssertionError(f"{member} holds no order")
        return OrderMessage(order=memory.order, circumstances=memory.circumstances)

    def delivered(self, message: OrderMessage, member: str) -> bool:
        """Bring it to the member's agent; is it accepted?"""
        container = self._site.container(member)
        if container is None:
            raise AssertionError(f"no container of {member} lives")
        answers: list[Answer] = []
        container.take_order(message, answers.append)
        while not answers:
            self._site.run(0.001)
        word = "accepted" if answers[0].accepted else "refused"
        self._site.story(member, f"a late order is {word}: {answers[0].reason}", key=True)
        return answers[0].accepted

    # Who leads

    def led_by(self, node: str) -> None:
        """That manager is Raft leader."""
        self._site.swarm.leader = node
        self._site.swarm.touch()

    def watched_from(self, node: str) -> None:
        """Only the operator there is awake, so it leads."""
        for operator in self._site.operators:
            if operator.node != node:
                operator.process.freeze()

    def frozen(self, one: Operator | Router) -> None:
        """SIGSTOP to this very one."""
        self._site.story("FAULT", f"{one.name} is frozen", key=True)
        one.process.freeze()

    def nobody_operates(self) -> None:
        """Operators that start are frozen at once."""
        site = self._site
        spawn = site.spawn

        def made(slot: Any, task: Any) -> Any:
            new = spawn(slot, task)
            if slot.kind == "operator":
                new.process.freeze()
            return new

        site.spawn = made  # type: ignore[method-assign]

    def restored(self, revision: int) -> None:
        """Swarm comes back from a backup: the store says again what it said at that revision."""
        swarm, name = self._site.swarm, self._site.cluster
        backup = next(
            one for one in swarm.past if name in one and one[name].record and _revision(one[name]) == revision
        )
        self._site.story("FAULT", f"Swarm is restored from a backup: revision {revision}", key=True)
        swarm.store = backup
        swarm.past = [backup]
        swarm.changed.fire()

    def wished(self, kind: str, *, to: str | None = None, dead: tuple[str, ...] = (), within: float = 60.0) -> None:
        """A person's wish is in the record, as the command line would write it."""
        site = self._site
        record = site.swarm.store[site.cluster].record
        until = time.time() + within
        fields = {"id": "told", "kind": kind, "term": record.term if record else 1, "to": to, "dead": dead}
        wish = Wish.model_validate({**fields, "until": until, "by": "the play"})
        self._amended(f"{wish}, asked for by {wish.by}", wish=wish)

    def restarts(self, *members: str) -> None:
        """A person's wish to restart these, as the command line would write it."""
        site = self._site
        site.edited = True  # a hand has asked for what Swarm is told to change
        restarts = {}
        for member in members:
            service = site.swarm.services[settings.member_service(site.cluster, member)]
            container = site.container(member)
            force = int(service.spec["TaskTemplate"].get("ForceUpdate") or 0)
            restarts[member] = Restart(boot=container.agent.boot if container else "", force=force + 1)
        record = site.swarm.store[site.cluster].record
        term, until = record.term if record else 1, time.time() + 300.0
        wish = Wish(id="told", kind="restart", term=term, restarts=restarts, by="the play", until=until)
        self._amended(f"{wish}, asked for by {wish.by}", wish=wish)

    def maintained(self, *nodes: str) -> None:
        """A person says that these nodes are worked on, and no other."""
        marks = tuple(Maintenance(node_id=node, node_name=node, by="the play", since=time.time()) for node in nodes)
        self._amended("; ".join(map(str, marks)) or "the maintenance is over", maintenance=marks)

    def fenced(self, *members: str, fewer_copies: bool = False, no_primary: bool = False) -> None:
        """A person wants PostgreSQL of these members stopped, and of no other."""
        words = {"by": "the play", "since": time.time(), "fewer_copies": fewer_copies, "no_primary": no_primary}
        fences = tuple(Fence.model_validate({"member": one, **words}) for one in members)
        self._amended("; ".join(map(str, fences)) or "nobody is fenced any more", fences=fences)

    def planned(self, to: str | None, *, after: float, window: float) -> None:
        """A person wants a switchover at a time to come."""
        record = self._site.record
        instead_of = record.primary_member if record else ""
        at = self._site.loop.now + after
        made = Appointment(id="told", to=to, instead_of=instead_of, at=at, window=window, by="the play")
        self._amended("a switchover is planned", appointment=made)

    def reseeded(self, member: str, *, fewer_copies: bool = False, within: float = 60.0) -> None:
        """A person's wish to make this member's data anew, as the command line would write it."""
        record = self._site.record
        container = self._site.container(member)
        data = container.agent.memory.incarnation if container else None
        wish = Wish(
            id="told", kind="reseed", term=record.term if record else 1, to=member, data=data or "",
            fewer_copies=fewer_copies, by="the play", until=self._site.loop.now + within,
        )  # fmt: skip
        self._amended(f"{wish}, asked for by {wish.by}", wish=wish)

    def paused(self) -> None:
        """A person wants nothing changed."""
        self._amended("paused by the play", pause=Pause(by="the play", since=time.time()))

    def resumed(self) -> None:
        """It goes on."""
        self._amended("resumed by the play", pause=None)

    def _amended(self, what: str, **changes: object) -> None:
        site = self._site
        stored = site.swarm.store[site.cluster]
        if stored.record is None:
            raise AssertionError("there is no record")
        changed = stored.record.amended(what, **changes)
        site.swarm.put(stored.model_copy(update={"record": changed}), stored.version_index)

    def given_up(self, kept_by: str) -> None:
        """A person accepts the loss of what that member does not have."""
        ledger, log = self._site.ledger, self._site.volumes[kept_by].log
        lost = [number for number, lsn in ledger.commits.items() if len(log) < lsn or log[lsn - 1][1] != number]
        self._site.story("FAULT", "a person gives up what only the dead have", key=True)
        for number in lost:
            del ledger.commits[number]

    # PostgreSQL

    def slots_lost(self, member: str) -> None:
        """The primary throws away old log beyond what its slots hold (max_slot_wal_keep_size)."""
        container = self._site.container(member)
        if container is None:
            raise AssertionError(f"no container of {member} lives")
        container.volume.kept_from = len(container.volume.log)
        self._site.story(
            "FAULT", f"{member} has lost its slots, and the log before {len(container.volume.log)}", key=True
        )

    def slow_to_take_up(self, member: str, standby: str, seconds: float) -> None:
        """The walsender of that standby takes up a new setting so much later than the others (C7)."""
        container = self._site.container(member)
        if container is None:
            raise AssertionError(f"no container of {member} lives")
        postgres = container.postgres
        real = postgres._adopt

        def later(sender: Sender) -> None:
            if sender.standby.name == standby:
                postgres.process.after(seconds, real, sender)
            else:
                real(sender)

        self._site.story("FAULT", f"{member}'s walsender for {standby} is busy for {seconds:g} s", key=True)
        postgres._adopt = later  # type: ignore[method-assign]

    # Helpers

    def _once(self, which: Which, instead: Callable[[Put, Stored, int | None], Stored]) -> None:
        swarm = self._site.swarm
        real: Put = swarm.put
        over = False

        def put(wanted: Stored, version: int | None) -> Stored:
            nonlocal over
            if over or wanted.record is None or not which(wanted.record):
                return real(wanted, version)
            over = True
            return instead(real, wanted, version)

        swarm.put = put  # type: ignore[method-assign]

    def _kill_operators(self, when: str, wanted: Stored) -> None:
        self._say(f"the operator dies {when}", wanted)
        for operator in self._site.operators:
            if operator.alive and operator.house is not None and _acts(operator):
                operator.kill()

    def _say(self, what: str, wanted: Stored) -> None:
        self._site.story("FAULT", f"{what} revision {_revision(wanted)}", key=True)


def _acts(operator: Any) -> bool:
    return any(worker.plan.steps for worker in operator.house.workers.values())


def _revision(stored: Stored) -> int:
    return stored.record.revision if stored.record else 0
