"""`pgswarm logs`: whose log is meant, and all of them as one, in the order of their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import anyio

from pgswarm.core.swarmview import SwarmView
from pgswarm.errors import Failure, Refused
from pgswarm.ports import service_logs
from pgswarm.ports.service_logs import Line
from pgswarm.ports.swarm import DockerSwarm

ROUTERS, OPERATOR = "router", "operator"

READING = 15.0
"""Seconds for reading without following; a node that is down gives none."""


def speakers(view: SwarmView, cluster: str | None, who: str | None) -> Mapping[str, str]:
    """The services whose logs are meant, by the name that stands before their lines. Refused, with who there is."""
    clusters = sorted({service.cluster for service in view.services if service.cluster})
    if cluster is not None and cluster not in clusters:
        raise Refused(f"there is no service of a cluster {cluster!r} in this Swarm; there is: {_all(clusters)}")
    if cluster is None and len(clusters) > 1 and who != OPERATOR:
        raise Refused(f"say which cluster: --cluster NAME; there is: {_all(clusters)}")
    ours = [one for one in view.services if one.cluster is not None and cluster in (None, one.cluster)]
    members = {one.member: one.id for one in ours if one.member}
    routers = [one for one in ours if one.kind == "router"]
    at_router = {ROUTERS if len(routers) == 1 else f"{ROUTERS} {one.name}": one.id for one in routers}
    operators = [one.id for one in view.services if one.kind == "operator"]
    at_operator = {OPERATOR: operators[0]} if operators else {}
    if who is None:
        return {**members, **at_router}
    named = {**{name: {name: service} for name, service in members.items()}, ROUTERS: at_router, OPERATOR: at_operator}
    found = named.get(who)
    if not found:
        raise Refused(f"nobody here is called {who!r}; there is: {_all([*members, ROUTERS, OPERATOR])}")
    return found


def _all(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


async def hear(
    swarm: DockerSwarm, who: Mapping[str, str], tell: Callable[[Line], None], *, tail: int, since: float, follow: bool
) -> tuple[str, ...]:
    """Tell every line; without `follow` in the order of their times. The failures, in words."""
    gathered: list[Line] = []
    failures: list[str] = []

    async def one(name: str, service_id: str) -> None:
        say = tell if follow else gathered.append
        try:
            await service_logs.read(swarm.engine, service_id, name, say, tail=tail, since=since, follow=follow)
        except Failure as failure:
            failures.append(failure.reason)

    with anyio.move_on_after(float("inf") if follow else READING):
        async with anyio.create_task_group() as tasks:
            for name, service_id in who.items():
                tasks.start_soon(one, name, service_id)
    for line in newest(gathered, tail):
        tell(line)
    return tuple(failures)


def newest(many: Iterable[Line], tail: int) -> list[Line]:
    """The last lines of each speaker, by the times that the nodes gave them: RFC 3339 sorts as text.

    Docker counts for each task, and Swarm remembers several that have ended.
    """
    spoken: dict[str, int] = {}
    kept = []
    for line in sorted(many, key=lambda line: line.at, reverse=True):
        spoken[line.who] = spoken.get(line.who, 0) + 1
        if spoken[line.who] <= tail:
            kept.append(line)
    return kept[::-1]
