"""The plan: what to do about one cluster now, and why. The heart of the operator, and a function.

An ordered ladder of small rules. The first that has something urgent to say speaks for the record (one change of it a
pass; then everything is looked at again); orders, routes and the upkeep of services ride along, because they follow
from the record as it is and never wait for what it will be.

    deletion     the cluster is being taken down: nothing at all is done
    newer        somebody has seen a newer record than we: read again, or stop and call a person
    first        no record yet: begin
    wishes       what a person asked for is over, or cannot be: it is answered
    pause        a person wants nothing changed: of what follows only what a running reign needs
    failover     the primary is lost, or a person says so: ballot, succession after a grant, or loss that is accepted
    raise        a needless ballot left promises behind
    grow         the record learns of the system and of new members
    grant        by which rule the primary may write: quorum, or a grant
    durability   claim and sync move towards what the standbys allow, and do without who is to leave or to be fenced
    retirement   a member that the document no longer names, or wants elsewhere, leaves the record
    relocation   why a member stays where it is, though it is wanted elsewhere
    fences       which have not taken effect yet, and why
    reseed       a person wants a member's data made anew: once nobody counts on it
    restart      a person wants members restarted: one at a time, the primary last
    rolling      settings or services want every member to begin anew: the primary hands over last
    appointment  the time has come for a switchover: it is wished for
    handover     a primary that has to go, or whose node is drained: another one is wished for
    switchover   the primary is well, and another is wished for
    document     the newest edit becomes the one in force
    orders       everyone is told what the record says
    grants       a primary that asks is let write on, if this operator may
    upkeep       networks, secrets and services exist and are as wanted

Nothing here knows a clock or does anything; `now` is an argument in seconds.
"""

from __future__ import annotations

from dataclasses import replace

from pgswarm.core import (
    appointments,
    ballot,
    bootstrap,
    durability,
    editions,
    fencing,
    granting,
    handover,
    lapse,
    loss,
    pausing,
    relocation,
    reseeding,
    restarting,
    retirement,
    rolling,
    switchover,
    telling,
    upkeep,
)
from pgswarm.core.record import Grant, Record
from pgswarm.core.steps import NOTHING, Plan, ReadRecord, StoreDocument, WriteRecord
from pgswarm.core.wish import Wish
from pgswarm.core.world import Unknown, World

READ_PAUSE = 0.3
"""Seconds between two readings of a record that is older than what an agent has seen."""

RESTORED_PAUSE = 2.0
"""Seconds between two readings of a record that was read after that and was still the older one."""

RESTORED_AFTER = 30.0
"""Seconds for which reads may be older than what was written: a Raft leader that was cut off answered for 16."""


def plan(world: World, now: float) -> Plan:
    """What to do about this cluster now, and what is waited for."""
    if isinstance(world.record, Record) and world.record.deletion is not None:
        text = f"{world.record.deletion}: `pgswarm delete {world.cluster}` ends it, or takes it back with --cancel"
        return Plan(waits=(text,))
    taken_over = _document(world)
    if world.document is None or (world.record is None and taken_over.steps):
        return taken_over
    if world.leader is not None:
        return taken_over.and_then(_own_word(world, now))
    if isinstance(world.record, Unknown):
        # Not even what is missing is made: where it belongs is in the record, and the document may be an old one.
        return Plan(waits=(f"the record cannot be read: {world.record.why}",), again=1.0)
    if world.record is None:
        return bootstrap.first_record(world, now).and_then(upkeep.upkept(world, None, now))
    record = world.record
    if (newer := _newer(world, record, now)) is not NOTHING:
        return newer
    said = _record_rules(world, record, now).and_then(taken_over).and_then(telling.orders(world, record, now))
    said = said.and_then(granting.given(world, record, now))
    if taken_over.steps:
        return said
    return said.and_then(pausing.withheld(upkeep.upkept(world, record, now), pausing.in_force(world)))


def _own_word(world: World, now: float) -> Plan:
    """Who has decided also says so, even if another is to act from now on: it may hang, or be lost (decision 0012)."""
    record = world.record
    if isinstance(record, Record) and record.revision == world.wrote and _newer(world, record, now) is NOTHING:
        return replace(telling.orders(world, record, now), waits=())
    return NOTHING


def _record_rules(world: World, record: Record, now: float) -> Plan:
    if not world.awake_since:
        return NOTHING
    primary = ballot.health(world, record, now)
    waits = Plan(waits=(primary.reason,), again=1.0) if primary.coming else NOTHING
    wish = record.wished(world.wall)
    if record.wish is not None and wish is None:
        return _answer(record, f"{record.wish}: not done in the time that was given: {primary.reason}")
    pause = pausing.in_force(world)
    if pause is not None and not pausing.has_begun(world, record, now):
        if wish is not None:
            return _answer(record, f"{wish} refused: {pause}; {pausing.RESUME}")
        return pausing.reign(world, record, primary, pause, now)
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
    rules = (
        ballot.raised,
        bootstrap.completed,
        granting.moves,
        durability.moves,
        retirement.ended,
        relocation.hindered,
        fencing.pending,
        reseeding.begun,
        restarting.begun,
        rolling.begun,
        appointments.due,
        handover.begun,
        switchover.begun,
    )
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
    if ballot.may_resume(world, record, now) and name not in wish.dead and not record.keeps_down(name):
        return _answer(record, f"{wish} refused: {name} can be reached and is to resume; name it dead if it cannot")
    return loss.accepted(world, record, wish, now)


def _answer(record: Record, text: str) -> Plan:
    """The wish is over, and nothing came of it."""
    return Plan(steps=(WriteRecord(record=record.answering(text), reason=text),))


def _document(world: World) -> Plan:
    """The newest edit wins, whichever manager's file it is in, or whoever applied it."""
    found = world.found
    if found is None:
        return NOTHING
    if isinstance(world.record, Unknown) or (world.stored and found.edited_at <= world.stored_edited_at):
        return NOTHING
    if world.stored and found.document == world.document:
        return NOTHING
    if world.stored and editions.is_as_taken_over(world.editions, found.source, found.document):
        return NOTHING  # it was only written again; what was applied since stays in force
    reason = f"{found.source} was edited" if world.stored else f"{found.source} describes a new cluster"
    step = StoreDocument(document=found.document, edited_at=found.edited_at, source=found.source, reason=reason)
    return pausing.withheld(Plan(steps=(step,)), pausing.in_force(world))


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
