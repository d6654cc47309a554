"""What may be missing: the ledger's rule for `async`, and for a loss that a person has accepted.

Everywhere else nothing acknowledged is ever missing. A successor after a grant may be without commits of the reign
before, if the record says so: no more than `maxLagOnFailover` of what the old primary was known to have, and beyond
that only what it wrote unheard: for one grant after whoever let it write on last, operator or members, and never
longer after its last word to the operator than `core/lapse` allows. What it told the members when they let it write on
is known. A person who accepts a loss gives up what only those have whom the wish names as dead; and these, should they
live, may acknowledge to each other until they are told.

Log that holds what was lost in this way is kept aside before it is rewound or cloned away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgswarm.core import lapse
from pgswarm.core.claim import Incarnation, member_of
from pgswarm.core.grant import DRIFT, TTL
from pgswarm.core.orders import Order
from pgswarm.core.parameters import size
from pgswarm.core.record import Grant, Record

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent
    from pgswarm.sim.site import Site

UNHEARD = TTL * (1 + DRIFT) + 0.5
"""Seconds for which a primary may still acknowledge once it was heard, or was let write on by all other members."""


class Losses:
    """What was lost, and by whose leave."""

    def __init__(self, site: Site) -> None:
        self.lost: dict[int, int] = {}  # number → where it ended in the log
        self.told_at: dict[int, float] = {}
        self.heard: float | None = None  # when the operator that writes now had last heard the primary
        self._consented: dict[tuple[int, Incarnation], float] = {}  # when the members last let it write on in this term
        self._looked: dict[tuple[int, Incarnation], float] = {}  # what it had when, as they were told
        self._given_up: list[tuple[int, frozenset[str]]] = []  # the term that began, and who was named dead
        self._site = site

    def excused(self, member: str, term: int) -> bool:
        """Was this member given up by a person, so that it may acknowledge in its term until it is told?"""
        return any(member in dead and later > term for later, dead in self._given_up)

    def note_consent(self, order: Order, asked_at: float, looked_at: float) -> None:
        """All other members have let this primary write on, asked at `asked_at`, and told what it had at `looked_at`.

        By the world's clock; `looked_at` is minus infinity if it could not tell them. Answers may come out of order.
        """
        reign = (order.term, order.primary)
        for noted, at in ((self._consented, asked_at), (self._looked, looked_at)):
            noted[reign] = max(at, noted.get(reign, at))

    def note_election(self, before: Record, record: Record) -> None:
        """Remember whom a person gave up."""
        if _accepted(before, record) and before.wish is not None:
            self._given_up.append((record.term, frozenset(before.wish.dead)))
            self._site.count("loss accepted")

    def judged(self, before: Record, record: Record, missing: dict[int, int]) -> str:
        """Why these commits must not be missing; empty if they may be, and then they are noted as lost."""
        if before.wish is not None and _accepted(before, record):
            why = self._by_a_person(before, missing, before.wish.dead)
        elif before.grant is Grant.HELD and record.losses and record.losses[-1].term == record.term:
            why = self._by_the_record(before, record, missing)
        else:
            why = "nobody said so"
        if not why and missing:
            self.lost |= missing
            self._site.count("commits lost as the record says")
            self._site.story("LEDGER", f"{len(missing)} commits are lost, as the record says", key=True)
        return why

    def _by_a_person(self, before: Record, missing: dict[int, int], dead: tuple[str, ...]) -> str:
        for name in before.claim.members:
            volume = self._site.volumes[member_of(name)]
            if volume.memory.incarnation != name or member_of(name) in dead:
                continue
            for number, lsn in missing.items():
                if len(volume.log) >= lsn and volume.log[lsn - 1][1] == number:
                    return f"{number} is on {name}, whom nobody named dead"
        return ""

    def _by_the_record(self, before: Record, record: Record, missing: dict[int, int]) -> str:
        loss = record.losses[-1]
        most = size(self._site.document.spec.max_lag_on_failover) if self._site.document else 0
        if (loss.member, loss.timeline) != (before.primary_member, before.timeline):
            return f"the record names another's loss: {loss}"
        if loss.known > most:
            return f"{loss.known} bytes were known to be lacking, and {most} are allowed"
        for number, lsn in missing.items():
            told_at = self.told_at[number]
            if lsn <= loss.since:
                return f"{number} is before what the record gives up"
            if lsn <= loss.since + loss.known:
                continue
            if told_at < self._looked.get((before.term, before.primary), told_at):
                return f"{number} was there when the members were told how far the primary was, and is not counted"
            if self.heard is None or told_at > self._last(before, self.heard):
                since = "ever" if self.heard is None else f"for {told_at - self.heard:.1f} s"
                return f"{number} was acknowledged by a primary that the operator had not heard {since}"
        return ""

    def _last(self, before: Record, heard: float) -> float:
        """Until when this primary may have acknowledged what nobody knows of."""
        consented = self._consented.get((before.term, before.primary), heard)
        return min(max(heard, consented) + UNHEARD, heard + lapse.UNHEARD)

    def given_up(self, agent: Agent) -> str:
        """Why this member's log must not be given up yet: what was lost and is nowhere but here is kept aside first."""
        kept = {number for piece in agent.volume.kept for _, number in piece}
        for _, number in agent.volume.log:
            if number in self.lost and number not in kept:
                return f"{agent.name} throws away {number}, which was acknowledged and lost, and has not kept it aside"
        return ""


def _accepted(before: Record, record: Record) -> bool:
    wish = before.wish
    return wish is not None and wish.kind == "accept-loss" and record.reason.startswith("loss accepted")
