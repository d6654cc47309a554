"""The operators' side of a grant: when a cluster lives by it, who is given one, and what the record says meanwhile.

The record says by which rule its primary may be succeeded. Towards `async` it goes in two writes: `asked` - the orders
demand a grant from now on; claim and sync are given up in the same write - and, once the primary has durably accepted
such an order, `held`. Only then may its term end without its promise: one that had never heard of grants would write
on. It accepts only while it holds one, so nothing is interrupted. Away from `async` it is one write: `none` is always
safe, and then the claim grows as usual (`core/durability`). A member that is added makes it `asked` again: only a
primary that knows whom it must ask for consent can be stopped by their promises.

Grants are given by the holder of the tenure (`core/tenure`), and only for a record that names that tenure's number as
its `grantor`: the write that puts it there takes the ground from under a decision that a former holder may still have
under way. For the same reason nobody grants on a revision on which it has itself begun to write a successor.
"""

from __future__ import annotations

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.grant import DRIFT, TTL
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import MemberReport, Role
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import NOTHING, Plan, SendGrant, WriteRecord
from pgswarm.core.world import World

LEAST = 5.0
"""Seconds: a tenure that has less left than this is renewed before anything is granted from it."""


def is_async(document: PostgresCluster | None) -> bool:
    return document is not None and document.spec.durability == "async"


def governs(record: Record) -> bool:
    """Do grants and not claims guard this cluster, so that claim and sync are to be left alone?"""
    return record.grant is not Grant.NONE


def after(world: World, record: Record) -> Grant:
    """By which rule a successor begins: its first order can demand a grant, so nothing needs to be asked first."""
    lives_by_it = record.grant is not Grant.NONE and (world.document is None or is_async(world.document))
    return Grant.HELD if lives_by_it else Grant.NONE


def moves(world: World, record: Record, now: float) -> Plan:
    """The next move of the record's rule, or what is waited for."""
    primary = world.present(record.primary_member, now)
    if world.document is not None and not is_async(world.document):
        if record.grant is Grant.NONE:
            return NOTHING
        return _write(record, f"durability is {world.document.spec.durability}: no grant is needed", grant=Grant.NONE)
    if record.grant is Grant.NONE:
        return _begun(world, record, primary, now) if is_async(world.document) else NOTHING
    if record.grant is Grant.ASKED:
        # Whatever has become of the primary since: its word was durable.
        last = world.report(record.primary_member)
        if last is not None and last.accepted == (record.term, record.revision):
            return _write(record, f"{record.primary_member} writes only under a grant", grant=Grant.HELD)
        waits = Plan(waits=(f"{record.primary_member} is to write only under a grant",), again=0.5)
        return _named(world, record, primary, now).and_then(waits)
    return _named(world, record, primary, now)


def given(world: World, record: Record, now: float) -> Plan:
    """Answer a primary that asks, if this operator may."""
    report = world.present(record.primary_member, now)
    if report is None or not report.asks or report.asks == world.granted.nonce:
        return NOTHING
    if not record.is_held_by(report, record.primary) or report.promised > record.term:
        return NOTHING
    sighting = world.members[record.primary_member]
    standing, said_at = world.standing, sighting.said_at
    if standing is None or said_at is None or now >= standing.until:
        # One that holds a grant had it from another operator, or from the members; nothing is amiss yet.
        waits = () if report.granted else ("no grant can be given: this operator holds no tenure",)
        return Plan(waits=waits, again=0.5)
    if record.grantor != standing.number or record.revision <= world.spoiled:
        return NOTHING  # `moves` writes what is missing
    # Never longer than the tenure lasts. What is given counts from when it was asked, and it was heard after that.
    ttl = min(TTL, (standing.until - said_at) / (1 + DRIFT))
    if ttl < LEAST:
        return Plan(waits=("no grant can be given: the tenure is about to end",), again=0.5)
    return Plan(
        steps=(
            SendGrant(
                member=record.primary_member,
                term=record.term,
                nonce=report.asks,
                boot=report.boot,
                ttl=ttl,
                until=said_at + ttl * (1 + DRIFT),
                reason="it asks",
            ),
        )
    )


def _begun(world: World, record: Record, primary: MemberReport | None, now: float) -> Plan:
    """From a quorum to a grant: only a primary that holds one already is told to need it."""
    if primary is None or not record.system_id or primary.role is not Role.PRIMARY:
        return NOTHING
    if not primary.granted:
        named = _named(world, record, primary, now) if primary.asks else NOTHING
        if named.steps:
            return named
        return Plan(waits=(f"{record.primary_member} has no grant yet; until then durability is preferred",), again=0.5)
    reason = "durability is async: it shall write only under a grant, and wait for nobody"
    alone = Claim(members=(record.primary,), r=1)
    return _write(record, reason, claim=alone, sync=Sync(), grant=Grant.ASKED)


def _named(world: World, record: Record, primary: MemberReport | None, now: float) -> Plan:
    """Before the first grant of a tenure, and after a succession that was begun and did not come: a new revision."""
    standing = world.standing
    if primary is None or standing is None or now >= standing.until or primary.promised > record.term:
        return NOTHING
    if record.grantor < standing.number:
        return _write(record, f"grants of tenure {standing.number}", grantor=standing.number)
    if record.revision <= world.spoiled:
        return _write(record, f"{record.primary_member} is back: its succession is called off")
    return NOTHING


def _write(record: Record, reason: str, **changes: object) -> Plan:
    return Plan(steps=(WriteRecord(record=record.amended(reason, **changes), reason=reason),))
