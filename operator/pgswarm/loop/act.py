"""Doing: one short function for each step of a plan. Each is idempotent, has a deadline and reports what came of it.

What a crash leaves behind, step by step: a network, secret or service that was created is found by the next listing;
a record that was written is read by the next pass, and one whose outcome is unknown is read again and compared before
anything else happens; an order or a promise may be repeated any number of times.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, assert_never

import anyio
from loguru import logger

from pgswarm import settings
from pgswarm.core import steps
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import MemberReport
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Told
from pgswarm.errors import Again, Conflict, Failure, Refused
from pgswarm.loop.listing import Listing
from pgswarm.loop.observe import Lookout
from pgswarm.ports.agents import Agents
from pgswarm.ports.records import Records
from pgswarm.ports.swarm import Swarm
from pgswarm.render import drift, services
from pgswarm.wire import MEMBER_PORT, ROUTER_PORT, Answer, GrantRequest, PromiseRequest

DEADLINE = 20.0
"""Seconds that any one step may take; slow work is done by agents and only watched."""

ORDER_DEADLINE = 2.0
PROMISE_DEADLINE = 5.0
READY_DEADLINE = 18.0
"""To make ready for a hand-over is to checkpoint; the agent gives up a little sooner, with a reason."""

GRANT_DEADLINE = 1.0

LOOK_AFTER, LOOK_EVERY = 1.0, 0.1
"""Seconds for which, and between which, Swarm's tasks are listed when one of them is said to be ending."""

FORGOTTEN = 60.0
"""Seconds after which a grant that has run out is no longer remembered."""

PLANNED_ANEW = 0.1
"""Seconds until a step is tried again whose ground has moved."""

MOST_SLOW = 3
"""Slow steps under way at a time in one operator: a dead registry must not take every place at Docker's socket."""

MOST_SLOW_OF_ONE = 2
"""Of those, steps of one cluster: one of which everything hangs leaves room for the others' services."""


