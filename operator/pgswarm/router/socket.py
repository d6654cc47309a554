"""HAProxy's runtime API, over its local socket: one connection for each question, an answer within a deadline.

HAProxy answers a line of commands joined by `;` with their outputs one after the other, and closes. Success is silence
or a remark, failure is a plain sentence without a code; so whoever changes something asks for the table of servers
in the same line and compares (router/act.py). The socket is a file of this container; it is never opened on a network.
"""

from __future__ import annotations

import anyio

from pgswarm.errors import Again

DEADLINE = 2.0
"""Seconds; answers take less than two milliseconds, so a longer silence means that HAProxy is ill or not up yet."""


class AdminSocket:
    """The admin socket at `path`."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def ask(self, *commands: str) -> str:
        """Send commands as one line and return all that is answered. Raises Again if HAProxy does not answer."""
        chunks: list[bytes] = []
        try:
            with anyio.fail_after(DEADLINE):
                async with await anyio.connect_unix(self.path) as stream:
                    await stream.send("; ".join(commands).encode() + b"\n")
                    async for chunk in stream:
                        chunks.append(chunk)
        except TimeoutError as exc:
            raise Again(f"HAProxy did not answer on its admin socket within {DEADLINE:g} s") from exc
        except (OSError, anyio.BrokenResourceError) as exc:
            raise Again(f"HAProxy's admin socket cannot be used: {exc}", after=0.1) from exc
        if not chunks:
            raise Again("HAProxy closed its admin socket without an answer", after=0.1)
        return b"".join(chunks).decode(errors="replace")
