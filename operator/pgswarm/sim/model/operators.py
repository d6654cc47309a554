"""What operators may write, by the real rules: `plan._record_rules` over real worlds built from the model's tuples.

Any number of operators is here, at no cost. A write succeeds only if its compare-and-set finds the revision that the
decision was made from, and by that it dooms every other write made from it; so of many operators only the sequence of
writes that succeeded is left, and each of those is one decision from one record and one mixture of reports, young or
old. A slow operator is one that goes by old reports (`held`); one that has read an old record can write nothing.

For each member the decider may go by what is true now or by the report that is held, and may take it for present,
for lost, for hanging (a primary that does not serve) or for absent (a standby without a stream for long). Decisions
are remembered by their arguments: that is what makes millions of states possible with the real functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

from pgswarm.core import plan as plan_
from pgswarm.core.claim import Claim, Sync, application_name, member_of
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data, InForce, MemberReport, Postgres, Role, Serving, Walsender
from pgswarm.core.sightings import Sighting
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import WriteRecord
from pgswarm.core.wal import Position, Reign
from pgswarm.core.wish import Wish
from pgswarm.core.world import World
from pgswarm.sim.model.state import MEMBERS, SYSTEM, Rec, Seen

NOW = 1000.0
LONG_AGO = 500.0
PRESENT, LOST, HANGS, ABSENT = range(4)
"""How a member may be looked at."""

View = tuple[Seen, int]
_DATA = (Data.NONE, Data.BUILDING, Data.READY)
_ROLES = (Role.NONE, Role.FENCED, Role.STANDBY, Role.PRIMARY)


def writes(rec: Rec, sights: tuple[tuple[Seen, ...], ...]) -> Iterator[tuple[Rec, str]]:
    """Every record that some operator may want to write, with the reason; `sights`: the reports it may go by."""
    found: dict[Rec, str] = {}
    for views in product(*(tuple(_ways(rec, member, seen)) for member, seen in enumerate(sights))):
        new = decide(rec, views)
        if new is not None:
            found.setdefault(new[0], new[1])
    yield from found.items()


def succeeds(newest: Rec, read: Rec) -> bool:
    """The compare-and-set: is the record that the decision was made from still the newest?"""
    return newest.rev == read.rev


def _ways(rec: Rec, member: int, sights: tuple[Seen, ...]) -> Iterator[View]:
    is_primary = member_of(rec.primary) == MEMBERS[member]
    for seen in sights:
        yield seen, PRESENT
        yield seen, LOST
        if is_primary and not seen.serving:
            yield seen, HANGS
        if not is_primary and seen.inc in (*rec.claim, *rec.names):
            yield seen, ABSENT


@cache
def decide(rec: Rec, views: tuple[View, ...]) -> tuple[Rec, str] | None:
    """The write that the real rules plan from this record and these views."""
    primary, way_of_primary = views[MEMBERS.index(member_of(rec.primary))]
    streams = {name for name, _ in primary.senders}
    absent = {seen.inc for seen, way in views if way == ABSENT}
    if absent & streams:
        return None  # nobody is missed whose stream is seen
    world = World(
        cluster="main",
        document=_document(len(views)),
        stored=True,
        record=real_record(rec, len(views)),
        places=_places(len(views)),
        members={MEMBERS[i]: _sighting(MEMBERS[i], rec, *view) for i, view in enumerate(views)},
        absent_since=dict.fromkeys(absent, 1.0),
        not_serving_since=1.0 if way_of_primary == HANGS else None,
        awake_since=1.0,
        record_read_at=NOW,
    )
    said = plan_._record_rules(world, real_record(rec, len(views)), NOW)
    steps = [step for step in said.steps if isinstance(step, WriteRecord)]
    if not steps:
        return None
    return _rec(steps[0].record), steps[0].reason


def _sighting(member: str, rec: Rec, seen: Seen, way: int) -> Sighting[MemberReport]:
    report = _report(member, seen, rec.term, rec.rev)
    if way == LOST:
        return Sighting(report=report, heard_at=LONG_AGO, closed_at=LONG_AGO, why="lost")
    return Sighting(report=report, heard_at=NOW, connected=True, why="")


@cache
def _report(member: str, seen: Seen, term: int, revision: int) -> MemberReport:
    data = _DATA[seen.data]
    accepted = (seen.accepted, revision if seen.is_current else revision - 1) if seen.accepted else None
    return MemberReport(
        cluster="main",
        member=member,
        boot="boot",
        sequence=1,
        data=data,
        incarnation=seen.inc or None,
        system_id=SYSTEM if data is Data.READY else "",
        promised=seen.promised,
        accepted=accepted,
        heeded=accepted if seen.heeded else None,
        postgres=Postgres.RUNNING if seen.role else Postgres.STOPPED,
        role=_ROLES[seen.role],
        serving=Serving.PRIMARY if seen.serving else Serving.NONE,
        position=Position(timeline=seen.end[0], lsn=seen.end[1]) if seen.end else None,
        settled=seen.end is not None,
        in_force=InForce(term=term, revision=revision, since=1) if seen.in_force else None,
        walsenders=tuple(
            Walsender(name=application_name(name, term), state="streaming", flush=int(flushed))
            for name, flushed in seen.senders
        ),
    )


@cache
def real_record(rec: Rec, count: int) -> Record:
    return Record(
        revision=rec.rev,
        term=rec.term,
        primary=rec.primary,
        claim=Claim(members=rec.claim, r=rec.r),
        sync=Sync(k=rec.k, names=rec.names),
        lineage=tuple(Reign(term=t, incarnation=name, timeline=tl, fork=at) for t, name, tl, at in rec.lineage),
        places=_places(count),
        system_id=SYSTEM,
        wish=_wish(rec),
    )


def _wish(rec: Rec) -> Wish | None:
    kind, _, dead = rec.wish.partition(":")
    fields = {"id": "w", "kind": kind, "term": rec.term, "dead": tuple(dead), "until": 1.0}
    return Wish.model_validate(fields) if kind else None


def _rec(record: Record) -> Rec:
    return Rec(
        rev=record.revision,
        term=record.term,
        primary=record.primary,
        claim=record.claim.members,
        r=record.claim.r,
        k=record.sync.k,
        names=record.sync.names,
        lineage=tuple((one.term, one.incarnation, one.timeline, one.fork) for one in record.lineage),
        wish=f"{record.wish.kind}:{''.join(record.wish.dead)}" if record.wish else "",
    )


@cache
def _places(count: int) -> tuple[Place, ...]:
    return tuple(Place(member=m, node_id=f"id-{m}", node_name=m, volume=f"main_{m}") for m in MEMBERS[:count])


@cache
def _document(count: int) -> PostgresCluster:
    return PostgresCluster.model_validate(
        {
            "apiVersion": "pgswarm/v1",
            "kind": "PostgresCluster",
            "metadata": {"name": "main"},
            "spec": {"instances": [{"name": name} for name in MEMBERS[:count]]},
        }
    )
