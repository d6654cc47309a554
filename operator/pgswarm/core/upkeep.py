"""Networks, secrets and services exist, and are as the document wants them.

What is missing is made, and what differs is put back, by whom it may have been changed; but a change of a service
restarts its task, so a member that is there waits for its turn (`turns`): one at a time, each back in the claim before
the next, the primary last and only once it has handed over. A listing that failed plans nothing. Services of members
that have left are removed (`retirement`). The document is right before the record exists, and follows it afterwards:
where a member lives is in the record. What the services shall look like is `render/services`; `loop/observe` compares.
"""

from __future__ import annotations

from pgswarm import settings
from pgswarm.core import retirement, turns
from pgswarm.core.record import Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import NOTHING, EnsureNetwork, EnsureSecret, EnsureService, Plan
from pgswarm.core.swarmview import SwarmView
from pgswarm.core.world import Unknown, Wanted, World


def upkept(world: World, record: Record | None, now: float) -> Plan:
    """Networks, secrets and services exist and are as wanted; a failed listing plans nothing."""
    swarm, document = world.swarm, world.document
    if document is None:
        return NOTHING
    if isinstance(swarm, Unknown):
        return Plan(waits=(f"Swarm cannot be observed: {swarm.why}",), again=1.0)
    ground = _ground(world, document, swarm)
    if ground.steps or ground.waits:
        return ground
    steps: list[EnsureService] = []
    waits: list[str] = list(world.place_problems)
    changing: str | None = None
    for wanted in world.wanted.values():
        if wanted.foreign:
            waits.append(f"service {wanted.name} is not ours: {wanted.foreign}")
        elif wanted.member and record is not None and record.place(wanted.member) is None:
            continue  # only the record's members have a service: whoever has one is known to have left it
        elif not wanted.exists and wanted.beside:
            waits.extend(f"service {wanted.name} is not made: {text}" for text in wanted.beside)
        elif not wanted.exists:
            steps.append(EnsureService(name=wanted.name, spec=wanted.spec, exists=False, reason="it is missing"))
        elif wanted.differences:
            blocked = _unsafe_now(world, record, wanted, now)
            if changing and wanted.member and not blocked:
                blocked = f"waiting until {changing} is through"
            if blocked:
                waits.append(f"service {wanted.name} differs ({'; '.join(wanted.differences)}); {blocked}")
            else:
                reason = "; ".join(wanted.differences)
                steps.append(EnsureService(name=wanted.name, spec=wanted.spec, exists=True, reason=reason))
                changing = changing or wanted.member
        elif wanted.trouble:
            waits.append(f"service {wanted.name}: {wanted.trouble}")
        if wanted.exists:
            waits.extend(f"service {wanted.name}: {text}" for text in wanted.beside)
    said = Plan(steps=tuple(steps), waits=tuple(waits), again=1.0 if waits else None)
    return said if record is None else said.and_then(retirement.services(world, record, swarm))


def _ground(world: World, document: PostgresCluster, swarm: SwarmView) -> Plan:
    """What services stand on: two networks and the secrets."""
    steps: list[EnsureNetwork | EnsureSecret] = [
        EnsureNetwork(name=name, reason="it is missing")
        for name in (settings.CONTROL_NETWORK, document.spec.router.network)
        if swarm.network(name) is None
    ]
    waits = [
        f"network {name} is a {found.driver} network, and services need an overlay: it is left alone; name another one "
        "in spec.router.network, or remove it if nobody needs it"
        for name in (settings.CONTROL_NETWORK, document.spec.router.network)
        if (found := swarm.network(name)) is not None and found.driver not in ("overlay", "")
    ]
    if swarm.secret(settings.CONTROL_SECRET) is None:
        waits.append(
            f"the Swarm secret {settings.CONTROL_SECRET} is missing; create it with "
            f"`openssl rand -hex 32 | docker secret create {settings.CONTROL_SECRET} -`"
        )
    named = document.spec.postgres.passwords
    for purpose, given in (("owner", named.owner), ("replication", named.replication)):
        name = given or f"{document.name}-{purpose}"
        if (secret := swarm.secret(name)) is not None:
            foreign = not given and secret.labels.get(settings.LABEL_CLUSTER) != document.name
            if foreign and world.record is None:  # once a cluster lives by it, it is the cluster's
                waits.append(
                    f"there is a secret {name} that pgswarm has not made: it is left alone; if it holds the password, "
                    f"name it in spec.postgres.passwords.{purpose}, else name the cluster differently or remove it"
                )
            continue
        if given:
            waits.append(f"the Swarm secret {given} that the document names does not exist; create it")
        else:
            steps.append(EnsureSecret(name=name, reason="it is missing"))
    return Plan(steps=tuple(steps), waits=tuple(waits))


def _unsafe_now(world: World, record: Record | None, wanted: Wanted, now: float) -> str | None:
    """Why a service must not be changed yet: a change restarts its task, so one member at a time, primary last."""
    if wanted.member is None:
        return None
    if isinstance(world.record, Unknown):
        return "waiting until the record can be read"
    if record is None:
        return None
    is_away = world.present(wanted.member, now) is None
    if turns.has_to_go(world, record, wanted.member, now) and (turn := turns.next_up(world, record, now)) is not None:
        if turn.member != wanted.member:
            return f"its turn is after {turn.member}"
        return turns.may_go(world, record, turn, now) or None
    if is_away and not _runs(world, wanted):
        return None  # nothing is stopped by changing it, and perhaps that is what mends it
    others = [one for one in world.wanted.values() if one.member not in (None, wanted.member)]
    for other in others:
        service = None if isinstance(world.swarm, Unknown) else world.swarm.service(other.name)
        if service is not None and service.update_state == "updating":
            # Swarm stops the old task seconds after the update; until then its member still speaks.
            return f"waiting until the update of {other.member} is through"
        if is_away:
            continue
        if other.member is not None and world.present(other.member, now) is None:
            return f"waiting until {other.member} is back"
    if is_away:
        # Its task runs, and it is not heard. If nobody is who was heard before, it is we who are cut off.
        heard = [name for name in record.members if world.report(name) is not None]
        if wanted.member in heard and others and all(world.present(name, now) is None for name in heard):
            return "waiting until any member is heard again; perhaps only this operator is cut off"
        return None
    if wanted.member == record.primary_member and any(other.differences for other in others):
        return "the primary's is put back last"
    return None


def _runs(world: World, wanted: Wanted) -> bool:
    """Does Swarm say that a task of this service runs?"""
    if isinstance(world.swarm, Unknown):
        return True
    service = world.swarm.service(wanted.name)
    task = world.swarm.current_task(service) if service is not None else None
    return task is not None and task.state == "running"
