"""The plan: what to do about one cluster now, and why. The heart of the operator, and a function.

An ordered ladder of small rules. The first that has something urgent to say speaks for the record (one change of it a
pass; then everything is looked at again); orders, routes and the upkeep of services ride along, because they follow
from the record as it is and never wait for what it will be.

    newer        somebody has seen a newer record than we: read again, or stop and call a person
    first        no record yet: begin
    wishes       what a person asked for is over, or cannot be: it is answered
    failover     the primary is lost, or a person says so: ballot, succession after a grant, or loss that is accepted
    raise        a needless ballot left promises behind
    grow         the record learns of the system and of new members
    grant        by which rule the primary may write: quorum, or a grant
    durability   claim and sync move towards what the standbys allow
    switchover   the primary is well, and a person asked for another
    document     the newest edit becomes the one in force
    orders       everyone is told what the record says
    grants       a primary that asks is let write on, if this operator may
    upkeep       networks, secrets and services exist and are as wanted

Nothing here knows a clock or does anything; `now` is an argument in seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pgswarm import settings
from pgswarm.core import ballot, bootstrap, durability, granting, lapse, loss, switchover
from pgswarm.core.orders import (
    Circumstances,
    OrderMessage,
    RouterOrderMessage,
    Settings,
    contacts_of,
    order_for,
    router_order_for,
)
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import MemberReport, RouterReport, Serving
from pgswarm.core.spec import PostgresCluster, seconds
from pgswarm.core.steps import (
    NOTHING,
    EnsureNetwork,
    EnsureSecret,
    EnsureService,
    Plan,
    ReadRecord,
    SendOrder,
    SendRouterOrder,
    StoreDocument,
    WriteRecord,
)
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.wish import Wish
from pgswarm.core.world import Told, Unknown, Wanted, World

REFUSED_PAUSE = 2.0
"""Seconds before an order that was refused is sent again unchanged."""

READ_PAUSE = 0.3
"""Seconds between two readings of a record that is older than what an agent has seen."""

RESTORED_PAUSE = 2.0
"""Seconds between two readings of a record that was read after that and was still the older one."""

VOUCH_EVERY, VOUCH_WITHIN = 4.0, 1.0
"""Seconds after which a router is told again that the primary is heard here, and how lately that must have been."""

RESTORED_AFTER = 30.0
"""Seconds for which reads may be older than what was written: a Raft leader that was cut off answered for 16."""


def plan(world: World, now: float) -> Plan:
    """What to do about this cluster now, and what is waited for."""
    taken_over = _document(world)
    if world.document is None or (world.record is None and taken_over.steps):
        return taken_over
    if world.leader is not None:
        return taken_over.and_then(_own_word(world, now))
    if isinstance(world.record, Unknown):
        # Not even what is missing is made: where it belongs is in the record, and the document may be an old one.
        return Plan(waits=(f"the record cannot be read: {world.record.why}",), again=1.0)
    if world.record is None:
        return bootstrap.first_record(world, now).and_then(_upkeep(world, None, now))
    record = world.record
    if (newer := _newer(world, record, now)) is not NOTHING:
        return newer
    said = _record_rules(world, record, now).and_then(taken_over).and_then(_orders(world, record, now))
    said = said.and_then(granting.given(world, record, now))
    return said if taken_over.steps else said.and_then(_upkeep(world, record, now))


def _own_word(world: World, now: float) -> Plan:
    """Who has decided also says so, even if another is to act from now on: it may hang, or be lost (decision 0012)."""
    record = world.record
    if isinstance(record, Record) and record.revision == world.wrote and _newer(world, record, now) is NOTHING:
        return replace(_orders(world, record, now), waits=())
    return NOTHING


def _record_rules(world: World, record: Record, now: float) -> Plan:
    if not world.awake_since:
        return NOTHING
    primary = ballot.health(world, record, now)
    waits = Plan(waits=(primary.reason,), again=1.0) if primary.coming else NOTHING
    wish = record.wished(world.wall)
    if record.wish is not None and wish is None:
        return _answer(record, f"{record.wish}: not done in the time that was given: {primary.reason}")
    heard = world.present(record.primary_member, now) is not None  # who is not judged yet may be lost
    if wish is not None and wish.kind == "accept-loss" and heard and not (primary.lost or primary.coming):
        return _answer(record, f"{wish} refused: {primary.reason}, so nothing needs to be lost")
    forced = wish is not None and wish.kind == "failover"
    if primary.lost or forced:
        if forced and wish is not None and not primary.lost:
            primary = ballot.Health(lost=True, coming=False, reason=f"{wish.by} asked for it")
        waits = ballot.ballot(world, record, primary, now)
        waits = lapse.besides(world, record, primary, waits, now)
        if not waits.steps and wish is not None and wish.kind == "accept-loss":
            waits = _accepting_loss(world, record, wish, now)
        elif not waits.steps and forced and (record.grant is Grant.NONE or ballot.may_resume(world, record, now)):
            return _answer(record, f"{wish} refused: {'; '.join(waits.waits)}")
        if waits.steps or not ballot.may_resume(world, record, now):
            return waits
        # It cannot be replaced, so it is to come back; what keeps it waiting may be a standby that is gone.
    rules = (ballot.raised, bootstrap.completed, granting.moves, durability.moves, switchover.begun)
    for rule in rules[-1:] if switchover.is_under_way(world, record, now) else rules:
        said = rule(world, record, now)
        if said.steps:
            return said.and_then(waits)
        waits = waits.and_then(said)
    if not (primary.coming or primary.lost) and world.present(record.primary_member, now) is None:
        return waits.and_then(Plan(waits=(primary.reason,), again=0.2))
    return waits


def _accepting_loss(world: World, record: Record, wish: Wish, now: float) -> Plan:
    """A ballot has found no way without loss, and a person accepts it, unless the primary itself is to come back."""
    name = record.primary_member
    if ballot.may_resume(world, record, now) and name not in wish.dead:
        return _answer(record, f"{wish} refused: {name} can be reached and is to resume; name it dead if it cannot")
    return loss.accepted(world, record, wish, now)


def _answer(record: Record, text: str) -> Plan:
    """The wish is over, and nothing came of it."""
    return Plan(steps=(WriteRecord(record=record.answering(text), reason=text),))


def _document(world: World) -> Plan:
    """The newest edit wins, whichever manager's file it is in."""
    found = world.found
    if found is None:
        return NOTHING
    if isinstance(world.record, Unknown) or (world.stored and found.edited_at <= world.stored_edited_at):
        return NOTHING
    if world.stored and found.document == world.document:
        return NOTHING
    reason = f"{found.source} was edited" if world.stored else f"{found.source} describes a new cluster"
    return Plan(
        steps=(StoreDocument(document=found.document, edited_at=found.edited_at, source=found.source, reason=reason),)
    )


