"""What an operator costs at rest: the real loop and the real wire, agents in a process of their own, a played Swarm.

    python -m tests.loop.idle [clusters [seconds]]

A town is built with the quick agents of `town`; then a second process answers in their stead on loopback addresses,
two members and three routers for each cluster, and this process becomes an operator that finds everything done. What
is left out is Docker: its lists are taken every few seconds for all clusters together, and cost what the engine has to
say (`drill/cost` on a real operator tells).
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
from loguru import logger

from pgswarm import settings
from pgswarm.core.reports import MemberReport, RouterReport
from pgswarm.core.swarmview import SwarmView, Task
from pgswarm.drill.cost import Cost, Meter
from pgswarm.loop.house import House, Identity
from pgswarm.loop.observe import Images
from pgswarm.ports import door
from pgswarm.ports.agents import AgentClient
from pgswarm.ports.door import Call, Handler, Lines
from pgswarm.wire import BEAT, HEARTBEAT, MEMBER_PORT, ROUTER_HEARTBEAT, ROUTER_PORT, encode_line
from tests.loop.town import NODES, Town

ROUTERS = 3
SECRET = "a secret of the bench"
SETTLING = 6.0
"""Seconds for the streams to be open and the first listings taken."""

Reports = dict[str, MemberReport | RouterReport]
"""By address and port."""


def cost_at_rest(clusters: int, seconds: float) -> Cost:
    """What one operator process with this many clusters of two members and three routers costs at rest."""
    logger.remove()
    with tempfile.TemporaryDirectory() as folder:
        town = anyio.run(built, Path(folder) / "documents", clusters)
        reports, view = moved(town)
        agents = os.fork()
        if agents == 0:
            anyio.run(answer, reports)
            os._exit(0)
        try:
            return anyio.run(rest, town, view, seconds)
        finally:
            os.kill(agents, signal.SIGKILL)
            os.waitpid(agents, 0)


async def built(folder: Path, clusters: int) -> Town:
    """Every cluster whole."""
    names = [f"c{n}" for n in range(clusters)]
    town = Town(folder, *names)
    await town.operator("op.1", lambda: all(town.is_whole(name) for name in names), patience=300)
    return town


def moved(town: Town) -> tuple[Reports, SwarmView]:
    """The town's agents on addresses that can be called, and the Swarm that says so."""
    view: SwarmView = anyio.run(town.view)
    reports: Reports = {}
    tasks: list[Task] = []
    for number, service in enumerate(view.services):
        net = f"127.{201 + number // 250}.{number % 250}"
        if service.member:
            address = f"{net}.1"
            reports[f"{address}:{MEMBER_PORT}"] = town.members[f"{service.cluster}/{service.member}"].report
            tasks += [
                task.model_copy(update={"addresses": {settings.CONTROL_NETWORK: address}})
                for task in view.tasks
                if task.service_id == service.id
            ]
            continue
        record = town.record(service.cluster or "")
        assert record is not None
        for router in range(1, ROUTERS + 1):
            address, node = f"{net}.{router}", NODES[router - 1]
            reports[f"{address}:{ROUTER_PORT}"] = RouterReport(
                cluster=service.cluster or "", router=f"r{router}", boot="1", sequence=1, haproxy="running",
                heeded=(record.term, record.revision), primary=record.primary, term=record.term,
            )  # fmt: skip
            tasks.append(
                Task(
                    id=f"t{number}-{router}", service_id=service.id, node_id=node.id, state="running",
                    desired="running", addresses={settings.CONTROL_NETWORK: address},
                )
            )  # fmt: skip
    return reports, view.model_copy(update={"tasks": tuple(tasks)})


async def answer(reports: Reports) -> None:
    """Be every agent: a report once, and heartbeats for ever."""

    async def stream(call: Call) -> Lines:
        address, port = call.connection.getsockname()
        return Lines(pieces=said(reports[f"{address}:{port}"], ROUTER_HEARTBEAT if port == ROUTER_PORT else HEARTBEAT))

    async def said(report: MemberReport | RouterReport, heartbeat: float) -> AsyncGenerator[bytes, None]:
        yield encode_line(report)
        while True:
            await anyio.sleep(heartbeat)
            yield BEAT

    handlers: dict[tuple[str, str], Handler] = {("GET", "/stream"): stream}
    async with anyio.create_task_group() as tasks:
        for port in (MEMBER_PORT, ROUTER_PORT):
            tasks.start_soon(door.serve, await door.listen("0.0.0.0", port), handlers)


async def rest(town: Town, view: SwarmView, seconds: float) -> Cost:
    """Be the operator; what it cost."""

    async def look() -> SwarmView:
        return view

    town.view = look  # type: ignore[assignment, method-assign]
    who: Any = town
    identity = Identity(name="op.2", node_id="id3", node_name="node3")
    house = House(identity, who, who, AgentClient(SECRET), Images(member="m", router="r"), town.folder)
    before = len(town.effects)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.run)
        await anyio.sleep(SETTLING)
        meter = Meter({"operator": os.getpid()})
        await anyio.sleep(seconds)
        cost = meter.read()["operator"]
        tasks.cancel_scope.cancel()
    assert town.effects[before:] == [], f"not at rest: {town.effects[before:]}"
    unheard = [name for name, worker in house.workers.items() if worker.lookout.unheard]
    assert not unheard, f"not heard: {unheard}"
    return cost


if __name__ == "__main__":
    arguments = [float(word) for word in sys.argv[1:]]
    count, lasting = (*arguments, *(10.0, 30.0)[len(arguments) :])
    sys.stdout.write(f"{count:g} clusters: {cost_at_rest(int(count), lasting)}\n")
