"""Where the demo, the lab tests and the benchmark play: an installed pgswarm on a Swarm that may be broken.

Two Swarms serve: the three nodes of `stack/lab`, and the engine that this shell already talks to (`ENGINE=current`),
as a Swarm of one node. A stage installs pgswarm there as its users do - a secret, a document in a folder of a manager,
`docker stack deploy` - asks the operator how it is, and finds the container of a member wherever it runs.

Everything goes through the docker client and the lab's own verbs, as a person's hands would.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pgswarm import settings
from pgswarm.drill.ledger import Target
from pgswarm.drill.warm import Cold, Warm
from pgswarm.errors import Failure

TOP = Path(__file__).resolve().parents[3]
STACK = "pgswarm"
OWNER_SECRET = "pgswarm-drill-owner"

LOOK = 0.3
"""Seconds between two looks at what is waited for, at least."""

T = TypeVar("T")


class Broken(Failure):
    """The stage could not be set, or did not come to where it should; the text says what it looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One running container and the node that it is on."""

    node: int
    id: str


class Stage:
    """A Swarm with pgswarm on it; see `LabStage` and `CurrentStage`."""

    nodes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._warm: dict[int, Warm] = {}

    def client(self, node: int) -> tuple[list[str], Mapping[str, str]]:
        """The docker client of a node's engine: its words, and what its environment must say."""
        raise NotImplementedError

    def docker(self, *words: str, node: int = 1, text: str | None = None, deadline: float = 120) -> str:
        """Run the docker client against one node's engine; its output. Raises Broken."""
        raise NotImplementedError

    def docker_all(self, *words: str, node: int = 1, deadline: float = 120) -> str:
        """Run the docker client; its output and its errors together, as `docker logs` gives them."""
        raise NotImplementedError

    def write_document(self, text: str) -> None:
        """Put the document where the operator looks, in one step, as an editor does."""
        raise NotImplementedError

    def install(self) -> None:
        """The secret and the stack, as README says."""
        if settings.CONTROL_SECRET not in self.docker("secret", "ls", "--format", "{{.Name}}").split():
            self.docker("secret", "create", settings.CONTROL_SECRET, "-", text=secrets.token_hex(32))
        stack = (TOP / "stack" / "pgswarm.yml").read_text()
        self.docker("stack", "deploy", "--detach=true", "-c", "-", STACK, text=stack)

    def clusters(self) -> tuple[str, ...]:
        """Every cluster that has a service or a record here."""
        shown = f'{{{{index .Spec.Labels "{settings.LABEL_CLUSTER}"}}}}'
        there = self.docker("service", "ls", "--quiet", "--filter", f"label={settings.LABEL_CLUSTER}").split()
        rows = self.docker("service", "inspect", "--format", shown, *there).split() if there else []
        records = self.docker("config", "ls", "--format", "{{.Name}}").split()
        rows += [name.removeprefix("pgswarm.") for name in records if name.startswith("pgswarm.")]
        return tuple(sorted(set(rows)))

    def uninstall(self, *clusters: str) -> None:
        """Everything of pgswarm and of these clusters, their volumes too; what it stands on goes only with the last."""
        if f"{STACK}_operator" in self._services():
            self.docker("service", "rm", f"{STACK}_operator")
        # It goes on for some seconds, and makes again what is removed meanwhile; one about to start is not seen.
        wait_for(lambda: True if not self.operators() else None, "no operator runs", 120)
        wait_for(functools.partial(self._removed, clusters), "no service of theirs, and no stack", 120)
        for cluster in clusters:
            self._forget(cluster)

    def _services(self) -> list[str]:
        return self.docker("service", "ls", "--format", "{{.Name}}").split()

    def _removed(self, clusters: tuple[str, ...]) -> bool:
        """Remove the clusters' services, then the stack, whose network nobody may use any more. Raises Broken."""
        for name in self._services():
            if name.startswith(tuple(f"{cluster}_" for cluster in clusters)):
                self.docker("service", "rm", name)
        self.docker("stack", "rm", STACK)
        return True

    def _forget(self, cluster: str) -> None:
        """A cluster's volumes, its record and its secrets."""
        for node in range(1, len(self.nodes) + 1):
            what = f"no container or volume left on node {node}"
            wait_for(functools.partial(self._emptied, cluster, node), what, 120)
        for kind, name in (
            ("config", f"pgswarm.{cluster}"),
            ("secret", f"{cluster}-owner"),
            ("secret", f"{cluster}-replication"),
        ):
            if name in self.docker(kind, "ls", "--format", "{{.Name}}").split():
                self.docker(kind, "rm", name)

    def _emptied(self, cluster: str, node: int) -> bool | None:
        """Remove the cluster's volumes on a node; True once none is left."""
        label = f"label={settings.LABEL_CLUSTER}={cluster}"
        volumes = self.docker("volume", "ls", "-q", "--filter", label, node=node).split()
        if volumes:
            self.docker("volume", "rm", *volumes, node=node)
        return True if not volumes else None

    def owner_password(self) -> str:
        """A password that the client may know: put into a Swarm secret that the document names."""
        password = secrets.token_urlsafe(18)
        if OWNER_SECRET in self.docker("secret", "ls", "--format", "{{.Name}}").split():
            self.docker("secret", "rm", OWNER_SECRET)
        self.docker("secret", "create", OWNER_SECRET, "-", text=password)
        return password

    def target(self, password: str, port: int, database: str, user: str) -> Target:
        return Target(hosts=self.hosts, port=port, database=database, user=user, password=password)

    def operators(self) -> list[Container]:
        """Every running container of the operator, on all nodes that answer."""
        found = []
        for node in range(1, len(self.nodes) + 1):
            rows = self.docker("ps", "-q", "--filter", _of(f"{STACK}_operator"), node=node, deadline=10).split()
            found += [Container(node=node, id=row) for row in rows]
        return found

    def pgswarm(self, *words: str, deadline: float = 30, node: int | None = None) -> str:
        """Run a verb of the command line in an operator's container: on the first node that has one, or on `node`."""
        reasons = []
        for one in range(1, len(self.nodes) + 1) if node is None else [node]:
            try:
                found = self.docker(
                    "ps",
                    "-q",
                    "--filter",
                    f"label=com.docker.swarm.service.name={STACK}_operator",
                    node=one,
                    deadline=10,
                ).split()
                if found:
                    return self.docker("exec", found[0], "pgswarm", *words, node=one, deadline=deadline)
            except Broken as broken:
                reasons.append(broken.reason)
        raise Broken(f"no operator runs: {'; '.join(reasons) or 'no container of it on any node'}")

    def status(self, cluster: str, node: int | None = None) -> dict[str, Any]:
        """The status tree of one cluster; as seen from `node`, if another one is cut off and knows no better."""
        reasons = []
        for one in range(1, len(self.nodes) + 1) if node is None else [node]:
            was_warm = one in self._warm
            try:
                try:
                    answer = json.loads(self._look(one))
                except Cold:
                    if not was_warm:
                        raise
                    answer = json.loads(self._look(one))  # its operator has been replaced meanwhile
                break
            except (Broken, Cold) as broken:
                reasons.append(broken.reason)
        else:
            raise Broken(f"no operator answers: {'; '.join(reasons)}")
        for one in answer:
            if one["cluster"] == cluster:
                return dict(one)
        raise Broken(f"the operator knows no cluster {cluster}: {answer}")

    def _look(self, node: int) -> str:
        """What `pgswarm status -o json` prints on a node. Raises Broken, or Cold if its operator went meanwhile."""
        if node not in self._warm:
            found = self.docker("ps", "-q", "--filter", _of(f"{STACK}_operator"), node=node, deadline=10).split()
            if not found:
                raise Broken(f"no container of it on node {node}")
            self._warm[node] = Warm(*self.client(node), found[0])
        try:
            return self._warm[node].ask("status", "-o", "json", deadline=20)
        except Cold:
            if (gone := self._warm.pop(node, None)) is not None:
                gone.end()
            raise
        except Failure as failure:
            raise Broken(failure.reason) from failure

    def wait_healthy(self, cluster: str, members: int, deadline: float = 180) -> dict[str, Any]:
        """Wait until the cluster is at rest, with that many members counted in its claim."""

        def look() -> dict[str, Any] | None:
            status = self.status(cluster)
            counted = sum(1 for member in status["members"] if member["counted"])
            return status if status["healthy"] and counted == members else None

        return wait_for(
            look, f"{cluster} at rest with {members} counted members", deadline, lambda: self.picture(cluster)
        )

    def container(self, service: str) -> Container:
        """The running container of a service, on whichever node. Raises Broken if there is none."""
        for node in range(1, len(self.nodes) + 1):
            try:
                found = self.docker(
                    "ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}", node=node, deadline=10
                ).split()
            except Broken:
                continue
            if found:
                return Container(node=node, id=found[0])
        raise Broken(f"no container of {service} runs anywhere")

    def node_of(self, member: str, status: Mapping[str, Any]) -> int:
        """The number of the node that a member lives on."""
        name = next(one["node"] for one in status["members"] if one["name"] == member)
        return self.nodes.index(name) + 1

    def picture(self, cluster: str) -> str:
        """Everything that helps to see why something did not happen."""
        parts = []
        for verb in ("status", "plan"):
            try:
                parts.append(self.pgswarm(verb))
            except Failure as failure:
                parts.append(failure.reason)
        for kind in ("node", "service"):
            try:
                parts.append(self.docker(kind, "ls", deadline=10))
            except Failure as failure:
                parts.append(failure.reason)
        try:
            names = self.docker("service", "ls", "--format", "{{.Name}}", deadline=10).split()
            for name in names:
                if name.startswith((f"{cluster}_", f"{STACK}_")):
                    parts.append(self.docker("service", "ps", "--no-trunc", name, deadline=10))
        except Failure as failure:
            parts.append(failure.reason)
        return "\n".join(parts)


