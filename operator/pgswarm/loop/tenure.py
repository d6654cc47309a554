"""Keeps the tenure for this operator: takes it, renews it, passes it on (core/tenure decides, decision 0008).

One task for the whole house. It does nothing and asks nothing while no cluster is, or shall be, `async`. What it knows
is offered to the passes: the *standing* of this operator, and who acts for async clusters.

A machine that slept has a monotonic clock that did not go on, and by it a tenure would seem to last longer than it
did. So a standing counts only while the time slept (CLOCK_BOOTTIME less CLOCK_MONOTONIC) is what it was when the write
was begun.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import anyio
from loguru import logger

from pgswarm.core import granting
from pgswarm.core import tenure as rules
from pgswarm.core.record import Grant, Record
from pgswarm.core.tenure import Standing
from pgswarm.errors import Failure
from pgswarm.loop.observe import Lookout
from pgswarm.loop.peers import Peers
from pgswarm.ports.tenures import Found, Tenures

LOOK = 0.25
"""Seconds between two looks at what is to be done; most of them find nothing."""

READ_EVERY = 3.0
"""Seconds between two readings by an operator that does not hold it."""

FAREWELL = 1.5
"""Seconds that an operator which ends takes to pass it on."""

NEVER = float("-inf")

SLEPT = 0.05
"""Seconds of a machine's sleep that two readings of the clocks cannot tell from none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A standing, and how long this machine had slept when it was begun."""

    standing: Standing
    slept: float


class Keeper:
    """The tenure as this operator knows it."""

    def __init__(
        self,
        name: str,
        tenures: Tenures,
        peers: Peers,
        lookouts: Callable[[], Mapping[str, Lookout]],
        ring: Callable[[], None],
        slept: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic(),
    ) -> None:
        self._name = name
        self._token = secrets.token_hex(6)
        self._tenures = tenures
        self._peers = peers
        self._lookouts = lookouts
        self._ring = ring
        self._slept = slept
        self._found: Found | None = None
        self._read_at = NEVER
        self._held: Held | None = None
        self._why = ""

    def standing(self) -> Standing | None:
        """What this operator's tenure is worth, if it has one and this machine has not slept since."""
        held = self._held
        if held is None or abs(self._slept() - held.slept) > SLEPT:
            return None
        return held.standing

    def leader(self) -> str | None:
        """The operator that acts for all async clusters; None if it is this one."""
        holder = self._found.tenure.holder if self._found else ""
        chosen = rules.acting(self._peers.candidates(), self._nodes(), holder)
        return None if chosen == self._name else chosen

    async def run(self) -> None:
        """Keep it until cancelled; then pass it on."""
        try:
            while True:
                await self._turn()
                await anyio.sleep(LOOK)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(FAREWELL):
                await self._leave()

    async def _turn(self) -> None:
        now = anyio.current_time()
        if not self._nodes() and self._held is None:
            return
        try:
            if self._held is not None and self.standing() is None:
                logger.warning("this machine has slept: its tenure counts no more")
                self._held = None
            if self._read_at == NEVER or (self._held is None and now - self._read_at > READ_EVERY):
                await self._read()
            await self._move(rules.next_move(self._scene(), anyio.current_time()))
            self._why = ""
        except Failure as failure:
            self._read_at = NEVER  # whatever is there now decides what is next
            if failure.reason != self._why:
                logger.warning("the tenure: {}", failure.reason)
            self._why = failure.reason

    async def _read(self) -> None:
        found = await self._tenures.read()
        if found is not None and self._found is not None and found.version < self._found.version:
            return  # an old answer
        if (found.tenure.holder if found else "") != (self._found.tenure.holder if self._found else ""):
            self._ring()
        self._found, self._read_at = found, anyio.current_time()
        held = self._held.standing.number if self._held is not None else None
        if held is not None and (found is None or (found.tenure.number, found.tenure.token) != (held, self._token)):
            logger.warning("tenure {} was taken by {}", held, found.tenure.holder if found else "nobody: it is gone")
            self._held = None
            self._ring()

    async def _move(self, move: rules.Move | None) -> None:
        if move is None:
            return
        begun, slept = anyio.current_time(), self._slept()
        if isinstance(move, rules.PassOn):
            self._held = None  # nothing may be granted that the next one does not wait for
            self._ring()
        self._found = await self._tenures.write(self._found, move.tenure)
        self._read_at = succeeded = anyio.current_time()
        match move:
            case rules.Take():
                standing = rules.taken(move, begun=begun, succeeded=succeeded)
                logger.info("tenure {} is taken; earlier grants are over in {:.1f} s", standing.number, move.wait)
                self._held = Held(standing=standing, slept=slept)
                self._ring()
            case rules.Renew() if self._held is not None:
                standing = replace(self._held.standing, until=begun + rules.LENGTH)
                self._held = Held(standing=standing, slept=slept)
            case rules.PassOn():
                logger.info("tenure {} is passed on; grants count for {:.1f} s", move.tenure.number, move.tenure.wait)
            case _:
                pass

    async def _leave(self) -> None:
        """Grant nothing more, and say so; who comes next then waits only for what was granted."""
        if self._held is None or self._found is None:
            return
        scene = replace(self._scene(), nodes=())
        move = rules.next_move(scene, anyio.current_time())
        try:
            await self._move(move)
        except Failure as failure:
            logger.info("the tenure could not be passed on: {}", failure.reason)

    def _scene(self) -> rules.Scene:
        lookouts = self._lookouts().values()
        records = [one.record for one in lookouts if isinstance(one.record, Record)]
        return rules.Scene(
            me=self._name,
            token=self._token,
            found=self._found.tenure if self._found else None,
            standing=self.standing(),
            candidates=tuple(self._peers.candidates()),
            nodes=self._nodes(),
            granted_until=max((one.granted.until for one in lookouts), default=0.0),
            grantor=max((record.grantor for record in records), default=0),
        )

    def _nodes(self) -> tuple[str, ...]:
        """The node of each primary whose cluster is, or shall be, async."""
        found = []
        for lookout in self._lookouts().values():
            record = lookout.record
            if isinstance(record, Record) and is_granted(lookout):
                place = record.place(record.primary_member)
                found.append(place.node_id if place else "")
        return tuple(found)


def is_granted(lookout: Lookout) -> bool:
    """Does this cluster live by grants, or shall it?"""
    record = lookout.record
    return isinstance(record, Record) and (record.grant is not Grant.NONE or granting.is_async(lookout.document))
