"""Notices: what is worth waking somebody for, derived from how a cluster was and how it is. Pure.

    failover-started   the primary is lost, nobody has asked for that
    failover-ended     writers are served again: by whom, and how long they were not
    primary-changed    the same after a switchover, a drain or a restart: somebody has asked for it
    commits-lost       a failover gave up commits (durability async, or loss that a person accepted)
    claim-degraded     for `STEADY` seconds commits have rested on fewer copies than the document could have
    claim-restored     they no longer do
    disk-low           little room is left under a member's volume, or hardly any
    disk-recovered     there is enough again
    drill-started, drill-ended, test    somebody says so (`pgswarm drill`, `pgswarm notify`)

Every operator derives them; which of them sends is not decided here (`loop/noticing`). So the id of a notice follows
from what happened, not from who saw it or when: a receiver that keeps ids sees each once, though two operators sent it.
What an operator finds when it begins is no news: there is no notice without a before. And what is not known changes
nothing: without a record, and for members that are not heard, everything stays as it was.

The shape of a notice is public (docs/reference/notices.md); fields are added, never changed, within one `version`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import Field

from pgswarm.core import ballot
from pgswarm.core.base import Message
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Serving
from pgswarm.core.world import World

STEADY = 10.0
"""Seconds for which a claim must have been degraded before it is told: a restart of a standby is no news."""

LOW, SHORT, ENOUGH = 0.10, 0.03, 0.13
"""Shares of a disk that are free: below the first it is low, below the second very; above the third well again."""

DAY = 86400

Severity = Literal["info", "warning", "critical"]


class Notice(Message):
    """One thing that happened, as it is sent."""

    version: Literal[1] = 1
    id: str = Field(description="the same from every operator that saw it; a receiver may drop what it has had")
    kind: str
    severity: Severity
    at: float = Field(description="when it was seen: seconds since the epoch, by the sending operator's clock")
    cluster: str
    text: str = Field(description="one line for people")
    operator: str = Field(default="", description="which operator saw and sent it")
    term: int | None = None
    primary: str = Field(default="", description="the record's primary by then")
    former: str = Field(default="", description="the primary before, where it is about a change")
    outage_seconds: float | None = Field(default=None, description="for how long writers were not served")
    member: str = Field(default="", description="the member that it is about, if it is about one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What has to be remembered of a cluster between two looks."""

    term: int
    primary: str
    losses: int
    down_since: float | None = None  # since when writers are not served
    lost: bool = False  # and nobody asked for that: it was told
    from_term: int = 0  # the term in which that began
    former: str = ""
    thin_since: float | None = None  # since when there are fewer copies than there could be
    thin_told: bool = False
    disks: dict[str, str] = field(default_factory=dict)  # member → low or short, where it was told


def happening(notice: Notice) -> str:
    """What it is about, the same for two that tell it differently: who has not seen the loss tells of a change only."""
    kind = "primary-changed" if notice.kind == "failover-ended" else notice.kind
    return notice.id.replace(f"/{notice.kind}/", f"/{kind}/", 1)


def noticed(before: Seen | None, world: World, now: float) -> tuple[Seen | None, tuple[Notice, ...]]:
    """What is new since the last look, and what to remember for the next."""
    record = world.record
    if not isinstance(record, Record):
        return before, ()
    if before is None:
        return _first(world, record, now), ()
    told: list[Notice] = []
    seen = _reign(before, world, record, now, told)
    seen = _claim(seen, world, record, now, told)
    seen = _disks(seen, world, record, now, told)
    return seen, tuple(told)


def _first(world: World, record: Record, now: float) -> Seen:
    disks = {name: level for name in world.members if (level := _level(world, name, now))}
    thin = _is_thin(world, record)
    return Seen(
        term=record.term,
        primary=record.primary_member,
        losses=len(record.losses),
        down_since=None if _serves(world, record, now) else now,
        from_term=record.term,
        former=record.primary_member,
        thin_since=now if thin else None,
        thin_told=thin,
        disks=disks,
    )


def _reign(before: Seen, world: World, record: Record, now: float, told: list[Notice]) -> Seen:
    """Is there a primary, and is it another one?"""
    seen = replace(before, term=record.term, primary=record.primary_member, losses=len(record.losses))
    if len(record.losses) > before.losses:
        loss = str(record.losses[-1])
        told.append(_notice(world, record, "commits-lost", "critical", f"commits were given up: {loss}", record.term))
    if _serves(world, record, now):
        ended = _ended(before, world, record, now)
        told += [ended] if ended is not None else []
        return replace(seen, down_since=None, lost=False)
    if before.down_since is None:
        since = _down_since(world, before.primary, now)
        seen = replace(seen, down_since=since, from_term=before.term, former=before.primary)
    if not seen.lost and record.wish is None and record.term == seen.from_term:
        health = ballot.health(world, record, now)
        if health.lost:
            told.append(_notice(world, record, "failover-started", "critical", health.reason, record.term))
            seen = replace(seen, lost=True)
    return seen