class LabStage(Stage):
    """The nodes of `stack/lab`."""

    def __init__(self) -> None:
        super().__init__()
        rows = [line.split() for line in self.lab("status").splitlines() if line.startswith("node") or "10." in line]
        found = [row for row in rows if len(row) > 2 and row[1].count(".") == 3 and ":" not in row[1]]
        self.nodes = tuple(row[0] for row in found)
        self.hosts = tuple(row[1] for row in found)
        self.environment = {"PGSWARM_REGISTRY": f"{self.socket(1)['PGSWARM_REGISTRY']}/"}
        self._clients: dict[int, tuple[list[str], dict[str, str]]] = {}

    def lab(self, *words: str, text: str | None = None, deadline: float = 900) -> str:
        """Run one verb of the lab; its output. Raises Broken."""
        return run([str(TOP / "stack" / "lab" / "lab"), *words], text=text, deadline=deadline, environment=None)

    def docker(self, *words: str, node: int = 1, text: str | None = None, deadline: float = 120) -> str:
        command, environment = self.client(node)
        return run([*command, *words], text=text, deadline=deadline, environment=environment)

    def docker_all(self, *words: str, node: int = 1, deadline: float = 120) -> str:
        command, environment = self.client(node)
        command = ["sh", "-c", 'exec "$@" 2>&1', "sh", *command]
        return run([*command, *words], text=None, deadline=deadline, environment=environment)

    def client(self, node: int) -> tuple[list[str], Mapping[str, str]]:
        """The client to a node's engine: the machine's own, which spares each call a start of the lab's program."""
        if node not in self._clients:
            if shutil.which("docker") is None:
                command, where = [str(TOP / "stack" / "lab" / "lab"), "docker", str(node), "--"], {}
            else:
                command, where = ["docker"], {"DOCKER_HOST": self.socket(node)["DOCKER_HOST"]}
            self._clients[node] = (command, {**self.environment, **where})
        return self._clients[node]

    def socket(self, node: int) -> dict[str, str]:
        """The variables that point a docker client of this machine to one node's engine."""
        lines = [line.removeprefix("export ") for line in self.lab("env", str(node)).splitlines() if "=" in line]
        return dict(line.split("=", 1) for line in lines)

    def write_document(self, text: str) -> None:
        script = "mkdir -p /etc/pgswarm && cat > /etc/pgswarm/.new && mv /etc/pgswarm/.new /etc/pgswarm/main.yaml"
        self.lab("exec", "1", "--", "sh", "-c", script, text=text)


