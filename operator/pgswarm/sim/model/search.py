"""Breadth first through every state there is, so that the first fault found is a shortest one.

A state is kept as one whole number: each of its parts (the records, a member, what is held, the rest) is kept once in
a table and named by its place there. So a state that was visited costs some eighty bytes, and equality is exact: no
fingerprints, nothing is overlooked by a collision. Of the way to a state only its parent and the number of the move
are kept; the trace is told by going that way once more.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pgswarm.sim.model import invariants
from pgswarm.sim.model.moves import Bounds, Move, moves
from pgswarm.sim.model.state import State

WIDTH = 26
"""Bits for the name of one part: up to 67 million of a kind."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What a search has seen."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    complete: bool = False
    broken: str = ""
    trace: list[Move] = field(default_factory=list)


class Table:
    """Every part of a state once, and states as whole numbers."""

    def __init__(self, members: int) -> None:
        self.members = members
        self._places: list[dict[object, int]] = [{} for _ in range(members + 3)]
        self._parts: list[list[object]] = [[] for _ in range(members + 3)]

    def pack(self, state: State) -> int:
        number = 0
        rest = state[3:]
        for kind, part in enumerate((state.recs, state.held, rest, *state.members)):
            places = self._places[kind]
            place = places.get(part)
            if place is None:
                place = places[part] = len(places)
                self._parts[kind].append(part)
            number = number << WIDTH | place
        return number

    def unpack(self, number: int) -> State:
        parts = []
        for kind in range(self.members + 2, -1, -1):
            parts.append(self._parts[kind][number & (1 << WIDTH) - 1])
            number >>= WIDTH
        *members, rest, held, recs = parts
        return State(recs, tuple(reversed(members)), held, *rest)  # type: ignore[arg-type, misc]


def search(
    start: State,
    bounds: Bounds,
    *,
    is_over: Callable[[], bool] = lambda: False,
    tell: Callable[[Found], None] = lambda found: None,
    most: int = 1 << 62,
) -> Found:
    """Visit everything within the bounds until it is over; stop at the first fault."""
    table = Table(bounds.members)
    found = Found()
    first = table.pack(start)
    visited = {first}
    parents, steps = array("I", [0]), array("H", [0])
    frontier = [first]
    base = 0  # the number of the frontier's first state
    while frontier:
        found.states = len(visited)
        tell(found)
        following: list[int] = []
        for at, number in enumerate(frontier):
            if at & 255 == 0 and (is_over() or len(visited) >= most):
                found.states = len(visited)
                return found
            for step, move in enumerate(moves(table.unpack(number), bounds)):
                found.transitions += 1
                key = table.pack(move.state)
                if key in visited and not move.broken:
                    continue
                visited.add(key)
                parents.append(base + at)
                steps.append(step)
                following.append(key)
                wrong = move.broken or invariants.broken(move.state)
                if wrong:
                    found.states, found.broken, found.depth = len(visited), wrong, found.depth + 1
                    found.trace = list(_way(start, bounds, parents, steps))
                    return found
        base += len(frontier)
        frontier = following
        found.depth += bool(following)
    found.states, found.complete = len(visited), True
    return found


def _way(start: State, bounds: Bounds, parents: Sequence[int], steps: Sequence[int]) -> Iterator[Move]:
    """The moves from the start to the state that was found last."""
    taken = []
    number = len(parents) - 1
    while number:
        taken.append(steps[number])
        number = parents[number]
    state = start
    for step in reversed(taken):
        move = next(move for place, move in enumerate(moves(state, bounds)) if place == step)
        yield move
        state = move.state
