"""The world: everything that is known of one cluster at one moment, with how well it is known.

Built by `loop/observe`, read by `plan`. *Unknown* is a value of its own and never the same as *absent*: a failed
listing leaves `Unknown` in its place, and no rule derives anything destructive from that.

Times are seconds of the operator's monotonic clock. The operator may itself have been paused (a frozen machine, a
long garbage collection): after such a pause every stream looks silent although nobody was listening. `awake_since`
says from when on this operator's own clockwork has been running without a gap, and silence is judged from then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgswarm.core import spec as spec_
from pgswarm.core.claim import Incarnation
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import MemberReport, RouterReport
from pgswarm.core.sightings import Sighting
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.tenure import Standing
from pgswarm.core.wal import Position

CLOSED_GRACE = 0.15
"""Seconds that a closed stream may take to be open again before its agent counts as gone, unless another connection was
refused at the same address: then nobody listens there, and there is nothing to wait for."""


DIALLED_GRACE = 1.0
"""Seconds that an agent has to answer at an address that was only just learnt. Who missed a move looks for everybody
in the wrong places, and then finds them one after another within milliseconds: nobody is lost in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Could not be observed, and why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A service as it shall be, and how the real one compares."""

    name: str
    spec: dict[str, Any]
    member: str | None  # None: the routers
    exists: bool
    differences: tuple[str, ...] = ()
    foreign: str = ""  # why a service of this name is not ours; empty if it is
    ends: str = ""  # the difference whose putting right ends its task; empty if none does
    trouble: str = ""  # why its task does not run, in words
    beside: tuple[str, ...] = ()  # services of others that hold what it needs, and how to end each


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDocument:
    """A document of this cluster in a file that this operator watches."""

    document: spec_.PostgresCluster
    edited_at: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What this operator last told an agent."""

    digest: str
    accepted: bool
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What this operator has granted to the primary of a cluster; times are its own clock's."""

    nonce: str = ""  # the last word that was answered, and the answer taken
    boots: Mapping[str, float] = field(default_factory=dict)  # until when each process of it may write, at the latest

    @property
    def until(self) -> float:
        return max(self.boots.values(), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEnd:
    """How far a primary's log was by its last word about it, whatever its agent has said or lost since."""

    incarnation: Incarnation
    position: Position
    heard_at: float  # when it was last known to be so, by this operator's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One cluster as one operator sees it."""

    cluster: str
    operator: str = "operator"
    document: spec_.PostgresCluster | None = None  # in force: from the store, or found and not yet stored
    stored: bool = False  # the document in force is in Swarm's store
    stored_edited_at: float = 0.0
    editions: str = ""  # the last documents, as kept in Swarm's store
    found: FoundDocument | None = None
    record: Record | Unknown | None = None
    record_read_at: float = 0.0
    newer_since: float | None = None  # since when an agent is seen to have accepted a newer record than this
    swarm: SwarmView | Unknown = field(default_factory=lambda: Unknown(why="not listed yet"))
    places: tuple[Place, ...] = ()
    place_problems: tuple[str, ...] = ()
    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    # Seconds for which a node where a member lives or lived is down or gone, seen without a gap; node id → seconds.
    away: Mapping[str, float] = field(default_factory=dict)
    addresses: Mapping[str, str | None] = field(default_factory=dict)
    members: Mapping[str, Sighting[MemberReport]] = field(default_factory=dict)
    routers: Mapping[str, Sighting[RouterReport]] = field(default_factory=dict)
    absent_since: Mapping[Incarnation, float] = field(default_factory=dict)
    not_serving_since: float | None = None
    told: Mapping[str, Told] = field(default_factory=dict)
    standing: Standing | None = None  # None: this operator holds no tenure, so it may grant nothing
    granted: Granted = field(default_factory=Granted)
    last_end: LastEnd | None = None  # of the record's primary
    spoiled: int = 0  # the newest revision on which this operator has begun to write a successor under `held`
    leader: str | None = None  # the operator that acts; None: this one
    vouched_at: float = float("-inf")  # when the record was last seen raised: another operator heard the primary then
    # When the record was last seen to begin waiting for a standby: whoever wrote that heard it then.
    called_at: Mapping[Incarnation, float] = field(default_factory=dict)
    wrote: int = 0  # the newest revision of the record that this operator wrote itself
    awake_since: float = 0.0
    wall: float = 0.0  # seconds since the epoch, for what a person said with a time; everything else is `now`
    fresh_id: str = "00000000"

    @property
    def detection(self) -> float:
        return spec_.seconds(self.document.spec.detection_timeout) if self.document else 3.0

    @property
    def raft_leader(self) -> str | None:
        """The node that leads Swarm's Raft, if known: better not the primary's, so that one loss is not two."""
        if isinstance(self.swarm, Unknown):
            return None
        return next((node.id for node in self.swarm.nodes if node.is_raft_leader), None)

    def report(self, member: str) -> MemberReport | None:
        """The newest report of a member, however old."""
        sighting = self.members.get(member)
        return sighting.report if sighting else None

    def present(self, member: str, now: float) -> MemberReport | None:
        """The report of a member that can be talked to now; None if it is closed, silent or was never heard."""
        sighting = self.members.get(member)
        if sighting is None or sighting.report is None:
            return None
        if sighting.closed_at is not None and self.is_closed(member, now):
            return None
        return sighting.report if now - self._heard_at(sighting) <= self.detection else None

    def gone(self, member: str, now: float) -> str | None:
        """Why a member cannot be talked to, in words; None while it can."""
        sighting = self.members.get(member)
        if sighting is None or sighting.report is None:
            return f"{member} has not been heard yet" + (f" ({sighting.why})" if sighting and sighting.why else "")
        if sighting.closed_at is not None and self.is_closed(member, now):
            return f"{member} closed its connection {now - sighting.closed_at:.1f} s ago ({sighting.why})"
        since = self._heard_at(sighting)
        return f"{member} has been silent for {now - since:.1f} s" if now - since > self.detection else None

    def _heard_at(self, sighting: Sighting[MemberReport]) -> float:
        """From when on its silence counts: nobody is silent for somebody who does not listen."""
        return max(self.awake_since, sighting.heard_at or 0.0)

    def is_closed(self, member: str, now: float) -> bool:
        """Has its process ended, as its kernel says?"""
        sighting = self.members.get(member)
        if sighting is None or sighting.connected or sighting.closed_at is None:
            return False
        if sighting.vacant and sighting.closed_at >= self.awake_since:
            return True
        return now - max(sighting.closed_at, self.awake_since) >= CLOSED_GRACE

    def is_lost(self, member: str, now: float) -> bool:
        """Gone for certain enough to act upon: closed, or silent past the detection time."""
        if self.gone(member, now) is None:
            return False
        sighting = self.members.get(member)
        if self._is_just_found(member, now) and not self.is_closed(member, now):
            return False
        if sighting is not None and sighting.report is not None:
            return True
        sought = sighting.sought_since if sighting is not None else 0.0
        return now - max(self.awake_since, sought) > self.detection

    def _is_just_found(self, member: str, now: float) -> bool:
        """Was its address learnt a moment ago, and that of another, too? Who it is that answers first means nothing."""
        lately = [name for name, one in self.members.items() if now - one.dialled_at <= DIALLED_GRACE]
        return member in lately and len(lately) > 1
