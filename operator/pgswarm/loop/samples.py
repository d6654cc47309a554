"""What the dashboard's plots are drawn from: how far each standby was behind, once a second, for a quarter of an hour.

Made from sightings that the operator has anyway, so it costs nobody a question; kept in memory only and gone with the
operator, because history that matters is in the record and in the metrics. Nothing is decided by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pgswarm.core.claim import application_name
from pgswarm.core.record import Record
from pgswarm.core.world import World

EVERY = 1.0
"""Seconds between two samples."""

KEPT = 900
"""Samples that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One standby at one moment."""

    lag: float | None
    """Seconds behind in replay, as it says itself; None if it does not."""
    behind: int | None
    """Bytes that its disk lacks of the primary's log; None if either is not heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Every standby of every cluster at one moment."""

    number: int
    at: float
    """Seconds since the epoch."""
    points: Mapping[str, Mapping[str, Point]] = field(default_factory=dict)
    """By cluster and member."""
    waits: Mapping[str, float] = field(default_factory=dict)
    """By cluster: seconds for which the newest commits have waited for a standby's disk, where somebody has asked."""

    def as_json(self) -> dict[str, Any]:
        return {
            "at": round(self.at, 1),
            "points": {
                cluster: {name: [point.lag, point.behind] for name, point in points.items()}
                for cluster, points in self.points.items()
            },
            "waits": dict(self.waits),
        }


class Samples:
    """The last quarter of an hour."""

    def __init__(self) -> None:
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._number = 0

    def take(self, worlds: Iterable[World], wall: float, now: float, waits: Mapping[str, float]) -> None:
        """Add one sample."""
        self._number += 1
        points = {world.cluster: points_of(world, now) for world in worlds}
        self._kept.append(Sample(number=self._number, at=wall, points=points, waits=dict(waits)))

    def since(self, number: int) -> tuple[Sample, ...]:
        """What came after this one; all that is kept for 0."""
        return tuple(one for one in self._kept if one.number > number)


def points_of(world: World, now: float) -> dict[str, Point]:
    """How far everyone who follows the primary is behind it; who is not heard has no value, and is not at zero."""
    record = world.record
    if not isinstance(record, Record):
        return {}
    primary = world.present(record.primary_member, now)
    end = primary.position.lsn if primary is not None and primary.position is not None else None
    flushed = {row.name: row.flush for row in primary.walsenders} if primary is not None else {}
    points: dict[str, Point] = {}
    for member in record.members:
        if member == record.primary_member:
            continue
        report = world.present(member, now)
        name = application_name(report.incarnation, record.term) if report and report.incarnation else ""
        reached = flushed.get(name) or None
        points[member] = Point(
            lag=report.lag if report is not None else None,
            behind=max(0, end - reached) if end is not None and reached is not None else None,
        )
    return points
