"""What a wish would mean now, in words, before a person speaks it: who, how, and what may be lost.

The same rules that will fulfil it say here whether it could be; between the two the world may change, and then the
plan's answer counts and not this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pgswarm.core import ballot, loss, reseeding, restarting, switchover
from pgswarm.core.claim import application_name, member_of
from pgswarm.core.record import Record
from pgswarm.core.streams import standbys
from pgswarm.core.wish import Restart, Wish
from pgswarm.core.world import World

Kind = Literal["switchover", "failover", "accept-loss", "restart", "reseed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What would be done, line by line; why it cannot be, if so; and whom a person must give up for it."""

    cluster: str
    kind: Kind
    lines: tuple[str, ...]
    refusal: str = ""
    dead: tuple[str, ...] = ()
    restarts: Mapping[str, Restart] = field(default_factory=dict)
    data: str = ""
    fewer_copies: bool = False


def propose(
    world: World,
    record: Record,
    kind: Kind,
    to: str | None,
    dead: Iterable[str],
    now: float,
    *,
    known: Mapping[str, str] = MappingProxyType({}),
    fewer_copies: bool = False,
) -> Proposal:
    """What this wish would do; `known` is where members' logs ended as far as an operator has heard."""
    wish = Wish(id="", kind=kind, term=record.term, to=to, dead=tuple(dead), until=world.wall)
    unknown = [name for name in (*wish.dead, *([to] if to else [])) if record.place(name) is None]
    if unknown:
        refusal = f"there is no member {', '.join(unknown)}; there is: {', '.join(record.members)}"
        return Proposal(cluster=world.cluster, kind=kind, lines=(), refusal=refusal)
    if (pause := record.paused(world.wall)) is not None:
        return Proposal(cluster=world.cluster, kind=kind, lines=(), refusal=f"{pause}; `pgswarm resume` first")
    if kind == "reseed":
        lines, refusal, data = reseeding.proposed(world, record, to or "", now, fewer_copies=fewer_copies)
        return Proposal(
            cluster=world.cluster, kind=kind, lines=lines, refusal=refusal, data=data, fewer_copies=fewer_copies
        )
    if kind == "restart":
        restarts = restarting.asked(world, record, to)
        if isinstance(restarts, str):
            return Proposal(cluster=world.cluster, kind=kind, lines=(), refusal=restarts)
        lines = _restart(world, record, restarts, now)
        return Proposal(cluster=world.cluster, kind=kind, lines=lines, restarts=restarts)
    match kind:
        case "switchover":
            lines, refusal = _switchover(world, record, wish, now)
        case "failover":
            lines, refusal = _failover(world, record, wish, now)
        case "accept-loss":
            lines, refusal = _loss(world, record, known, now)
            given_up = wish.dead or tuple(one.member for one in loss.missing(world, record, now))
            return Proposal(cluster=world.cluster, kind=kind, lines=lines, refusal=refusal, dead=given_up)
    return Proposal(cluster=world.cluster, kind=kind, lines=lines, refusal=refusal)


def _switchover(world: World, record: Record, wish: Wish, now: float) -> tuple[tuple[str, ...], str]:
    name, primary = record.primary_member, world.present(record.primary_member, now)
    if primary is None:
        return (), f"{world.gone(name, now)}; a primary that cannot be asked is succeeded by `pgswarm failover`"
    if refusal := switchover.refused(world, record, wish, primary, now):
        return (), refusal
    streaming = [n for n in standbys(world, record, primary, now) if wish.to in (None, member_of(n))]
    heir = min(streaming, key=lambda one: switchover.preference(world, record, member_of(one)))
    stream = next((row for row in primary.walsenders if row.name == application_name(heir, record.term)), None)
    end = primary.position.lsn if primary.position else 0
    behind = max(0, end - stream.replay) if stream else 0
    return (
        f"{name} ({_node(world, record, name)}) is primary of term {record.term}",
        f"{member_of(heir)} ({_node(world, record, member_of(heir))}) takes over; it has {behind} bytes to replay",
        f"{name} checkpoints, new connections are held, it hands over and follows as a standby",
        "open sessions end; nothing acknowledged is lost",
    ), ""


def _failover(world: World, record: Record, wish: Wish, now: float) -> tuple[tuple[str, ...], str]:
    health = ballot.health(world, record, now)
    others = [
        member_of(name)
        for name in record.claim.members
        if name != record.primary
        and (report := world.present(member_of(name), now)) is not None
        and record.is_held_by(report, name)
    ]
    lines = (
        health.reason,
        f"{record.claim.quorum} of {', '.join(map(member_of, record.claim.members))} must promise a new term; "
        f"besides the primary can be asked: {', '.join(others) or 'nobody'}",
        "the furthest of them is primary, whatever was wished; nothing acknowledged is lost",
    )
    if not health.lost and not health.coming and len(others) < record.claim.quorum:
        return lines, f"{record.primary_member} serves, and too few others hold what it has acknowledged"
    return lines, ""


def _restart(world: World, record: Record, restarts: Mapping[str, Restart], now: float) -> tuple[str, ...]:
    name = record.primary_member
    others = [member for member in record.members if member in restarts and member != name]
    lines = [f"{member} ({_node(world, record, member)}) is restarted, a standby" for member in others]
    if len(lines) > 1:
        lines.append("each begins once the one before is back in the claim")
    if name in restarts:
        primary = world.present(name, now)
        can = primary is not None and standbys(world, record, primary, now)
        how = "hands over first, and open sessions end" if can else "has no successor: writers wait meanwhile"
        lines.append(f"{'last ' if others else ''}{name} ({_node(world, record, name)}) is restarted; it {how}")
    if others and record.claim.r > 1 and len(record.claim.members) == record.claim.r:
        lines.append("while a standby is away, commits wait until its loss is known, and then are on one copy")
    return (*lines, "nothing acknowledged is lost")


def _loss(world: World, record: Record, known: Mapping[str, str], now: float) -> tuple[tuple[str, ...], str]:
    health = ballot.health(world, record, now)
    if not health.lost and not health.coming:
        return (), f"{health.reason}, so nothing needs to be lost"
    there = [
        f"{name} at {report.position}"
        for name in record.members
        if (report := world.present(name, now)) is not None and report.position is not None
    ]
    missing = loss.missing(world, record, now)
    lines = (
        health.reason,
        f"acknowledged commits are on at least {record.claim.r} of {', '.join(map(member_of, record.claim.members))}",
        *(f"cannot be asked: {_with(one, known)}" for one in missing),
        f"can be asked: {', '.join(there) or 'nobody'}",
    )
    if not there:
        return lines, "no member can be reached"
    if len(record.claim.members) - len(missing) >= record.claim.quorum:
        return (*lines, "those who can be asked suffice: nothing needs to be lost"), ""
    return (*lines, "what only those have who cannot be asked is lost to the cluster, for good"), ""


def _with(one: loss.Missing, known: Mapping[str, str]) -> str:
    heard = known.get(one.member, "") if one.position is None else ""
    return f"{one.member} ({one.why}; the operator last heard it at {heard})" if heard else str(one)


def _node(world: World, record: Record, member: str) -> str:
    place = record.place(member)
    leads = place is not None and place.node_id == world.raft_leader
    return (place.node_name if place else "?") + (", where Swarm's Raft leader is" if leads else "")
