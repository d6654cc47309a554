"""How a site begins: with a document and empty volumes, or with a cluster that is in order and serves.

Most histories need no birth. They begin with what a healthy cluster looks like: a record, data on every volume, the
agents' memories, and everything running; only the operators start anew and find it so.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pgswarm import settings
from pgswarm.core.base import Same
from pgswarm.core.bootstrap import volume_of
from pgswarm.core.claim import Claim, Sync, incarnation
from pgswarm.core.durability import alone
from pgswarm.core.grant import DRIFT, MARGIN, Holding
from pgswarm.core.letters import settings_of
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Circumstances, order_for
from pgswarm.core.record import Grant, Place, Record
from pgswarm.core.reports import Data
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Identity, Stored
from pgswarm.core.swarmview import Network, Node, Secret, SwarmView
from pgswarm.core.tenure import Tenure
from pgswarm.core.wal import Reign
from pgswarm.render import services
from pgswarm.sim.operator import IMAGES

if TYPE_CHECKING:
    from pgswarm.sim.site import Shape, Site

SYSTEM = "7000000000000000001"

HELD = 6.0
"""Seconds that the primary's last grant still counts, in `async`."""


@cache
def document(shape: Shape) -> PostgresCluster:
    """What is wanted: members pg-1, pg-2, … on the nodes n1, n2, …"""
    nodes = [f"n{number}" for number in range(1, shape.nodes + 1)]
    return PostgresCluster.model_validate(
        {
            "apiVersion": "pgswarm/v1",
            "kind": "PostgresCluster",
            "metadata": {"name": "main"},
            "spec": {
                "instances": [{"name": f"pg-{i + 1}", "node": nodes[i % len(nodes)]} for i in range(shape.members)],
                "durability": shape.durability,
                "maxLagOnFailover": shape.lag,
                "detectionTimeout": shape.detection,
                "router": {"name": "front", "network": "webnet", "nodes": nodes[:2], "publish": False},
            },
        }
    )


def found(site: Site) -> None:
    """Put everything there that is there at the beginning."""
    wanted = document(site.shape)
    swarm = site.swarm
    swarm.add_service(_operators(site.shape.operators))
    if not site.shape.born:
        return
    view, record, specs = _template(site.shape)
    swarm.networks, swarm.secrets = list(view.networks), list(view.secrets)
    for spec in specs:
        swarm.add_service(spec)
    identity = Identity(cluster=site.cluster, id="1", createdAt="then")
    swarm.put(
        Stored(
            config_id=site.cluster, version_index=0, identity=identity, document=wanted, edited_at=site.edited_at,
            source="n1:main.yaml", record=record,
        ),
        None,
    )  # fmt: skip
    if record.grant is Grant.HELD:  # the operator of before passed its tenure on in order
        passed_on = Tenure(number=1, holder="", token="", beat=3, wait=HELD + MARGIN)
        swarm.tenures.put(None, passed_on)
    log = [(1, -site.number()) for _ in range(5)]
    for slot in swarm.slots:
        if slot.kind != "operator":
            task = slot.tasks[-1]
            task.state, task.address = "running", site.address(slot.node)
    contacts = {slot.member: slot.tasks[-1].address for slot in swarm.slots if slot.kind == "member"}
    for member, volume in site.volumes.items():
        order = order_for(site.cluster, record, member)
        reigns = member == record.primary_member
        volume.log, volume.system_id, volume.recovering = list(log), SYSTEM, not reigns
        volume.redo = len(log)
        volume.slots = dict.fromkeys(order.peers, len(log))
        volume.memory = Memory(
            cluster=site.cluster,
            member=member,
            place=volume.place,
            promised=1,
            order=order,
            circumstances=Circumstances(
                contacts={name: at for name, at in contacts.items() if name != member},
                settings=settings_of(Same(wanted))[0],
            ),
            settings=settings_of(Same(wanted))[0],
            data=Data.READY,
            incarnation=_name(member),
            system_id=SYSTEM,
            reigned=1 if reigns else 0,
            timeline=1 if reigns else 0,
            begun=reigns,
            follows=None if reigns else (record.primary, 1),
        )
    for slot in swarm.slots:
        if slot.kind != "operator":
            slot.tasks[-1].container = site.spawn(slot, slot.tasks[-1])
    for member in site.volumes:
        agent = site.containers[member][0].agent
        if record.grant is Grant.HELD and member == record.primary_member:
            agent.leave.holding = Holding(until=agent.process.now + HELD / (1 + DRIFT))
        site.containers[member][0].wake_up(reigns=member == record.primary_member)
    swarm.touch()


@cache
def _template(shape: Shape) -> tuple[SwarmView, Record, tuple[dict[str, Any], ...]]:
    """The same for every seed of a shape: what Swarm holds, the record, and the services' specs."""
    wanted = document(shape)
    nodes = tuple(
        Node(id=f"n{i}", name=f"n{i}", role="manager" if i <= shape.managers else "worker", state="ready")
        for i in range(1, shape.nodes + 1)
    )
    names = (settings.CONTROL_SECRET, services.owner_secret(wanted), services.replication_secret(wanted))
    view = SwarmView(
        nodes=nodes,
        networks=tuple(
            Network(name=name, id=name, driver="overlay", scope="swarm")
            for name in (settings.CONTROL_NETWORK, "webnet")
        ),
        secrets=tuple(Secret(id=name, name=name) for name in names),
    )
    places = tuple(
        Place(member=one.name, node_id=str(one.node), node_name=str(one.node), volume=volume_of(wanted, one))
        for one in wanted.instances()
    )
    members = [place.member for place in places]
    primary, standbys = _name(members[0]), tuple(_name(name) for name in members[1:])
    grants = wanted.spec.durability == "async"
    record = Record(
        revision=9,
        term=1,
        primary=primary,
        claim=Claim(members=(primary,) if grants else (primary, *standbys), r=1 if grants else min(2, len(members))),
        sync=Sync(k=1, names=standbys) if standbys and not grants else alone(wanted),
        grant=Grant.HELD if grants else Grant.NONE,
        grantor=1 if grants else 0,
        lineage=(Reign(term=1, incarnation=primary, timeline=1, fork=0),),
        places=places,
        system_id=SYSTEM,
        reason="all is well",
    )
    specs = [
        services.member_service(
            wanted, place, view, image=_image(IMAGES.member), requested=f"{IMAGES.member} {_image(IMAGES.member)}"
        )
        for place in places
    ]
    specs += services.router_services(
        wanted, view, image=_image(IMAGES.router), requested=f"{IMAGES.router} {_image(IMAGES.router)}"
    )
    return view, record, tuple(specs)


def _operators(replicas: int) -> dict[str, Any]:
    return {
        "Name": "pgswarm_operator",
        "Labels": {settings.LABEL_KIND: "operator"},
        "Mode": {"Replicated": {"Replicas": replicas}},
        "TaskTemplate": {"Placement": {"Constraints": ["node.role==manager"]}},
    }


def _image(reference: str) -> str:
    return f"{reference}@sha256:0"


def _name(member: str) -> str:
    return incarnation(member, f"{int(member[3:]):08x}")
