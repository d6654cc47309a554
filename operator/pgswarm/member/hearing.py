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

_LAST_ACK = struct.Struct("@8x16xI28xI")
"""struct tcp_info, far enough for tcpi_unacked (offset 24) and tcpi_last_ack_recv (offset 56, milliseconds)."""


class Hearing:
    """The newest moment of each kind; None for never."""

    def __init__(self) -> None:
        self.operator_at: float | None = None
        self.router_at: float | None = None
        self.standby_at: float | None = None
        self.streamed_at: float | None = None
        self._replies: tuple[float, ...] = ()

    def note_caller(self, caller: str, at: float) -> None:
        """An operator or a router with the secret was heard."""
        if caller == "operator":
            self.operator_at = max(at, self.operator_at or at)
        elif caller == "router":
            self.router_at = max(at, self.router_at or at)

    def note_standbys(self, replies: tuple[float, ...], at: float) -> None:
        """A standby that replied since the last look was heard."""
        if set(replies) - set(self._replies):
            self.standby_at = at
        self._replies = replies

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
