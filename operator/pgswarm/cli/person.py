"""Who asks, and what they say in words of time: shared by the verbs that leave something in the record."""

from __future__ import annotations

import os

from pgswarm.cli.failures import BadInput

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def who() -> str:
    """Who asks, as the record shall name them."""
    import getpass
    import socket

    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        name = "somebody"
    return f"{name}@{socket.gethostname()}"


def seconds(text: str) -> float:
    """`90s`, `15m`, `2h`, `1d` as seconds. BadInput for anything else."""
    import re

    found = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if found is None or not int(found[1]):
        raise BadInput(f"{text!r} is no length of time: say 90s, 15m, 2h or 1d")
    return int(found[1]) * UNITS[found[2]]


def moment(text: str, now: float) -> float:
    """`2026-01-02T03:04:05Z`, `…+01:00`, or `+30m` from `now`, as seconds since the epoch. BadInput else."""
    import datetime

    said = text.strip()
    if said.startswith("+"):
        return now + seconds(said[1:])
    try:
        found = datetime.datetime.fromisoformat(said)
    except ValueError:
        raise BadInput(f"{text!r} is no time: say 2026-01-02T03:04:05Z, or +30m from now") from None
    if found.tzinfo is None:
        raise BadInput(f"{text!r} names no zone, and managers may stand in several: say {said}Z, or {said}+01:00")
    if found.timestamp() <= now:
        raise BadInput(f"{text!r} is over: say a time to come, or +30m")
    return found.timestamp()
