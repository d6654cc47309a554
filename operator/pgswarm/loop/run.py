"""The operator process: `pgswarm operator`.

Started as a Swarm service on manager nodes (stack/pgswarm.yml), or by hand in any container on the control network
that has the engine's socket and the control secret. It holds no state of its own: killed at any instant, the next one
reads the record, hears the agents and goes on.
"""

from __future__ import annotations

import os
import signal
import socket
from functools import partial

import anyio
from loguru import logger

from pgswarm import logs
from pgswarm.core.wish import Answered
from pgswarm.errors import Again, Refused
from pgswarm.loop import activity, api, ask, dashboard, metrics, speaking
from pgswarm.loop.house import House, Identity
from pgswarm.loop.noticing import Noticing
from pgswarm.loop.observe import Images
from pgswarm.loop.options import Options, read_secret
from pgswarm.loop.show import status_of_house
from pgswarm.ports import door, scrape, webhook
from pgswarm.ports.agents import AgentClient
from pgswarm.ports.door import Call, Handler
from pgswarm.ports.records import SwarmRecords
from pgswarm.ports.swarm import DockerSwarm, Here
from pgswarm.ports.tenures import SwarmTenures
from pgswarm.render.services import Heritage


async def run(options: Options) -> None:
    """Be an operator until SIGTERM or SIGINT. Raises Failure, in words, if it cannot begin."""
    logs.begin("operator", options.log_format)
    async with anyio.create_task_group() as tasks:
        farewell = api.Farewell()
        tasks.start_soon(_until_signal, tasks.cancel_scope, farewell)  # first: an engine may be waited for without end
        house = await build(options)
        logger.info(
            "operator {} on {}: documents {}",
            house.identity.name,
            house.identity.node_name,
            options.documents or "none",
        )
        secret = read_secret(options.secret_file)
        listener = await door.listen("0.0.0.0", options.port)
        answers = api.handlers(secret, house.report, lambda: status_of_house(house), farewell, more(house, secret))
        tasks.start_soon(door.serve, listener, answers)
        known = partial(activity.of_member, house, secret)
        tasks.start_soon(dashboard.run, house, partial(_switched, house), known, partial(ask.statuses, secret))
        tasks.start_soon(house.run)


async def _switched(house: House, cluster: str, to: str) -> Answered:
    """A switchover that somebody asked for in the dashboard."""
    from pgswarm.loop import wishing  # late: it builds houses by this module

    return await wishing.spoken(
        house.records,
        cluster,
        "switchover",
        to,
        (),
        by=f"the dashboard on {house.identity.node_name}",
        seconds=dashboard.SWITCH,
    )


def more(house: House, secret: str) -> dict[tuple[str, str], Handler]:
    """What an operator answers beside its heartbeat and its status."""
    wanted = scrape.token(os.environ)

    async def numbers(call: Call) -> str:
        return metrics.of_house(house)

    async def targets(call: Call) -> str:
        return metrics.targets(house, call.connection.getsockname()[0])

    return {
        ("GET", "/metrics"): scrape.handler(secret, wanted, numbers),
        ("GET", "/targets"): scrape.handler(secret, wanted, targets, kind="application/json"),
        ("GET", "/activity"): activity.handler(house, secret),
        ("POST", "/notice"): speaking.handler(house.noticing, house.identity.name, secret),
    }


async def build(options: Options) -> House:
    """The parts of an operator, checked: a manager's engine, the secret, the folder of documents."""
    secret = read_secret(options.secret_file)
    if options.documents is not None and options.documents.exists() and not os.access(options.documents, os.R_OK):
        raise Refused(f"{options.documents} cannot be read by this user")
    swarm = DockerSwarm()
    here = await _engine(swarm)
    identity = Identity(
        name=os.environ.get("PGSWARM_TASK") or socket.gethostname(), node_id=here.node_id, node_name=here.node_name
    )
    heritage = Heritage(metrics_secret=options.metrics_secret, log_format=options.log_format)
    images = Images(member=options.member_image, router=options.router_image, heritage=heritage)
    records, tenures = SwarmRecords(swarm.engine), SwarmTenures(swarm.engine)
    agents = AgentClient(secret)
    noticing = Noticing(webhook.hooks(), webhook.key())
    house = House(identity, swarm, records, agents, images, options.documents, tenures, noticing)
    agents.is_able = lambda: house.listing.able
    return house


async def _engine(swarm: DockerSwarm) -> Here:
    """Wait for the engine for as long as its silence may pass by itself; a lasting 'no' is said at once."""
    while True:
        try:
            return await swarm.info()
        except Again as failure:
            logger.warning("{}; trying again", failure.reason)
            await anyio.sleep(failure.after)


async def _until_signal(scope: anyio.CancelScope, farewell: api.Farewell) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("{}: this operator ends; the others, or the next one, go on", signal.Signals(number).name)
            await farewell.say()
            scope.cancel()
            return
