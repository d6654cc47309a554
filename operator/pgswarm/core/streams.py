"""Which standbys stream from the primary, by its own word and by theirs.

A stream is one row of the primary's `pg_stat_replication` with the name of one incarnation in one term (C5). Who
streams may be counted (`durability`), may follow (`switchover`), and is back when it was away (`turns`).
"""

from __future__ import annotations

from pgswarm.core.claim import Incarnation, application_name
from pgswarm.core.disk import Room
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport, Role, Walsender
from pgswarm.core.world import World


def standbys(world: World, record: Record, primary: MemberReport, now: float) -> tuple[Incarnation, ...]:
    """Incarnations that stream from this primary in this term and obey this record's term, in document order."""
    healthy = []
    for member in record.members:
        report = world.present(member, now)
        if report is None or report.incarnation is None or report.incarnation == record.primary:
            continue
        row = stream(primary, report.incarnation, record.term)
        if (
            record.is_held_by(report, report.incarnation)
            and report.role is Role.STANDBY
            and report.heeded is not None
            and report.heeded[0] == record.term
            and report.promised == record.term
            and row is not None
            and row.state == "streaming"
            and report.room is not Room.SPENT  # it is about to receive nothing
        ):
            healthy.append(report.incarnation)
    return tuple(healthy)


def stream(primary: MemberReport, name: Incarnation, term: int) -> Walsender | None:
    wanted = application_name(name, term)
    return next((row for row in primary.walsenders if row.name == wanted), None)
