"""A router, played around the real `core.routing`: who is heard, the plan, and the sessions that it cuts.

Transcribed are `router/act` (when the plan is made anew, and that it is remembered before the gate opens) and
`router/find` with `ports/agents.Watch` (a stream to every address where a member may be). HAProxy takes a few
milliseconds to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgswarm import wire
from pgswarm.core.orders import RouterOrder, RouterOrderMessage
from pgswarm.core.reports import MemberReport, RouterReport
from pgswarm.core.routing import HOLD_AFTER, RoutePlan, Seen, Target, View, refuses, route, stands
from pgswarm.core.sightings import Sighting
from pgswarm.errors import Failure
from pgswarm.ports.agents import PAUSE_FIRST, PAUSE_LAST, SILENCE
from pgswarm.ports.calls import CONNECT, Closed
from pgswarm.router.act import TICK
from pgswarm.router.find import LOOK_UP_OFTEN
from pgswarm.sim import calls
from pgswarm.sim.speech import Hearer, Speaker

if TYPE_CHECKING:
    from pgswarm.sim.client import Session
    from pgswarm.sim.site import Site


class Watch:
    """One stream to one address, dialled again whenever it ends."""

    def __init__(self, router: Router, address: str) -> None:
        self.sighting: Seen = Sighting(address=address)
        self._router, self._address = router, address
        self._pause = PAUSE_FIRST
        self._heard_at = 0.0
        self._hearer: Hearer | None = None
        self._dial()

    def _dial(self) -> None:
        router = self._router
        there = router.site.node_of(self._address)
        hearer = Hearer(router.site, router.node, there, self._take, self._end, caller=lambda: "router")
        self._hearer = hearer
        calls.listen(router.site, router.node, self._address, wire.MEMBER_PORT, hearer, self._end)
        self._heard_at = router.process.now
        router.process.after(CONNECT, self._check, hearer, CONNECT)

    def _check(self, hearer: Hearer, patience: float) -> None:
        """Was anything heard lately? Looked at rarely: a timer for each word would be most of a history."""
        if hearer is not self._hearer:
            return
        left = self._heard_at + patience - self._router.process.now
        if left > 0.001:
            self._router.process.after(left, self._check, hearer, SILENCE)
        elif patience < SILENCE and self.sighting.connected:
            self._router.process.after(SILENCE, self._check, hearer, SILENCE)
        else:
            self._lose(f"{self._address} is silent", closed=False)

    def _take(self, report: MemberReport) -> None:
        if not self._router.process.alive or self._hearer is None:
            return
        self._router.process.after(0.0, self._hear, report)

    def _hear(self, report: MemberReport) -> None:
        now = self._router.process.now
        self._heard_at, self._pause = now, PAUSE_FIRST
        self.sighting = Sighting(address=self._address, report=report, heard_at=now, connected=True, why="")
        self._router.wake()

    def _end(self, failure: Failure) -> None:
        if self._router.process.alive and self._hearer is not None:
            self._router.process.after(0.0, self._lose, failure.reason, isinstance(failure, Closed))

    def _lose(self, why: str, closed: bool) -> None:
        if self._hearer is None:
            return
        self._hearer.close()
        self._hearer = None
        closed_at = self.sighting.closed_at
        if closed and closed_at is None:
            closed_at = self._router.process.now
        self.sighting = replace(self.sighting, connected=False, closed_at=closed_at, why=why)
        self._router.wake()
        self._router.process.after(self._pause, self._dial)
        self._pause = min(2 * self._pause, PAUSE_LAST)


class Router:
    """One router's container."""

    def __init__(self, site: Site, name: str, node: str, address: str) -> None:
        self.site, self.name, self.node, self.address = site, name, node, address
        self.process = site.process(name)
        self.speaker = Speaker(site, node)
        self.alive = self.is_open = True
        self.write: Target | None = None
        self.sessions: list[Session] = []
        self.plan: RoutePlan | None = None
        self._planned: tuple[View, float] | None = None  # of what, and when
        self._order: RouterOrder | None = None
        self._routed: Target | None = None
        self._contacts: dict[str, str] = {}
        self._watches: dict[str, Watch] = {}
        self._held_since: float | None = None
        self._hold_after = HOLD_AFTER
        self._woken = self._telling = False
        self._heeded: tuple[int, int] | None = None
        self._report = RouterReport(
            cluster=site.cluster, router=name, boot=f"{site.rng.getrandbits(32):08x}", sequence=0
        )
        self.process.after(0.1, self._tick)
        self.process.after(0.05, self._look_up)

    @property
    def report(self) -> RouterReport:
        return self._report

    def end(self) -> None:
        self.process.after(0.2, self.kill)

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = self.is_open = False
        self.process.kill()
        self.write = None
        for session in self.sessions:
            session.over = True
        self.speaker.end(said=self.site.is_up(self.node))
        self.site.swarm.ended(self)

    def take_order(self, message: RouterOrderMessage, answer: Callable[[wire.Answer], object]) -> None:
        """Make an order one's own; refused if it contradicts what is known."""
        order = message.order
        refusal = refuses(order, self.site.cluster, self._order, self._routed)
        if refusal:
            answer(wire.Answer(accepted=False, reason=refusal, report=self._report))
            return
        if message.contacts:
            self._contacts = message.contacts
            self._meet()
        self._order, self._hold_after = order, message.hold_after
        self.wake()
        answer(wire.Answer(accepted=True, reason="accepted", report=self._report))

    def wake(self) -> None:
        if not self._woken and self.process.alive:
            self._woken = True
            self.process.after(0.0, self._steer)

    def _tick(self) -> None:
        self.wake()
        self.speaker.beat(self._report)
        self.process.after(TICK, self._tick)

    def _look_up(self) -> None:
        """The name that resolves to all running members."""
        for address in self.site.members_alias(self.node):
            self._watch(address)
        self._meet()
        self.process.after(LOOK_UP_OFTEN, self._look_up)

    def _meet(self) -> None:
        for address in self._contacts.values():
            self._watch(address)

    def _watch(self, address: str) -> None:
        if address not in self._watches:
            self._watches[address] = Watch(self, address)

    def _steer(self) -> None:
        self._woken = False
        if self._telling:  # HAProxy is being told the plan before; `_apply` looks again
            return
        now = self.process.now
        sightings = tuple(
            one.sighting
            for one in self._watches.values()
            if one.sighting.report is None or one.sighting.report.cluster == self.site.cluster
        )
        view = View(
            order=self._order,
            routed=self._routed,
            held_since=self._held_since,
            hold_after=self._hold_after,
            sightings=sightings,
        )
        if self.plan is not None and self._planned is not None and stands(self.plan, *self._planned, view, now):
            plan = self.plan
        else:
            plan, self._planned = route(view, now), (view, now)
        heeded = self._order.key if self._order else None
        if plan == self.plan and heeded == self._heeded:
            return
        self.plan = plan
        if plan.write and plan.write != self._routed:
            self._routed = plan.write
        self._held_since = None if plan.write else now if self._held_since is None else self._held_since
        self._telling = True
        self.process.after(self.site.draw(0.001, 0.004), self._apply, plan, heeded)

    def _apply(self, plan: RoutePlan, heeded: tuple[int, int] | None) -> None:
        """HAProxy has been told; what was heard in the meantime is planned for now."""
        self._telling = False
        self.wake()
        if plan.write != self.write:
            where = f"sends writers to {plan.write}" if plan.write else "holds writers"
            self.site.story(self.name, where, key=plan.write is not None)
        if plan.cut:
            for session in self.sessions:
                session.over = True
            self.sessions = []
        self.write = plan.write
        self._heeded = heeded
        fields: dict[str, Any] = {
            "heeded": heeded,
            "haproxy": "running",
            "primary": plan.write.incarnation if plan.write else None,
            "term": plan.write.term if plan.write else plan.floor,
            "address": plan.write.address if plan.write else "",
        }
        fields["sequence"] = self._report.sequence + 1
        self._report = self._report.model_copy(update=fields)
        self.speaker.say(self._report)