def _ended(before: Seen, world: World, record: Record, now: float) -> Notice | None:
    """Writers are served: were they not before, or by somebody else?"""
    former = before.former if before.down_since is not None else before.primary
    changed = record.primary_member != former
    if not before.lost and not changed:
        return None
    outage = now - before.down_since if before.down_since is not None else 0.0
    kind = "failover-ended" if before.lost else "primary-changed"
    who = f"{record.primary_member} serves, after {former}" if changed else f"{former} serves again"
    text = f"{who}; writers waited {outage:.1f} s ({record.reason})"
    severity: Severity = "warning" if before.lost else "info"
    said = _notice(world, record, kind, severity, text, record.term)
    return said.model_copy(update={"outage_seconds": round(outage, 3), "former": former})


def _claim(seen: Seen, world: World, record: Record, now: float, told: list[Notice]) -> Seen:
    """Do commits rest on fewer copies than they could, and steadily so?"""
    if not _is_thin(world, record):
        if seen.thin_told:
            text = f"every commit is on {record.claim.r} members again"
            told.append(_notice(world, record, "claim-restored", "info", text, record.revision))
        return replace(seen, thin_since=None, thin_told=False)
    since = now if seen.thin_since is None else seen.thin_since
    if not seen.thin_told and now - since >= STEADY:
        text = f"commits rest on {record.primary_member} alone: {record.reason}"
        told.append(_notice(world, record, "claim-degraded", "warning", text, record.revision))
        return replace(seen, thin_since=since, thin_told=True)
    return replace(seen, thin_since=since)


def _disks(seen: Seen, world: World, record: Record, now: float, told: list[Notice]) -> Seen:
    """Is there room under each volume?"""
    disks = dict(seen.disks)
    for name in world.members:
        report, level = world.present(name, now), _level(world, name, now)
        before = disks.get(name, "")
        if report is None or not report.disk_total or level == before or (before == "short" and level == "low"):
            continue
        share = report.disk_free / report.disk_total
        day = int(world.wall) // DAY
        if level:
            text = f"{share:.0%} of the disk under {name}'s volume is free"
            severity: Severity = "critical" if level == "short" else "warning"
            told.append(_notice(world, record, "disk-low", severity, text, f"{name}/{level}/{day}", name))
            disks[name] = level
        elif share >= ENOUGH:
            text = f"{share:.0%} of the disk under {name}'s volume is free again"
            told.append(_notice(world, record, "disk-recovered", "info", text, f"{name}/{day}", name))
            del disks[name]
    return replace(seen, disks=disks)


def _notice(
    world: World, record: Record, kind: str, severity: Severity, text: str, subject: object, member: str = ""
) -> Notice:
    return Notice(
        id=f"{world.cluster}/{kind}/{subject}",
        kind=kind,
        severity=severity,
        at=world.wall,
        cluster=world.cluster,
        text=f"{world.cluster}: {text}",
        operator=world.operator,
        term=record.term,
        primary=record.primary_member,
        member=member,
    )


def _serves(world: World, record: Record, now: float) -> bool:
    report = world.present(record.primary_member, now)
    return report is not None and report.incarnation == record.primary and report.serving is Serving.PRIMARY


def _down_since(world: World, primary: str, now: float) -> float:
    """When the primary was last known to serve."""
    sighting = world.members.get(primary)
    if sighting is None or world.present(primary, now) is not None:
        return now if world.not_serving_since is None else min(now, world.not_serving_since)
    known = sighting.closed_at if sighting.closed_at is not None else sighting.heard_at
    return now if known is None else min(now, known)


def _is_thin(world: World, record: Record) -> bool:
    if record.grant is not Grant.NONE or world.document is None or world.document.spec.durability == "async":
        return False
    return record.claim.r < min(2, len(world.document.instances()))


def _level(world: World, name: str, now: float) -> str:
    report = world.present(name, now)
    if report is None or not report.disk_total:
        return ""
    share = report.disk_free / report.disk_total
    return "short" if share < SHORT else "low" if share < LOW else ""
