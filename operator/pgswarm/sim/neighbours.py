"""What an agent does about the others by itself, played: asking them, and keeping log for them.

The transcripts of `member/neighbours` (whom it asks, and when) and of `member/slots`, around the real `core.slots`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pgswarm.core import slots as rules
from pgswarm.core.claim import member_of, streamer
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, MemberReport, Role
from pgswarm.core.reports import Postgres as State
from pgswarm.core.resumption import Heard, heard_as
from pgswarm.errors import Again
from pgswarm.member.neighbours import ALONE_EVERY, PRIMARY_EVERY
from pgswarm.member.slots import EVERY

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent


class Neighbours:
    """What the others said when they were asked last, and where they were found."""

    def __init__(self, agent: Agent) -> None:
        self.heard: dict[str, Heard] = {}
        self._agent = agent
        self._found: dict[str, str] = {}
        self._asked = float("-inf")

    def told(self, before: Mapping[str, str], contacts: Mapping[str, str]) -> None:
        """An order names these now: what it says anew counts more than what was found."""
        for name, address in contacts.items():
            if before.get(name) != address:
                self._found.pop(name, None)

    def address(self, member: str, contacts: Mapping[str, str]) -> str | None:
        return self._found.get(member) or contacts.get(member)

    def mistake(self, member: str, address: str) -> None:
        """Look for it there: an overlay that is cut leads to who had an address before."""
        self._found[member] = address

    def turn(self) -> None:
        """Ask whom there is reason to ask, if it is time; called at every change and every second."""
        agent = self._agent
        every = _every(agent)
        if every is None or agent.process.now - self._asked < every:
            return
        self._asked = agent.process.now
        if every == PRIMARY_EVERY and agent.upstream is not None:
            self._ask(agent.upstream.address, member_of(agent.upstream.primary))
            return
        contacts = agent.memory.circumstances.contacts
        alias = agent.site.members_alias(agent.node)
        for address in sorted({*contacts.values(), *self._found.values(), *alias}):
            self._ask(address, "")

    def _ask(self, address: str, wanted: str) -> None:
        agent = self._agent

        def hear(answer: MemberReport | Again) -> None:
            agent.process.after(0.0, self._hear, address, wanted, answer)

        if address != agent.container.address:
            agent.site.ask_report(agent.node, address, hear)

    def _hear(self, address: str, wanted: str, report: MemberReport | Again) -> None:
        agent = self._agent
        if not isinstance(report, MemberReport) or report.cluster != agent.memory.cluster:
            return
        if report.member == agent.name or wanted not in ("", report.member):
            return
        name = heard_as(report, agent.order)
        self._found[name] = address
        self.heard[name] = Heard(report=report, at=agent.process.now)
        agent.wake()


class Slots:
    """Log kept for every other member, whatever the role."""

    def __init__(self, agent: Agent) -> None:
        self.told: tuple[str, ...] = ()
        self._agent = agent
        self._done: object = None
        self._looked = float("-inf")

    def turn(self) -> None:
        """Put the slots right, if something they depend on has changed or it is time."""
        agent = self._agent
        key = self._key()
        if key is None:
            self._done, self.told = None, ()
            return
        if key == self._done and agent.process.now - self._looked < EVERY:
            return
        order = agent.order
        if order is None or not agent.postgres.answers:
            return
        self._looked, self._done = agent.process.now, key
        self._look(order)

    def _key(self) -> tuple[object, ...] | None:
        agent = self._agent
        order = agent.order
        if order is None or agent.postgres.state is not State.RUNNING:
            return None
        if agent.role is Role.PRIMARY and agent.reigns() is None:
            return None
        return (agent.postgres.starts, agent.role is Role.PRIMARY, order.primary, order.peers)

    def _look(self, order: Order) -> None:
        agent, there = self._agent, self._agent.postgres.slots()
        wanted: list[rules.Change] = list(rules.changes(there, order.peers))
        if agent.role is not Role.PRIMARY:
            wanted += rules.advances(
                [slot for slot in there if slot.member not in {change.member for change in wanted}],
                order.peers,
                primary=member_of(order.primary),
                flushed=self._flushed(order),
                restartpoint=agent.volume.redo,
            )
        for change in wanted:
            match change:
                case rules.Drop(member=member):
                    agent.volume.slots.pop(member, None)
                case rules.Make(member=member):
                    agent.volume.slots[member] = agent.volume.redo
                case rules.Advance(member=member, to=to):
                    agent.volume.slots[member] = to
        self.told = tuple(sorted(name for name in agent.volume.slots if name in order.peers))
        agent.publish()

    def _flushed(self, order: Order) -> dict[str, int]:
        heard = self._agent.neighbours.heard.get(member_of(order.primary))
        if heard is None or heard.report.incarnation != order.primary:
            return {}
        flushed: dict[str, int] = {}
        for row in heard.report.walsenders:
            member = streamer(row.name)
            flushed[member] = min(row.flush, flushed.get(member, row.flush))
        return flushed


def _every(agent: Agent) -> float | None:
    """How often somebody is to be asked now; None: nobody is."""
    order = agent.order
    if order is None or agent.memory.data is Data.FOREIGN:
        return None
    if order.role == "primary":
        return None if agent.is_confirmed(order) else ALONE_EVERY
    if agent.memory.data is not Data.READY:
        return None if agent.job is not None else ALONE_EVERY
    return PRIMARY_EVERY if agent.role is Role.STANDBY and agent.streaming else ALONE_EVERY
