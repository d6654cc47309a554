"""The operator's stack file, deployed as its users do, with a program that only sleeps."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pgswarm import settings

pytestmark = pytest.mark.lab

DOCUMENTS = "/etc/pgswarm-test/here"
STACK = pathlib.Path(__file__).resolve().parents[2] / "stack" / "pgswarm.yml"


def docker_client(*words: str, text: str = "", **more: str) -> str:
    env = {**os.environ, **more}
    done = subprocess.run(
        ["docker", *words], input=text, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def stack(cluster: str, client: Any, stub: str, registry: str, hands: Any) -> Iterator[str]:
    """The stack under a name, with a network and a secret, that nothing else uses."""
    client.create_secret(cluster, b"0" * 64, labels={settings.LABEL_CLUSTER: cluster})
    text = STACK.read_text().replace("pgswarm-control", cluster)
    docker_client(
        "stack", "deploy", "--detach=true", "-c", "-", cluster, text=text,
        **{**hands.environment(1), "PGSWARM_REGISTRY": f"{registry}/stub/", "PGSWARM_DOCUMENTS": DOCUMENTS},
    )  # fmt: skip
    yield cluster
    docker_client("stack", "rm", cluster, **hands.environment(1))
    hands.wait_until(lambda: not any(one["Name"] == cluster for one in client.networks()), "the stack's network to go")


def test_the_operator_runs_on_every_manager_also_where_there_are_no_documents(
    stack: str, client: Any, hands: Any
) -> None:
    hands.lab("exec", "2", "--", "mkdir", "-p", "/etc/pgswarm-test/here")

    def running() -> list[Any]:
        tasks = client.tasks(filters={"service": f"{stack}_operator", "desired-state": "running"})
        return [task for task in tasks if task["Status"]["State"] == "running"]

    try:
        hands.wait_until(lambda: len(running()) == 3, "three operators to run")
        service = client.inspect_service(f"{stack}_operator")["Spec"]
        assert service["Labels"][settings.LABEL_KIND] == "operator"
        assert service["EndpointSpec"]["Mode"] == "dnsrr"
        env = service["TaskTemplate"]["ContainerSpec"]["Env"]
        assert "PGSWARM_DOCUMENTS=/host/etc/pgswarm-test/here" in env
        socket = hands.environment(2)["DOCKER_HOST"]
        found = subprocess.run(
            ["docker", "-H", socket, "ps", "-q", "--filter", f"label=com.docker.swarm.service.name={stack}_operator"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout.split()  # fmt: skip
        look = "ls -d /host/etc/pgswarm-test/here && test -S /var/run/docker.sock && echo $PGSWARM_TASK"
        seen = docker_client("-H", socket, "exec", found[0], "sh", "-c", look, DOCKER_HOST=socket)
        assert seen.startswith("/host/etc/pgswarm-test/here\nnode2.")  # made after the operator had started
    finally:
        hands.lab("exec", "2", "--", "rm", "-r", "/etc/pgswarm-test")
