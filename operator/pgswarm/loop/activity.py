"""What goes on in every PostgreSQL of every cluster: each member is asked, because a person asked the operator.

The members are asked at once and with a short deadline; who does not answer is told as that, beside the others.
"""

from __future__ import annotations

import json
from typing import Any

import anyio

from pgswarm.errors import Failure
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

    async def ask(cluster: str, member: str, address: str) -> None:
        try:
            answered = await Line(address, MEMBER_PORT, secret, caller="person").call(
                "GET", "/activity", deadline=DEADLINE
            )
            found[cluster][member] = {"activity": json.loads(answered.body)}
        except (Failure, ValueError) as failure:
            found[cluster][member] = {"why": str(failure)}

    async with anyio.create_task_group() as tasks:
        for cluster, worker in sorted(house.workers.items()):
            found[cluster] = {}
            for member in worker.world.members if worker.world is not None else ():
                address = worker.lookout.member_address(member)
                if address is None:
                    found[cluster][member] = {"why": "no address is known"}
                else:
                    tasks.start_soon(ask, cluster, member, address)
    return found
