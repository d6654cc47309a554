"""A grant: leave to write for some seconds, and what its holder does as it runs out (durability `async`).

A primary that waits for no standby acknowledges alone, so counting cannot stop it; time must. It asks with a word
that nobody can know before (a *nonce*), and whatever it is given counts from the moment at which *it* made that word,
on its own clock: an answer that was late, delayed or repeated can only be worth less. If no operator answers, the
other members are asked; they may let it write on, all of them or nobody, and each remembers durably when it did. A
member that has promised a higher term lets nobody write on, so one promise ends what consent can give.

What is left of a grant decides what its holder does: ask the operators, then the members too, then close the doors
while there is still time for it, and at last be ended by the kernel (`member/deadman`). Clocks are CLOCK_BOOTTIME: they
go on while a machine sleeps. Before this: `core/granting`, the operators' side. After it: `member/grant`, the hands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from pgswarm.core.claim import Incarnation
from pgswarm.core.memory import Consented, Memory, Verdict
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, Lent, MemberReport, RouterReport
from pgswarm.core.wal import Position

TTL = 10.0
"""Seconds for which a grant lets a primary write, counted from when it asked."""

ASK_EVERY = 3.0
"""Seconds between two askings of the operators: three may be lost before anything is felt."""

MEMBERS_FROM = 5.0
"""Seconds left at which the other members are asked as well."""

MEMBERS_EVERY = 1.0
"""Seconds between two askings of the members."""

CLOSE_FROM = 2.0
"""Seconds left at which clients are turned out: that takes milliseconds, unless the machine is in trouble."""

END_BEFORE = 0.5
"""Seconds before its end at which the kernel ends a holder that has not closed its doors."""

DRIFT = 0.01
"""How much faster or slower than another a clock may run. Real ones differ by a ten-thousandth."""

MARGIN = 0.5
"""Seconds added to every waiting for somebody else's clock."""

KEPT = 8
"""Words that may still be answered."""


class Stage(Enum):
    """What the rest of a grant asks for."""

    CALM = auto()
    ASK_MEMBERS = auto()
    CLOSE = auto()


@dataclass(frozen=True, slots=True)
class Holding:
    """What an agent holds: until when it may write, how much of that by consent, and the words it has asked with."""

    until: float = 0.0
    lent: float = 0.0
    asked: tuple[tuple[str, float], ...] = ()

    @property
    def nonce(self) -> str:
        return self.asked[-1][0] if self.asked else ""

    @property
    def asked_at(self) -> float:
        return self.asked[-1][1] if self.asked else 0.0

    def stage(self, now: float) -> Stage:
        left = self.until - now
        if left <= CLOSE_FROM:
            return Stage.CLOSE
        return Stage.ASK_MEMBERS if left <= MEMBERS_FROM else Stage.CALM

    def lets_write(self, now: float) -> bool:
        """May clients be let in, or kept?"""
        return self.stage(now) is not Stage.CLOSE


def asking(holding: Holding, nonce: str, now: float) -> Holding:
    """Having made a new word at `now`."""
    return replace(holding, asked=(*holding.asked, (nonce, now))[-KEPT:])


def given(holding: Holding, memory: Memory, *, term: int, nonce: str, ttl: float) -> tuple[Holding, Verdict]:
    """Take an operator's answer, if it is one to this reign and to a word that this process made."""
    order = memory.bound
    if order is None or order.role != "primary" or order.term != term:
        bound = f"term {order.term} as {order.role}" if order else f"promised term {memory.promised}"
        return holding, Verdict(ok=False, reason=f"a grant for term {term} is not for this member now ({bound})")
    asked_at = dict(holding.asked).get(nonce)
    if asked_at is None:
        return holding, Verdict(ok=False, reason="this grant answers nothing that was asked here lately")
    until = asked_at + min(ttl, TTL)
    if until > holding.until:
        holding = replace(holding, until=until)
    return holding, Verdict(ok=True, reason=f"granted for {min(ttl, TTL):.1f} s from when it was asked")


def extended(holding: Holding, asked_at: float) -> Holding:
    """All other members have consented to an asking of that moment."""
    lent = max(holding.lent, asked_at + TTL)
    return replace(holding, until=max(holding.until, lent), lent=lent)


def consented(memory: Memory, node_boot: str, now: float, primary: Incarnation, end: Position | None) -> Memory:
    """Having let this primary write on: when, and how far its log was by the furthest word that it ever gave here."""
    lent = memory.consented.lent if memory.consented is not None else None
    if lent is not None and lent.primary != primary:
        lent = None
    if end is not None and (lent is None or lent.end.timeline != end.timeline or lent.end.lsn < end.lsn):
        lent = Lent(primary=primary, end=end)
    return memory.model_copy(update={"consented": Consented(node_boot=node_boot, at=now, lent=lent)})


def elsewhere(place: str, report: MemberReport | RouterReport | None) -> str:
    """Why a consent that comes with this report is not that of the member at `place`; empty if it is.

    An agent that is asked looks itself (`may_lend`), unless it is of before places were told apart.
    """
    lives = report.place if isinstance(report, MemberReport) else ""
    return "" if lives == place else f"it consents at {lives or 'a place that it does not say'}, not at {place}"


def outlasts(holding: Holding, bound: Order | None, order: Order, now: float) -> str:
    """Why an order must wait for the end of what consent has given; empty if it need not.

    That end is known by the last consent of any single member (`core/lapse`), so nobody may be a member, or be one
    elsewhere, while something still runs to which they did not consent. `bound` is the last order that was accepted,
    though a newer promise may have ended it: what was gained under it lets write in the next term as well.
    """
    if bound is None or now >= holding.lent:
        return ""
    asked = set(zip(bound.peers, map(bound.place_of, bound.peers), strict=True))
    new = [peer for peer in order.peers if (peer, order.place_of(peer)) not in asked]
    if not new:
        return ""
    return f"{', '.join(new)} did not consent to what runs on for {holding.lent - now:.1f} s; then it is accepted"


def may_lend(memory: Memory, *, cluster: str, term: int, primary: Incarnation, place: str = "") -> Verdict:
    """May this member let the primary of `term` write on without an operator? The moment must then be durable.

    A primary means the member at one place; a container of it that was left behind elsewhere has no say. Nor has a
    member without data: its volume may be a new one, and with the old one went what it had promised, or that it was
    elected itself (`make sim` found it: the winner of t+1 lost its volume and consented in t).
    """
    if cluster != memory.cluster:
        return Verdict(ok=False, reason=f"this is {memory.member} of {memory.cluster}, not of {cluster}")
    if not memory.is_at(place):
        return Verdict(ok=False, reason=f"this is {memory.member} at {memory.place}, which has moved to {place}")
    if memory.promised > term:
        return Verdict(ok=False, reason=f"promised term {memory.promised}, newer than {term}")
    order = memory.order
    if memory.data is not Data.READY or order is None:
        return Verdict(ok=False, reason=f"{memory.member} has no data, so it may have lost what it promised with them")
    if order.term == term and order.primary != primary:
        return Verdict(ok=False, reason=f"the primary of term {term} is {order.primary}, not {primary}")
    return Verdict(ok=True, reason=f"{primary} may write on in term {term}")
