"""The checks of one cluster, for `pgswarm doctor`: placement, copies, volumes, routers, the way of applications."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pgswarm.core.claim import member_of
from pgswarm.core.findings import Facts, Finding, bad, good, note, unknown, warn
from pgswarm.core.inspection import Inspection
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Data, Role
from pgswarm.core.spec import warnings
from pgswarm.core.swarmview import Task, explain
from pgswarm.core.world import Unknown, World

LITTLE_SPACE, NO_SPACE = 0.15, 0.05
"""Shares of a volume that are free."""

FAR_BEHIND = 10.0
"""Seconds of a standby's replay."""

SLOW_PATH = 1.0
"""Seconds for a session through a router and one statement."""

LITTLE_SHM = 128 << 20
"""Bytes of /dev/shm; parallel queries need more than Docker's 64 MB."""


def _document(facts: Facts, world: World) -> Iterator[Finding]:
    if world.document is None:
        yield warn(
            "document",
            "no document is in force",
            "services that are lost or changed by hand are not put back",
            "`pgswarm apply -f FILE`; a cluster that is wanted no more: `pgswarm delete`",
        )
        return
    for text in warnings(world.document):
        yield warn("document", text, "the document says so", "edit it, and `pgswarm apply -f FILE`")
    if world.document.spec.durability == "async":
        yield note(
            "durability",
            "commits wait for nobody",
            "an automatic failover may lose the last of them",
            "spec.durability: preferred",
        )


def _placement(facts: Facts, world: World) -> Iterator[Finding]:
    record = world.record
    if isinstance(record, Unknown) and not isinstance(facts.view, Unknown):
        yield bad(
            "placement", f"the record cannot be read: {record.why}", "nothing is decided without it", "as it says"
        )
        return
    if not isinstance(record, Record):
        why = record.why if isinstance(record, Unknown) else "there is none yet"
        yield unknown("placement", f"the record cannot be read: {why}")
        return
    by_node: dict[str, list[str]] = {}
    for one in record.places:
        by_node.setdefault(one.node_name, []).append(one.member)
    together = {node: names for node, names in by_node.items() if len(names) > 1}
    if len(record.places) == 1:
        yield warn(
            "placement",
            "there is one member",
            "it has no successor: the loss of its node is an outage, and the loss of its disk is the loss of the data",
            "add an instance to the document",
        )
    elif together:
        yield warn(
            "placement",
            "; ".join(f"{', '.join(names)} are both on {node}" for node, names in sorted(together.items())),
            "one loss takes them together",
            "give one of them another node in the document; it is moved",
        )
    else:
        yield good("placement", f"{len(record.places)} members on {len(by_node)} nodes")
    place = record.place(record.primary_member)
    if place is not None and place.node_id == world.raft_leader and len(record.places) > 1:
        yield note(
            "raft-leader",
            f"{record.primary_member} is on {place.node_name}, which leads Swarm's Raft",
            "if that node is lost, a failover waits 10 to 20 s until Swarm has elected another leader",
            f"`pgswarm switchover --cluster {world.cluster}`, or `docker node demote` and `promote` that node",
        )


def _replication(facts: Facts, world: World) -> Iterator[Finding]:
    record = world.record
    if not isinstance(record, Record):
        return
    sick = False
    for member in record.members:
        report = world.present(member, facts.now)
        if report is None:
            if record.fence(member) is None and record.maintained(member) is None:
                sick = True
                yield bad(
                    "replication",
                    world.gone(member, facts.now) or f"{member} is not heard",
                    "one copy less",
                    f"`pgswarm explain {world.cluster}`, {_logs(world, member)}",
                )
        elif report.problem is not None:
            sick = True
            yield bad("replication", f"{member}: {report.problem.text}", "it needs a person", "as it says")
        elif report.role is Role.STANDBY and not report.upstream and report.data is Data.READY:
            sick = True
            yield bad(
                "replication",
                f"{member} does not stream",
                "one copy less, and it falls behind",
                f"`pgswarm explain {world.cluster}`, {_logs(world, member)}",
            )
        elif report.lag is not None and report.lag > FAR_BEHIND:
            sick = True
            yield warn(
                "replication",
                f"{member} is {report.lag:.0f} s behind",
                "readers there see old data, and a failover to it would wait for the replay",
                "look for long queries there (hot_standby_feedback), slow disks, or a vacuum of a large table",
            )
    if len(record.places) > 1 and record.claim.r == 1 and record.grant is Grant.NONE:
        sick = True
        yield warn(
            "copies",
            f"only {member_of(record.primary)} is known to have every acknowledged commit",
            "its loss would be an outage until it is back",
            f"`pgswarm explain {world.cluster}` says who has to come back first",
        )
    if not sick:
        yield good("replication", f"{len(record.places) - 1} standby(s) stream; {_claim(record)}")


