"""The members' side: the real `memory.accept`, `memory.consent` and `duty.duty`, and what each action does here.

An agent hears an order, late or again; it is asked for a promise by whomever; it does its next duty. Between any two
of these everything else may happen. What `member/act` does with real tools is done here to tuples, with one step for
each moment at which a crash would leave something else behind: a clone or a rewind first takes its new incarnation,
and only later has data again (C4, C5).

A crashed agent is up again at once: one that stays away for long cannot be told from one to whom nothing happens.
"""

from __future__ import annotations

from functools import cache
from typing import assert_never

from pgswarm.core import duty, memory
from pgswarm.core.claim import incarnation
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Order, order_for
from pgswarm.core.reports import Data, Postgres, Role
from pgswarm.core.wal import Position
from pgswarm.sim.model.operators import real_record
from pgswarm.sim.model.state import (
    BUILDING,
    FENCED,
    PRIMARY,
    READY,
    STANDBY,
    SYSTEM,
    Member,
    Rec,
    asleep,
    setting_of,
)

COUNT = 3
"""Places in the records that orders are made from; nothing about safety depends on how many."""

_DATA = (Data.NONE, Data.BUILDING, Data.READY)
_BEGAN = (None, duty.Begin.FENCED, duty.Begin.FOLLOWING, duty.Begin.PRIMARY)
_ROLES = (Role.NONE, Role.FENCED, Role.STANDBY, Role.PRIMARY)
UPSTREAM = "10.0.0.1"


@cache
def hear(member: Member, name: str, known: Rec | None, rec: Rec) -> Member | None:
    """The member once it has been sent what `rec` says of it; None if it refuses, or heeds it already."""
    if member.heeded and known is not None and known.rev == rec.rev:
        return None
    if not memory.accept(_memory(member, name, known), _order(rec, name)).ok:
        return None
    return member._replace(order=rec.rev, promised=max(member.promised, rec.term), heeded=True)


@cache
def promise(member: Member, name: str, known: Rec | None, term: int) -> Member | None:
    """The member once it has promised `term`; None if it refuses, or has promised it already."""
    if term <= member.promised or not memory.consent(_memory(member, name, known), "main", term).ok:
        return None
    return member._replace(promised=term)


@cache
def next_duty(member: Member, name: str, known: Rec | None, diverged: bool) -> duty.Action:
    """What the real law says is to be done next."""
    upstream = member.upstream
    facts = duty.Facts(
        memory=_memory(member, name, known),
        heeded=member.heeded,
        postgres=Postgres.RUNNING if member.role else Postgres.STOPPED,
        began=_BEGAN[member.role],
        role=_ROLES[member.role],
        position=Position(timeline=member.tl, lsn=len(member.log)) if member.settled else None,
        settled=member.settled,
        begun=member.begun,
        upstream=duty.Upstream(primary=upstream[0], term=upstream[1], address=UPSTREAM) if upstream else None,
        address=UPSTREAM,
        trouble=duty.Trouble.DIVERGED if diverged else duty.Trouble.NONE,
    )
    return duty.duty(facts, 0.0)


def done(
    member: Member, name: str, known: Rec | None, source: Member | None, *, diverged: bool
) -> tuple[Member, duty.Action] | None:
    """The member after its next action; None if it does nothing. `source`: its primary, if that confirms its reign."""
    action = next_duty(member, name, known, diverged)
    after = _after(member, name, known, action, source, diverged=diverged)
    return (after, action) if after is not None else None


def _after(
    member: Member, name: str, known: Rec | None, action: duty.Action, source: Member | None, *, diverged: bool
) -> Member | None:
    match action:
        case duty.Rest() | duty.Create() | duty.Adopt() | duty.Resume() | duty.Restart() | duty.Jettison():
            return None  # a reign that is resumed is one whose last order is heard again, which may always happen
        case duty.Stop():
            return asleep(member)
        case duty.Start(begin=begin):
            return _started(member, known, begin)
        case duty.Settle():
            follows = None if diverged else member.follows
            return member._replace(role=FENCED, settled=True, upstream=None, follows=follows)
        case duty.Follow(upstream=to):
            if source is None:
                return None
            followed = (to.primary, to.term)
            return member._replace(role=STANDBY, settled=False, upstream=followed, follows=followed)
        case duty.Rewind():
            return None if source is None else reborn(member, name)
        case duty.Clone(upstream=to):
            if source is None:
                return None
            if member.data == READY:
                return reborn(member, name)
            born = member if member.data == BUILDING else reborn(member, name)
            return born._replace(data=READY, log=source.log, tl=source.tl, follows=(to.primary, to.term))
        case duty.Promote(order=order):
            assert known is not None
            setting = setting_of(known)
            return member._replace(
                role=PRIMARY,
                settled=False,
                follows=None,
                tl=order.timeline,
                reigned=order.term,
                own_tl=order.timeline,
                begun=True,
                setting=setting,
                waits=bool(setting[1]),
            )
        case duty.Assume(term=term):
            return member._replace(reigned=term)
        case _ as never:
            assert_never(never)


def _started(member: Member, known: Rec | None, begin: duty.Begin) -> Member:
    match begin:
        case duty.Begin.FENCED:
            return member._replace(role=FENCED, settled=False)
        case duty.Begin.FOLLOWING:
            return member._replace(role=STANDBY, settled=False, upstream=member.follows)
        case duty.Begin.PRIMARY:
            assert known is not None
            setting = setting_of(known)
            return member._replace(role=PRIMARY, settled=False, setting=setting, waits=bool(setting[1]))
        case _ as never:
            assert_never(never)


def reborn(member: Member, name: str) -> Member:
    """A new incarnation, before the first byte changes; no data until the work is complete."""
    births = member.births + 1
    return asleep(member)._replace(
        inc=incarnation(name, str(births)),
        births=births,
        data=BUILDING,
        log=b"",
        tl=0,
        reigned=0,
        own_tl=0,
        begun=False,
        follows=None,
    )


@cache
def _order(rec: Rec, name: str) -> Order:
    return order_for("main", real_record(rec, COUNT), name)


@cache
def _remembered(name: str, known: Rec | None, durable: tuple[object, ...]) -> Memory:
    promised, data, inc, reigned, own_tl, begun, follows = durable
    return Memory.model_validate(
        {
            "cluster": "main",
            "member": name,
            "promised": promised,
            "order": _order(known, name) if known else None,
            "data": data,
            "incarnation": inc or None,
            "system_id": SYSTEM if data is Data.READY else "",
            "reigned": reigned,
            "timeline": own_tl,
            "begun": begun,
            "follows": follows,
        }
    )


def _memory(member: Member, name: str, known: Rec | None) -> Memory:
    durable = (
        member.promised,
        _DATA[member.data],
        member.inc,
        member.reigned,
        member.own_tl,
        member.begun,
        member.follows,
    )
    return _remembered(name, known, durable)
