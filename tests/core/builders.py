"""Worlds and reports for tests, said in few words; states that cannot be in the world are refused.

A cluster of `a`, `b`, `c` with incarnations `a/1`…; the record of term 1 says what the test is about, everyone reports
what a healthy member would, and a test changes the one thing that matters to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgswarm import settings
from pgswarm.core.claim import Claim, Incarnation, Sync, application_name, member_of
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data, InForce, MemberReport, Postgres, Role, Serving, Walsender
from pgswarm.core.sightings import Sighting
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.swarmview import Network, Secret, SwarmView
from pgswarm.core.wal import Position, Reign
from pgswarm.core.wish import Wish
from pgswarm.core.world import World

NOW = 1000.0
WALL = 5000.0
"""The time of day, in seconds since the epoch; wishes made here hold until a minute later."""
SYSTEM = "7301"
END = 500
"""The LSN at which everyone's log ends."""

SWARM = SwarmView(
    networks=tuple(Network(name=name, id=name, scope="swarm") for name in (settings.CONTROL_NETWORK, "webnet")),
    secrets=tuple(
        Secret(id=n, name=n, labels={settings.LABEL_CLUSTER: "main"})
        for n in (settings.CONTROL_SECRET, "main-owner", "main-replication")
    ),
)


def names(members: str) -> tuple[Incarnation, ...]:
    """`abc` is a/1, b/1 and c/1."""
    return tuple(f"{member}/1" for member in members)


def document(members: int | str = 3, **spec: Any) -> PostgresCluster:
    instances: Any = members if isinstance(members, int) else [{"name": name} for name in members]
    return PostgresCluster.model_validate(
        {
            "apiVersion": "pgswarm/v1",
            "kind": "PostgresCluster",
            "metadata": {"name": "main"},
            "spec": {"instances": instances, **spec},
        }
    )


def places(members: str) -> tuple[Place, ...]:
    return tuple(Place(member=m, node_id=f"id-{m}", node_name=f"node-{m}", volume=f"main_{m}") for m in members)


def record(claim: str = "ab", r: int = 2, sync: str = "b", *, members: str = "abc", **changes: Any) -> Record:
    """Term 1, revision 5: `r` of `claim`, ANY 1 of `sync`, primary a."""
    fields: dict[str, Any] = {
        "revision": 5,
        "term": 1,
        "primary": "a/1",
        "claim": Claim(members=names(claim), r=r),
        "sync": Sync(k=1, names=names(sync)) if sync else Sync(),
        "lineage": (Reign(term=1, incarnation="a/1", timeline=1, fork=0),),
        "places": places(members),
        "system_id": SYSTEM,
    }
    return Record(**{**fields, **changes})


def wish(kind: str, to: str | None = None, **changes: Any) -> Wish:
    """What an admin asked for in term 1."""
    fields = {"id": "w1", "kind": kind, "term": 1, "to": to, "by": "ann", "until": WALL + 60.0}
    return Wish.model_validate({**fields, **changes})


def primary(of: Record, streaming: str = "", **changes: Any) -> MemberReport:
    """The record's primary, serving, with these standbys streaming and flushed to the end."""
    fields: dict[str, Any] = {
        "role": Role.PRIMARY,
        "serving": Serving.PRIMARY,
        "reigned": of.term,
        "in_force": InForce(term=of.term, revision=of.revision, since=END),
        "walsenders": tuple(
            Walsender(name=application_name(f"{m}/1", of.term), state="streaming", flush=END) for m in streaming
        ),
    }
    return _member(of, of.primary_member, **{**fields, **changes})


def standby(of: Record, member: str, **changes: Any) -> MemberReport:
    """A healthy standby of the record's primary."""
    fields: dict[str, Any] = {"role": Role.STANDBY, "serving": Serving.REPLICA, "upstream": of.primary}
    return _member(of, member, **{**fields, **changes})


def promiser(of: Record, member: str, term: int, lsn: int = END, **changes: Any) -> MemberReport:
    """A member that has promised `term` and says what it has."""
    fields: dict[str, Any] = {
        "role": Role.FENCED,
        "promised": term,
        "settled": True,
        "position": Position(timeline=of.timeline, lsn=lsn),
    }
    return _member(of, member, **{**fields, **changes})


