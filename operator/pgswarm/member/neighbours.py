"""The other members, as this agent finds and hears them by itself: for what must go on with no operator.

An operator pushes addresses with its orders. After a restart of everything those are of containers that are gone, and
there may be nobody to push new ones. So where something is missing, every address that an order has named, or that the
cluster's name on the control network resolves to, is asked who is there; only the report that comes back says it.

    a primary by its last order alone, unconfirmed      everybody, every second          (law 5, core/resumption)
    a standby without a stream                          everybody, every second          (where is the primary now?)
    a standby that has yet to get its data              everybody, every second, between two attempts
    a standby with a stream                             its primary, every few seconds   (what have the others flushed?)
    anybody else                                        nobody

An address found so counts until an order names another. Before a stream begins `ask.confirm` is put to it anyway.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from loguru import logger

from pgswarm import settings
from pgswarm.core.claim import member_of
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, Role
from pgswarm.core.resumption import Heard, heard_as
from pgswarm.errors import Again
from pgswarm.member import ask
from pgswarm.member.config import Config, secret

if TYPE_CHECKING:
    from pgswarm.member.agent import Agent

ALONE_EVERY = 1.0
"""Seconds between two rounds while an operator's word or the primary is missing."""

PRIMARY_EVERY = 5.0
"""Seconds between two questions of a streaming standby to its primary."""

LOOK_UP_LIMIT = 5.0
"""Seconds for one look-up; Docker's resolver can take longer over a name that does not exist."""

MOST_ASKED = 64
"""Addresses asked in one round."""


class Neighbours:
    """What the others said when they were asked last, and where they were found."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.heard: dict[str, Heard] = {}
        self._found: dict[str, str] = {}

    def told(self, before: Mapping[str, str], contacts: Mapping[str, str]) -> None:
        """An order names these now: what it says anew counts more than what was found."""
        for name, address in contacts.items():
            if before.get(name) != address:
                self._found.pop(name, None)

    def address(self, member: str, contacts: Mapping[str, str]) -> str | None:
        """Where this member is, as far as is known."""
        return self._found.get(member) or contacts.get(member)

    async def ask_one(self, member: str, address: str, order: Order | None) -> None:
        """Hear one member at one address. By `order` it is known where each member lives."""
        await self._hear(address, order, member)

    async def ask_all(self, contacts: Mapping[str, str], order: Order | None) -> None:
        """Hear everybody who can be found."""
        addresses = {*contacts.values(), *self._found.values(), *await self._look_up()}
        async with anyio.create_task_group() as tasks:
            for address in sorted(addresses)[:MOST_ASKED]:
                tasks.start_soon(self._hear, address, order)

    async def _hear(self, address: str, order: Order | None, wanted: str = "") -> None:
        config = self._config
        try:
            report = await ask.report(address, config.port, secret(config.secret_file))
        except Again as exc:
            logger.trace("{}", exc)
            return
        if report.cluster != config.cluster or report.member == config.member or wanted not in ("", report.member):
            return
        name = heard_as(report, order)
        if self._found.get(name) != address and not wanted:
            logger.debug("{} is found at {}", name, address)
        self._found[name] = address
        self.heard[name] = Heard(report=report, at=anyio.current_time())

    async def _look_up(self) -> list[str]:
        found: list[str] = []
        for name in self._config.names or (settings.members_alias(self._config.cluster),):
            with anyio.move_on_after(LOOK_UP_LIMIT):
                found += await to_thread.run_sync(_resolve, name, abandon_on_cancel=True)
        return found


async def keep_asking(agent: Agent) -> None:
    """Ask whom there is reason to ask, for ever."""
    asked = float("-inf")
    while True:
        every = _every(agent)
        if every is None:
            await agent.changed()
            continue
        left = asked + every - anyio.current_time()
        if left > 0:
            with anyio.move_on_after(left):
                await agent.changed()
            continue
        asked = anyio.current_time()
        if every == PRIMARY_EVERY and agent.upstream is not None:
            await agent.neighbours.ask_one(member_of(agent.upstream.primary), agent.upstream.address, agent.order)
        else:
            await agent.neighbours.ask_all(agent.memory.circumstances.contacts, agent.order)
        agent.look_again()


def _every(agent: Agent) -> float | None:
    """How often somebody is to be asked now; None: nobody is."""
    order = agent.order
    if order is None or agent.memory.data is Data.FOREIGN:
        return None
    if order.role == "primary":
        return None if agent.is_confirmed(order) else ALONE_EVERY
    if agent.memory.data is not Data.READY:
        return None if agent.is_working else ALONE_EVERY
    streaming = agent.sight is not None and agent.sight.streaming
    return PRIMARY_EVERY if agent.role is Role.STANDBY and streaming else ALONE_EVERY


def _resolve(name: str) -> list[str]:
    try:
        answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        # No such name (yet), or no resolver: the next look-up will tell.
        return []
    return sorted({str(answer[4][0]) for answer in answers})
