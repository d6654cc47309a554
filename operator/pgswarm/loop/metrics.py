"""What Prometheus gets from an operator: the numbers of every cluster, and where everybody else's are.

GET /metrics is made anew at each scrape from what is known anyway. GET /targets is Prometheus' HTTP service discovery:
every operator, member, router and HAProxy with its address of this moment, so that a Prometheus on the control network
needs one line of configuration, whatever clusters there are and wherever their tasks move.
"""

from __future__ import annotations

import json
from typing import Any

from loguru import logger

from pgswarm import __version__
from pgswarm.core.metrics import Sample, of_process
from pgswarm.core.metrics_cluster import Self, of_cluster, of_notices, of_operator
from pgswarm.loop.house import House
from pgswarm.loop.show import status_of_worker
from pgswarm.ports.usage import usage
from pgswarm.render import exposition
from pgswarm.wire import MEMBER_PORT, OPERATOR_PORT, ROUTER_PORT


def of_house(house: House) -> str:
    """Everything that this operator knows, in Prometheus' text format."""
    me = Self(
        operator=house.identity.name,
        node=house.identity.node_name,
        version=__version__,
        able=house.listing.able,
        operators=len(house.peers.candidates()),
        document_errors=len(house.documents.errors),
    )
    samples: list[Sample] = of_operator(me)
    samples += of_notices(house.noticing.counts)
    for cluster, worker in sorted(house.workers.items()):
        try:
            status = status_of_worker(worker, (), house.identity.node_name)
        except Exception as exc:  # as in /status: one cluster that cannot be described hides no other
            logger.opt(exception=exc).error("{}: its metrics cannot be told: {}", cluster, exc)
            continue
        if status is not None:
            samples += of_cluster(status, worker.tally)
    return exposition.text([*samples, *of_process(usage())])


def targets(house: House, own_address: str) -> str:
    """Where to scrape, as http_sd_configs wants it. `own_address` is the one by which this operator was reached."""
    found = [_group("pgswarm-operator", own_address, OPERATOR_PORT)]
    found += [_group("pgswarm-operator", address, OPERATOR_PORT) for address in sorted(house.peers.addresses())]
    for cluster, worker in sorted(house.workers.items()):
        world = worker.world
        if world is None:
            continue
        sighted = worker.lookout.sighted(world)
        stats = sighted.document.spec.router.stats_port if sighted.document else None
        for name, address in sorted(sighted.addresses.items()):
            if address is not None:
                found.append(_group("pgswarm-member", address, MEMBER_PORT, cluster=cluster, member=name))
        for name, router in sorted(sighted.routers.items()):
            if router.address is not None:
                found.append(_group("pgswarm-router", router.address, ROUTER_PORT, cluster=cluster, node=name))
                if stats is not None:
                    found.append(_group("pgswarm-haproxy", router.address, stats, cluster=cluster, node=name))
    return json.dumps(found)


def _group(job: str, address: str, port: int, **labels: str) -> dict[str, Any]:
    return {"targets": [f"{address}:{port}"], "labels": {"job": job, **labels}}
