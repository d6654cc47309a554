"""What must never happen, looked at from outside at every step: the invariants of the protocol (S1-S5, S7).

Commits are known by number. A commit counts as acknowledged when a client was told so, and also when a primary that
came back shows it to clients: whoever has read it may have acted upon it (C11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgswarm.core.claim import Incarnation
from pgswarm.core.orders import Order
from pgswarm.core.record import Record
from pgswarm.core.reports import Data
from tests.scenarios.members import Entry, Member

if TYPE_CHECKING:
    from tests.scenarios.cluster import Store


class Violation(AssertionError):
    """An invariant does not hold."""


class Check:
    """The ledger, the reigns, and every order ever sent."""

    def __init__(self, members: dict[str, Member], store: Store) -> None:
        self.members, self.store = members, store
        self.ledger: set[Entry] = set()
        self.winners: dict[int, frozenset[Entry]] = {}  # term → what its primary had when it was decided
        self.orders: dict[tuple[str, int, int], Order] = {}
        self.reigns: dict[int, Incarnation] = {}
        self.graves: dict[Incarnation, frozenset[Entry]] = {}  # what data directories held when they ended
        self.shown: dict[str, int] = {}  # boots of members whose whole log is visible to clients
        self.lost_volumes: set[Incarnation] = set()
        self.elections = 0

    def acknowledged(self, member: Member, entry: Entry) -> None:
        term = member.order.term if member.order else 0
        for later, had in self.winners.items():
            if later > term and entry not in had:
                raise Violation(f"S2: {member.name} acknowledged {entry} in term {term}; term {later} is without it")
        self.ledger.add(entry)

    def written(self, before: Record | None, record: Record) -> None:
        if before is not None and (record.revision <= before.revision or record.term < before.term):
            raise Violation(f"the record went back: {before.term, before.revision} to {record.term, record.revision}")
        if self.reigns.setdefault(record.term, record.primary) != record.primary:
            raise Violation(f"S1: two primaries of term {record.term}")
        if before is None or before.timeline == record.timeline:
            return
        self.elections += 1
        winner = self.members[record.primary_member]
        if winner.ident != record.primary:
            return  # its volume was lost in this moment; it cannot reign
        had = frozenset(winner.log)
        if missing := self.ledger - had:
            raise Violation(f"S3: {record.primary} begins term {record.term} without {sorted(missing)[:5]}")
        if winner.promised < record.term:
            raise Violation(f"C8: {record.primary} was elected without its promise")
        self.winners[record.term] = had

    def ordered(self, order: Order) -> None:
        known = self.orders.setdefault((order.member, order.term, order.revision), order)
        if known != order:
            raise Violation(f"S7: two orders of {order.key} for {order.member}")
        told = self.store.history
        if order.role == "primary" and self.reigns.get(order.term) != order.primary and told:
            raise Violation(f"S1: {order.primary} is ordered primary of term {order.term}")

    def directory(self, member: Member, was: Incarnation | None) -> None:
        """S5: a data directory that the record counts is never made anew by its own agent."""
        if was is None or was == member.ident or member.data is Data.NONE:
            return
        self._bury(was, member)
        record = self.store.record
        if record is not None and was in (*record.claim.members, *record.sync.names):
            raise Violation(f"S5: {was} is re-seeded while revision {record.revision} counts on it")

    def volume_lost(self, member: Member) -> None:
        if member.ident is not None:
            self._bury(member.ident, member)
            self.lost_volumes.add(member.ident)

    def _bury(self, name: Incarnation, member: Member) -> None:
        self.graves[name] = self.graves.get(name, frozenset()) | frozenset(member.log)

    def look(self, now: float) -> None:
        for member in self.members.values():
            if member.clients and member.reigns and self.shown.get(member.name) != member.boot:
                self.shown[member.name] = member.boot
                waiting = {member.log[lsn - 1] for lsn in member.pending}
                for entry in member.log:
                    if entry not in self.ledger and entry not in waiting:
                        self.acknowledged(member, entry)
        self._claim_is_true()

    def _claim_is_true(self) -> None:
        record = self.store.record
        if record is None or not self.ledger:
            return
        copies: dict[Incarnation, set[Entry]] = {name: set(self.graves.get(name, ())) for name in record.claim.members}
        for member in self.members.values():
            if member.ident in copies:
                copies[member.ident].update(member.log)
        for entry in self.ledger:
            if sum(entry in copy for copy in copies.values()) < record.claim.r:
                raise Violation(f"S4: {entry} is not on {record.claim} (revision {record.revision})")

    def lost_for_good(self) -> bool:
        """Can only a person help: the primary's volume is lost, and too few others of the claim are left?

        Or a late order to create has made data of another system, which no agent may touch.
        """
        record = self.store.record
        if record is None or any(member.told_data is Data.FOREIGN for member in self.members.values()):
            return record is not None
        left = [name for name in record.claim.members if name not in self.lost_volumes]
        return record.primary not in left and len(left) < record.claim.quorum
