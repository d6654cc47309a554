"""Drills: which faults `pgswarm drill` strikes for real, what is promised of each, and whether it may be struck now.

A drill is only worth something if it goes the way of a real fault, and only bearable if the cluster survives it. So
before anything is broken the same rules that would have to save the cluster are asked whether they could: a successor
that streams and is counted, a quorum of the claim that can be asked without the primary, an operator and a router that
the fault does not take along. What speaks against it is told with the command that mends it. Two conditions are the
drill's own: it does not strike a node that it stands on, and it strikes only what is at rest.

The promise is that of docs/benchmarks.md: all four faults are told by whoever suffers them - a postmaster's exit, a
closed connection, a word before stopping - so none waits for `detectionTimeout`, and writers pause for at most a
second. Nothing acknowledged is lost. A crash under `durability: async` is another matter: Swarm has to say that the
task has ended, so what is promised is only that nobody waits for the grant to run out, and loss has its limit.

Before it: loop/drilling looks. After it: a person consents, loop/drilling strikes, and `drillreport` judges. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from pgswarm.core import parameters, switchover
from pgswarm.core.base import Message
from pgswarm.core.claim import member_of
from pgswarm.core.grant import TTL
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Serving
from pgswarm.core.swarmview import Node, SwarmView
from pgswarm.core.wish import Wish
from pgswarm.core.world import Unknown, World

Kind = Literal["switchover", "postgres", "container", "node-drain"]

OUTAGE = 1.0
"""Seconds without an acknowledged write, at most, that are promised of every drill: the limit of docs/benchmarks.md."""

DELAY = 0.1
"""Seconds from an agent's answer to the blow that it strikes."""

SCHEMA = "pgswarm_drill"
"""Where the drill's table is, in the application's database, as long as the drill lasts."""

LABEL = "pgswarm.drill"
"""On a node that a drill has drained, and on the service of its writer: the cluster that is drilled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One fault: what is done, what an application feels, and how long one looks by default."""

    kind: Kind
    breaks: str
    feels: str
    seconds: float


DRILLS: dict[Kind, Drill] = {
    "switchover": Drill(
        kind="switchover",
        breaks="nothing: another member is made primary, as `pgswarm switchover` does",
        feels="open sessions end, new connections wait a moment; nobody is turned away",
        seconds=15,
    ),
    "postgres": Drill(
        kind="postgres",
        breaks="the primary's postmaster gets SIGKILL, as if the kernel had run out of memory",
        feels="open sessions break off in the middle, new connections wait until a successor serves",
        seconds=15,
    ),
    "container": Drill(
        kind="container",
        breaks="the primary's container ends at once, PostgreSQL and agent together",
        feels="open sessions break off in the middle, new connections wait until a successor serves",
        seconds=15,
    ),
    "node-drain": Drill(
        kind="node-drain",
        breaks="the primary's node is drained and made active again: Swarm stops every task there, of all services",
        feels="as in a switchover; who is connected by that node's router has to connect again",
        seconds=40,
    ),
}


class Promise(Message):
    """What is promised of one drill."""

    seconds: float = Field(description="without an acknowledged write, at most")
    lossless: bool = Field(description="no acknowledged write is missing afterwards")
    text: str


class Announcement(Message):
    """What a drill would do here and now; why it is refused, if it is, and what mends that."""

    cluster: str
    kind: Kind
    primary: str = ""
    node: str = ""
    node_id: str = ""
    term: int = 0
    copies: int = 0
    writer_node: str = Field(default="", description="where the writing client runs")
    lines: tuple[str, ...] = ()
    promise: Promise
    refusal: str = ""
    mend: str = ""


class Strike(Message):
    """To the primary's agent: end yourself, or your PostgreSQL, hard."""

    kind: Literal["postgres", "container"]
    cluster: str
    member: str
    term: int = Field(description="the term whose primary is meant: no other is struck")


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """Why not, and the command that mends it."""

    why: str
    mend: str


def announced(world: World, record: Record, kind: Kind, now: float, *, here: str) -> Announcement:
    """What the drill would do; `here` is the node from which it would be struck."""
    place = record.place(record.primary_member)
    node_id, node = (place.node_id, place.node_name) if place else ("", "?")
    no = next(_hindrances(world, record, kind, now, here), None)
    writer = writer_node(world, record, kind)
    return Announcement(
        cluster=world.cluster,
        kind=kind,
        primary=record.primary_member,
        node=node,
        node_id=node_id,
        term=record.term,
        copies=record.claim.r,
        writer_node=writer.id if writer else "",
        lines=tuple(_lines(record, kind, node, writer.name if writer else "?", promised(world, kind))),
        promise=promised(world, kind),
        refusal=no.why if no else "",
        mend=no.mend if no else "",
    )


def promised(world: World, kind: Kind) -> Promise:
    """What is promised of this fault to this cluster."""
    document = world.document
    if kind in ("switchover", "node-drain") or document is None or document.spec.durability != "async":
        text = f"writers pause for at most {OUTAGE:g} s, and nothing acknowledged is lost"
        return Promise(seconds=OUTAGE, lossless=True, text=text)
    most = parameters.size(document.spec.max_lag_on_failover) >> 20
    text = f"writers pause for less than a grant's {TTL:g} s; async may lose up to {most} MB of acknowledged log"
    return Promise(seconds=TTL, lossless=False, text=text)


def writer_node(world: World, record: Record, kind: Kind) -> Node | None:
    """Where the writing client shall run: beside a standby; on the primary's node only where nothing else is."""
    if isinstance(world.swarm, Unknown):
        return None
    nodes = {node.id: node for node in world.swarm.nodes if node.takes_tasks}
    own = record.place(record.primary_member)
    others = [place.node_id for place in record.places if own is None or place.node_id != own.node_id]
    chosen = [*others, *([own.node_id] if own is not None and kind != "node-drain" else [])]
    return next((nodes[node_id] for node_id in chosen if node_id in nodes), None)


