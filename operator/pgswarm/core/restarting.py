"""Restarting members because a person says so: one at a time, standbys first, the primary by handing over.

To restart is to have Swarm replace the container: its service's counter of forced updates is raised, Swarm tells the
agent to stop, and a primary that is told so hands over first (`switchover`). So there is no second path here either,
and what is restarted is everything: the agent, PostgreSQL, the container around them.

The wish names for each member the process that shall end and the number that Swarm's counter shall have then. So an
operator that begins anew sees what was asked for already, and nobody is restarted twice; a member that was restarted by
whatever else counts as well. One that is through leaves the wish; the next begins once it is back in the claim. Of
several, and before the primary, everybody else must be there. A single standby that a person names is restarted at
once, because perhaps that is what mends it.

The wish ends with its term: when the primary, as the last one, has handed over, it is fulfilled.
"""

from __future__ import annotations

import copy

from pgswarm import settings
from pgswarm.core import granting
from pgswarm.core.record import Record
from pgswarm.core.reports import Serving
from pgswarm.core.steps import NOTHING, EnsureService, Plan, WriteRecord
from pgswarm.core.streams import standbys
from pgswarm.core.swarmview import Service, SwarmView
from pgswarm.core.wish import Restart, Wish
from pgswarm.core.world import Unknown, World


def asked(world: World, record: Record, member: str | None) -> dict[str, Restart] | str:
    """What a wish to restart this member, or all of them, has to name; or why it cannot be."""
    if isinstance(world.swarm, Unknown):
        return f"Swarm cannot be observed: {world.swarm.why}"
    found = {}
    if member is not None and (fence := record.fence(member)) is not None:
        return f"{fence}; `pgswarm unfence {member}` first"
    for name in record.members if member is None else (member,):
        if record.fence(name) is not None:
            continue
        service = _service(world, world.swarm, name)
        if service is None:
            return f"there is no service of {name} yet"
        report = world.report(name)
        found[name] = Restart(boot=report.boot if report is not None else "", force=_forced(service) + 1)
    return found


def begun(world: World, record: Record, now: float) -> Plan:
    """The next thing to do for a wish to restart, or what is waited for."""
    wish = record.wished(world.wall)
    if wish is None or wish.kind != "restart":
        return NOTHING
    if isinstance(world.swarm, Unknown):
        return Plan(waits=(f"{wish}: Swarm cannot be observed: {world.swarm.why}",), again=1.0)
    through = [name for name, one in wish.restarts.items() if _is_through(world, record, name, one, now)]
    if through:
        text = f"{', '.join(through)} was restarted and is back"
        rest = {name: one for name, one in wish.restarts.items() if name not in through}
        if not rest:
            return Plan(steps=(WriteRecord(record=record.answering(text, done=True), reason=text),))
        left = wish.model_copy(update={"restarts": rest})
        return Plan(steps=(WriteRecord(record=record.amended(text, wish=left), reason=text),))
    order = [name for name in record.members if name in wish.restarts and name != record.primary_member]
    member = next(iter((*order, *wish.restarts)))
    return _restarted(world, record, world.swarm, wish, member, now)


def _restarted(world: World, record: Record, swarm: SwarmView, wish: Wish, member: str, now: float) -> Plan:
    service, wanted = _service(world, swarm, member), wish.restarts[member]
    if service is None:
        return Plan(waits=(f"{wish}: there is no service of {member}",), again=1.0)
    if _forced(service) >= wanted.force:
        report = world.present(member, now)
        how = "is being restarted" if report is None or report.boot == wanted.boot else "is back, and not yet as before"
        return Plan(waits=(f"{wish}: {member} {how}",), again=0.5)
    if (why := _not_yet(world, record, swarm, wish, member, now)) is not None:
        return Plan(waits=(f"{wish}: {why}",), again=1.0)
    spec = copy.deepcopy(service.spec)
    spec["TaskTemplate"]["ForceUpdate"] = wanted.force
    reason = f"{wish}, asked for by {wish.by}"
    return Plan(steps=(EnsureService(name=service.name, spec=spec, exists=True, reason=reason),))


def _not_yet(world: World, record: Record, swarm: SwarmView, wish: Wish, member: str, now: float) -> str | None:
    """What has to be over before this one; None if nothing has."""
    if len(wish.restarts) == 1 and member != record.primary_member:
        return None
    for other in record.members:
        service = _service(world, swarm, other)
        if other != member and service is not None and service.update_state == "updating":
            return f"waiting until the update of {other} is through"
        if other != member and world.present(other, now) is None:
            return f"waiting until {other} is back"
    return None


def _is_through(world: World, record: Record, member: str, one: Restart, now: float) -> bool:
    """Has another process taken its place, and is it what the one before was?"""
    report = world.present(member, now)
    if report is None or report.boot == one.boot:
        return False
    if member == record.primary_member:
        return report.serving is Serving.PRIMARY
    primary = world.present(record.primary_member, now)
    if primary is None or report.incarnation is None:
        return False
    counted = report.incarnation in record.claim.members or granting.governs(record)
    return counted and report.incarnation in standbys(world, record, primary, now)


def _service(world: World, swarm: SwarmView, member: str) -> Service | None:
    return swarm.service(settings.member_service(world.cluster, member))


def _forced(service: Service) -> int:
    return int(service.spec.get("TaskTemplate", {}).get("ForceUpdate") or 0)
