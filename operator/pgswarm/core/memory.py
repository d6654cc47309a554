"""What an agent remembers on its volume, and what it may still agree to.

The memory is written and fsynced outside PGDATA before anything in it is acted upon or answered (PROTOCOL, an
agent's law 2). Two questions are put to it: may this *order* be accepted, and may this *promise* be given? Both are
answered here, purely, with one clear line; `member/state` makes the new memory durable, `duty` then says what
follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from pgswarm.core.base import Message
from pgswarm.core.claim import Incarnation
from pgswarm.core.orders import Circumstances, Order, Settings
from pgswarm.core.reports import Data, Lent


class Consented(Message):
    """When a primary was last let write on, by the clock of one start of this node."""

    node_boot: str
    at: float = Field(description="CLOCK_BOOTTIME, seconds")
    lent: Lent | None = Field(default=None, description="how far the log of that primary was, if it ever said so")


class Memory(Message):
    """Everything that must outlive the agent. Unknown fields of a later version are ignored."""

    cluster: str
    member: str
    place: str = Field(default="", description="where this volume is (`Place.id`); empty: nobody has said so")
    promised: int = 0
    order: Order | None = None
    circumstances: Circumstances = Circumstances()
    settings: Settings | None = Field(
        default=None, description="what PostgreSQL runs with: the last settings that were tried and taken"
    )
    data: Data = Data.NONE
    incarnation: Incarnation | None = None
    system_id: str = ""
    reigned: int = Field(default=0, description="the highest term in which this data directory was made primary")
    timeline: int = Field(default=0, description="the timeline of that reign")
    begun: bool = Field(default=False, description="that timeline exists: the promotion, or the initdb, is complete")
    follows: tuple[Incarnation, int] | None = Field(
        default=None, description="this data was found, or made, to be on the line of that primary in that term"
    )

    adopting: str = Field(
        default="", description="the folder in the volume that is being taken over, from before its first byte changes"
    )
    consented: Consented | None = Field(default=None, description="None: never since this volume was begun, or lost")

    @property
    def bound(self) -> Order | None:
        """The order that holds: none if a newer promise was given since."""
        return self.order if self.order is not None and self.order.term >= self.promised else None

    @property
    def told_data(self) -> Data:
        """What a report says of the data: another system's counts as foreign."""
        if self.data is Data.READY and self.order and self.order.system_id not in ("", self.system_id):
            return Data.FOREIGN
        return self.data

    def has_answered(self, term: int) -> bool:
        return self.promised >= term

    def is_at(self, place: str) -> bool:
        """Is this the place that somebody means? A member that has moved may be alive in two; one of them is it."""
        return place == self.place or not place or not self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Yes or no, and why."""

    ok: bool
    reason: str


def accept(memory: Memory, order: Order) -> Verdict:
    """May this order be accepted? Accepting it is the promise of its term."""
    known = memory.order
    if (order.cluster, order.member) != (memory.cluster, memory.member):
        return _no(f"this is {memory.member} of {memory.cluster}, not {order.member} of {order.cluster}")
    if not memory.is_at(order.place):
        return _no(f"this is {memory.member} at {memory.place}, which has moved to {order.place}")
    if order.term < memory.promised:
        return _no(f"promised term {memory.promised}: the order is of term {order.term}")
    if known is not None:
        if order.key < known.key:
            return _no(f"accepted {_key(known)} already: the order is {_key(order)}, older")
        if order.key == known.key and not order.says_the_same(known):
            return _no(f"a different order of {_key(known)} was accepted: two records must be at work")
        if order.term == known.term and order.primary != known.primary:
            return _no(f"the primary of term {known.term} is {known.primary}, not {order.primary}")
        if order.key == known.key:
            return Verdict(ok=True, reason=f"{_key(order)} known already")
    if order.role == "primary" and order.incarnation != order.primary:
        return _no(f"an order to be primary must name the primary's incarnation: {order.incarnation}")
    return _incarnation_fits(memory, order)


def accepted(memory: Memory, order: Order, circumstances: Circumstances) -> Memory:
    """The memory once `order` is accepted."""
    return memory.model_copy(
        update={"order": order, "circumstances": circumstances, "promised": max(memory.promised, order.term)}
    )


def consent(memory: Memory, cluster: str, term: int, place: str = "") -> Verdict:
    """May this be promised: never to serve, nor receive from, a term below `term`?"""
    if cluster != memory.cluster:
        return _no(f"this is {memory.member} of {memory.cluster}, not of {cluster}")
    if not memory.is_at(place):
        return _no(f"this is {memory.member} at {memory.place}, not at {place}: nothing was promised")
    if term < memory.promised:
        return _no(f"promised term {memory.promised} already, newer than {term}")
    if memory.order is not None and memory.order.term >= term:
        return _no(f"term {memory.order.term} has begun here: {memory.order.primary} is its primary")
    return Verdict(ok=True, reason=f"promised term {term}")


def _incarnation_fits(memory: Memory, order: Order) -> Verdict:
    wanted, held = order.incarnation, memory.incarnation
    match memory.data:
        case Data.READY:
            if wanted is not None and wanted != held:
                return _no(f"this data directory is {held}: the order is for {wanted}")
        case Data.NONE | Data.BUILDING:
            if order.create and memory.data is Data.BUILDING and wanted != held:
                return _no(f"{held} is being built here: the order is to create {wanted}")
            if wanted is not None and not order.create and not (memory.adopting and order.adopt and wanted == held):
                return _no(f"there is no data here (data: {memory.data}): the order is for {wanted}")
        case Data.FOREIGN:
            if wanted is not None and not order.adopt:
                return _no(f"the volume holds foreign data: the order is for {wanted}")
    return Verdict(ok=True, reason=f"accepted {_key(order)}")


def _no(reason: str) -> Verdict:
    return Verdict(ok=False, reason=reason)


def _key(order: Order) -> str:
    return f"term {order.term} revision {order.revision}"