def _slots(facts: Facts, world: World) -> Iterator[Finding]:
    record = world.record
    primary = world.present(record.primary_member, facts.now) if isinstance(record, Record) else None
    if not isinstance(record, Record) or primary is None or len(record.places) == 1:
        return
    without = [name for name in record.members if name != record.primary_member and name not in primary.slots]
    if without:
        yield warn(
            "slots",
            f"{record.primary_member} keeps no log for {', '.join(without)}",
            "after an absence it would have to be cloned",
            f"wait a minute; if it stays so, {_logs(world, record.primary_member)} says why",
        )
    else:
        yield good("slots", "the primary keeps log for every standby")


def _volumes(facts: Facts, world: World) -> Iterator[Finding]:
    record = world.record
    if not isinstance(record, Record):
        return
    known, sick = 0, False
    for member in record.members:
        report = world.report(member)
        if report is None or not report.disk_total:
            continue
        known += 1
        free = report.disk_free / report.disk_total
        if free < LITTLE_SPACE:
            sick = True
            found = bad if free < NO_SPACE else warn
            yield found(
                "volumes",
                f"{member}: {100 * free:.0f} % of its volume is free, {_size(report.disk_free)}",
                "a full disk stops writes",
                "see 'A disk fills' in docs/operations.md: free or add space",
            )
    if not known:
        yield unknown("volumes", "no member has told its free space")
    elif not sick:
        yield good("volumes", f"{known} volumes have room")
    small = [
        name.partition("/")[2]
        for name, one in sorted(facts.inspections.items())
        if isinstance(one, Inspection) and name.startswith(f"{world.cluster}/") and 0 < one.shm < LITTLE_SHM
        and name.partition("/")[2] in record.members
    ]  # fmt: skip
    if small:
        yield note(
            "shared-memory",
            f"/dev/shm of {', '.join(small)} is smaller than {_size(LITTLE_SHM)}",
            "parallel queries fail with 'could not resize shared memory segment'",
            "max_parallel_workers_per_gather: 0 in the document, or less work_mem",
        )


def _routers(facts: Facts, world: World) -> Iterator[Finding]:
    record = world.record
    if not isinstance(record, Record):
        return
    if not world.routers:
        yield bad(
            "routers-agree",
            "no router is known",
            "applications have no way to the primary",
            "`docker service ls`; spec.router.nodes in the document",
        )
        return
    sick = False
    for name, sighting in sorted(world.routers.items()):
        report = sighting.report
        if report is None or sighting.is_gone:
            sick = True
            yield warn("routers-agree", f"router {name} is not heard", "one way less", _logs(world, "router"))
        elif report.haproxy != "running":
            sick = True
            said = f" ({report.problem.text})" if report.problem is not None else ""
            yield bad(
                "routers-agree",
                f"HAProxy of {name} is {report.haproxy}{said}",
                "one way less",
                f"{_logs(world, 'router')}; its container begins with a new HAProxy: `docker kill` it on {name}",
            )
        elif report.primary != record.primary:
            sick = True
            where = f"to {member_of(report.primary)}" if report.primary else "nowhere"
            yield bad(
                "routers-agree",
                f"router {name} sends writers {where}, and {record.primary_member} is primary",
                "writers there are held or refused",
                f"if it lasts: {_logs(world, 'router')}, and whether it reaches the members",
            )
    for node, why, service in _without_router(world):
        yield warn(
            "routers",
            f"the router on {node} does not run: {why}",
            "one way less",
            f"`docker service ps --no-trunc {service}`",
        )
    if not sick:
        yield good("routers-agree", f"{len(world.routers)} routers send writers to {record.primary_member}")
    if len(world.routers) == 1 and len(record.places) > 1:
        yield warn(
            "routers",
            "there is one router",
            "with its node applications lose their way to every member",
            "spec.router.nodes: all, or more managers",
        )