def _newer(world: World, record: Record, now: float) -> Plan:
    """If any agent has seen a newer record than ours, ours is old; if ours is the newest there is, Swarm went back."""
    key = (record.term, record.revision)
    for member, sighting in sorted(world.members.items()):
        report = sighting.report
        if report is None or report.accepted is None or report.accepted <= key:
            continue
        if report.cluster != world.cluster or sighting.heard_at is None:
            continue
        again = ReadRecord(reason=f"{member} has accepted {report.accepted}, newer than {key}")
        if sighting.heard_at >= world.record_read_at and now - world.record_read_at > READ_PAUSE:
            return Plan(steps=(again,))
        text = (
            f"{member} has accepted an order of term {report.accepted[0]}, revision {report.accepted[1]}, but the "
            f"record in Swarm's store is older (term {key[0]}, revision {key[1]}): "
        )
        if world.newer_since is not None and now - world.newer_since > RESTORED_AFTER:
            text += (
                "Swarm was restored from a backup, or the record was made anew. Nothing is done until a person "
                "decides which of the two is true (README, when Swarm is restored); the running primary goes on"
            )
        else:
            text += "reads of Swarm's store may be stale, so it is read again"
        # Reads of Swarm's store can be stale, and the one who knows better may be silent by now: keep reading.
        stale = now - world.record_read_at > RESTORED_PAUSE
        return Plan(steps=(again,) if stale else (), waits=(text,), again=RESTORED_PAUSE)
    return NOTHING


