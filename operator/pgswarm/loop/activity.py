"""What goes on in every PostgreSQL of every cluster: each member is asked, because a person asked the operator.

The members are asked at once and with a short deadline; who does not answer is told as that, beside the others.
"""

from __future__ import annotations

import json
from typing import Any

import anyio

from pgswarm.errors import Again, Failure
from pgswarm.loop.house import House
from pgswarm.ports import door
from pgswarm.ports.calls import Line
from pgswarm.ports.door import Call, Handler, Reply
from pgswarm.wire import MEMBER_PORT

DEADLINE = 4.0
"""Seconds for one member's answer; it asks PostgreSQL several things."""


def handler(house: House, secret: str) -> Handler:
    """GET /activity of an operator."""

    async def answered(call: Call) -> Reply:
        if not call.is_authorized(secret):
            return door.refusal(401, "the control secret is missing or wrong")
        return Reply(body=json.dumps({"clusters": await gathered(house, secret)}))

    return answered


async def gathered(house: House, secret: str) -> dict[str, dict[str, Any]]:
    """By cluster and member: the activity, or why there is none."""
    found: dict[str, dict[str, Any]] = {}

    async def ask(cluster: str, member: str) -> None:
        try:
            found[cluster][member] = {"activity": await of_member(house, secret, cluster, member)}
        except Failure as failure:
            found[cluster][member] = {"why": failure.reason}

    async with anyio.create_task_group() as tasks:
        for cluster, worker in sorted(house.workers.items()):
            found[cluster] = {}
            for member in worker.world.members if worker.world is not None else ():
                tasks.start_soon(ask, cluster, member)
    return found


async def of_member(house: House, secret: str, cluster: str, member: str) -> dict[str, Any]:
    """What goes on in one PostgreSQL: `core/activity` as JSON. Raises Again if its agent does not say."""
    address = house.workers[cluster].lookout.member_address(member)
    if address is None:
        raise Again("no address is known")
    try:
        line = Line(address, MEMBER_PORT, secret, caller="person")
        answered = await line.call("GET", "/activity", deadline=DEADLINE)
        found: dict[str, Any] = json.loads(answered.body)
    except ValueError as error:
        raise Again(f"its answer cannot be read: {error}") from error
    return found
