"""Streams of reports: who speaks, who hears, and what the network makes of it.

A stream is one TCP connection. Its pieces arrive in order; while the link is cut the newest waits in the kernel; when
the speaker's process dies its kernel says so (EOF), unless the machine or the link is gone too, and then there is
silence. The speaker learns that it was heard as far as the hearer's kernel acknowledges, whether or not the process
there runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgswarm.errors import Failure
from pgswarm.ports.agents import Closed
from pgswarm.wire import HEARTBEAT

if TYPE_CHECKING:
    from pgswarm.sim.site import Site

EARLY = 0.05
"""Seconds before a heartbeat is due at which it may go with something else that happens."""


class Hearer:
    """The reading end of one stream."""

    __slots__ = ("_at", "_over", "_site", "_take", "_waiting", "caller", "closed", "here", "speaker", "there")

    def __init__(
        self,
        site: Site,
        here: str,
        there: str,
        take: Callable[[Any], object],
        over: Callable[[Failure], object],
        *,
        caller: Callable[[], str],
    ) -> None:
        self.here, self.there, self.caller = here, there, caller
        self.closed = False
        self.speaker: Speaker | None = None
        self._site, self._take, self._over = site, take, over
        self._at = 0.0
        self._waiting: Any = None

    def close(self) -> None:
        """Nobody reads any more; the speaker finds out with its next word."""
        self.closed = True

    def push(self, report: Any) -> None:
        """At the speaker's end: send this."""
        network, now = self._site.network, self._site.loop.now
        if network.is_open(self.there, self.here):
            self._at = max(self._at, now + network.delay(self.there, self.here))
            self._site.loop.later(self._at - now, self._arrive, report)
            return
        if self._waiting is None:
            network.healed.on(self._again)
        self._waiting = report

    def ended(self, failure: Failure) -> None:
        """At the speaker's end: its process is gone."""
        network, now = self._site.network, self._site.loop.now
        if network.is_open(self.there, self.here):
            self._at = max(self._at, now + network.delay(self.there, self.here))
            self._site.loop.later(self._at - now, self._finish, failure)

    def _again(self) -> None:
        report, self._waiting = self._waiting, None
        if not self.closed:
            self.push(report)

    def _arrive(self, report: Any) -> None:
        if self.closed:
            return
        self._take(report)
        if self.speaker is not None and self._site.network.is_open(self.here, self.there):
            self.speaker.heard(self)

    def _finish(self, failure: Failure) -> None:
        if not self.closed:
            self.closed = True
            self._over(failure)


class Speaker:
    """The writing end of all streams of one process."""

    def __init__(self, site: Site, node: str, heard: Callable[[str], object] = lambda caller: None) -> None:
        self._site, self._node, self._heard = site, node, heard
        self._hearers: list[Hearer] = []
        self._said_at = 0.0

    def connect(self, hearer: Hearer, report: Any) -> None:
        """A new stream: it begins with the report of this moment."""
        hearer.speaker = self
        self._hearers.append(hearer)
        hearer.push(report)

    def say(self, report: Any) -> None:
        self._said_at = self._site.loop.now
        self._hearers = [one for one in self._hearers if not one.closed]
        for hearer in self._hearers:
            hearer.push(report)

    def beat(self, report: Any) -> float:
        """Say it again if nothing was said for as long as a heartbeat may take; the seconds until that may be so."""
        if self._hearers and self._site.loop.now - self._said_at >= HEARTBEAT - EARLY:
            self.say(report)
        return max(EARLY, self._said_at + HEARTBEAT - self._site.loop.now) if self._hearers else HEARTBEAT

    def heard(self, hearer: Hearer) -> None:
        self._heard(hearer.caller())

    def end(self, *, said: bool) -> None:
        """The process is gone; `said`: its kernel is there to say so."""
        hearers, self._hearers = self._hearers, []
        for hearer in hearers:
            hearer.speaker = None
            if said:
                hearer.ended(Closed("EOF"))