def _without_router(world: World) -> Iterator[tuple[str, str, str]]:
    """Nodes that could run the router that Swarm wants there, and do not; what Docker says, and of which service."""
    swarm = world.swarm
    if isinstance(swarm, Unknown):
        return
    for service in swarm.services_of(world.cluster, "router"):
        by_node: dict[str, list[Task]] = {}
        for task in swarm.tasks_of(service):
            by_node.setdefault(task.node_id, []).append(task)
        for node_id, tasks in by_node.items():
            node, said = swarm.node(node_id), next((task for task in tasks if task.error), None)
            runs = any(task.state == "running" for task in tasks) or not any(task.is_wanted for task in tasks)
            if node is not None and node.takes_tasks and said is not None and not runs:
                yield node.name, explain(said.error, node=node.name, image=said.image), service.name


def _path(facts: Facts, world: World) -> Iterator[Finding]:
    tried = 0
    sick = False
    for name, one in sorted(facts.inspections.items()):
        if not name.startswith(f"{world.cluster}/"):
            continue
        if isinstance(one, Unknown):
            yield unknown("application-path", f"{name.partition('/')[2]} could not be asked: {one.why}")
            continue
        for path in one.paths:
            tried += 1
            port = "writers" if path.writes else "readers"
            if path.recovery is None:
                sick = True
                level = bad if path.writes else warn
                yield level(
                    "application-path",
                    f"no session through router {path.router} to {port}: {path.why}",
                    "this is what an application sees",
                    "`pgswarm status`; the password in the secret; spec.postgres.hba",
                )
            elif path.writes and path.recovery:
                sick = True
                yield bad(
                    "application-path",
                    f"router {path.router} leads writers to a standby",
                    "their writes fail",
                    _logs(world, "router"),
                )
            elif path.seconds > SLOW_PATH:
                sick = True
                yield warn(
                    "application-path",
                    f"a session through router {path.router} to {port} takes {path.seconds:.1f} s",
                    "every new connection of an application does",
                    "look at the load of that node, and at its name server",
                )
    if tried and not sick:
        yield good("application-path", f"{tried} sessions through routers, for writers and readers, are answered")
    elif not tried:
        yield unknown("application-path", "no member could try a session")


def _names(facts: Facts, world: World) -> Iterator[Finding]:
    if world.document is None:
        return
    name = world.document.spec.router.name
    seen = [
        one.names[name]
        for where, one in facts.inspections.items()
        if isinstance(one, Inspection) and where.startswith(f"{world.cluster}/") and name in one.names
    ]
    if not seen:
        yield unknown("dns", f"nobody on the applications' network could look up {name}")
    elif not any(seen):
        yield bad(
            "dns",
            f"{name} has no address on {world.document.spec.router.network}",
            "applications connect by this name",
            "`docker service ps` of the routers; is the network theirs?",
        )
    else:
        most = max(seen, key=len)
        yield good("dns", f"{name} is {', '.join(most)}")


def _wishes(facts: Facts, world: World) -> Iterator[Finding]:
    record = world.record
    if not isinstance(record, Record):
        return
    if (pause := record.paused(world.wall)) is not None:
        yield warn("pause", str(pause), "a primary that is lost is not replaced", f"`pgswarm resume {world.cluster}`")
    for one in record.maintenance:
        yield note("maintenance", str(one), "its members are not missed", f"`pgswarm maintenance {one.node_name} off`")
    for fence in record.fences:
        yield note("fence", str(fence), "one copy less", f"`pgswarm unfence {fence.member} --cluster {world.cluster}`")
    for member in record.members:
        report = world.report(member)
        if report is not None and report.pending_restart:
            yield note(
                "pending-restart",
                f"{member} takes {', '.join(report.pending_restart)} with its next start",
                "the document is not yet in effect",
                f"members take it in turns by themselves; `pgswarm status {world.cluster}` says what that waits for",
            )
        if report is not None and report.kept:
            yield note(
                "kept-log",
                f"{member} has {len(report.kept)} piece(s) of log that are not in the cluster's history",
                "they hold what a failover gave up, and take space",
                "`pgswarm status -o json` names them; remove them when nobody needs them",
            )


def _backups(facts: Facts, world: World) -> Iterator[Finding]:
    yield note(
        "backups",
        "none configured",
        "copies are no backup: a wrong DELETE is on all of them at once",
        "pg_dump or a tool of your own, until pgswarm has backups",
    )


OF_CLUSTER: tuple[Callable[[Facts, World], Iterator[Finding]], ...] = (
    _document, _placement, _replication, _slots, _volumes, _routers, _names, _path, _wishes, _backups,
)  # fmt: skip


def _logs(world: World, who: str) -> str:
    return f"`pgswarm logs {who} --cluster {world.cluster}`"


def _claim(record: Record) -> str:
    return f"every acknowledged commit is on {record.claim.r} of them" if record.claim.r > 1 else "one copy is counted"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count >> 20} MB"
