"""Who has not yet heard what the record says is told it: every member its order, every router who is primary.

What this operator has told is remembered in the world (`told`), by a digest of all that was said; of what another
operator told, the agents' own reports say enough. So nothing is said twice to who has heard it, and who has missed a
word hears it within one pass. An order follows from the record as it is, so it never waits for what the record will
be. Before this: `plan` has read the record and found nobody with a newer one. After it: the agents' `duty`, `routing`.
"""

from __future__ import annotations

from pgswarm.core import rollout, turns
from pgswarm.core.base import Same
from pgswarm.core.letters import settings_of, to_member, to_router
from pgswarm.core.orders import contacts_of
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport, RouterReport, Serving
from pgswarm.core.sightings import Sighting
from pgswarm.core.steps import NOTHING, Plan, SendOrder, SendRouterOrder
from pgswarm.core.world import Told, World

REFUSED_PAUSE = 2.0
"""Seconds before an order that was refused is sent again unchanged."""

VOUCH_EVERY, VOUCH_WITHIN = 4.0, 1.0
"""Seconds after which a router is told again that the primary is heard here, and how lately that must have been."""

BEHIND = 0.5
"""Seconds for which a router may be behind what its members say."""


def orders(world: World, record: Record, now: float) -> Plan:
    """Everyone who can be talked to hears what the record says, once, and again when anything about it changes."""
    if world.document is None:
        return NOTHING
    decided, document = Same(record), Same(world.document)
    contacts = tuple(contacts_of(world.addresses).items())
    settings_digest = settings_of(document)[1]
    adopt = rollout.may_adopt(world, record, settings_digest, now)
    next_up, postmaster = turns.told_to_restart(world, record, now)
    steps: list[SendOrder | SendRouterOrder] = []
    waits: list[str] = []
    # The primary's comes first: after a ballot, writers wait for it, and for nobody else's.
    for member in sorted(record.members, key=lambda name: name != record.primary_member):
        report = world.present(member, now)
        if report is None:
            if member != record.primary_member and not (record.maintained(member) or record.fence(member)):
                waits.append(world.gone(member, now) or f"{member} is not there")
            continue
        again = postmaster if member == next_up else ""
        message, digest = to_member(
            world.cluster, decided, document, contacts, member, report.boot, adopt=adopt, restart=again
        )
        told = world.told.get(member)
        # A standby without a stream may lack nothing but an address that another operator did not live to tell.
        lost = member != record.primary_member and report.upstream is None
        settled = report.settings_digest in ("", settings_digest) and not lost and not again
        refused_lately = told is not None and not told.accepted and now - told.at < REFUSED_PAUSE
        if told is not None and told.digest == digest and refused_lately:
            waits.append(f"{member} refuses: {told.reason}")
        elif report.promised <= record.term and not _knows(report, record, told, digest, now, settled=settled):
            steps.append(SendOrder(member=member, message=message, digest=digest, reason=record.reason))
        if report.problem is not None:
            waits.append(f"{member}: {report.problem.text}")
        elif report.progress is not None:
            waits.append(f"{member}: {report.progress.what} under way")
    for router, sighting in sorted(world.routers.items()):
        seen = sighting.report
        if seen is None or not sighting.connected:
            continue
        vouched = _vouched(world, record, sighting, now)
        routed, digest = to_router(world.cluster, decided, document, contacts, vouched, seen.boot)
        told = world.told.get(f"router {router}")
        if not _knows(seen, record, told, digest, now, settled=True):
            steps.append(SendRouterOrder(router=router, message=routed, digest=digest, reason=record.reason))
        if vouched:
            waits.append(
                f"router {router} does not hear {record.primary_member}, which serves: its clients go elsewhere"
            )
        if seen.problem is not None:
            waits.append(f"router {router}: {seen.problem.text}")
    return Plan(steps=tuple(steps), waits=tuple(waits), again=REFUSED_PAUSE if waits else None)


def _vouched(world: World, record: Record, router: Sighting[RouterReport], now: float) -> int:
    """Is this router alone in not hearing the primary? Then a number that is another one every few seconds, else 0.

    Only who heard the primary a moment ago may say so: when it is really lost, routers hold their clients as soon as
    it is silent, and we have not heard it for as long. And only of a router that has said the same for a while: each
    is some milliseconds behind in every failover, and is to be left in peace then.
    """
    sighting, seen = world.members.get(record.primary_member), router.report
    if seen is None or seen.haproxy != "running" or seen.primary is not None or sighting is None:
        return 0
    if router.said_at is None or now - router.said_at < BEHIND:
        return 0
    report = world.present(record.primary_member, now)
    if report is None or report.incarnation != record.primary or report.serving is not Serving.PRIMARY:
        return 0
    return 1 + int(now / VOUCH_EVERY) if sighting.connected and sighting.silence(now) <= VOUCH_WITHIN else 0


def _knows(
    seen: MemberReport | RouterReport, record: Record, told: Told | None, digest: str, now: float, *, settled: bool
) -> bool:
    """Has this agent heard it all: this revision since it started, these settings, these addresses?

    What this operator has told is remembered, and a report that still lags behind the answer is given a moment; of
    what other operators told, the report says enough (`settled`: its settings are those of the document).
    """
    heard = seen.heeded == (record.term, record.revision)
    if told is None:
        return heard and settled
    if told.digest != digest:
        return False
    lately = now - told.at < REFUSED_PAUSE
    return (heard or lately) if told.accepted else lately
