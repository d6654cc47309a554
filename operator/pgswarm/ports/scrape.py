"""Answering Prometheus: who may ask, and what is said.

Metrics hold no secret, no statement and no address, so on the control network, where only operators, members, routers
and whom a person attaches are, anybody may read them. Whoever wants a token gives one: a Swarm secret whose name is the
operator's PGSWARM_METRICS_SECRET, mounted at METRICS_TOKEN_FILE everywhere; then a scrape must bring it (or the control
secret) as `Authorization: Bearer …`. On the client network nothing of this is answered; HAProxy's own numbers on the
statsPort are for whoever can reach that port, as they always were.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from pgswarm import settings
from pgswarm.errors import Refused
from pgswarm.ports import door
from pgswarm.ports.door import Call, Handler, Reply
from pgswarm.render import exposition


def token(environment: Mapping[str, str]) -> str:
    """The token that a scrape must bring; empty if none is wanted. Raises Refused for one that is no secret."""
    file = Path(environment.get("PGSWARM_METRICS_TOKEN_FILE") or settings.METRICS_TOKEN_FILE)
    try:
        found = file.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as exc:
        raise Refused(f"the token for metrics {file} cannot be read: {exc.strerror}") from exc
    if len(found) < 16:
        raise Refused(f"the token for metrics at {file} is too short: at least 16 characters")
    return found


def handler(secret: str, wanted: str, answer: Callable[[Call], Awaitable[str]], kind: str = "") -> Handler:
    """A door's handler for one such path."""

    async def answered(call: Call) -> Reply:
        if wanted and not (call.is_authorized(wanted) or call.is_authorized(secret)):
            return door.refusal(401, "these metrics want the token of PGSWARM_METRICS_SECRET")
        return Reply(body=await answer(call), kind=kind or exposition.CONTENT_TYPE)

    return answered
