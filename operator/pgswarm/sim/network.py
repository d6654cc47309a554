"""The network between nodes: it cuts one way or both, delays, repeats, re-orders, and gives up what it held.

A message is one call or one piece of a stream. Between two nodes it takes a little while; over a link that is cut it
waits in the sender's kernel, and is lost, or comes late after the heal: an order may arrive twenty seconds after its
sender gave it up. Unruly networks also deliver twice. Order is kept only within a stream, which its own code sees to.
On one node nothing is ever cut.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pgswarm.sim.clock import Signal, VirtualLoop

QUICK = 0.0008
"""Seconds from node to node when all is well; up to twice that."""

KEPT = 20.0
"""Seconds for which a sender's kernel tries again over a link that is cut."""


class Network:
    """Every link between two nodes, one for each direction."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, *, steady: bool) -> None:
        self._steady = steady
        self.healed = Signal()
        self.unruly = False
        self.slow: dict[tuple[str, str], float] = {}
        self._loop, self._rng = loop, rng
        self._cuts: set[tuple[str, str]] = set()
        self._parked: list[tuple[float, str, str, Callable[..., object], tuple[Any, ...]]] = []

    def is_open(self, source: str, target: str) -> bool:
        return (source, target) not in self._cuts

    def both_ways(self, one: str, other: str) -> bool:
        return not self._cuts or (self.is_open(one, other) and self.is_open(other, one))

    @property
    def is_whole(self) -> bool:
        return not self._cuts

    def cut(self, source: str, target: str) -> None:
        if source != target:
            self._cuts.add((source, target))

    def heal(self, source: str, target: str) -> None:
        self._cuts.discard((source, target))
        self._release()

    def heal_all(self) -> None:
        self._cuts.clear()
        self.slow.clear()
        self._release()

    def delay(self, source: str, target: str) -> float:
        """How long a message takes now."""
        if source == target:
            return 0.0001
        usual = QUICK * (1.5 if self._steady else 1.0 + self._rng.random())
        if self.slow and (extra := self.slow.get((source, target))):
            usual += extra * self._rng.random()
        return usual

    def send(self, source: str, target: str, fn: Callable[..., object], *args: Any) -> None:
        """Deliver by calling `fn`: once, or, if the network is unruly, now and then twice or late."""
        wait = self.delay(source, target)
        if self.unruly and source != target and self._rng.random() < 0.04:
            if self._rng.random() < 0.5:
                self._loop.later(self._rng.choice((0.02, 0.5, 3.0)), self._arrive, source, target, fn, args)
            else:
                wait += self._rng.choice((0.05, 0.3, 1.5))
        self._loop.later(wait, self._arrive, source, target, fn, args)

    def _arrive(self, source: str, target: str, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self.is_open(source, target):
            fn(*args)
        elif self._rng.random() < 0.5:
            self._parked.append((self._loop.now + KEPT, source, target, fn, args))

    def _release(self) -> None:
        """A link is whole again: what its senders still hold comes through."""
        parked, self._parked = self._parked, []
        for until, source, target, fn, args in parked:
            if until < self._loop.now:
                continue
            if self.is_open(source, target):
                self._loop.later(0.2 * self._rng.random(), self._arrive, source, target, fn, args)
            else:
                self._parked.append((until, source, target, fn, args))
        self.healed.fire()
