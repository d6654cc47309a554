"""Orders: what one agent shall be, a pure function of the record at one revision.

Two orders with equal (term, revision) to one agent say the same, whoever sends them, so an agent can refuse anything
that contradicts what it has already accepted. What may change without the record changing - addresses of tasks, the
document's settings - travels beside the order as *circumstances*, and nothing about safety depends on it
(decision 0003).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from pydantic import Field

from pgswarm.core.base import Message, Same
from pgswarm.core.claim import Claim, Incarnation, Sync, member_of
from pgswarm.core.record import Grant, Record
from pgswarm.core.wal import Reign


class Order(Message):
    """To a member: be primary of `term`, or follow its primary."""

    cluster: str
    member: str
    term: int
    revision: int
    role: Literal["primary", "standby"]
    incarnation: Incarnation | None = Field(
        description="the addressee's incarnation where the record names it; None where any will do"
    )
    primary: Incarnation
    create: bool = Field(
        default=False, description="the primary's data directory does not exist yet: initdb as `incarnation`"
    )
    adopt: bool = Field(
        default=False,
        description="the primary's data directory is one that pgswarm did not make: take over system `system_id` as "
        "`incarnation`",
    )
    counted: bool = Field(default=False, description="named in claim or sync: never re-seed from this order")
    claim: Claim | None = Field(default=None, description="who must be asked before a reign is resumed (law 5)")
    sync: Sync = Sync()
    fenced: bool = Field(default=False, description="a person's word: PostgreSQL is stopped, and stays so")
    reseed: Incarnation | None = Field(default=None, description="this data directory is to be made anew, by a clone")
    grant: bool = Field(default=False, description="write only while a grant is held")
    timeline: int = Field(ge=1, description="the timeline that this term writes")
    lineage: tuple[Reign, ...]
    system_id: str = ""
    peers: tuple[str, ...] = Field(default=(), description="the other members, for replication slots")
    place: str = Field(default="", description="where the addressee lives: its old container elsewhere refuses this")
    peer_places: tuple[str, ...] = Field(default=(), description="where each of the peers lives, in their order")

    @property
    def key(self) -> tuple[int, int]:
        return (self.term, self.revision)

    def place_of(self, peer: str) -> str:
        """Where this peer lives; empty if an operator before this version did not say so."""
        return dict(zip(self.peers, self.peer_places, strict=False)).get(peer, "")

    def says_the_same(self, other: Order) -> bool:
        """Equal, but for what an operator before this version did not say."""
        silent = {"place": "", "peer_places": ()}
        if not (self.place and other.place):
            return self.model_copy(update=silent) == other.model_copy(update=silent)
        return self == other


class RouterOrder(Message):
    """To a router: the primary of `term` is this member; never send a writer to a lower term again."""

    cluster: str
    term: int
    revision: int
    primary: Incarnation

    @property
    def key(self) -> tuple[int, int]:
        return (self.term, self.revision)


class Settings(Message):
    """What the document asks of PostgreSQL; the same for every member of the cluster."""

    database: str = "app"
    owner: str = "app"
    parameters: dict[str, str] = {}
    hba: tuple[str, ...] = ()
    detection_timeout: float = Field(default=3.0, description="seconds")
    isolation_timeout: float = Field(default=5.0, description="seconds")
    durability: str = Field(default="preferred", description="async: ask for grants, also before an order demands one")

    @property
    def digest(self) -> str:
        """What a report's `settings_digest` is compared with."""
        return _digest(Same(self))


class Circumstances(Message):
    """Beside an order: true at the moment, changes without the record changing."""

    contacts: dict[str, str] = Field(
        default={}, description="member name → IPv4 address of its task on the control network"
    )
    settings: Settings = Settings()
    adopt: bool = Field(
        default=True, description="take the settings; else only try them, for somebody there has not done so yet"
    )
    restart: str = Field(
        default="", description="the PostgreSQL (a report's `postmaster`) that shall be stopped and started anew"
    )


class OrderMessage(Message):
    """The body of PUT /order to a member."""

    order: Order
    circumstances: Circumstances = Circumstances()


class RouterOrderMessage(Message):
    """The body of PUT /order to a router."""

    order: RouterOrder
    contacts: dict[str, str] = {}
    vouched: int = Field(
        default=0,
        description="the sender hears the primary serve though this router does not; another number every few seconds "
        "for as long as that is so",
    )
    hold_after: float = Field(default=2.0, description="seconds of the primary's silence after which writers are held")


def order_for(cluster: str, record: Record, member: str) -> Order:
    """The order that this record gives to one member."""
    is_primary = member_of(record.primary) == member
    place, peers = record.place(member), [one for one in record.places if one.member != member]
    return Order(
        cluster=cluster,
        member=member,
        term=record.term,
        revision=record.revision,
        role="primary" if is_primary else "standby",
        incarnation=record.primary if is_primary else _named(record, member),
        primary=record.primary,
        create=is_primary and not record.system_id,
        adopt=is_primary and record.adopting,
        counted=record.counts(member),
        claim=record.claim,
        sync=record.sync,
        fenced=record.keeps_down(member),
        reseed=record.reseed(member),
        grant=record.grant is not Grant.NONE,
        timeline=record.timeline,
        lineage=record.lineage,
        system_id=record.system_id,
        peers=tuple(one.member for one in peers),
        place=place.id if place else "",
        peer_places=tuple(one.id for one in peers),
    )


def router_order_for(cluster: str, record: Record) -> RouterOrder:
    """The order that this record gives to every router."""
    return RouterOrder(cluster=cluster, term=record.term, revision=record.revision, primary=record.primary)


def contacts_of(addresses: Mapping[str, str | None]) -> dict[str, str]:
    """Only the addresses that are known."""
    return {member: address for member, address in sorted(addresses.items()) if address}


@lru_cache(maxsize=64)
def _digest(settings: Same[Settings]) -> str:
    said = settings.value.model_dump(exclude_defaults=True)  # a field of a later version changes nothing by itself
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _named(record: Record, member: str) -> Incarnation | None:
    named = {*record.claim.members, *record.sync.names}
    mine = sorted(name for name in named if member_of(name) == member)
    return mine[-1] if mine else None