def _hindrances(world: World, record: Record, kind: Kind, now: float, here: str) -> Iterator[No]:
    """What speaks against it, the weightiest first."""
    name, primary = record.primary_member, world.present(record.primary_member, now)
    if world.document is None:
        yield No(why="no document of this cluster is in force", mend="pgswarm status")
    if record.deletion is not None:
        yield No(why="the cluster is being deleted", mend="pgswarm status")
    if (pause := record.paused(world.wall)) is not None:
        yield No(why=f"{pause}: nobody would be made primary", mend="pgswarm resume")
    yield from _another(world)
    if (wish := record.wished(world.wall)) is not None:
        yield No(why=f"{wish} is asked for, and comes first", mend="pgswarm status --watch")
    if primary is None:
        yield No(why=world.gone(name, now) or f"{name} is not heard", mend="pgswarm explain")
        return
    if primary.serving is not Serving.PRIMARY:
        yield No(why=f"{name} serves no writers now", mend="pgswarm explain")
    asked = Wish(id="", kind="switchover", term=record.term, until=world.wall)
    if why := switchover.refused(world, record, asked, primary, now):
        yield No(why=f"nobody could follow {name}: {why}", mend="pgswarm status")
    if why := switchover.waits(world, record, asked, primary, now):
        yield No(why=f"nobody could follow {name} yet: {why}", mend="pgswarm status --watch")
    if (missing := _missing(world, record, now)) and kind in ("postgres", "container"):
        yield No(
            why=f"without {name} its commits could not be made sure of: {missing} would be missing",
            mend="pgswarm explain",
        )
    yield from _around(world, record, kind, here)


def _another(world: World) -> Iterator[No]:
    """Another drill: whatever else is amiss may well be its doing."""
    swarm, name = world.swarm, service_name(world.cluster)
    client = swarm.service(name) if isinstance(swarm, SwarmView) else None
    if isinstance(swarm, SwarmView) and client is not None and any(task.is_live for task in swarm.tasks_of(client)):
        yield No(
            why="another drill is under way, or was killed and its client still writes, which soon ends by itself",
            mend=f"docker service rm {name}",
        )


def _missing(world: World, record: Record, now: float) -> str:
    """Whose promise a ballot without the primary would lack; empty if it has its quorum."""
    if record.grant is not Grant.NONE:
        return ""
    others = [name for name in record.claim.members if name != record.primary]
    there = [one for one in others if record.is_held_by(world.present(member_of(one), now), one)]
    if len(there) >= record.claim.quorum:
        return ""
    return ", ".join(member_of(one) for one in others if one not in there) or "another copy than its own"


def _around(world: World, record: Record, kind: Kind, here: str) -> Iterator[No]:
    """Operators, routers and nodes that the fault must leave standing."""
    swarm, place = world.swarm, record.place(record.primary_member)
    if isinstance(swarm, Unknown):
        yield No(why=f"the Swarm cannot be seen: {swarm.why}", mend="docker node ls")
        return
    drained = place.node_id if place is not None and kind == "node-drain" else ""
    if not operators(swarm, besides=drained):
        where = f" on another node than {place.node_name}" if place is not None and drained else ""
        yield No(
            why=f"no operator runs{where} that could make another primary", mend="docker service ps pgswarm_operator"
        )
    routers = [name for name, one in world.routers.items() if one.connected and one.report is not None]
    if drained and place is not None:
        routers = [name for name in routers if name != place.node_name]
    if not routers:
        yield No(why="no router would be left to lead writers to another primary", mend="pgswarm doctor")
    if writer_node(world, record, kind) is None:
        yield No(why="no node is left on which the writing client could run", mend="docker node ls")
    if place is not None and (there := swarm.node(drained)) is not None and not there.takes_tasks:
        state = f"state {there.state}, availability {there.availability}"
        yield No(why=f"{place.node_name} is not active ({state}), and would be made so", mend="docker node ls")
    if drained and here == drained and place is not None:
        yield No(
            why=f"{place.node_name} is the node that this drill would be struck from, and drains itself",
            mend="pgswarm switchover, then this again; or this on another manager",
        )


def by_hand(node: str) -> str:
    """The command that gives a drained node back."""
    return f"docker node update --availability active --label-rm {LABEL} {node}"


def service_name(cluster: str) -> str:
    """The service of a drill's writing client."""
    return f"pgswarm-drill-{cluster}"


def operators(swarm: SwarmView, *, besides: str = "") -> tuple[str, ...]:
    """Nodes on which an operator runs, but for this one."""
    return tuple(
        task.node_id
        for service in swarm.services
        if service.kind == "operator"
        for task in swarm.tasks_of(service)
        if task.state == "running" and task.is_wanted and task.node_id != besides
    )


def _lines(record: Record, kind: Kind, node: str, writer: str, promise: Promise) -> Iterator[str]:
    drill = DRILLS[kind]
    yield f"{record.primary_member} on {node} is primary of term {record.term}; it is struck"
    yield f"what breaks: {drill.breaks}"
    yield f"what applications feel: {drill.feels}"
    yield f"what is promised: {promise.text}"
    yield f"a client on {writer} writes through the router meanwhile, in schema {SCHEMA}, which is dropped afterwards"
    if kind in ("postgres", "container"):
        yield f"until {record.primary_member} is back, commits rest on a copy less"
    if kind == "node-drain":
        yield f"should this be cut short: `{by_hand(node)}`"
