"""Asking a running operator how the clusters are: it knows what failed and what it waits for.

The operator beside us answers for every cluster; where another one acts for a cluster, that one is asked too, and its
word is taken, because only it knows how its steps went.
"""

from __future__ import annotations

import json
from typing import Any

from pgswarm.core.status import Status
from pgswarm.errors import Again, Failure
from pgswarm.ports.calls import Line
from pgswarm.wire import OPERATOR_PORT

DEADLINE = 3.0
"""Seconds for one answer."""

DEADLINE_ACTIVITY = 6.0
"""The same where the operator has to ask every member first."""


async def statuses(secret: str, address: str = "127.0.0.1", port: int = OPERATOR_PORT) -> tuple[Status, ...] | None:
    """Every cluster's status in the words of the operator that acts for it; None if none runs here."""
    here = await _ask(secret, address, port)
    if here is None:
        return None
    found = {one["cluster"]: one for one in here["clusters"]}
    for leader, where in here["leaders"].items():
        mine = [name for name, one in found.items() if one["leader"] == leader]
        there = await _ask(secret, where, port) if where and leader != here["operator"] else None
        for one in there["clusters"] if there else ():
            if one["cluster"] in mine:
                errors = list(dict.fromkeys([*found[one["cluster"]]["errors"], *one["errors"]]))
                # Whether a file is still there is best known to the operator beside it.
                known = {name: found[one["cluster"]][name] for name in ("document", "orphaned")}
                found[one["cluster"]] = {**one, "errors": errors, **known}
    if not found and here["errors"]:
        raise Again("; ".join(here["errors"]))
    return tuple(Status.model_validate(found[name]) for name in sorted(found))


async def activity(secret: str, address: str = "127.0.0.1", port: int = OPERATOR_PORT) -> dict[str, Any] | None:
    """What goes on in every PostgreSQL, by cluster and member; None if no operator runs here."""
    here = await _ask(secret, address, port, "/activity", DEADLINE_ACTIVITY)
    return here["clusters"] if here is not None else None


async def _ask(
    secret: str, address: str, port: int, path: str = "/status", deadline: float = DEADLINE
) -> dict[str, Any] | None:
    try:
        answered = await Line(address, port, secret, caller="person").call("GET", path, deadline=deadline)
        found: dict[str, Any] = json.loads(answered.body)
    except (Failure, ValueError):
        return None
    return found
