"""Asking a running operator how the clusters are: it knows what failed and what it waits for.

The operator beside us answers for every cluster; where another one acts for a cluster, that one is asked too, and its
word is taken, because only it knows how its steps went.
"""

from __future__ import annotations

from typing import Any

import httpx

from pgswarm.core.status import Status
from pgswarm.errors import Again
from pgswarm.wire import OPERATOR_PORT, bearer

DEADLINE = 3.0
"""Seconds for one answer."""


async def statuses(secret: str, address: str = "127.0.0.1", port: int = OPERATOR_PORT) -> tuple[Status, ...] | None:
    """Every cluster's status in the words of the operator that acts for it; None if none runs here."""
    async with httpx.AsyncClient(headers=bearer(secret), trust_env=False, timeout=DEADLINE) as http:
        here = await _ask(http, address, port)
        if here is None:
            return None
        found = {one["cluster"]: one for one in here["clusters"]}
        for leader, where in here["leaders"].items():
            mine = [name for name, one in found.items() if one["leader"] == leader]
            there = await _ask(http, where, port) if where and leader != here["operator"] else None
            for one in there["clusters"] if there else ():
                if one["cluster"] in mine:
                    errors = list(dict.fromkeys([*found[one["cluster"]]["errors"], *one["errors"]]))
                    # Whether a file is still there is best known to the operator beside it.
                    document = found[one["cluster"]]["document"]
                    found[one["cluster"]] = {**one, "errors": errors, "document": document}
    if not found and here["errors"]:
        raise Again("; ".join(here["errors"]))
    return tuple(Status.model_validate(found[name]) for name in sorted(found))


async def _ask(http: httpx.AsyncClient, address: str, port: int) -> dict[str, Any] | None:
    try:
        answer = await http.get(f"http://{address}:{port}/status")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return found
