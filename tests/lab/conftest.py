"""A bare Swarm for the tests of the ports: three real nodes, a small image on each of them, and no operator.

It is a lab of its own beside the one that a developer or the tests of the whole product use (another prefix, another
network): an operator there would take the documents and records that these tests write for orders. It is brought up
when the first test wants it and taken down after the last. Every test uses a cluster of its own name.
"""

from __future__ import annotations

import io
import os
import pathlib
import secrets
import shutil
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
import pytest
from house import CUT_SHORT, installed, whole  # noqa: F401 - fixtures

from pgswarm import settings
from pgswarm.drill.stage import Broken
from pgswarm.ports.records import SwarmRecords
from pgswarm.ports.swarm import DockerSwarm

LAB = pathlib.Path(__file__).resolve().parents[2] / "stack" / "lab" / "lab"
STUB = "pgswarm-stub:2"
OF_ITS_OWN = {"PGSWARM_LAB": "labports", "PGSWARM_LAB_NET": "10.213.10.0"}
PROGRAMS = ("sh", "sleep", "cat", "env", "ls", "id")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Who comes after a test that was cut short finds what it left (`house.whole`)."""
    report = yield
    if report.failed:
        item.config.stash[CUT_SHORT] = True
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test said that is tried a second time (`IN_VAIN` in the Makefile): pytest itself keeps it to itself."""
    if str(report.outcome) == "rerun":
        print(f"\n{report.nodeid} is tried once more; this is what it said:\n{report.longreprtext}")


def lab(*words: str, timeout: float = 600) -> str:
    """Run one verb of the lab."""
    env = {**os.environ, **OF_ITS_OWN}
    done = subprocess.run([str(LAB), *words], check=False, capture_output=True, text=True, timeout=timeout, env=env)
    assert done.returncode == 0, f"lab {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def environment(node: int) -> dict[str, str]:
    lines = (line.removeprefix("export ") for line in lab("env", str(node)).splitlines() if "=" in line)
    return dict(line.split("=", 1) for line in lines)


@dataclass(frozen=True)
class Hands:
    """What a person at the machine can do: the lab's verbs, its variables, and patience."""

    lab: Callable[..., str] = lab
    environment: Callable[[int], dict[str, str]] = environment

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        wait_until(condition, what, seconds)


@pytest.fixture(scope="session")
def hands() -> Hands:
    return Hands()


@pytest.fixture(scope="session")
def sockets() -> Iterator[tuple[str, ...]]:
    """The Docker sockets of the lab's three nodes."""
    lab("up")
    try:
        yield tuple(environment(node)["DOCKER_HOST"] for node in (1, 2, 3))
    finally:
        lab("down")


@pytest.fixture(scope="session")
def registry(sockets: tuple[str, ...]) -> str:
    return environment(1)["PGSWARM_REGISTRY"]


@pytest.fixture(scope="session")
def stub(sockets: tuple[str, ...], registry: str) -> str:
    """The id of an image of a few megabytes with a shell in it, the same one on every node and in the registry."""
    clients: list[Any] = [docker.APIClient(base_url=socket, version="auto", timeout=60) for socket in sockets]
    first, *others = clients
    try:
        found = first.inspect_image(STUB)
    except docker.errors.ImageNotFound:
        name, _, tag = STUB.partition(":")
        first.import_image_from_data(_file_system(), repository=name, tag=tag, changes=['CMD ["sleep", "1000000"]'])
        found = first.inspect_image(STUB)
    for client in others:
        try:
            client.inspect_image(found["Id"])
        except docker.errors.ImageNotFound:
            client.load_image(b"".join(first.get_image(STUB)))
    for name, tag in ((f"{registry}/pgswarm-stub", "2"), (f"{registry}/stub/pgswarm/operator", "dev")):
        first.tag(STUB, name, tag)
        answer = first.push(name, tag)
        assert '"error"' not in str(answer), answer
    for client in (first, *others):
        client.close()
    return str(found["Id"])


