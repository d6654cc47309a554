"""Names, addresses and folders of one lab, and its shape (which nodes it has), kept between two commands.

Everything is derived from a prefix (`PGSWARM_LAB`, default `lab`) and a /24 network (`PGSWARM_LAB_NET`, default
`10.213.7.0`), so that two labs can stand beside each other and `down` can find what an earlier, crashed run
left behind:

    run    /run/pgswarm-lab/<prefix>       sockets, logs, pid files
    data   /var/lib/pgswarm-lab/<prefix>   the nodes' disks, shape.json
    cache  /var/cache/pgswarm-lab          root file systems, build cache, registry; shared by all labs, kept by `down`

The shape lives with the data, not in /run: after a restart of the machine `up` boots the same Swarm again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Literal

from swarmlab import talk

REGISTRY_PORT = 5000
MOST_NODES = 5
Role = Literal["manager", "worker"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    index: int
    name: str
    role: Role


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    nodes: tuple[Node, ...]
    fast: bool

    @staticmethod
    def of(*, names: tuple[str, ...], workers: int, fast: bool) -> Shape:
        if not 1 <= len(names) <= MOST_NODES:
            raise talk.LabError(f"a lab has 1 to {MOST_NODES} nodes, not {len(names)}")
        if not 0 <= workers < len(names):
            raise talk.LabError(f"{workers} workers of {len(names)} nodes: the first node must be a manager")
        if len(set(names)) != len(names):
            raise talk.LabError(f"node names repeat: {', '.join(names)}")
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name) or name == "outside":
                raise talk.LabError(f"{name!r} cannot be a node: small letters, digits, hyphens, not 'outside'")
        roles: list[Role] = ["manager" if i < len(names) - workers else "worker" for i in range(len(names))]
        nodes = (
            Node(index=i, name=name, role=role) for i, (name, role) in enumerate(zip(names, roles, strict=True), 1)
        )
        return Shape(nodes=tuple(nodes), fast=fast)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    prefix: str
    net: str  # the first three numbers of the network, "10.213.7"
    run: pathlib.Path
    data: pathlib.Path
    cache: pathlib.Path

    @property
    def outside(self) -> str:
        """The machine's own address in the lab; the registry listens there."""
        return f"{self.net}.1"

    @property
    def registry(self) -> str:
        return f"{self.outside}:{REGISTRY_PORT}"

    @property
    def going(self) -> pathlib.Path:
        """There while `down` is at work, or was cut short: beside the disks, which go in no order."""
        return self.data.with_name(f"{self.prefix}.going")

    def anew(self, environ: Mapping[str, str]) -> Lab:
        """The same lab when nothing of it stands any more."""
        return from_environment({**environ, "PGSWARM_LAB": self.prefix})

    def address(self, node: Node) -> str:
        return f"{self.net}.{10 + node.index}"

    def socket(self, node: Node) -> pathlib.Path:
        return self.run / node.name / "docker.sock"

    def shape(self) -> Shape | None:
        """The recorded shape, or None when no lab of this prefix stands."""
        try:
            kept = json.loads((self.data / "shape.json").read_text())
        except FileNotFoundError:
            return None
        return Shape(nodes=tuple(Node(**node) for node in kept["nodes"]), fast=kept["fast"])

    def keep(self, shape: Shape) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        fresh = self.data / "shape.json.new"
        fresh.write_text(json.dumps({"net": self.net, **dataclasses.asdict(shape)}, indent=1))
        fresh.rename(self.data / "shape.json")

    def standing(self) -> Shape:
        if self.going.exists():
            raise talk.LabError(
                f"lab {self.prefix!r} is half taken down: `lab down` finishes that, and so does `lab up`"
            )
        shape = self.shape()
        if shape is None:
            raise talk.LabError(f"no lab {self.prefix!r} stands here: run `lab up` first")
        return shape

    def find(self, reference: str) -> Node:
        """A node by number or by name."""
        nodes = self.standing().nodes
        for node in nodes:
            if reference in (node.name, str(node.index)):
                return node
        raise talk.LabError(f"no node {reference!r}; there are {', '.join(f'{n.index} {n.name}' for n in nodes)}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes a lab; the kernel gives the lock back when a command dies."""
        with _lock(self.run.with_name(f"{self.prefix}.lock")):
            yield

    @contextlib.contextmanager
    def cache_locked(self) -> Iterator[None]:
        with _lock(self.cache / "lock"):
            yield


def from_environment(environ: Mapping[str, str]) -> Lab:
    prefix = environ.get("PGSWARM_LAB", "lab")
    if not re.fullmatch(r"[a-z][a-z0-9]{0,9}", prefix):
        raise talk.LabError(f"PGSWARM_LAB={prefix!r}: up to ten small letters and digits (device names are short)")
    data = pathlib.Path("/var/lib/pgswarm-lab") / prefix
    network = _kept_network(data) or environ.get("PGSWARM_LAB_NET", "10.213.7.0")
    try:
        parsed = ipaddress.IPv4Network(f"{network}/24")
    except ValueError as error:
        raise talk.LabError(f"PGSWARM_LAB_NET={network!r}: wanted the first address of a /24 ({error})") from error
    return Lab(
        prefix=prefix,
        net=str(parsed.network_address).rpartition(".")[0],
        run=pathlib.Path("/run/pgswarm-lab") / prefix,
        data=data,
        cache=pathlib.Path(environ.get("PGSWARM_LAB_CACHE", "/var/cache/pgswarm-lab")),
    )


def _kept_network(data: pathlib.Path) -> str | None:
    """A lab that stands keeps its network, so that its prefix is enough to name it."""
    try:
        return f"{json.loads((data / 'shape.json').read_text())['net']}.0"
    except (FileNotFoundError, KeyError):
        return None


@contextlib.contextmanager
def _lock(file: pathlib.Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)  # close-on-exec: no daemon inherits the lock
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            talk.say(f"another lab command is at work ({file}); waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
