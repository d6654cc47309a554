"""A person's verb, carried to where the agents can be reached.

Agents answer only on the control network and only to the control secret; a manager's shell has neither. So a verb
that needs them runs itself where both are: in the operator's container on this node, or, if none runs here or a
document of this machine is to be read, in a one-off container of the operator's image with that folder mounted. The
person sees the same output and the same exit code, and needs to know nothing of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgswarm.cli.failures import BAD_INPUT, BadInput
from pgswarm.errors import Again, Refused

if TYPE_CHECKING:
    from pgswarm.core.swarmview import Service, SwarmView
    from pgswarm.ports.delegate import Outcome
    from pgswarm.ports.swarm import DockerSwarm, Here

IMAGE_VARIABLES = ("PGSWARM_MEMBER_IMAGE", "PGSWARM_ROUTER_IMAGE")
SECONDS = 120.0
"""How long a carried verb may take."""
GRACE = 2.0
"""Seconds that one in a container of its own has to end, when the person does not wait for it."""


def is_needed(secret_file: Path | None) -> bool:
    """Is this a shell without the control secret? A file that was named and cannot be read is a mistake."""
    from pgswarm.wire import SECRET_FILE

    if secret_file is not None and not os.access(secret_file, os.R_OK):
        raise BadInput(f"the secret file {secret_file} does not exist, or you may not read it")
    return not os.access(secret_file or SECRET_FILE, os.R_OK)


def carry(argv: Sequence[str], documents: Path | None = None) -> int:
    """Run `pgswarm argv…` in the control network; its output appears here. The exit code. Raises Failure."""
    code, output = heard(argv, documents)
    sys.stdout.write(output)
    return code


def carried(argv: Sequence[str]) -> str:
    """The output alone, for who asks again and again. Raises Failure with the words of the verb that failed."""
    import anyio

    async def carrying() -> Outcome:
        return await _carry(list(argv), None)

    done = anyio.run(carrying)
    if done.exit_code:
        said = done.errors.strip().splitlines()
        words = said[-1].removeprefix("pgswarm: ") if said else f"{argv[0]} ended with code {done.exit_code}"
        raise BadInput(words) if done.exit_code == BAD_INPUT else Again(words)
    return done.output


def heard(
    argv: Sequence[str], documents: Path | None = None, seconds: float = SECONDS, grace: float = GRACE
) -> tuple[int, str]:
    """The same, but the output is the caller's to show."""
    import anyio

    async def carrying() -> Outcome:
        return await _carry(list(argv), documents, seconds, grace)

    done = anyio.run(carrying)
    sys.stderr.write(done.errors)
    return done.exit_code, done.output


async def _carry(argv: list[str], documents: Path | None, seconds: float = SECONDS, grace: float = GRACE) -> Outcome:
    from pgswarm.ports import delegate
    from pgswarm.ports.swarm import DockerSwarm

    swarm = DockerSwarm()
    try:
        here = await swarm.info()
        view = await swarm.view()
    except Again:  # no leader, say: just then a person wants to know, and this engine still knows its own containers
        container = await _beside(swarm) if documents is None else ""
        if not container:
            raise
        return await delegate.exec_in(swarm.engine, container, ["pgswarm", *argv], seconds=seconds)
    service = next((one for one in view.services if one.kind == "operator"), None)
    container = _container(view, service, here) if service else ""
    if container and documents is None:
        return await delegate.exec_in(swarm.engine, container, ["pgswarm", *argv], seconds=seconds)
    return await _once(swarm, service, argv, documents, seconds, grace)


def _container(view: SwarmView, service: Service, here: Here) -> str:
    """The operator's container on this node; empty if there is none."""
    tasks = [task for task in view.tasks_of(service) if task.node_id == here.node_id and task.state == "running"]
    return tasks[0].container_id if tasks else ""


async def _beside(swarm: DockerSwarm) -> str:
    """The operator's container on this node, by this engine alone; empty if it runs none."""
    from pgswarm.settings import LABEL_KIND

    wanted = {"label": [f"{LABEL_KIND}=operator"], "status": ["running"]}
    found = await swarm.engine.get("/containers/json", doing="looking for the operator here", filters=wanted)
    return str(found[0]["Id"]) if found else ""


async def _once(
    swarm: DockerSwarm, service: Service | None, argv: list[str], documents: Path | None, seconds: float, grace: float
) -> Outcome:
    from pgswarm.ports import delegate

    container: dict[str, Any] = service.spec["TaskTemplate"]["ContainerSpec"] if service else {}
    image = os.environ.get("PGSWARM_OPERATOR_IMAGE") or container.get("Image")
    if not image:
        raise Refused(
            "no operator is deployed here, so it is not known which image to run: "
            "`docker stack deploy -c stack/pgswarm.yml pgswarm`, or set PGSWARM_OPERATOR_IMAGE"
        )
    known = dict(line.partition("=")[::2] for line in container.get("Env") or ())
    env = {name: os.environ.get(name) or known.get(name, "") for name in IMAGE_VARIABLES}
    mounts: list[dict[str, Any]] = [
        {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock"}
    ]
    if documents is not None:
        folder = documents.parent if documents.suffix in (".yaml", ".yml") else documents
        mounts.append({"Type": "bind", "Source": str(folder), "Target": str(folder), "ReadOnly": True})
        argv = [*argv, str(documents)]
    settings = [f"{name}={value}" for name, value in env.items() if value]
    return await delegate.one_off(
        swarm, image, ["env", *settings, "pgswarm", *argv], mounts=mounts, seconds=seconds, grace=grace
    )
