"""What every agent is to be told, word for word, and the digest by which it is known whether it has been.

A letter is an order with its circumstances. It follows from the record, the document and the addresses alone, and these
stay the same from pass to pass for hours; so each is written once and found again by the identity of what it follows
from (the lookout keeps a record or a document that was read again unchanged). At rest this was most of a plan.

Before this: `orders` (what the record says to one agent). After it: `telling` decides who is still to be told.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from pgswarm.core.base import Same
from pgswarm.core.orders import (
    Circumstances,
    OrderMessage,
    RouterOrderMessage,
    Settings,
    order_for,
    router_order_for,
)
from pgswarm.core.record import Record
from pgswarm.core.routing import hold_after
from pgswarm.core.spec import PostgresCluster, seconds

KEPT = 512
"""Letters that are kept: those of a hundred clusters. One that is asked for after that is written again."""

Contacts = tuple[tuple[str, str], ...]
"""The known addresses of all members, in the order of their names."""


@lru_cache(maxsize=KEPT)
def to_member(
    cluster: str,
    record: Same[Record],
    document: Same[PostgresCluster],
    contacts: Contacts,
    member: str,
    boot: str,
    *,
    adopt: bool,
    restart: str = "",
) -> tuple[OrderMessage, str]:
    """The letter to one member, and its digest for this process of its agent."""
    message = OrderMessage(
        order=order_for(cluster, record.value, member),
        circumstances=Circumstances(
            contacts={name: address for name, address in contacts if name != member},
            settings=settings_of(document)[0],
            adopt=adopt,
            restart=restart,
        ),
    )
    return message, _digest(boot, message.model_dump_json())


@lru_cache(maxsize=KEPT)
def to_router(
    cluster: str, record: Same[Record], document: Same[PostgresCluster], contacts: Contacts, vouched: int, boot: str
) -> tuple[RouterOrderMessage, str]:
    """The letter to a router, and its digest for this process of its agent."""
    message = RouterOrderMessage(
        order=router_order_for(cluster, record.value),
        contacts=dict(contacts),
        vouched=vouched,
        hold_after=hold_after(seconds(document.value.spec.detection_timeout)),
    )
    return message, _digest(boot, message.model_dump_json())


@lru_cache(maxsize=KEPT)
def settings_of(document: Same[PostgresCluster]) -> tuple[Settings, str]:
    """The part of a document that PostgreSQL is told, and its digest."""
    spec = document.value.spec
    settings = Settings(
        database=spec.postgres.database,
        owner=spec.postgres.owner,
        parameters=dict(sorted(spec.postgres.settings().items())),
        hba=tuple(spec.postgres.hba),
        detection_timeout=seconds(spec.detection_timeout),
        isolation_timeout=seconds(spec.isolation_timeout),
        durability=spec.durability,
    )
    return settings, settings.digest


def _digest(boot: str, text: str) -> str:
    return hashlib.sha256(f"{boot}\n{text}".encode()).hexdigest()[:16]