class Hands:
    """Performs the steps of one cluster."""

    def __init__(
        self,
        lookout: Lookout,
        listing: Listing,
        swarm: Swarm,
        records: Records,
        agents: Agents,
        slow: anyio.CapacityLimiter,
    ) -> None:
        self._lookout = lookout
        self._listing = listing
        self._swarm = swarm
        self._records = records
        self._agents = agents
        self._slow = slow
        self._own_slow = anyio.CapacityLimiter(MOST_SLOW_OF_ONE)
        self.still_wants: Callable[[steps.Step], bool] = lambda step: True

    async def perform(self, step: steps.Step) -> str:
        """Do it; the answer is one line of what came of it. Raises Failure, never anything else expected."""
        outcome: str | None = None
        with anyio.move_on_after(DEADLINE):
            outcome = await self._perform(step)
        if outcome is None:
            raise Again(f"{steps.title(step)}: not done within {DEADLINE:.0f} s; it may still happen")
        return outcome

    async def _perform(self, step: steps.Step) -> str:
        if isinstance(step, (steps.EnsureNetwork, steps.EnsureSecret, steps.EnsureService, steps.RemoveService)):
            async with self._own_slow:
                async with self._slow:
                    outcome = await self._ensure(step)
                await self._listing.refresh()  # so that the next pass sees what was done, and does not do it twice
                return outcome
        return await self._perform_quickly(step)

    async def _ensure(
        self, step: steps.EnsureNetwork | steps.EnsureSecret | steps.EnsureService | steps.RemoveService
    ) -> str:
        match step:
            case steps.EnsureNetwork(name=name):
                await self._swarm.ensure_network(name, {settings.LABEL_KIND: "network"}, attachable=True)
                return "created"
            case steps.EnsureSecret(name=name):
                labels = services.object_labels(self._lookout.cluster)
                await self._swarm.create_secret(name, secrets.token_urlsafe(24).encode(), labels)
                return "created"
            case steps.EnsureService():
                return await self._ensure_service(step)
            case steps.RemoveService():
                return await self._remove_service(step)

    async def _perform_quickly(
        self,
        step: steps.StoreDocument
        | steps.ReadRecord
        | steps.WriteRecord
        | steps.AskPromise
        | steps.SendGrant
        | steps.LookAgain
        | steps.SendOrder
        | steps.SendRouterOrder,
    ) -> str:
        match step:
            case steps.StoreDocument():
                return await self._store(step)
            case steps.ReadRecord():
                await self._reread()
                return "read"
            case steps.WriteRecord():
                return await self._write(step)
            case steps.AskPromise():
                return await self._ask(step)
            case steps.SendGrant():
                return await self._grant(step)
            case steps.LookAgain():
                return await self._look_after(step)
            case steps.SendOrder():
                return await self._order(step)
            case steps.SendRouterOrder():
                return await self._route(step)
            case _:
                assert_never(step)

    async def _ensure_service(self, step: steps.EnsureService) -> str:
        spec = await self._resolved(step.spec)
        # An image may have taken its time. What is done now may stop a task, so it must be right now: the newest plan
        # says whether, and the newest listing has the version that this was planned from.
        view = self._listing.view
        service = view.service(step.name) if isinstance(view, SwarmView) else None
        if step.exists and not self.still_wants(step):
            raise Again("something has changed meanwhile; planned anew", after=PLANNED_ANEW)
        if step.exists and service is None:
            raise Again("it is not there any more; planned anew", after=PLANNED_ANEW)
        if service is not None and not step.exists:
            return "another operator has just created it"  # as it is now is for the next plan to judge
        if service is None:
            try:
                await self._swarm.create_service(spec)
            except Conflict:
                return "another operator has just created it"
            return "created"
        await self._swarm.update_service(service.id, service.version, drift.merged(service.spec, spec))
        return "updated"

    async def _remove_service(self, step: steps.RemoveService) -> str:
        """Compared with the newest plan and listing: the member may have been added again since."""
        view = self._listing.view
        service = view.service(step.name) if isinstance(view, SwarmView) else None
        if service is None:
            return "it is not there any more"
        if not self.still_wants(step):
            raise Again("something has changed meanwhile; planned anew", after=PLANNED_ANEW)
        if not step.first:
            await self._swarm.remove_service(service.id)
            return "removed"
        none = {"Mode": {"Replicated": {"Replicas": 0}}}
        await self._swarm.update_service(service.id, service.version, {**service.spec, **none})
        return "scaled to zero"

    async def _resolved(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The spec with its image resolved to a digest or id, and remembered as such (see observe._pinned)."""
        reference, _, pinned = spec["Labels"][settings.LABEL_IMAGE].partition(" ")
        if pinned:
            return spec
        image = await self._swarm.resolve_image(reference)
        return services.resolved(spec, image, f"{reference} {image}")

    async def _store(self, step: steps.StoreDocument) -> str:
        stored = self._lookout.stored
        if isinstance(stored, Stored) and stored.document is not None and stored.edited_at >= step.edited_at:
            raise Conflict(f"a newer edit is in force by now, from {stored.source}")
        async with self._reading_again():
            if isinstance(stored, Stored):
                written = await self._records.write(
                    stored, document=step.document, edited_at=step.edited_at, source=step.source
                )
            else:
                written = await self._records.create(
                    self._lookout.cluster, step.document, edited_at=step.edited_at, source=step.source
                )
        self._lookout.keep(written, anyio.current_time())
        return "in force"

    async def _write(self, step: steps.WriteRecord) -> str:
        stored = self._lookout.stored
        if not isinstance(stored, Stored):
            raise Again("there is no record object yet")
        before = stored.record.revision if stored.record else 0
        if step.record.revision != before + 1:
            raise Conflict(f"planned revision {step.record.revision}, but the record is at {before} by now")
        if stored.record is not None and stored.record.grant is Grant.HELD and step.record.term > stored.record.term:
            # Its outcome may never be known, and it may still happen: nothing is granted on this revision any more.
            self._lookout.spoiled = max(self._lookout.spoiled, before)
        async with self._reading_again():
            written = await self._records.write(stored, record=step.record)
        self._lookout.keep(written, anyio.current_time())
        self._lookout.wrote = step.record.revision
        return f"revision {step.record.revision} written"

    @asynccontextmanager
    async def _reading_again(self) -> AsyncIterator[None]:
        """After a write that was lost: read the record at once, not with the next listing, and let the failure rise."""
        try:
            yield
        except Failure as failure:
            logger.info("{}: the record is read again: {}", self._lookout.cluster, failure.reason)
            try:
                await self._reread()
            except Failure as unread:
                logger.info("{}: and cannot be read yet: {}", self._lookout.cluster, unread.reason)
                self._listing.bell.ring()
            raise

    async def _reread(self) -> None:
        asked_at = anyio.current_time()
        stored = await self._records.read(self._lookout.cluster)
        self._lookout.keep(stored, asked_at)

    async def _ask(self, step: steps.AskPromise) -> str:
        request = PromiseRequest(
            cluster=self._lookout.cluster,
            member=step.member,
            place=self._place_of(step.member),
            term=step.term,
            prepare=step.prepare,
        )
        deadline = READY_DEADLINE if step.prepare else PROMISE_DEADLINE
        report = await self._agents.ask_promise(self._address(step.member), MEMBER_PORT, request, deadline=deadline)
        if (report.cluster, report.member) != (self._lookout.cluster, step.member):
            # An address that was given to another since; the listing is about to say where the right one is.
            self._listing.bell.ring()
            raise Again(f"{report.member} of {report.cluster} answers at the address of {step.member}")
        self._lookout.take(step.member, report)
        if step.prepare:
            return "ready: it takes no new clients"
        return f"promised {report.promised}, has {report.position}"

    async def _grant(self, step: steps.SendGrant) -> str:
        # Noted before it is sent, for it may arrive though no answer comes; nothing is awaited before this.
        granted = self._lookout.granted
        now = anyio.current_time()
        boots = {boot: until for boot, until in granted.boots.items() if until > now - FORGOTTEN}
        boots[step.boot] = max(step.until, boots.get(step.boot, 0.0))
        self._lookout.granted = replace(granted, boots=boots)
        request = GrantRequest(
            cluster=self._lookout.cluster, member=step.member, term=step.term, nonce=step.nonce, ttl=step.ttl
        )
        answer = await self._agents.send_grant(
            self._address(step.member), MEMBER_PORT, request, deadline=GRANT_DEADLINE
        )
        if isinstance(answer.report, MemberReport):
            self._lookout.take(step.member, answer.report)
        if not answer.accepted:
            raise Refused(f"{step.member} refuses: {answer.reason}")
        self._lookout.granted = replace(self._lookout.granted, nonce=step.nonce)
        return answer.reason

    async def _look_after(self, step: steps.LookAgain) -> str:
        """Swarm tells of no task's end by itself; its node reports it a few tenths of a second later."""
        with anyio.move_on_after(LOOK_AFTER):
            while True:
                await self._listing.refresh()
                view = self._listing.view
                found = (
                    next((one for one in view.tasks if one.id == step.task), None)
                    if isinstance(view, SwarmView)
                    else None
                )
                if found is not None and not found.is_live:
                    return f"it is {found.state}"
                await anyio.sleep(LOOK_EVERY)
        return "it has not ended as far as Swarm knows"

    async def _order(self, step: steps.SendOrder) -> str:
        answer = await self._agents.send_order(
            self._address(step.member), MEMBER_PORT, step.message, deadline=ORDER_DEADLINE
        )
        if isinstance(answer.report, MemberReport):
            self._lookout.take(step.member, answer.report)
        return self._told(step.member, step.digest, answer)

    async def _route(self, step: steps.SendRouterOrder) -> str:
        address = self._lookout.router_address(step.router)
        if address is None:
            raise Again(f"router {step.router} has no address now")
        answer = await self._agents.send_order(address, ROUTER_PORT, step.message, deadline=ORDER_DEADLINE)
        return self._told(f"router {step.router}", step.digest, answer)

    def _told(self, who: str, digest: str, answer: Answer) -> str:
        self._lookout.told[who] = Told(
            digest=digest, accepted=answer.accepted, reason=answer.reason, at=anyio.current_time()
        )
        if not answer.accepted:
            raise Refused(f"{who} refuses: {answer.reason}")
        return "accepted"

    def _place_of(self, member: str) -> str:
        record = self._lookout.record
        place = record.place(member) if isinstance(record, Record) else None
        return place.id if place is not None else ""

    def _address(self, member: str) -> str:
        address = self._lookout.member_address(member)
        if address is None:
            raise Again(f"{member} has no address now")
        return address