def _orders(world: World, record: Record, now: float) -> Plan:
    """Everyone who can be talked to hears what the record says, once, and again when anything about it changes."""
    if world.document is None:
        return NOTHING
    contacts = contacts_of(world.addresses)
    settings_ = settings_of(world.document)
    steps: list[SendOrder | SendRouterOrder] = []
    waits: list[str] = []
    # The primary's comes first: after a ballot, writers wait for it, and for nobody else's.
    for member in sorted(record.members, key=lambda name: name != record.primary_member):
        report = world.present(member, now)
        if report is None:
            if member != record.primary_member:
                waits.append(world.gone(member, now) or f"{member} is not there")
            continue
        others = {name: address for name, address in contacts.items() if name != member}
        message = OrderMessage(
            order=order_for(world.cluster, record, member),
            circumstances=Circumstances(contacts=others, settings=settings_),
        )
        digest = _digest(report.boot, message.model_dump_json())
        told = world.told.get(member)
        # A standby without a stream may lack nothing but an address that another operator did not live to tell.
        lost = member != record.primary_member and report.upstream is None
        settled = report.settings_digest in ("", settings_.digest) and not lost
        refused_lately = told is not None and not told.accepted and now - told.at < REFUSED_PAUSE
        if told is not None and told.digest == digest and refused_lately:
            waits.append(f"{member} refuses: {told.reason}")
        elif report.promised <= record.term and not _knows(report, record, told, digest, now, settled=settled):
            steps.append(SendOrder(member=member, message=message, digest=digest, reason=record.reason))
        if report.problem is not None:
            waits.append(f"{member}: {report.problem.text}")
        elif report.progress is not None:
            waits.append(f"{member}: {report.progress.what} under way")
    routed = router_order_for(world.cluster, record)
    for router, sighting in sorted(world.routers.items()):
        seen = sighting.report
        if seen is None or not sighting.connected:
            continue
        vouched = _vouched(world, record, seen, now)
        to_router = RouterOrderMessage(order=routed, contacts=contacts, vouched=vouched)
        digest = _digest(seen.boot, to_router.model_dump_json())
        told = world.told.get(f"router {router}")
        if not _knows(seen, record, told, digest, now, settled=True):
            steps.append(SendRouterOrder(router=router, message=to_router, digest=digest, reason=record.reason))
        if vouched:
            waits.append(
                f"router {router} does not hear {record.primary_member}, which serves: its clients go elsewhere"
            )
        if seen.problem is not None:
            waits.append(f"router {router}: {seen.problem.text}")
    return Plan(steps=tuple(steps), waits=tuple(waits), again=REFUSED_PAUSE if waits else None)


def _vouched(world: World, record: Record, seen: RouterReport, now: float) -> int:
    """Is this router alone in not hearing the primary? Then a number that is another one every few seconds, else 0.

    Only who heard the primary a moment ago may say so: when it is really lost, routers hold their clients as soon as
    it is silent, and we have not heard it for as long.
    """
    sighting = world.members.get(record.primary_member)
    if seen.haproxy != "running" or seen.primary is not None or sighting is None:
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


def _upkeep(world: World, record: Record | None, now: float) -> Plan:
    """Networks, secrets and services exist and are as wanted; a failed listing plans nothing."""
    swarm, document = world.swarm, world.document
    if document is None:
        return NOTHING
    if isinstance(swarm, Unknown):
        return Plan(waits=(f"Swarm cannot be observed: {swarm.why}",), again=1.0)
    ground = _ground(world, document, swarm)
    if ground.steps or ground.waits:
        return ground
    steps: list[EnsureService] = []
    waits: list[str] = list(world.place_problems)
    changing: str | None = None
    for wanted in world.wanted.values():
        if wanted.foreign:
            waits.append(f"service {wanted.name} is not ours: {wanted.foreign}")
        elif not wanted.exists:
            steps.append(EnsureService(name=wanted.name, spec=wanted.spec, exists=False, reason="it is missing"))
        elif wanted.differences:
            blocked = _unsafe_now(world, record, wanted, now)
            if changing and wanted.member and not blocked:
                blocked = f"waiting until {changing} is through"
            if blocked:
                waits.append(f"service {wanted.name} differs ({'; '.join(wanted.differences)}); {blocked}")
            else:
                reason = "; ".join(wanted.differences)
                steps.append(EnsureService(name=wanted.name, spec=wanted.spec, exists=True, reason=reason))
                changing = changing or wanted.member
        elif wanted.trouble:
            waits.append(f"service {wanted.name}: {wanted.trouble}")
    return Plan(steps=tuple(steps), waits=tuple(waits), again=1.0 if waits else None)


