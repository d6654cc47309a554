"""How a person's psql reaches the database: the command that is run for it, as words.

On a node that carries the member that is meant, psql runs in that member's container, over its own socket: no password
is needed, and the session is the superuser's. Anywhere else it goes as every application does, through the router, in
a container that ends with it, as the owner of the database; psql asks for the password itself, so it is never in the
words or the environment of a process.

Swarm carries no terminal to another node, so the first way cannot be had there. Both need Docker's own command, which
holds the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgswarm import settings
from pgswarm.core.record import Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import Service, SwarmView, Task
from pgswarm.errors import Refused

SOCKET = f"{settings.VOLUME_PATH}/agent"
"""Where a member's agent has PostgreSQL listen; `member/config` says the same."""


def words(
    view: SwarmView, node_id: str, stored: Stored, *, replica: bool, arguments: Sequence[str], terminal: bool
) -> tuple[list[str], str]:
    """The command, and where it leads, for people. Refused if there is no way."""
    record, document = stored.record, stored.document
    if record is None or document is None:
        raise Refused(f"{stored.cluster} is being created: there is no database yet")
    flags = ["--interactive", "--tty"] if terminal else ["--interactive"]
    for member in _members(record, replica=replica):
        container = _container(view, view.members(stored.cluster).get(member), node_id)
        if container:
            psql = ["psql", "--host", SOCKET, "--username", "postgres", "--dbname", document.spec.postgres.database]
            where = f"{member}, in its container on this node, as postgres"
            return ["docker", "exec", *flags, container, *psql, *arguments], where
    words, where = _through_the_router(view, stored.cluster, document, flags, arguments, replica=replica)
    return words, where + _where_it_needs_none(view, stored.cluster, _members(record, replica=replica))


def _members(record: Record, *, replica: bool) -> list[str]:
    others = [member for member in record.members if member != record.primary_member]
    return others if replica else [record.primary_member]


def _container(view: SwarmView, service: Service | None, node_id: str) -> str:
    """The member's container, if it runs on this node; empty otherwise."""
    task = _running(view, service)
    return task.container_id if task is not None and task.node_id == node_id else ""


def _running(view: SwarmView, service: Service | None) -> Task | None:
    task = view.current_task(service) if service is not None else None
    return task if task is not None and task.state == "running" else None


def _where_it_needs_none(view: SwarmView, cluster: str, members: Sequence[str]) -> str:
    """The nodes on which no password would be asked for: nobody knows a generated one."""
    names = {node.id: node.name for node in view.nodes}
    running = [task for member in members if (task := _running(view, view.members(cluster).get(member)))]
    where = sorted({names[task.node_id] for task in running if task.node_id in names})
    return f" (none is needed on {' or '.join(where)})" if where else ""


def _through_the_router(
    view: SwarmView,
    cluster: str,
    document: PostgresCluster,
    flags: Sequence[str],
    arguments: Sequence[str],
    *,
    replica: bool,
) -> tuple[list[str], str]:
    spec = document.spec
    member = next(iter(view.members(cluster).values()), None)
    network = view.network(spec.router.network)
    if member is None or network is None:
        missing = f"network {spec.router.network}" if network is None else f"service of a member of {cluster}"
        raise Refused(f"there is no {missing} yet; `pgswarm status` says what is waited for")
    if not network.attachable:
        raise Refused(
            f"network {network.name} is not attachable, so only services can use it: run `pgswarm psql` on the node of "
            f"the member, which `pgswarm status` names"
        )
    image = member.spec["TaskTemplate"]["ContainerSpec"]["Image"]
    port = spec.router.read_only_port if replica else spec.router.port
    target = ["--host", spec.router.name, "--port", str(port), "--username", spec.postgres.owner]
    run = ["docker", "run", "--rm", *flags, "--network", network.name, "--entrypoint", "psql", image]
    where = f"the router {spec.router.name}:{port}, as {spec.postgres.owner}; psql asks for the password"
    return [*run, *target, "--dbname", spec.postgres.database, *arguments], where
