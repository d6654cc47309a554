"""The dashboard: a page that an operator serves, on a port of its own, to whoever has its token.

GET  /            the page, its script and its style; no secret in them, so they need none
GET  /feed        one JSON object a line, for ever: all that `pgswarm status`, `explain` and `history` say    token
POST /propose     what a switchover would do                                                                 token
POST /switchover  have it done                                                          token, and it is allowed

There is a dashboard where there is a token: a Swarm secret, mounted at TOKEN_FILE. It is another one than the control
secret, which would let its holder be an operator. The page keeps the token in the browser's session and sends it as a
header, so another site can make nobody's browser ask for anything; and it loads nothing from anywhere else. Reading is
all that it allows, unless PGSWARM_DASHBOARD_ACTIONS names `switchover`; then a person is asked once more in the page.

A page that nobody reads is left after `door.UNREAD` seconds, and at most `MOST_VIEWERS` are drawn at a time.
"""

from __future__ import annotations

import hmac
import json
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
from loguru import logger

from pgswarm.core import chronicle
from pgswarm.core.activity import Activity
from pgswarm.core.base import Message
from pgswarm.core.proposal import propose
from pgswarm.core.record import Record
from pgswarm.core.status import Status
from pgswarm.core.stored import Stored
from pgswarm.core.wish import Answered
from pgswarm.core.world import Unknown
from pgswarm.errors import Failure, Refused
from pgswarm.loop.house import House
from pgswarm.loop.samples import EVERY, Samples
from pgswarm.loop.show import status_of_house
from pgswarm.ports import door
from pgswarm.ports.door import Call, Handler, Lines, Reply

PORT = 8406
TOKEN_FILE = "/run/secrets/pgswarm-dashboard"
SHORTEST_TOKEN = 16
ACTIONS = frozenset({"switchover"})

MOST_VIEWERS = 20
"""Pages that are fed at a time."""

LOOK = 0.4
"""Seconds between two looks whether there is something to tell; what is seen then is for all who watch."""

MEASURE = 2.0
"""Seconds between two questions how long commits wait; primaries are asked only while somebody watches."""

BEAT = 2.0
"""Seconds after which a page is told something even so: it shows that nothing has been heard for longer."""

SWITCH = 30.0
"""Seconds for which a switchover that is asked for here holds."""

WRONG = 0.3
"""Seconds that a wrong token waits for its answer."""

WAITED_FOR = ("sync", "quorum")

PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
}
HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)

Ask = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""What goes on in the PostgreSQL of a cluster's member (`core/activity`). Raises Failure."""

Statuses = Callable[[], Awaitable[Sequence[Status] | None]]
"""Every cluster's status in the words of the operator that acts for it; None if that cannot be had."""

Switch = Callable[[str, str], Awaitable[Answered]]
"""Have a cluster's primary be this member; what came of it. Raises Failure."""


class Asked(Message):
    """Who shall be primary of which cluster."""

    cluster: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator's environment says of the dashboard."""

    token: str
    actions: frozenset[str] = frozenset()
    port: int = PORT


def settings(environment: Mapping[str, str]) -> Settings | None:
    """None without a token: then there is no dashboard. Raises Refused, with directions, for what cannot be meant."""
    path = Path(environment.get("PGSWARM_DASHBOARD_TOKEN_FILE") or TOKEN_FILE)
    if not path.exists():
        return None
    try:
        token = path.read_text().strip()
    except OSError as exc:
        raise Refused(f"the dashboard's token at {path} cannot be read: {exc.strerror}") from exc
    if len(token) < SHORTEST_TOKEN:
        raise Refused(f"the dashboard's token at {path} is too short: at least {SHORTEST_TOKEN} characters")
    actions = frozenset(environment.get("PGSWARM_DASHBOARD_ACTIONS", "").replace(",", " ").split())
    if strange := actions - ACTIONS:
        raise Refused(
            f"PGSWARM_DASHBOARD_ACTIONS: {', '.join(sorted(strange))} is not known; known: {', '.join(ACTIONS)}"
        )
    port = environment.get("PGSWARM_DASHBOARD_PORT") or str(PORT)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Refused(f"PGSWARM_DASHBOARD_PORT: {port!r} is no port")
    return Settings(token=token, actions=actions, port=int(port))


async def run(house: House, switch: Switch, ask: Ask, statuses: Statuses) -> None:
    """Serve the page until cancelled, if there is a token. A dashboard that cannot be is said, and ends nothing."""
    try:
        given = settings(os.environ)
        if given is None:
            return
        listener = await door.listen("0.0.0.0", given.port)
    except Refused as refused:
        logger.error("no dashboard: {}", refused.reason)
        return
    logger.info("the dashboard answers on port {}; it may {}", given.port, ", ".join(given.actions) or "only be read")
    board = Dashboard(house, given, switch, ask, statuses)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(board.sample)
        tasks.start_soon(board.measure)
        tasks.start_soon(door.serve, listener, board.handlers())


