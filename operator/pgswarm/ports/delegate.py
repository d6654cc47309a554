"""Having something done in a container: a program in one that runs, or a short-lived one of our own.

`exec_in` runs a program in a container of this node and tells its output from its errors. `one_off` runs an image
once on this node, in the control network and with the control secret: what a person's shell needs to speak with the
agents, without ever holding the secret. It is a Swarm service, because only services are given secrets; it is pinned
to this node, never restarted, and removed whatever happens.

Both streams of a program arrive on one connection, in frames: one byte for the stream, three of nothing, four for the
length, then the body. `frames` takes them apart, wherever the network cut them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.from_thread
import docker
from loguru import logger

from pgswarm import settings
from pgswarm.core.swarmview import ENDED, Task, explain
from pgswarm.errors import Again, Conflict, Failure, Refused
from pgswarm.ports import swarm_parse
from pgswarm.ports.swarm import DockerSwarm, Spec
from pgswarm.ports.swarm_http import Engine, failed_answer, request

STDOUT, STDERR = 1, 2
LOOK_AGAIN = 0.1
"""Seconds between two looks at a task that is about to run; no event tells of it."""

CLEANING = 6.0
"""Seconds for the removal of a one-off, also when its caller has been cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a program ended."""

    exit_code: int
    output: str
    errors: str = ""


async def exec_in(
    engine: Engine, container_id: str, argv: Sequence[str], *, user: str = "", seconds: float = 30.0
) -> Outcome:
    """Run a program in a running container of this node. Again when it has not ended in time (it goes on)."""
    doing = f"running {argv[0]} in container {container_id[:12]}"
    body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(argv), "User": user}
    try:
        created = await engine.post(f"/containers/{container_id}/exec", body, doing=doing)
    except Conflict as conflict:  # Docker's 409 for a container that does not run (any more)
        raise Again(conflict.reason) from conflict
    deadline = time.monotonic() + seconds

    def run(client: docker.APIClient) -> tuple[bytes, bytes]:
        start = {"Detach": False, "Tty": False}
        response = request(client, "POST", f"/exec/{created['Id']}/start", body=start, timeout=seconds, stream=True)
        with response:
            if response.status_code >= 400:
                raise failed_answer(response.status_code, response.text, is_write=True, doing=doing)
            parts: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
            for stream, data in frames(response.iter_content(chunk_size=65536)):
                parts.setdefault(stream, []).append(data)
                if time.monotonic() > deadline:
                    break
            return b"".join(parts[STDOUT]), b"".join(parts[STDERR])

    output, errors = await engine.borrow(run, doing=doing, timeout=seconds)
    ended = await engine.get(f"/exec/{created['Id']}/json", doing=doing)
    if ended.get("Running") or ended.get("ExitCode") is None:
        raise Again(f"{doing}: it has not ended within {seconds:g} s")
    return Outcome(
        exit_code=ended["ExitCode"], output=output.decode(errors="replace"), errors=errors.decode(errors="replace")
    )


async def one_off(
    swarm: DockerSwarm,
    image: str,
    argv: Sequence[str],
    *,
    mounts: Sequence[Mapping[str, Any]] = (),
    seconds: float = 60.0,
    tell: Callable[[str], None] | None = None,
    grace: float = 2.0,
) -> Outcome:
    """Run `argv` with this image on this node, to its end; `tell` hears each line of its output as it comes.

    `mounts` are Docker's own, such as {"Type": "bind", "Source": "/srv", "Target": "/srv", "ReadOnly": True}; `grace`
    is for `argv` to end by itself, should this be cancelled.
    """
    here = await swarm.info()
    name = f"pgswarm-once-{secrets.token_hex(4)}"
    service_id = await swarm.create_service(await _spec(swarm, name, here.node_id, image, argv, mounts, grace))
    try:
        with anyio.fail_after(seconds):
            task = await _started(swarm.engine, service_id, image, here.node_name)
            output, errors = await _follow(swarm.engine, task.container_id, seconds, tell)
            exit_code = await _ended(swarm.engine, task.container_id)
    except TimeoutError as error:
        raise Again(f"{argv[0]} in {image} has not ended within {seconds:g} s and was stopped") from error
    finally:
        with anyio.move_on_after(CLEANING, shield=True) as cleaning:
            try:
                await swarm.remove_service(service_id)
            except Failure as failure:
                logger.warning("service {} is left behind: {}; `docker service rm {}`", name, failure.reason, name)
        if cleaning.cancelled_caught:
            logger.warning("service {} is left behind; `docker service rm {}`", name, name)
    return Outcome(exit_code=exit_code, output=output, errors=errors)


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(stream, data) of each frame in a raw stream; what is cut off at the end is left away."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= 8:
            length = int.from_bytes(buffer[4:8], "big")
            if len(buffer) < 8 + length:
                break
            yield buffer[0], bytes(buffer[8 : 8 + length])
            del buffer[: 8 + length]


async def _spec(
    swarm: DockerSwarm,
    name: str,
    node_id: str,
    image: str,
    argv: Sequence[str],
    mounts: Sequence[Mapping[str, Any]],
    grace: float,
) -> Spec:
    view = await swarm.view()
    network, secret = view.network(settings.CONTROL_NETWORK), view.secret(settings.CONTROL_SECRET)
    if network is None or secret is None:
        missing = f"network {settings.CONTROL_NETWORK}" if network is None else f"secret {settings.CONTROL_SECRET}"
        raise Refused(f"the Swarm {missing} does not exist: is pgswarm deployed here (stack/pgswarm.yml)?")
    file = {"Name": settings.CONTROL_SECRET, "UID": "0", "GID": "0", "Mode": 0o444}
    return {
        "Name": name,
        "Labels": {settings.LABEL_KIND: "one-off"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": await swarm.resolve_image(image),
                "Command": list(argv),
                "Init": True,
                "StopGracePeriod": int(grace * 1e9),
                "Mounts": [dict(mount) for mount in mounts],
                "Secrets": [{"SecretID": secret.id, "SecretName": secret.name, "File": file}],
            },
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": [f"node.id=={node_id}"]},
            "Networks": [{"Target": network.id}],
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "dnsrr"},
    }


async def _started(engine: Engine, service_id: str, image: str, node: str) -> Task:
    """The task once it has a container that has begun to run. Refused, in words, if it cannot."""
    while True:
        raw = await engine.get("/tasks", doing="waiting for the one-off", filters={"service": [service_id]})
        task = next((swarm_parse.task(one) for one in raw or ()), None)
        if task is not None and task.container_id and (task.state == "running" or task.exit_code is not None):
            return task
        if task is not None and (task.state in ENDED or (task.state == "pending" and task.error)):
            raise Refused(explain(task.error or task.message, node=node, image=image))
        await anyio.sleep(LOOK_AGAIN)


async def _follow(
    engine: Engine, container_id: str, seconds: float, tell: Callable[[str], None] | None
) -> tuple[str, str]:
    doing = "reading the output of the one-off"
    told: dict[int, list[str]] = {STDOUT: [], STDERR: []}

    def run(client: docker.APIClient) -> None:
        query = {"follow": 1, "stdout": 1, "stderr": 1}
        response = request(client, "GET", f"/containers/{container_id}/logs", query=query, timeout=seconds, stream=True)
        with response:
            if response.status_code >= 400:
                raise failed_answer(response.status_code, response.text, is_write=False, doing=doing)
            rest = {STDOUT: b"", STDERR: b""}
            for stream, data in frames(response.iter_content(chunk_size=None)):
                *whole, rest[stream] = (rest.get(stream, b"") + data).split(b"\n")
                for line in whole:
                    say(stream, line)
            for stream, line in rest.items():
                if line:
                    say(stream, line)

    def say(stream: int, line: bytes) -> None:
        text = line.decode(errors="replace")
        told[stream].append(text)
        if tell is not None:
            anyio.from_thread.run_sync(tell, text)

    await engine.borrow(run, doing=doing, timeout=seconds)
    output, errors = ("".join(f"{line}\n" for line in told[stream]) for stream in (STDOUT, STDERR))
    return output, errors


async def _ended(engine: Engine, container_id: str) -> int:
    """The exit code; the log ends a moment before the container is seen to."""
    while True:
        raw = await engine.get(f"/containers/{container_id}/json", doing="asking how the one-off ended")
        state = raw.get("State") or {}
        if not state.get("Running"):
            return int(state.get("ExitCode", 0))
        await anyio.sleep(LOOK_AGAIN)
