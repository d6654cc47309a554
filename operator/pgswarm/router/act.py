"""Steering: the plan is made anew at every word from anywhere, and HAProxy is made to agree with it.

    a member's report, an order, HAProxy's start, the clock   →   core.routing.route   →   table   →   admin socket

One loop does it, so two plans never race. It acts when the plan changes or HAProxy is a new process, and once a
second it compares the table anyway: whatever somebody has changed by hand is put back and said. What it did is
in its report only after HAProxy's own table shows it.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import anyio
from loguru import logger

from pgswarm.core.orders import RouterOrder, RouterOrderMessage
from pgswarm.core.reports import Problem, RouterReport
from pgswarm.core.routing import HOLD_AFTER, RoutePlan, View, refuses, route
from pgswarm.errors import Again
from pgswarm.router import memory, table
from pgswarm.router.find import Finder
from pgswarm.router.haproxy import ANSWER_LIMIT, Haproxy

TICK = 0.25
"""Seconds after which the plan is made anew though nothing was heard: silence is a matter of time alone."""

DISMISSED_AT_ONCE = 200
"""Sessions ended in one line of commands; HAProxy reads no longer ones than 16 KB."""

VERIFY = 1.0
"""Seconds between two comparisons of HAProxy's table with the plan."""


class Router:
    """What this router knows, does, and says of itself."""

    def __init__(self, cluster: str, directory: Path, postgres_port: int) -> None:
        self.cluster = cluster
        self.changed = anyio.Event()
        self.told = anyio.Event()
        self._directory = directory
        self._postgres_port = postgres_port
        self._memory = memory.load(directory, cluster)
        self._plan: RoutePlan | None = None
        self._reason = ""
        self._generation = 0
        self._uncut = False
        self._held_since: float | None = None
        self._vouched_at: float | None = None
        self._hold_after = HOLD_AFTER
        self._verified_at = float("-inf")
        self._failing_since: float | None = None
        self._report = RouterReport(cluster=cluster, router=socket.gethostname(), boot=secrets.token_hex(8), sequence=0)

    @property
    def contacts(self) -> dict[str, str]:
        return self._memory.contacts

    def report(self) -> RouterReport:
        """The report of this moment: the same object for as long as it says the same."""
        return self._report

    def health(self) -> tuple[bool, str]:
        """Can writers be served, and why?"""
        if self._report.haproxy != "running":
            return False, f"HAProxy is {self._report.haproxy}"
        if self._report.primary is None:
            return False, self._plan.reason if self._plan else "nothing is known of the members yet"
        return True, f"writers go to {self._report.primary} at {self._report.address}, term {self._report.term}"

    def wake(self) -> None:
        """Something was heard: plan again."""
        self.changed.set()

    def accept(self, message: RouterOrderMessage, finder: Finder) -> str:
        """Make an order one's own, durably; the answer is why not, empty if so."""
        order, held = message.order, self._memory.order
        if refusal := refuses(order, self.cluster, held, self._memory.routed):
            logger.info("order refused: {}", refusal)
            return refusal
        self._vouched_at = anyio.current_time() if message.vouched else None
        self._hold_after = message.hold_after
        if message.vouched:
            self.wake()
        contacts = message.contacts or self._memory.contacts
        if order != held or contacts != self._memory.contacts:
            self._remember(order=order, contacts=contacts)
            finder.meet(contacts)
        if order != held:
            logger.info("ordered: {} is primary of term {} (revision {})", order.primary, order.term, order.revision)
            self.wake()
        return ""

    async def run(self, haproxy: Haproxy, finder: Finder) -> None:
        """Steer until cancelled."""
        bug = ""
        while True:
            self.changed = anyio.Event()
            pause = TICK
            if haproxy.status == "running":
                try:
                    await self._steer(haproxy, finder)
                    self._failing_since, bug = None, ""
                except Again as exc:
                    pause = self._struggle(haproxy, exc)
                    bug = ""
                except Exception as exc:  # what nobody foresaw must not end the agent, and HAProxy's sessions with it
                    if bug != (bug := f"steering failed: {exc!r} (a bug; see the router's log)"):
                        logger.opt(exception=exc).error("{}", bug)
                    self._generation = 0
            else:
                self._tell(haproxy=haproxy.status, primary=None, address="", replicas=(), sessions=0)
            problem = Problem(code="haproxy-exits", text=haproxy.problem) if haproxy.problem else None
            self._tell(problem=Problem(code="bug", text=bug) if bug else problem)
            with anyio.move_on_after(pause):
                await self.changed.wait()

    async def _steer(self, haproxy: Haproxy, finder: Finder) -> None:
        """Plan; make HAProxy agree where the plan is new or a second has gone by; tell."""
        now = anyio.current_time()
        order = self._memory.order
        view = View(
            order=order,
            routed=self._memory.routed,
            held_since=self._held_since,
            vouched_at=self._vouched_at,
            hold_after=self._hold_after,
            sightings=finder.sightings,
        )
        plan = route(view, now)
        is_new = plan != self._plan or haproxy.generation != self._generation
        is_heeded = order is None or order.key == self._report.heeded
        if not is_new and is_heeded and not self._uncut and now - self._verified_at < VERIFY:
            return
        if plan.reason != self._reason:
            self._reason = plan.reason
            logger.info("{}", plan.reason)
        if plan.write and plan.write != self._memory.routed:
            # Before the gate opens: a crash from here on leaves the newer floor.
            self._uncut = self._uncut or plan.cut
            self._remember(routed=plan.write)
        await self._push(haproxy, plan, is_drift=not is_new and not self._uncut)
        self._plan, self._generation, self._uncut, self._verified_at = plan, haproxy.generation, False, now
        self._held_since = None if plan.write else now if self._held_since is None else self._held_since
        self._tell_plan(plan, order, await self._inspect(haproxy, plan, is_drift=not is_new))

    async def _push(self, haproxy: Haproxy, plan: RoutePlan, is_drift: bool) -> None:
        """Make HAProxy's table as the plan wants it, and see that it is."""
        seen = table.parse_state(await haproxy.socket.ask("show servers state"))
        want = table.wanted(plan, seen, self._postgres_port)
        if is_drift and (strange := table.commands(want, seen)):
            logger.warning("HAProxy was changed by somebody else; put back: {}", "; ".join(strange))
        cut = table.at_address(plan.cut_readers, seen)
        if plan.cut or self._uncut:
            cut = cut | frozenset(table.PRIMARIES)
        commands = table.commands(want, seen, cut)
        if not commands:
            return
        answer = await haproxy.socket.ask(*commands, "show servers state")
        seen = table.parse_state(answer)
        if left := table.commands(table.wanted(plan, seen, self._postgres_port), seen):
            told = answer.partition("# be_id")[0].strip()
            raise Again(f"HAProxy did not do as told ({'; '.join(left)}): {told[:300]}", after=0.2)
        logger.debug("told HAProxy: {}", "; ".join(commands))

    async def _inspect(self, haproxy: Haproxy, plan: RoutePlan, *, is_drift: bool) -> int:
        """Count the open write sessions, and set right what the table of servers does not show."""
        statistics = table.parse_statistics(await haproxy.socket.ask("show stat -1 5 -1"))
        if statistics.shut:
            # Nothing but a restart brings back a frontend that was shut down.
            haproxy.kill(f"its {', '.join(statistics.shut)} was shut down by hand")
        elif lines := table.mending(statistics, frozenset({table.WRITE}) if plan.turn_away else frozenset()):
            if is_drift:
                logger.warning("HAProxy was changed by somebody else; put back: {}", "; ".join(lines))
            await haproxy.socket.ask(*lines)
        if plan.turn_away:  # who waits here for a server waits in vain
            waiting = table.dismissals(await haproxy.socket.ask("show sess"), table.WRITE)
            for begin in range(0, len(waiting), DISMISSED_AT_ONCE):
                await haproxy.socket.ask(*waiting[begin : begin + DISMISSED_AT_ONCE])
        return statistics.sessions

    def _struggle(self, haproxy: Haproxy, exc: Again) -> float:
        """HAProxy cannot be told: try again soon, and end it if that goes on."""
        now = anyio.current_time()
        self._generation = 0
        if self._failing_since is None:
            self._failing_since = now
            logger.warning("{}", exc.reason)
        if now - self._failing_since > ANSWER_LIMIT:
            haproxy.kill(exc.reason)
            self._failing_since = None
        return exc.after

    def _tell_plan(self, plan: RoutePlan, order: RouterOrder | None, sessions: int) -> None:
        self._tell(
            haproxy="running",
            heeded=order.key if order else None,
            primary=plan.write.incarnation if plan.write else None,
            term=plan.write.term if plan.write else plan.floor,
            address=plan.write.address if plan.write else "",
            replicas=tuple(reader.member for reader in plan.readers),
            sessions=sessions,
        )

    def _tell(self, **changes: object) -> None:
        if any(getattr(self._report, name) != value for name, value in changes.items()):
            self._report = self._report.model_copy(update={**changes, "sequence": self._report.sequence + 1})
            self.told.set()
            self.told = anyio.Event()

    def _remember(self, **changes: object) -> None:
        self._memory = self._memory.model_copy(update=changes)
        memory.save(self._directory, self._memory)