class Dashboard:
    """What one operator shows."""

    def __init__(self, house: House, given: Settings, switch: Switch, ask: Ask, statuses: Statuses) -> None:
        self._house = house
        self._given = given
        self._switch = switch
        self._ask = ask
        self._statuses = statuses
        self._looking = anyio.Lock()
        self._waits: dict[str, float] = {}
        self._samples = Samples()
        self._viewers = 0
        self._seen = ""
        self._seen_at = float("-inf")
        self._pages = {path: (_page(name), kind) for path, (name, kind) in PAGES.items()}

    def handlers(self) -> dict[tuple[str, str], Handler]:
        found: dict[tuple[str, str], Handler] = {("GET", path): self._show for path in PAGES}
        found |= {
            ("GET", "/feed"): self._guarded(self._feed),
            ("POST", "/propose"): self._guarded(self._propose),
            ("POST", "/switchover"): self._guarded(self._switchover),
        }
        return found

    async def sample(self) -> None:
        """Keep what the plots need, until cancelled."""
        while True:
            now = anyio.current_time()
            worlds = [
                worker.lookout.sighted(worker.world)
                for worker in self._house.workers.values()
                if worker.world is not None
            ]
            self._samples.take(worlds, time.time(), now, self._waits)
            await anyio.sleep(EVERY)

    async def measure(self) -> None:
        """Ask primaries how long commits wait for a standby's disk, while somebody watches, until cancelled."""
        while True:
            self._waits = await self._measured() if self._viewers else {}
            await anyio.sleep(MEASURE)

    async def _measured(self) -> dict[str, float]:
        found: dict[str, float] = {}

        async def ask(cluster: str, member: str) -> None:
            with suppress(Failure):  # who does not answer has no value, and the page draws none
                seen = Activity.model_validate(await self._ask(cluster, member))
                lags = [one.flush_lag for one in seen.standbys if one.sync in WAITED_FOR and one.flush_lag is not None]
                if lags:
                    found[cluster] = min(lags)  # of any of them a commit waits for the first

        async with anyio.create_task_group() as tasks:
            for cluster, worker in self._house.workers.items():
                record = worker.world.record if worker.world is not None else None
                if isinstance(record, Record):
                    tasks.start_soon(ask, cluster, record.primary_member)
        return found

    async def snapshot(self) -> str:
        """Everything but the samples, as the page wants it: JSON."""
        async with self._looking:  # one look serves all who watch
            if anyio.current_time() - self._seen_at >= LOOK:
                self._seen, self._seen_at = json.dumps(await self._look()), anyio.current_time()
            return self._seen

    async def _look(self) -> dict[str, Any]:
        house = self._house
        status = status_of_house(house)
        # What a cluster waits for is known best by the operator that acts for it: it alone knows what it has told.
        told = {one.cluster: one.model_dump(mode="json") for one in await self._statuses() or ()}
        status["clusters"] = [told.get(one["cluster"], one) for one in status["clusters"]]
        for one in status["clusters"]:
            one["history"] = _events(house, one["cluster"])
        view = house.listing.view
        nodes = () if isinstance(view, Unknown) else view.nodes
        return {
            "operator": status["operator"],
            "node": status["node"],
            "clusters": status["clusters"],
            "errors": status["errors"],
            "may": sorted(self._given.actions),
            "nodes": [
                {
                    "name": node.name,
                    "role": node.role,
                    "state": node.state,
                    "availability": node.availability,
                    "leads": node.is_raft_leader,
                }
                for node in nodes
            ],
        }

    async def _show(self, call: Call) -> Reply:
        body, kind = self._pages[call.path]
        return Reply(body=body, kind=kind, headers=HEADERS)

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(call: Call) -> Reply | Lines:
            given = (call.authorization or "").encode()
            if not hmac.compare_digest(given, f"Bearer {self._given.token}".encode()):
                await anyio.sleep(WRONG)
                return door.refusal(401, "the token is missing or wrong")
            return await handler(call)

        return guarded

    async def _feed(self, call: Call) -> Reply | Lines:
        if self._viewers >= MOST_VIEWERS:
            return door.refusal(503, f"{MOST_VIEWERS} pages are open already; close one")
        return Lines(pieces=self._lines())

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        told, at, number = "", float("-inf"), 0
        with self._viewing():
            while True:
                now = anyio.current_time()
                samples = self._samples.since(number)
                text = await self.snapshot()
                if text != told or samples or now - at >= BEAT:
                    number = samples[-1].number if samples else number
                    rows = json.dumps([one.as_json() for one in samples])
                    state = f', "state": {text}' if text != told else ""
                    told, at = text, now
                    yield f'{{"at": {time.time():.3f}, "samples": {rows}{state}}}\n'.encode()
                await anyio.sleep(LOOK)

    @contextmanager
    def _viewing(self) -> Iterator[None]:
        self._viewers += 1
        try:
            yield
        finally:
            self._viewers -= 1

    async def _propose(self, call: Call) -> Reply:
        asked = door.parsed(call, Asked)
        if isinstance(asked, Reply):
            return asked
        worker = self._house.workers.get(asked.cluster)
        world = worker.lookout.sighted(worker.world) if worker is not None and worker.world is not None else None
        if world is None or not isinstance(world.record, Record):
            return door.refusal(404, f"there is no cluster {asked.cluster} whose record can be read")
        found = propose(world, world.record, "switchover", asked.to, (), anyio.current_time())
        return Reply(body=json.dumps({"lines": found.lines, "refusal": found.refusal}))

    async def _switchover(self, call: Call) -> Reply:
        asked = door.parsed(call, Asked)
        if isinstance(asked, Reply):
            return asked
        if "switchover" not in self._given.actions:
            return door.refusal(403, "this dashboard only shows; PGSWARM_DASHBOARD_ACTIONS=switchover allows it")
        logger.info("{}: switchover to {} asked for in the dashboard", asked.cluster, asked.to)
        try:
            answered = await self._switch(asked.cluster, asked.to)
        except Failure as failure:
            return door.refusal(409, failure.reason)
        return Reply(body=json.dumps({"done": answered.done, "text": answered.text}))


def _page(name: str) -> bytes:
    return resources.files("pgswarm.loop").joinpath("web", name).read_bytes()


def _events(house: House, cluster: str) -> list[dict[str, Any]]:
    stored = house.workers[cluster].lookout.stored
    if not isinstance(stored, Stored):
        return []
    return [event.model_dump(mode="json") for event in chronicle.history(stored.record, stored.chronicle)]
