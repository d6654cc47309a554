"""Ports that stay free until a test's process takes them.

A port that the kernel gives for 0 is one of those that it gives to every connection going out, so on a busy machine
it may be taken again before the process under test binds it. These are below that range.
"""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 15_000, 31_000
"""Below Linux's range for outgoing connections (32768 and above), above the services' usual ports."""


def ports(n: int) -> list[int]:
    """This many different TCP ports that nobody listens on."""
    found: list[int] = []
    for port in random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        with socket.socket() as one:
            try:
                one.bind(("0.0.0.0", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    raise OSError(f"no {n} ports between {LOWEST} and {HIGHEST} are free")
