"""The onlooker: what must never happen, checked when it could (S1-S7), and what is counted on the way.

It sees everything at once, which nobody in the site can: every volume, every acknowledged commit, every version of the
record. A commit counts as acknowledged when PostgreSQL lets go of it, and also when a primary that came back shows it
to clients: whoever has read it may have acted upon it (C11).

Checks are made where something changes and not over and over: at an acknowledgement (S2, S4 for this commit), at a
write of the record (S1, S3, S4), when data is destroyed (S5), when an order leaves (S7).
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from pgswarm.core.claim import Incarnation
from pgswarm.core.orders import Order
from pgswarm.core.record import Record
from pgswarm.core.reports import Data
from pgswarm.sim.losses import Losses
from pgswarm.sim.volume import Log

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent
    from pgswarm.sim.container import Container
    from pgswarm.sim.postgres import Postgres
    from pgswarm.sim.site import Site


class Violation(AssertionError):
    """Something that must never happen has happened."""


class Ledger:
    """Acknowledged commits, decided reigns, and every order ever sent."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.commits: dict[int, int] = {}  # number → where it ends in the log
        self.winners: dict[int, Log] = {}  # term → what its primary had when it was decided
        self.reigns: dict[int, Incarnation] = {}
        self.orders: dict[tuple[str, int, int], Order] = {}
        self.graves: dict[Incarnation, Log] = {}  # what data directories held when they ended
        self.lost_volumes: set[Incarnation] = set()
        self.changed_services: list[str] = []
        self.elections = 0
        self.losses = Losses(site)

    def fail(self, text: str) -> None:
        """Stop the history here: the first thing that is found is what is told."""
        if self.site.loop.failure is None and not self.site.closing:
            self.site.story("LEDGER", text, key=True)
            self.site.loop.failure = Violation(text)

    def broke(self, failure: BaseException) -> None:
        """An exception that nobody expected is a bug, wherever it rose."""
        lines = traceback.format_exception(failure)
        self.fail(f"bug: {type(failure).__name__}: {failure}\n{''.join(lines[-4:])}")

    def bug(self, failure: BaseException | None) -> None:
        """The end of a job that must not fail."""
        if failure is not None:
            self.broke(failure)

    # Commits

    def acknowledged(self, postgres: Postgres, lsn: int, number: int) -> None:
        """A client was told, or could see, that this commit is there."""
        term = postgres.container.agent.memory.reigned
        for later, log in self.winners.items():
            if later > term and (len(log) < lsn or log[lsn - 1][1] != number):
                if self.losses.excused(postgres.name, term):
                    self.losses.lost[number] = lsn
                    return
                self.fail(f"S2: {postgres.name} acknowledges {number} in term {term}; term {later} is without it")
        self.commits[number] = lsn
        self.losses.told_at[number] = self.site.loop.now
        record = self.site.record
        if record is not None and self._copies(record, lsn, number) < record.claim.r:
            self.fail(f"S4: {number} is acknowledged and not on {record.claim} (revision {record.revision})")

    def shown(self, postgres: Postgres) -> None:
        """Clients are let in: everything that waits for nobody is visible to them."""
        waiting = {one.number for one in postgres.waiters}
        for lsn, (_, number) in enumerate(postgres.volume.log, 1):
            if number > 0 and number not in self.commits and number not in waiting:
                self.site.count("unacknowledged commit shown")
                self.acknowledged(postgres, lsn, number)

    # The record

    def written(self, before: Record | None, record: Record) -> None:
        """A new content of the record: the only place where anything is decided."""
        if before is not None and (record.revision != before.revision + 1 or record.term < before.term):
            self.fail(f"the record goes from {before.term}.{before.revision} to {record.term}.{record.revision}")
        if self.reigns.setdefault(record.term, record.primary) != record.primary:
            self.fail(f"S1: two primaries of term {record.term}: {self.reigns[record.term]} and {record.primary}")
        if before is not None and before.timeline != record.timeline:
            self._elected(before, record)
        elif before is not None and before.term != record.term:
            self.site.count("raise")
        self.claim_is_true()

    def _elected(self, before: Record, record: Record) -> None:
        if record.primary != before.primary and before.fence(record.primary_member) is not None:
            self.fail(f"{record.primary_member} is fenced, and begins term {record.term}")
        self.elections += 1
        self.site.count("failover")
        self.losses.note_election(before, record)
        volume = self.site.volumes[record.primary_member]
        # It may have lost its volume in this moment. Then it cannot reign, but what the record gives up is given up.
        lives = volume.memory.incarnation == record.primary and volume.memory.data is Data.READY
        log = list(volume.log if lives else self.graves.get(record.primary, ()))
        missing = {n: lsn for n, lsn in self.commits.items() if len(log) < lsn or log[lsn - 1][1] != n}
        if missing and (why := self.losses.judged(before, record, missing)):
            self.fail(f"S3: {record.primary} begins term {record.term} without {list(missing)[:5]}: {why}")
        for number in missing:
            del self.commits[number]
        if not lives:
            return
        if volume.memory.promised < record.term:
            self.fail(f"C8: {record.primary} was elected without its promise")
        self.winners[record.term] = log

    def claim_is_true(self) -> None:
        """S4: is every acknowledged commit on as many of the claimed as the record says?"""
        record = self.site.record
        if record is None:
            return
        for number, lsn in self.commits.items():
            if self._copies(record, lsn, number) < record.claim.r:
                self.fail(f"S4: {number} is not on {record.claim} (revision {record.revision})")
                return

    def _copies(self, record: Record, lsn: int, number: int) -> int:
        found = 0
        for name in record.claim.members:
            volume = self.site.volumes[name.partition("/")[0]]
            logs = [self.graves.get(name, [])]
            if volume.memory.incarnation == name:
                logs.append(volume.log)
            found += any(len(log) >= lsn and log[lsn - 1][1] == number for log in logs)
        return found

    # Data

    def started(self, container: Container) -> None:
        """Law 8: one postmaster on a volume."""
        for other in self.site.containers[container.member]:
            if other is not container and other.volume is container.volume and other.postgres.process.alive:
                self.fail(f"law 8: two postmasters on the volume of {container.member}")

    def promoted(self, agent: Agent) -> None:
        memory = agent.memory
        if memory.promised > memory.reigned:
            self.fail(f"law 1: {agent.name} is promoted in term {memory.reigned}, promised {memory.promised}")
        if self.reigns.get(memory.reigned) != memory.incarnation:
            self.fail(f"S1: {memory.incarnation} is promoted in term {memory.reigned}, which is not its own")

    def given_up(self, agent: Agent, how: str) -> None:
        """The member is about to note that its data is made anew: nobody uses it from then on, so it is judged as it
        is now, and not when it goes (by then more may have been lost that others have, too).
        """
        if why := self.losses.given_up(agent):
            self.fail(f"S5: {why} ({how})")

    def wiped(self, agent: Agent, how: str) -> None:
        """Data is about to be destroyed: is it the only copy of something acknowledged, or counted (S5)?"""
        log = agent.volume.log
        if how == "initdb" and log:
            self.fail(f"law 10: initdb over the data of {agent.name}")
        self.site.count(how.split()[0])
        for number, lsn in self.commits.items():
            if len(log) >= lsn and log[lsn - 1][1] == number and not self._elsewhere(agent, lsn, number):
                self.fail(f"S5: {agent.name} wipes the only copy of {number} ({how})")
                return

    def renewed(self, agent: Agent, was: Incarnation | None) -> None:
        """The memory was saved; did the incarnation change?"""
        now = agent.memory.incarnation
        if was is None or was == now:
            return
        self.bury(was, agent.volume.log)
        record = self.site.record
        if record is not None and was in record.claim.members:
            self.fail(f"S5: {was} is re-seeded while revision {record.revision} counts on it")

    def volume_lost(self, member: str) -> None:
        volume = self.site.volumes[member]
        if volume.memory.incarnation is not None:
            self.bury(volume.memory.incarnation, volume.log)
            self.lost_volumes.add(volume.memory.incarnation)

    def bury(self, name: Incarnation, log: Log) -> None:
        if len(log) >= len(self.graves.get(name, ())):
            self.graves[name] = list(log)

    def _elsewhere(self, agent: Agent, lsn: int, number: int) -> bool:
        return any(
            len(volume.log) >= lsn and volume.log[lsn - 1][1] == number
            for volume in self.site.disks.others(agent.volume)
        )

    @property
    def lost_for_good(self) -> bool:
        """Can only a person help: too many counted volumes are lost, or a late order made another system's data?"""
        record = self.site.record
        if record is None:
            return False
        if any(volume.memory.told_data is Data.FOREIGN for volume in self.site.volumes.values()):
            return True
        left = [name for name in record.claim.members if name not in self.lost_volumes]
        return record.primary not in left and len(left) < record.claim.quorum

    # Orders and services

    def ordered(self, order: Order) -> None:
        """S7: equal (term, revision) orders are equal."""
        known = self.orders.setdefault((order.member, *order.key), order)
        if known is not order and known != order:
            self.fail(f"S7: two orders of {order.key} for {order.member}")
        if order.role == "primary" and self.reigns.get(order.term) != order.primary:
            self.fail(f"S1: {order.primary} is ordered primary of term {order.term}")

    def service_changed(self, service: str) -> None:
        """S6: nobody edits services in these histories unless a document or a hand says so."""
        self.changed_services.append(service)
        if not self.site.edited:
            self.fail(f"S6: service {service} is changed, and nobody asked for it")

    def why_kept(self, service: str) -> str:
        """S6: only that of a member which has left the place of it, is in no record, and on which nobody counts, may be
        removed; why this one must not be. Empty if it may."""
        member, record = service.partition("_")[2].partition("#")[0], self.site.record
        if record is None or record.place(member) is not None or record.counts(member):
            return f"S6: service {service} is removed, and {member} is wanted"
        if all(place.member != member for place in record.departed):
            return f"S6: service {service} is removed, and no record says that {member} has left"
        return ""
