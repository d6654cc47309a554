"""Noticing: each pass of each cluster is looked at for news, and who acts sends them.

Every operator derives notices (`core/notices`); the one that acts for the cluster hands them to its couriers, the
others keep theirs for `KEPT` and then forget them. With the primary it often changes who acts, and for a moment each of
two operators may take the other for the one that does. So operators tell each other what they have sent: whoever acts
sends what it has kept and nobody says to have sent, at once when the one that acted is lost, as happens when a node
goes down, and else after `WORD`, by when a living one's word would have come. The ids are the same: a notice is sent at
least once while an operator lives, and rarely twice.

The loop never waits for any of this: handing over is an append to a queue with a bound, of which the oldest are
dropped, and each webhook has a courier of its own, which retries with growing pauses and gives up after `LAST`.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm.core.notices import Notice, Seen, happening, noticed
from pgswarm.core.world import World
from pgswarm.errors import Again, Refused
from pgswarm.ports import webhook
from pgswarm.ports.webhook import Hook

KEPT = 30.0
"""Seconds for which an operator that does not act keeps what it has noticed."""

WORD = 3.0
"""Seconds for which what another operator should have sent waits for its word that it has: a few heartbeats."""

MOST = 100
"""Notices that wait for one webhook; then the oldest is dropped."""

PAUSE_FIRST, PAUSE_LAST = 1.0, 60.0
"""Seconds between two attempts: doubled from the first to the last."""

LAST = 900.0
"""Seconds after which a notice is given up: it is no news any more."""


class Courier:
    """Brings notices to one webhook, one after another."""

    def __init__(self, hook: Hook, key: bytes, threads: anyio.CapacityLimiter, counts: Counter[str]) -> None:
        self.hook = hook
        self._key, self._threads, self._counts = key, threads, counts
        self._waiting: deque[tuple[float, Notice]] = deque()
        self._more = anyio.Event()

    def take(self, notice: Notice) -> None:
        """Bring it as soon as may be."""
        if len(self._waiting) >= MOST:
            _, dropped = self._waiting.popleft()
            self._counts["dropped"] += 1
            logger.warning("{}: {} notices wait; {} is dropped", self.hook.name, MOST, dropped.id)
        self._waiting.append((anyio.current_time(), notice))
        self._more.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            if not self._waiting:
                self._more = anyio.Event()
                await self._more.wait()
            begun, notice = self._waiting.popleft()
            await self._bring(begun, notice)

    async def _bring(self, begun: float, notice: Notice) -> None:
        pause = PAUSE_FIRST
        while True:
            try:
                await webhook.post(self.hook, notice, self._key, self._threads)
            except Again as failure:
                if anyio.current_time() + pause - begun < LAST:
                    logger.debug("notice {}: {}; again in {:g} s", notice.id, failure.reason, pause)
                    await anyio.sleep(pause)
                    pause = min(2 * pause, PAUSE_LAST)
                    continue
                why = failure.reason
            except Refused as failure:
                why = failure.reason
            except Exception as exc:  # a bug here must not end the operator, nor the notices behind this one
                logger.opt(exception=exc).error("notice {}: {}", notice.id, exc)
                why = type(exc).__name__
            else:
                self._counts["delivered"] += 1
                logger.info("notice {} is delivered to {}", notice.id, self.hook.name)
                return
            self._counts["failed"] += 1
            logger.warning("notice {} is given up: {}", notice.id, why)
            return


class Noticing:
    """The news of all clusters of one operator."""

    def __init__(self, hooks: tuple[Hook, ...] = (), key: bytes = b"", wall: Callable[[], float] = time.time) -> None:
        self.counts: Counter[str] = Counter(delivered=0, failed=0, dropped=0)
        self._threads = anyio.CapacityLimiter(max(1, len(hooks)))
        self._key = key
        self._couriers = [Courier(hook, key, self._threads, self.counts) for hook in hooks]
        self._seen: dict[str, Seen | None] = {}
        self._kept: dict[str, list[tuple[float, Notice, str | None]]] = {}  # with who acted then
        self._sent: deque[tuple[float, str]] = deque()
        self.is_alive: Callable[[str], bool] = lambda operator: False
        self.told_by_others: Callable[[], frozenset[str]] = frozenset
        self._wall = wall

    def start(self, tasks: TaskGroup) -> None:
        """Begin the couriers."""
        for courier in self._couriers:
            tasks.start_soon(courier.run, name=f"courier {courier.hook.name}")

    def look(self, world: World) -> None:
        """After a pass. It never raises: no pass may fail for it."""
        if not self._couriers:
            return
        now = anyio.current_time()
        try:
            seen, news = noticed(self._seen.get(world.cluster), world, now)
        except Exception as exc:
            logger.opt(exception=exc).error("{}: nothing is noticed: {}", world.cluster, exc)
            return
        self._seen[world.cluster] = seen
        kept = self._kept.setdefault(world.cluster, [])
        kept += [(now, one, world.leader) for one in news]
        if not kept:
            return
        others = self.told_by_others()
        kept[:] = [(at, one, leader) for at, one, leader in kept if now - at < KEPT and happening(one) not in others]
        if world.leader is not None:
            return
        due = [one for at, one, leader in kept if leader is None or now - at >= WORD or not self.is_alive(leader)]
        for one in due:
            self.send(one)
        kept[:] = [(at, one, leader) for at, one, leader in kept if one not in due]

    def told(self) -> tuple[str, ...]:
        """What was sent in the last `KEPT` seconds, for the other operators."""
        while self._sent and anyio.current_time() - self._sent[0][0] >= KEPT:
            self._sent.popleft()
        return tuple(word for _, word in self._sent)

    def send(self, notice: Notice) -> None:
        """Hand it to every courier."""
        logger.info("notice {}: {}", notice.id, notice.text)
        self._sent.append((anyio.current_time(), happening(notice)))
        for courier in self._couriers:
            courier.take(notice)

    async def try_out(self, notice: Notice) -> dict[str, str]:
        """One attempt at each webhook, now, because a person wants to see what comes of it."""
        found: dict[str, str] = {}

        async def attempt(hook: Hook) -> None:
            try:
                await webhook.post(hook, notice, self._key, self._threads)
            except (Again, Refused) as failure:
                found[hook.name] = failure.reason
                self.counts["failed"] += 1
            else:
                found[hook.name] = "delivered"
                self.counts["delivered"] += 1

        async with anyio.create_task_group() as tasks:
            for courier in self._couriers:
                tasks.start_soon(attempt, courier.hook)
        return found

    def spoken(self, cluster: str, kind: str, text: str, operator: str) -> Notice:
        """A notice of something that a person says."""
        at = self._wall()
        return Notice(
            id=f"{cluster}/{kind}/{at:.3f}",
            kind=kind,
            severity="info",
            at=at,
            cluster=cluster,
            text=f"{cluster}: {text}" if cluster else text,
            operator=operator,
        )