class CurrentStage(Stage):
    """The engine that this shell talks to, as a Swarm of one node."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.environment = {"PGSWARM_DOCUMENTS": str(folder), "PGSWARM_DOCUMENTS_MOUNT": str(folder.parent)}
        state = self.docker("info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}").split()
        if state != ["active", "true"]:
            raise Broken("this engine is not a Swarm manager: run `docker swarm init`, then try again")
        self.nodes = (self.docker("info", "--format", "{{.Name}}").strip(),)
        self.hosts = (self.docker("info", "--format", "{{.Swarm.NodeAddr}}").strip() or "127.0.0.1",)

    def docker(self, *words: str, node: int = 1, text: str | None = None, deadline: float = 120) -> str:
        return run(["docker", *words], text=text, deadline=deadline, environment=self.environment)

    def client(self, node: int) -> tuple[list[str], Mapping[str, str]]:
        return ["docker"], self.environment

    def docker_all(self, *words: str, node: int = 1, deadline: float = 120) -> str:
        command = ["sh", "-c", 'exec "$@" 2>&1', "sh", "docker"]
        return run([*command, *words], text=None, deadline=deadline, environment=self.environment)

    def write_document(self, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / ".new"
        new.write_text(text)
        new.rename(self._folder / "main.yaml")


def _of(service: str) -> str:
    return f"label=com.docker.swarm.service.name={service}"


def wait_for(
    look: Callable[[], T | None],
    what: str,
    deadline: float,
    picture: Callable[[], str] = lambda: "",
    every: float | None = None,
) -> T:
    """Look until something is there; what it is. Raises Broken with a picture of everything after the deadline.

    Between two looks `every` seconds pass; if it is None, as many as the last look took, so that three who wait at once
    leave half of a busy machine to what they wait for.
    """
    began = time.monotonic()
    last = ""
    while True:
        looked = time.monotonic()
        try:
            found = look()
        except Broken as broken:
            found, last = None, broken.reason
        if found is not None:
            return found
        if time.monotonic() - began > deadline:
            raise Broken(f"not within {deadline:.0f} s: {what}\n{last}\n{picture()}")
        _pause(max(LOOK, time.monotonic() - looked) if every is None else every)


def run(command: list[str], *, text: str | None, deadline: float, environment: Mapping[str, str] | None) -> str:
    """Run a program with a deadline; its standard output. Raises Broken with what it said."""
    try:
        done = subprocess.run(
            command,
            input=text if text is not None else "",
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as expired:
        raise Broken(f"not within {deadline:.0f} s: the end of {' '.join(command[:8])}") from expired
    except OSError as error:
        raise Broken(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise Broken(f"{' '.join(command[:8])}: exit {done.returncode}: {(done.stdout + done.stderr).strip()[-4000:]}")
    return done.stdout


def _pause(seconds: float) -> None:
    """Between two looks; what is waited for is always a condition."""
    threading.Event().wait(seconds)
