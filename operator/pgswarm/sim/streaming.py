"""Streaming, played: a walsender, the stream to its standby, and what a reply sets free.

A stream sends one flight at a time; what has arrived is flushed, and the reply makes *this* walsender evaluate, with
the setting that it has taken up itself (C6, C7). Over a link that is cut both ends wait, and give up after a while;
what was on its way when one end hung up may still count on the other, as in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pgswarm.core.claim import Sync, application_name
from pgswarm.sim import disk

if TYPE_CHECKING:
    from pgswarm.sim.postgres import Postgres

DEAD_LINK = 5.0
"""Seconds of silence after which either end of a stream gives it up (wal_sender_timeout, wal_receiver_timeout)."""


class Setting(NamedTuple):
    """A synchronous_standby_names: any k of these."""

    k: int
    names: frozenset[str]

    @classmethod
    def of(cls, sync: Sync, term: int) -> Setting:
        return cls(sync.k, frozenset(application_name(name, term) for name in sync.names))


@dataclass(slots=True)
class Waiter:
    """A commit that waits for standbys, or for its answer."""

    lsn: int
    number: int
    told: Callable[[], object] | None


NOBODY = Setting(0, frozenset())
GHOST = Setting(1, frozenset({"pgswarm-nobody"}))


class Sender:
    """A walsender, and the stream to its standby."""

    def __init__(self, source: Postgres, standby: Postgres, name: str) -> None:
        self.source, self.standby, self.name = source, standby, name
        self.setting, self.adopted = source.setting, source.loads
        self.flush = len(standby.volume.log)
        self.sent = self.flush
        self.flying = False
        self.over = False
        self.replied_at = source.loop.now

    @property
    def state(self) -> str:
        return "streaming" if self.flush + 3 >= len(self.source.volume.log) else "catchup"

    @property
    def is_linked(self) -> bool:
        return self.source.site.network.both_ways(self.source.node, self.standby.node)

    def pump(self) -> None:
        """Send what has not been sent, one flight at a time."""
        if self.flying or self.over or self.sent >= len(self.source.volume.log):
            return
        self.flying = True
        site, standby = self.source.site, self.standby
        upto = len(self.source.volume.log)
        wait = site.network.delay(self.source.node, standby.node) + _flush_time(standby)
        standby.process.after(wait, self._arrive, upto)

    def _arrive(self, upto: int) -> None:
        """Received and flushed by the standby."""
        if self.over or self.standby.receiver is not self:
            return
        if not self.source.site.network.is_open(self.source.node, self.standby.node):
            self.source.site.network.healed.on(lambda: self.standby.process.after(0.02, self._arrive, upto))
            return
        log, theirs = self.standby.volume.log, self.source.volume.log
        if not disk.receives(self):
            return
        for record in theirs[len(log) : upto]:
            log.append(record)
            if record[0] not in self.standby.volume.histories:
                self.standby.volume.histories.add(record[0])
        self.standby.arrived()
        self.sent = upto
        site = self.source.site
        self.source.process.after(site.network.delay(self.standby.node, self.source.node), self._reply, len(log))

    def _reply(self, flush: int) -> None:
        if self.over:
            return
        if not self.source.site.network.is_open(self.standby.node, self.source.node):
            self.source.site.network.healed.on(lambda: self.source.process.after(0.02, self._reply, flush))
            return
        self.flying = False
        self.flush, self.replied_at = max(self.flush, flush), self.source.loop.now
        self.source.evaluate(self)
        self.pump()

    def end(self) -> None:
        """Both ends are gone."""
        self.over = True
        self.source.senders = [one for one in self.source.senders if one is not self]
        if self.standby.receiver is self:
            self.standby.receiver = None
            self.standby.stream_ended()


def lost(sender: Sender) -> None:
    """The standby's end of a stream whose source is gone."""
    if sender.standby.receiver is sender:
        sender.standby.receiver = None
        sender.standby.stream_ended()


def give_up(sender: Sender) -> None:
    """After a silence: is the link still cut, or one of the two still frozen?"""
    heard = sender.is_linked and sender.source.process.runs and sender.standby.process.runs
    if not sender.over and not heard:
        sender.end()


def freeze(postgres: Postgres) -> None:
    """SIGSTOP to all of it; whoever streams with it gives it up after a while."""
    postgres.process.freeze()
    for stream in (*postgres.senders, *([postgres.receiver] if postgres.receiver else [])):
        postgres.site.world(DEAD_LINK, give_up, stream)


def _flush_time(postgres: Postgres) -> float:
    slow = postgres.volume.slow
    return postgres.site.draw(0.0003, 0.001) + (postgres.site.rng.random() * slow if slow else 0.0)
