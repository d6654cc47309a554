"""The one durable truth of a cluster.

The record lives in the labels of one Swarm config object, so in Swarm's Raft store, and changes only by
compare-and-set on the version of that object. It carries a revision of its own that grows by one with every write:
since every write replaces exactly the content that the writer saw, the revision names one content for ever, and it
is known to the writer without a second read (decision 0002).

Every function that changes a record returns a new one with the next revision; none can produce a record whose sync
does not imply its claim.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from pgswarm.core.base import Value
from pgswarm.core.claim import Claim, Incarnation, Sync, member_of
from pgswarm.core.reports import Data, MemberReport
from pgswarm.core.wal import Reign, show_lsn
from pgswarm.core.wish import Answered, Appointment, Deletion, Fence, Maintenance, Pause, Wish

LOSSES_KEPT = 5
"""Failovers with loss that the record remembers."""

DEPARTED_KEPT = 20
"""Places that members have left, of which the record remembers the volumes."""

LINEAGE_KEPT = 200
"""Reigns kept in the record; older ones are history that no living data directory can still be on."""


class Place(Value):
    """Where a member lives: chosen once and remembered; it moves only by the way of a departure (`relocation`)."""

    member: str
    node_id: str
    node_name: str
    volume: str
    given_up: bool = Field(
        default=False, description="of a departed one: its node is gone for good, so it is not chosen"
    )

    @property
    def id(self) -> str:
        """One volume on one node. A member that moves has another place, and who speaks from the old one is not it."""
        return f"{self.node_id}/{self.volume}"


class Grant(StrEnum):
    """By which rule the primary may write, and so by which it may be succeeded (decision 0008)."""

    NONE = "none"  # by quorum: a successor needs promises that meet the claim
    ASKED = "asked"  # it shall write under a grant only, and has not said yet that it will
    HELD = "held"  # it writes under a grant only: once that has run out, it may be succeeded without its promise


class Loss(Value):
    """What a failover gave up: commits of the reign before that may have been acknowledged and are not on the line."""

    term: int = Field(description="the term that began without them")
    member: str = Field(description="who may still have them")
    timeline: int
    since: int = Field(description="LSN in bytes: everything before it is kept")
    known: int = Field(description="bytes that it was known to have written after that")

    def __str__(self) -> str:
        at_least = f"at least {self.known} bytes" if self.known else "perhaps nothing"
        return (
            f"term {self.term} began without what {self.member} wrote after {show_lsn(self.since)} on timeline "
            f"{self.timeline}: {at_least}, and what it wrote after it was last heard"
        )


class Record(Value):
    """(revision, term, primary, claim, sync, grant, lineage) as in PROTOCOL; `places` remembers nodes and volumes."""

    revision: int = Field(ge=1)
    term: int = Field(ge=1)
    primary: Incarnation
    claim: Claim
    sync: Sync = Sync()
    lineage: tuple[Reign, ...] = Field(min_length=1)
    places: tuple[Place, ...]
    departed: tuple[Place, ...] = Field(
        default=(), description="places that members have left: their services go, their volumes are kept"
    )
    system_id: str = ""
    adopting: bool = Field(default=False, description="the primary is taking over a directory it did not make")
    grant: Grant = Grant.NONE
    grantor: int = Field(default=0, description="the newest tenure under which grants may have been given")
    losses: tuple[Loss, ...] = ()
    reason: str = Field(default="", description="why the last write was made, for people")
    wish: Wish | None = Field(default=None, description="what a person asked for in this term and nobody has answered")
    answered: Answered | None = Field(default=None, description="what came of the last wish that is over")
    maintenance: tuple[Maintenance, ...] = Field(default=(), description="nodes whose members shall not be primary")
    appointment: Appointment | None = Field(default=None, description="a switchover at a time to come")
    reseeds: tuple[Incarnation, ...] = Field(default=(), description="data directories that are to be made anew")
    fences: tuple[Fence, ...] = Field(default=(), description="members whose PostgreSQL is to be stopped and stay so")
    deletion: Deletion | None = Field(default=None, description="the cluster is being taken down: nothing is done")
    pause: Pause | None = Field(default=None, description="nothing is changed but what a running reign needs")

    @model_validator(mode="after")
    def _coherent(self) -> Record:
        if not self.sync.implies(self.claim, self.primary):
            raise ValueError(f"sync ({self.sync}) does not imply the claim ({self.claim})")
        if self.lineage[-1].term != self.term:
            raise ValueError("the last reign of the lineage is not the term")
        if self.grant is not Grant.NONE and (self.sync.k or self.claim != Claim(members=(self.primary,), r=1)):
            raise ValueError("a primary that writes under a grant waits for nobody, and claims nobody but itself")
        return self

    @property
    def primary_member(self) -> str:
        return member_of(self.primary)

    @property
    def timeline(self) -> int:
        return self.lineage[-1].timeline

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(place.member for place in self.places)

    def place(self, member: str) -> Place | None:
        return next((place for place in self.places if place.member == member), None)

    def counts(self, member: str) -> bool:
        """Is some incarnation of this member named in claim or sync? Then it is never re-seeded (C3)."""
        return self.claim.names(member) or self.sync.named(member)

    def is_held_by(self, report: MemberReport | None, name: Incarnation) -> bool:
        """Does this member hold that data directory, of this system? A repeated order to create could make another.

        A volume that was lost takes promises and memory with it; an old order of the first revision that reaches it
        late would make an empty directory of the same name. Only the system's identifier tells them apart.
        """
        return (
            report is not None
            and report.data is Data.READY
            and report.incarnation == name
            and self.system_id in ("", report.system_id)
        )

    def wished(self, wall: float) -> Wish | None:
        """What is asked for and may still be done at `wall` (seconds since the epoch)."""
        wish = self.wish
        return wish if wish is not None and wish.term == self.term and wall < wish.until else None

    def maintained(self, member: str) -> Maintenance | None:
        """Is this member's node under maintenance?"""
        place = self.place(member)
        return next((one for one in self.maintenance if place is not None and one.node_id == place.node_id), None)

    def fence(self, member: str) -> Fence | None:
        """The fence that a person has put this member behind."""
        return next((fence for fence in self.fences if fence.member == member), None)

    def keeps_down(self, member: str) -> bool:
        """Does its order say that its PostgreSQL stays stopped? A fence waits until nobody counts on the member."""
        fence = self.fence(member)
        if fence is None:
            return False
        return fence.no_primary if member == self.primary_member else not self.counts(member)

    def reseed(self, member: str) -> Incarnation | None:
        """The data directory of this member that its order says is to be made anew; never one that counts (C3)."""
        if member == self.primary_member or self.counts(member):
            return None
        return next((name for name in self.reseeds if member_of(name) == member), None)

    def paused(self, wall: float) -> Pause | None:
        """The pause that holds at `wall` (seconds since the epoch)."""
        pause = self.pause
        return pause if pause is not None and (pause.until is None or wall < pause.until) else None

    def answering(self, text: str, *, done: bool = False) -> Record:
        """The next revision, in which the wish is over; `text` says what came of it."""
        if self.wish is None:
            raise ValueError("nothing was wished for")
        return self.amended(text, wish=None, answered=self.wish.answered(text, done=done))

    def amended(self, reason: str, **changes: object) -> Record:
        """The next revision with these fields changed, validated. A new term answers the wish of the old one."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        new = {**fields, **changes, "revision": self.revision + 1, "reason": reason}
        if self.wish is not None and new["term"] != self.term:
            done = self.wish.is_met_by(self.primary_member, member_of(str(new["primary"])))
            new |= {"wish": None, "answered": self.wish.answered(reason, done=done)}
        return Record.model_validate(new)