@pytest.fixture
async def swarm(sockets: tuple[str, ...]) -> AsyncIterator[DockerSwarm]:
    port = DockerSwarm(sockets[0])
    yield port
    port.engine.close()


@pytest.fixture
def records(swarm: DockerSwarm) -> SwarmRecords:
    return SwarmRecords(swarm.engine)


@pytest.fixture
def client(sockets: tuple[str, ...]) -> Iterator[Any]:
    """A plain client of node 1: the hand of a person, and a second pair of eyes."""
    client: Any = docker.APIClient(base_url=sockets[0], version="auto", timeout=30)
    yield client
    client.close()


@pytest.fixture
def cluster(client: Any) -> Iterator[str]:
    """A name that no other test uses; everything with that name is removed afterwards."""
    name = f"t{secrets.token_hex(4)}"
    yield name
    wanted = {"label": f"{settings.LABEL_CLUSTER}={name}"}
    for service in client.services(filters=wanted):
        client.remove_service(service["ID"])
    for config in client.configs():
        if config["Spec"]["Name"] == settings.record_name(name):
            client.remove_config(config["ID"])
    wait_until(lambda: not _remove_all(client, wanted), f"the secrets and networks of {name} to go")


@pytest.fixture
def control(client: Any) -> Iterator[None]:
    """The control network and its secret: those that are there, or ones that go with the test."""
    made: list[tuple[str, str]] = []
    if not any(one["Name"] == settings.CONTROL_NETWORK for one in client.networks()):
        network = client.create_network(settings.CONTROL_NETWORK, driver="overlay", attachable=True, scope="swarm")
        made.append(("network", network["Id"]))
    if not any(one["Spec"]["Name"] == settings.CONTROL_SECRET for one in client.secrets()):
        secret = client.create_secret(settings.CONTROL_SECRET, secrets.token_hex(32).encode())
        made.append(("secret", secret["ID"]))
    yield
    for kind, ident in made:
        remove = client.remove_network if kind == "network" else client.remove_secret
        wait_until(lambda remove=remove, ident=ident: _goes(remove, ident), f"{kind} {ident} to go")
    # A node lists a network that the Swarm has removed until its own last container has left it.
    gone = {ident for _, ident in made}
    wait_until(lambda: not any(one["Id"] in gone for one in client.networks()), "node 1 to forget the network")


def wait_until(condition: Any, what: str, seconds: float = 30.0) -> None:
    """Wait for a condition of the lab, in a plain thread. Raises Broken."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
        pause = min(0.5, pause * 1.5)


def _remove_all(client: Any, wanted: dict[str, str]) -> list[str]:
    left = []
    for secret in client.secrets(filters=wanted):
        if not _goes(client.remove_secret, secret["ID"]):
            left.append(secret["ID"])
    for network in client.networks(filters=wanted):
        if not _goes(client.remove_network, network["Id"]):
            left.append(network["Id"])
    return left


def _goes(remove: Any, ident: str) -> bool:
    """Removed, or not there; False while a task that is ending still uses it."""
    try:
        remove(ident)
    except docker.errors.NotFound:
        return True
    except docker.errors.APIError:
        return False
    return True


def _file_system() -> bytes:
    """A tar of a few of this machine's programs and the libraries that they need."""
    files: dict[str, pathlib.Path] = {}
    for program in PROGRAMS:
        found = shutil.which(program)
        assert found, f"no {program} on this machine"
        files[f"bin/{program}"] = pathlib.Path(found).resolve()
        for word in subprocess.run(["ldd", found], check=True, capture_output=True, text=True).stdout.split():
            if word.startswith("/"):
                files[word.lstrip("/")] = pathlib.Path(word).resolve()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("tmp", "run", "etc", "proc", "sys", "dev", "var/lib/pgswarm"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in sorted(files.items()):
            tar.add(path, arcname=name)
    return buffer.getvalue()
