"""The scene of a drill: what is known of it while it goes on, whom it asks, and how everything is put back.

Putting back begins from what Swarm says and not from what is remembered, so it is the same after a drill that went
well, one that was interrupted, and one whose process was killed: nodes with the drill's label are given back, the
client's service is removed. It goes on through the seconds in which Swarm has no leader; what cannot be done is told,
with the command that does it.

Used by `loop/drilling`, which strikes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import anyio
from loguru import logger

from pgswarm.core import drilling
from pgswarm.core.drilling import Announcement
from pgswarm.core.drillreport import Tape
from pgswarm.core.status import Status
from pgswarm.core.swarmview import SwarmView
from pgswarm.errors import Failure, Refused
from pgswarm.loop import ask
from pgswarm.ports import draining
from pgswarm.ports.calls import Line
from pgswarm.ports.records import SwarmRecords
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.settings import CONTROL_NETWORK
from pgswarm.wire import OPERATOR_PORT

PATIENCE = 30.0
"""Seconds for each thing that is put back: Swarm may be without a leader for 20."""

PAUSE = 0.5
"""Seconds between two tries."""

ANSWER = 5.0
"""Seconds for an operator to pass a notice on."""

Tell = Callable[[str], None]


@dataclass(kw_only=True)
class Scene:
    """Everything of one drill under way."""

    announcement: Announcement
    swarm: DockerSwarm
    records: SwarmRecords
    secret: str = field(repr=False)
    by: str
    tell: Tell
    address: str | None = None
    tape: Tape = field(default_factory=Tape)
    ready: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    moved: anyio.Event = field(default_factory=anyio.Event)
    given_back: anyio.Event = field(default_factory=anyio.Event)
    rested: anyio.Event = field(default_factory=anyio.Event)
    struck_at: float = 0.0
    successor: str = ""
    whole_at: float | None = None
    marks: list[tuple[float, Literal["record", "active", "whole"], str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def service(self) -> str:
        return drilling.service_name(self.announcement.cluster)

    def mark(self, kind: Literal["record", "active", "whole"], text: str, at: float | None = None) -> None:
        """Something has happened, now or a moment ago."""
        self.marks.append((time.time() if at is None else at, kind, text))
        self.tell(text)

    async def seen(self) -> SwarmView | None:
        """The Swarm; None while it does not answer."""
        try:
            return await self.swarm.view()
        except Failure:
            return None

    async def status(self) -> Status | None:
        """How the cluster is, in the words of the operator that acts; None if none answers."""
        for address in await self._operators():
            try:
                known = await ask.statuses(self.secret, address)
            except Failure as failure:  # one that has just begun, on the node that was given back, knows nothing yet
                logger.debug("{}", failure.reason)
                continue
            for one in known or ():
                if one.cluster == self.announcement.cluster:
                    return one
        return None

    async def notify(self, kind: str, text: str) -> None:
        """Whoever is woken by notices shall know that this is a drill."""
        body = json.dumps({"kind": kind, "text": text[:400], "cluster": self.announcement.cluster}).encode()
        for address in await self._operators():
            try:
                await Line(address, OPERATOR_PORT, self.secret, caller="person").call(
                    "POST", "/notice", body, deadline=ANSWER
                )
            except Failure as failure:
                logger.debug("{}", failure.reason)
                continue
            return

    async def clean_up(self) -> None:
        """Nodes that a drill has drained are given back, and the client is taken away; what cannot be is told."""
        self.left.clear()
        with anyio.move_on_after(PATIENCE):
            while (view := await self.seen()) is None:  # noqa: ASYNC110 - nobody tells when Swarm is back
                await anyio.sleep(PAUSE)
        if view is None:
            self._leave("the Swarm does not answer: look for a drained node, `docker node ls`")
            return
        for node in draining.left_drained(view, self.announcement.cluster):
            self.tell(f"{node.name} is given back")
            give_back = partial(draining.give_back, self.swarm.engine, node.id)
            await self._put_back(give_back, drilling.by_hand(node.name))
        if (service := view.service(self.service)) is not None:
            remove = partial(self.swarm.remove_service, service.id)
            await self._put_back(remove, f"docker service rm {self.service}")

    async def _put_back(self, work: Callable[[], Awaitable[None]], by_hand: str) -> None:
        deadline = anyio.current_time() + PATIENCE
        while True:
            try:
                return await work()
            except Failure as failure:
                if anyio.current_time() > deadline or isinstance(failure, Refused):
                    return self._leave(f"`{by_hand}` is still to be done ({failure.reason})")
            await anyio.sleep(PAUSE)

    def _leave(self, text: str) -> None:
        self.left.append(text)
        self.tell(text)

    async def _operators(self) -> list[str]:
        """Where operators can be asked."""
        view = await self.seen()
        if view is None:
            return []
        known = [one for one in view.services if one.kind == "operator"]
        return [address for one in known for address in view.addresses(one, CONTROL_NETWORK)]