def _ground(world: World, document: PostgresCluster, swarm: SwarmView) -> Plan:
    """What services stand on: two networks and the secrets."""
    steps: list[EnsureNetwork | EnsureSecret] = [
        EnsureNetwork(name=name, reason="it is missing")
        for name in (settings.CONTROL_NETWORK, document.spec.router.network)
        if swarm.network(name) is None
    ]
    waits: list[str] = []
    if swarm.secret(settings.CONTROL_SECRET) is None:
        waits.append(
            f"the Swarm secret {settings.CONTROL_SECRET} is missing; create it with "
            f"`openssl rand -hex 32 | docker secret create {settings.CONTROL_SECRET} -`"
        )
    named = document.spec.postgres.passwords
    for purpose, given in (("owner", named.owner), ("replication", named.replication)):
        name = given or f"{document.name}-{purpose}"
        if swarm.secret(name) is not None:
            continue
        if given:
            waits.append(f"the Swarm secret {given} that the document names does not exist; create it")
        else:
            steps.append(EnsureSecret(name=name, reason="it is missing"))
    return Plan(steps=tuple(steps), waits=tuple(waits))


def _unsafe_now(world: World, record: Record | None, wanted: Wanted, now: float) -> str | None:
    """Why a service must not be changed yet: a change restarts its task, so one member at a time, primary last."""
    if wanted.member is None:
        return None
    if isinstance(world.record, Unknown):
        return "waiting until the record can be read"
    if record is None:
        return None
    is_away = world.present(wanted.member, now) is None
    if is_away and not _runs(world, wanted):
        return None  # nothing is stopped by changing it, and perhaps that is what mends it
    others = [one for one in world.wanted.values() if one.member not in (None, wanted.member)]
    for other in others:
        service = None if isinstance(world.swarm, Unknown) else world.swarm.service(other.name)
        if service is not None and service.update_state == "updating":
            # Swarm stops the old task seconds after the update; until then its member still speaks.
            return f"waiting until the update of {other.member} is through"
        if is_away:
            continue
        if other.member is not None and world.present(other.member, now) is None:
            return f"waiting until {other.member} is back"
    if is_away:
        # Its task runs, and it is not heard. If nobody is who was heard before, it is we who are cut off.
        heard = [name for name in record.members if world.report(name) is not None]
        if wanted.member in heard and others and all(world.present(name, now) is None for name in heard):
            return "waiting until any member is heard again; perhaps only this operator is cut off"
        return None
    if wanted.member == record.primary_member and any(other.differences for other in others):
        return "the primary's is put back last"
    return None


def _runs(world: World, wanted: Wanted) -> bool:
    """Does Swarm say that a task of this service runs?"""
    if isinstance(world.swarm, Unknown):
        return True
    service = world.swarm.service(wanted.name)
    task = world.swarm.current_task(service) if service is not None else None
    return task is not None and task.state == "running"


def settings_of(document: PostgresCluster) -> Settings:
    """The part of a document that PostgreSQL is told."""
    postgres = document.spec.postgres
    return Settings(
        database=postgres.database,
        owner=postgres.owner,
        parameters={name: _as_text(value) for name, value in sorted(postgres.parameters.items())},
        detection_timeout=seconds(document.spec.detection_timeout),
        isolation_timeout=seconds(document.spec.isolation_timeout),
        durability=document.spec.durability,
    )


def _as_text(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _digest(boot: str, text: str) -> str:
    return hashlib.sha256(f"{boot}\n{text}".encode()).hexdigest()[:16]
