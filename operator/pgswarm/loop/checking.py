"""Gathering what `pgswarm doctor` judges: one look as an operator has it, and a question to every agent.

Everything is asked at once and with a deadline, and what does not answer is a fact of its own. Nothing is changed; the
only trace is a session or two through each router, under the name `pgswarm-doctor`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

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

T = TypeVar("T")

DEADLINE = 10.0
"""Seconds for one agent's inspection: it tries sessions, each with a deadline of its own."""

SHORT = 2.0
"""Seconds for an operator to say that it lives."""

ENGINE = 8.0
"""Seconds for Docker on this manager to say who it is: the operator waits without end, a person does not."""


async def findings(options: Options, cluster: str | None) -> tuple[Finding, ...]:
    """Every finding; of one cluster if it is named. Raises Refused if this is no manager."""
    house = None
    with anyio.move_on_after(ENGINE):
        house = await build(options)
    if house is None:
        silent = Unknown(why=f"Docker on this manager has not answered within {ENGINE:g} s")
        return checkup.checkup(Facts(view=silent, heartbeat=silent, operators=silent, document_errors=silent))
    secret = read_secret(options.secret_file)
    swarm = DockerSwarm()
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
    asked: dict[str, Asked] = {}
    heartbeat: float | Unknown = Unknown(why="not asked")
    local: dict[str, str] | Unknown = Unknown(why="not asked")

    async def engine() -> None:
        nonlocal heartbeat, local
        heartbeat = await _asked(swarm.heartbeat())
        local = await _asked(swarm.local_networks())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine)
        tasks.start_soon(_inspected, worlds, addresses, secret, now, asked)
        operators, others = await _operators(view, secret)
    mistakes = [str(error) for error in house.documents.errors]
    mistakes += [f"on {node}: {text}" for text, node in others.items() if text not in mistakes]
    has_read = options.documents is not None or bool(operators and not isinstance(operators, Unknown))
    facts = Facts(
        view=view,
        heartbeat=heartbeat,
        worlds=worlds,
        inspections={name: found for name, (found, _) in asked.items()},
        offsets={name: offset for name, (_, offset) in asked.items() if offset is not None},
        operators=operators,
        local={} if isinstance(local, Unknown) else local,
        document_errors=tuple(mistakes) if has_read else Unknown(why="no operator answers that has read them"),
        now=now,
    )
    return checkup.checkup(facts)


Asked = tuple[Inspection | Unknown, float | None]


async def _inspected(
    worlds: dict[str, World], members: dict[str, str | None], secret: str, now: float, found: dict[str, Asked]
) -> None:
    """What each agent found, and by how much its clock is ahead of ours."""

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
            # One member tries the way of an application, best one that is heard; the others tell only of themselves.
            tries = next((one for one in world.members if world.present(one, now) is not None), None)
            for member in world.members:
                mine = request if member == tries else InspectRequest(owner=request.owner, database=request.database)
                key = f"{cluster}/{member}"
                tasks.start_soon(partial(ask, key, members[key], MEMBER_PORT, mine))
            names = (world.document.spec.router.name,) if world.document is not None else ()
            for router, sighting in world.routers.items():
                mine = InspectRequest(names=names)
                tasks.start_soon(partial(ask, f"{cluster}/{router}", sighting.address, ROUTER_PORT, mine))


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


async def _asked(answer: Awaitable[T]) -> T | Unknown:
    try:
        return await answer
    except Failure as failure:
        return Unknown(why=failure.reason)


async def _operators(view: SwarmView | Unknown, secret: str) -> tuple[int | Unknown, dict[str, str]]:
    """How many answer on the control network; and what is wrong in the documents beside them, with the node of each."""
    if isinstance(view, Unknown):
        return view, {}
    alive = 0
    wrong: dict[str, str] = {}

    async def ask(address: str) -> None:
        nonlocal alive
        line = Line(address, OPERATOR_PORT, secret, caller="person")
        try:
            await line.call("GET", "/live", deadline=SHORT)
            alive += 1
            said = json.loads((await line.call("GET", "/status", deadline=SHORT)).body)
            wrong.update((str(text), str(said["node"])) for text in said.get("mistakes", ()))
        except (Failure, ValueError):
            return

    async with anyio.create_task_group() as tasks:
        for service in view.services:
            if service.kind == "operator":
                for address in view.addresses(service, CONTROL_NETWORK):
                    tasks.start_soon(ask, address)
    return alive, wrong