def stopped(of: Record, member: str = "a", **changes: Any) -> MemberReport:
    """Its container has just started again."""
    return _member(of, member, postgres=Postgres.STOPPED, role=Role.NONE, heeded=None, **changes)


def empty(of: Record | None, member: str, **changes: Any) -> MemberReport:
    return report(member, data=Data.NONE, **changes)


def _member(of: Record, member: str, **changes: Any) -> MemberReport:
    key = (of.term, of.revision)
    fields: dict[str, Any] = {
        "data": Data.READY,
        "incarnation": f"{member}/1",
        "system_id": SYSTEM,
        "promised": of.term,
        "accepted": key,
        "heeded": key,
        "postgres": Postgres.RUNNING,
        "position": Position(timeline=of.timeline, lsn=END),
    }
    return report(member, **{**fields, **changes})


def report(member: str, boot: str = "boot", **fields: Any) -> MemberReport:
    made = MemberReport(cluster="main", member=member, boot=boot, sequence=1, **fields)
    if problem := impossible(made):
        raise ValueError(f"no member can be so: {problem}")
    return made


def impossible(said: MemberReport) -> str | None:
    """Why no agent that keeps its law could say this."""
    rules = (
        (said.data is Data.NONE and said.incarnation is not None, "an incarnation without data"),
        (said.data is not Data.READY and said.position is not None, "a position without data"),
        (said.incarnation is not None and member_of(said.incarnation) != said.member, "another's incarnation"),
        (said.role is not Role.NONE and said.postgres is not Postgres.RUNNING, "a role without a PostgreSQL"),
        (said.serving is Serving.PRIMARY and said.role is not Role.PRIMARY, "serves writers and is no primary"),
        (said.in_force is not None and said.role is not Role.PRIMARY, "a sync in force and no primary"),
        (bool(said.walsenders) and said.role is Role.NONE, "streams from a PostgreSQL that is not there"),
        (said.settled and said.upstream is not None, "settled and yet receiving"),
        (said.role is Role.PRIMARY and said.settled, "a primary's log has no end"),
        (said.heeded is not None and (said.accepted or (0, 0)) < said.heeded, "heeds what it has not accepted"),
        (said.accepted is not None and said.promised < said.accepted[0], "accepted a term that it has not promised"),
        (said.reigned > said.promised, "reigned in a term that it has not promised"),
        (said.yields > 0 and said.role is not Role.PRIMARY, "hands over and is no primary"),
        (said.yields > 0 and said.serving is not Serving.NONE, "hands over and takes new clients"),
        (said.serving is Serving.PRIMARY and not said.answers, "serves and hangs"),
        (said.serving is Serving.PRIMARY and said.promised > max(said.reigned, 1), "serves below its promise"),
    )
    return next((why for wrong, why in rules if wrong), None)


def heard(said: MemberReport, *, ago: float = 0.0, closed: float | None = None) -> Sighting[MemberReport]:
    """Heard `ago` seconds ago; `closed` seconds ago its process was seen to end."""
    at = None if closed is None else NOW - closed
    return Sighting(
        address="x",
        report=said,
        heard_at=NOW - ago,
        said_at=NOW - ago,
        connected=closed is None,
        closed_at=at,
        why="EOF",
    )


def world(of: Any, *said: MemberReport | Sighting[MemberReport], **changes: Any) -> World:
    """What an operator sees that has been awake for long; members not named were never heard."""
    sightings = [one if isinstance(one, Sighting) else heard(one) for one in said]
    known = {one.report.member: one for one in sightings if one.report is not None}
    members = of.members if isinstance(of, Record) else tuple(known)
    made = World(
        cluster="main",
        document=document("".join(members)) if members else document(),
        stored=True,
        record=of,
        record_read_at=NOW,
        swarm=SWARM,
        places=of.places if isinstance(of, Record) else places("".join(members)),
        addresses={member: f"10.0.0.{n}" for n, member in enumerate(members, 1)},
        members=known,
        awake_since=NOW - 600.0,
        wall=WALL,
        fresh_id="0f0f0f0f",
    )
    made = replace(made, **changes)
    if isinstance(of, Record):
        own = made.report(of.primary_member)
        streams = {row.name for row in own.walsenders} if own else set()
        for name in made.absent_since:
            if application_name(name, of.term) in streams:
                raise ValueError(f"{name} streams and is absent")
    return made
