"""Gathering what `pgswarm doctor` judges: one look as an operator has it, and a question to every agent.

Everything is asked at once and with a deadline, and what does not answer is a fact of its own. Nothing is changed; the
only trace is a session or two through each router, under the name `pgswarm-doctor`.
"""

from __future__ import annotations

import time
from functools import partial

import anyio
from pydantic import ValidationError

from pgswarm.core import checkup
from pgswarm.core.findings import Facts, Finding
from pgswarm.core.inspection import Inspection, InspectRequest
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Unknown, World
from pgswarm.errors import Failure
from pgswarm.loop.once import PATIENCE
from pgswarm.loop.options import Options, read_secret
from pgswarm.loop.run import build
from pgswarm.ports.calls import Line
from pgswarm.ports.swarm import DockerSwarm
from pgswarm.settings import CONTROL_NETWORK
from pgswarm.wire import MEMBER_PORT, OPERATOR_PORT, ROUTER_PORT

DEADLINE = 10.0
"""Seconds for one agent's inspection: it tries sessions, each with a deadline of its own."""

SHORT = 2.0
"""Seconds for an operator to say that it lives."""


async def findings(options: Options, cluster: str | None) -> tuple[Finding, ...]:
    """Every finding; of one cluster if it is named. Raises Refused if this is no manager."""
    house = await build(options)
    secret = read_secret(options.secret_file)
    async with anyio.create_task_group() as tasks:
        await house.look_once(tasks, PATIENCE)
        now = anyio.current_time()
        worlds = {
            name: worker.lookout.world(tasks, now, None, house.began)
            for name, worker in house.workers.items()
            if cluster in (None, name)
        }
        addresses = {
            f"{name}/{member}": house.workers[name].lookout.member_address(member)
            for name, world in worlds.items()
            for member in world.members
        }
        tasks.cancel_scope.cancel()
    view = house.listing.view
    asked = await _inspected(worlds, addresses, secret)
    facts = Facts(
        view=view,
        heartbeat=await _heartbeat(),
        worlds=worlds,
        inspections={name: found for name, (found, _) in asked.items()},
        offsets={name: offset for name, (_, offset) in asked.items() if offset is not None},
        operators=await _operators(view, secret),
        document_errors=tuple(str(error) for error in house.documents.errors),
        now=now,
    )
    return checkup.checkup(facts)


Asked = tuple[Inspection | Unknown, float | None]


async def _inspected(worlds: dict[str, World], members: dict[str, str | None], secret: str) -> dict[str, Asked]:
    """What each agent found, and by how much its clock is ahead of ours."""
    found: dict[str, Asked] = {}

    async def ask(key: str, address: str | None, port: int, request: InspectRequest) -> None:
        if address is None:
            found[key] = (Unknown(why="no address is known"), None)
            return
        before, began = time.time(), anyio.current_time()
        try:
            answered = await Line(address, port, secret, caller="person").call(
                "POST", "/inspect", body=request.model_dump_json().encode(), deadline=DEADLINE
            )
            seen = Inspection.model_validate_json(answered.body)
        except (Failure, ValidationError) as failure:
            found[key] = (Unknown(why=getattr(failure, "reason", "it does not speak of this: another version?")), None)
        else:
            took = anyio.current_time() - began
            found[key] = (seen, _offset(seen.wall, before, took))

    async with anyio.create_task_group() as tasks:
        for cluster, world in worlds.items():
            request = _request(world)
            first = True
            for member in world.members:
                # One member tries the way of an application; the others tell only of themselves.
                mine = request if first else InspectRequest(owner=request.owner, database=request.database)
                key = f"{cluster}/{member}"
                tasks.start_soon(partial(ask, key, members[key], MEMBER_PORT, mine))
                first = first and members[key] is None
            names = (world.document.spec.router.name,) if world.document is not None else ()
            for router, sighting in world.routers.items():
                mine = InspectRequest(names=names)
                tasks.start_soon(partial(ask, f"{cluster}/{router}", sighting.address, ROUTER_PORT, mine))
    return found


def _request(world: World) -> InspectRequest:
    if world.document is None:
        return InspectRequest()
    spec = world.document.spec
    return InspectRequest(
        routers={name: one.address for name, one in world.routers.items() if one.address is not None},
        port=spec.router.port,
        read_only_port=spec.router.read_only_port,
        database=spec.postgres.database,
        owner=spec.postgres.owner,
    )


def _offset(wall: float, before: float, took: float) -> float:
    """By how much a clock is ahead, as far as is certain: it was read somewhere between question and answer."""
    if before <= wall <= before + took:
        return 0.0
    return wall - before if wall < before else wall - before - took


async def _heartbeat() -> float | Unknown:
    try:
        return await DockerSwarm().heartbeat()
    except Failure as failure:
        return Unknown(why=failure.reason)


async def _operators(view: SwarmView | Unknown, secret: str) -> int | Unknown:
    """How many answer on the control network."""
    if isinstance(view, Unknown):
        return view
    alive = 0

    async def ask(address: str) -> None:
        nonlocal alive
        try:
            await Line(address, OPERATOR_PORT, secret, caller="person").call("GET", "/live", deadline=SHORT)
        except Failure:
            return
        alive += 1

    async with anyio.create_task_group() as tasks:
        for service in view.services:
            if service.kind == "operator":
                for address in view.addresses(service, CONTROL_NETWORK):
                    tasks.start_soon(ask, address)
    return alive
