"""Documents that are right one by one and wrong together. Pure.

Two clusters cannot have one name, one address that applications connect to, one port on one node, or one volume. Only
what is certain from the documents is refused: whether a named node is a manager is Swarm's knowledge, so a list of
nodes beside `managers` is left to Swarm, which says `port already in use` of the one that comes second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from pgswarm.core.spec import PostgresCluster, RouterSection
from pgswarm.ports.documents_yaml import Path

_PORTS = ("port", "readOnlyPort", "statsPort", "healthPort")


@dataclass(frozen=True, slots=True)
class Side:
    """One document of a clash: which one it is, and the path to look at."""

    index: int
    path: Path


@dataclass(frozen=True, slots=True)
class Clash:
    """Two documents that cannot both be true; the other's name follows the text."""

    one: Side
    other: Side
    text: str


def clashes(clusters: Sequence[PostgresCluster]) -> Iterator[Clash]:
    """Every contradiction between two of these documents."""
    for (i, one), (j, other) in combinations(enumerate(clusters), 2):
        if one.name == other.name:
            path: Path = ("metadata", "name")
            yield Clash(Side(i, path), Side(j, path), f"{one.name!r} is also the name of the cluster")
            continue
        mine, theirs = one.spec.router, other.spec.router
        if mine.name == theirs.name and mine.network == theirs.network:
            path = ("spec", "router", "name")
            text = f"{mine.name} on network {mine.network} is also the address of"
            yield Clash(Side(i, path), Side(j, path), text)
        for my_path, their_path, port in _ports_taken(mine, theirs):
            text = f"port {port} is published on the same nodes by"
            yield Clash(Side(i, ("spec", "router", my_path)), Side(j, ("spec", "router", their_path)), text)
        for my_index, their_index, text in _volumes_taken(one, other):
            yield Clash(
                Side(i, ("spec", "instances", my_index, "volume")),
                Side(j, ("spec", "instances", their_index, "volume")),
                text,
            )


def _ports_taken(one: RouterSection, other: RouterSection) -> Iterator[tuple[str, str, int]]:
    if not (one.publish and other.publish and _share_nodes(one, other)):
        return
    theirs = {port: name for name, port in _ports(other).items()}
    for name, port in _ports(one).items():
        if port in theirs:
            yield name, theirs[port], port


def _ports(router: RouterSection) -> dict[str, int]:
    return dict(zip(_PORTS, (router.port, router.read_only_port, router.stats_port, router.health_port), strict=True))


def _share_nodes(one: RouterSection, other: RouterSection) -> bool:
    if isinstance(one.nodes, list) and isinstance(other.nodes, list):
        return bool(set(one.nodes) & set(other.nodes))
    return one.nodes == other.nodes or "all" in (one.nodes, other.nodes)


def _volumes_taken(one: PostgresCluster, other: PostgresCluster) -> Iterator[tuple[int, int, str]]:
    theirs = {
        (instance.node, instance.volume): index
        for index, instance in enumerate(other.instances())
        if instance.node and instance.volume
    }
    for index, instance in enumerate(one.instances()):
        key = (instance.node, instance.volume)
        if key in theirs:
            yield index, theirs[key], f"volume {instance.volume} on {instance.node} is also a volume of"
