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
