"""When others were last heard: operators by their requests and streams, standbys by their replies.

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
        self.standby_at: float | None = None
        self.streamed_at: float | None = None
        self._replies: tuple[float, ...] = ()

    def note_operator(self, at: float) -> None:
        if self.operator_at is None or at > self.operator_at:
            self.operator_at = at

    def note_standbys(self, replies: tuple[float, ...], at: float) -> None:
        """A standby that replied since the last look was heard."""
        if set(replies) - set(self._replies):
            self.standby_at = at
        self._replies = replies

    def is_isolated(self, now: float, timeout: float) -> bool:
        heard = [at for at in (self.operator_at, self.standby_at) if at is not None]
        return not heard or now - max(heard) > timeout


def silent_for(connection: socket.socket) -> float:
    """Seconds since the other side's kernel last acknowledged anything; 0 if nothing waits for it."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK.size)
    unacknowledged, last_ack = _LAST_ACK.unpack(raw)
    return last_ack / 1000.0 if unacknowledged else 0.0
