"""When others were last heard: operators and routers by their requests and streams, standbys by their replies.

A router may be cut off together with its primary, so it says nothing of whether others have gone on without it; nor
does an operator that no longer reaches Swarm's store, which therefore calls as a witness. A router
counts only while nobody can: a primary that waits for no standby is the only one whose promise makes a successor.

An open stream counts as heard only as far as the other side's kernel acknowledges what is sent, so a network that
was cut shows although nothing was closed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from pgswarm.core.reports import REPLIED, Walsender

_LAST_ACK = struct.Struct("@8x16xI28xI")
"""struct tcp_info, far enough for tcpi_unacked (offset 24) and tcpi_last_ack_recv (offset 56, milliseconds)."""


class Hearing:
    """The newest moment of each kind; None for never."""

    def __init__(self) -> None:
        self.operator_at: float | None = None
        self.router_at: float | None = None
        self.standby_at: float | None = None
        self.streamed_at: float | None = None
        self._replies: dict[str, tuple[float, float]] = {}  # by stream: the newest reply, and when it was seen first

    def note_caller(self, caller: str, at: float) -> None:
        """An operator or a router with the secret was heard."""
        if caller == "operator":
            self.operator_at = max(at, self.operator_at or at)
        elif caller == "router":
            self.router_at = max(at, self.router_at or at)

    def note_standbys(self, replies: Iterable[tuple[Walsender, float]], at: float) -> tuple[Walsender, ...]:
        """What a look shows: a standby that replied since the last one was heard, and its row says so."""
        before, self._replies = self._replies, {}
        rows = []
        for row, reply in replies:  # `reply` is by the standby's clock, so only its change means anything here
            known = self._replies.get(row.name) or before.get(row.name)
            if known is None or known[0] != reply:
                known, self.standby_at = (reply, at), at
            self._replies[row.name] = known
            rows.append(row.model_copy(update={"replied": at - known[1] <= REPLIED}))
        return tuple(rows)

    def is_isolated(self, now: float, timeout: float, *, replaceable: bool) -> bool:
        """Was nobody heard lately of those who would know? `replaceable`: others could elect without this one."""
        known = (self.operator_at, self.standby_at, None if replaceable else self.router_at)
        heard = [at for at in known if at is not None]
        return not heard or now - max(heard) > timeout


def silent_for(connection: socket.socket) -> float:
    """Seconds since the other side's kernel last acknowledged anything; 0 if nothing waits for it."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK.size)
    unacknowledged, last_ack = _LAST_ACK.unpack(raw)
    return last_ack / 1000.0 if unacknowledged else 0.0
