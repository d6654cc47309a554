"""The checks of the Swarm itself, for `pgswarm doctor`: managers, nodes, engines, clocks, networks, operators."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pgswarm.core.findings import Facts, Finding, bad, good, note, unknown, warn
from pgswarm.core.inspection import Inspection
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.world import Unknown
from pgswarm.settings import CONTROL_NETWORK, CONTROL_SECRET

OLDEST_ENGINE = (20, 10)

CLOCKS_APART = 2.0
"""Seconds between two nodes' clocks from which the times in logs and in history mislead."""

LATE_HEARTBEAT = 10.0
"""Seconds of Swarm's heartbeat; Swarm misses a node after three of them, and replaces a lost container only then."""

OVERHEAD = 50
"""Bytes that VXLAN takes of each packet: an overlay's MTU is so much less than its host's."""


def _quorum(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.view, Unknown):
        yield bad(
            "swarm-quorum",
            f"Swarm cannot be observed: {facts.view.why}",
            "without a Raft leader no failover can be decided",
            "bring the managers back: `docker node ls` on another one",
        )
        return
    managers = [node for node in facts.view.nodes if node.role == "manager"]
    away = [node.name for node in managers if node.reachability == "unreachable" or node.state == "down"]
    if away:
        yield bad(
            "swarm-quorum",
            f"{', '.join(away)} cannot be reached, of {len(managers)} managers",
            "one more loss may leave Swarm without a quorum, and then no failover can be decided",
            "start them, or replace them: `docker node demote`, `docker node rm`, and promote another",
        )
    elif len(managers) < 3:
        yield warn(
            "swarm-quorum",
            f"{len(managers)} manager{'' if len(managers) == 1 else 's'}",
            "while one of them is down nobody can decide a failover; three survive the loss of any one",
            "`docker node promote NODE`, until there are three",
        )
    elif len(managers) % 2 == 0:
        yield note(
            "swarm-quorum",
            f"{len(managers)} managers",
            "an even number survives no more losses than one less",
            "`docker node promote` or `docker node demote` one",
        )
    else:
        yield good("swarm-quorum", f"{len(managers)} managers, all reachable")


def _nodes(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.view, Unknown):
        return
    sick = [node for node in facts.view.nodes if node.state in ("down", "disconnected")]
    for node in sick:
        yield bad(
            "nodes",
            f"{node.name} is {node.state}",
            "what runs there is lost or cut off",
            "start it, or remove it for good: `docker node rm --force NODE`",
        )
    for node in facts.view.nodes:
        if node.availability != "active":
            yield note(
                "nodes",
                f"{node.name} is {'drained' if node.availability == 'drain' else 'paused'}",
                "its members are missed, and nothing new starts there",
                f"`docker node update --availability active {node.name}`",
            )
    if not sick:
        yield good("nodes", f"{len(facts.view.nodes)} nodes are ready")


def _engines(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.view, Unknown):
        return
    engines = {node.name: node.engine for node in facts.view.nodes if node.engine}
    old = {name: engine for name, engine in engines.items() if _version(engine) < OLDEST_ENGINE}
    if old:
        yield bad(
            "engine-version",
            ", ".join(f"{name} has Docker {engine}" for name, engine in sorted(old.items())),
            "pgswarm is made for 20.10 and newer",
            "update Docker there, after `pgswarm maintenance NODE on`",
        )
    elif len({_version(engine) for engine in engines.values()}) > 1:
        yield note(
            "engine-version",
            ", ".join(f"{name}: {engine}" for name, engine in sorted(engines.items())),
            "Swarm works, but what differs between them is hard to find when something goes wrong",
            "update the older ones, a node at a time, after `pgswarm maintenance NODE on`",
        )
    elif engines:
        yield good("engine-version", f"Docker {next(iter(engines.values()))} on every node")


def _heartbeat(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.heartbeat, Unknown):
        yield unknown("heartbeat", f"Swarm's heartbeat is not known: {facts.heartbeat.why}")
    elif facts.heartbeat > LATE_HEARTBEAT:
        yield warn(
            "heartbeat",
            f"Swarm's heartbeat is {facts.heartbeat:g} s",
            "pgswarm finds losses by itself, but Swarm makes up for a lost node only after three of them",
            "`docker swarm update --dispatcher-heartbeat 5s`",
        )
    else:
        yield good("heartbeat", f"Swarm's heartbeat is {facts.heartbeat:g} s")


def _clocks(facts: Facts) -> Iterator[Finding]:
    if not facts.offsets:
        yield unknown("clocks", "no agent has told its time")
        return
    spread = max(facts.offsets.values()) - min(facts.offsets.values())
    worst = max(facts.offsets, key=lambda name: abs(facts.offsets[name]))
    if spread > CLOCKS_APART or abs(facts.offsets[worst]) > CLOCKS_APART:
        yield warn(
            "clocks",
            f"the clock of {worst} is {facts.offsets[worst]:+.1f} s off this manager's",
            "nothing is decided by it, but times in logs, in history and in your tables do not fit together",
            "have every node keep time: `timedatectl set-ntp true`",
        )
    else:
        yield good("clocks", f"the nodes' clocks are within {max(spread, abs(facts.offsets[worst])):.1f} s")


def _networks(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.view, Unknown):
        return
    for name in dict.fromkeys([CONTROL_NETWORK, *(one.spec.router.network for one in _documents(facts))]):
        network = facts.view.network(name)
        if network is None and name in facts.local:
            yield bad(
                "networks",
                f"network {name} is a {facts.local[name]} network of this node alone",
                "it does not reach from node to node, and pgswarm makes no other of that name",
                "name another one in the document: spec.router.network",
            )
        elif network is None:
            yield bad(
                "networks",
                f"there is no network {name}",
                "members, routers and applications meet there",
                "deploy stack/pgswarm.yml, or wait for the operator to make it",
            )
        elif network.driver not in ("overlay", ""):
            yield bad(
                "networks",
                f"network {name} is a {network.driver} network",
                "it does not reach from node to node",
                "name another one in the document: spec.router.network",
            )
        else:
            yield good("networks", f"{name} is there")
    mtus = {name: one.mtus for name, one in facts.inspections.items() if isinstance(one, Inspection)}
    sizes = sorted({size for found in mtus.values() for size in found.values()})
    if len(sizes) > 1 and min(sizes) < max(sizes) - OVERHEAD:
        yield warn(
            "mtu",
            f"interfaces have MTUs of {', '.join(map(str, sizes))} bytes",
            "large packets may vanish between nodes: connections open, and then hang",
            "give the overlay networks the smallest of the hosts' MTUs less 50: --opt com.docker.network.driver.mtu",
        )
    elif sizes:
        yield good("mtu", f"MTU {'/'.join(map(str, sizes))} everywhere")


def _secrets(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.view, Unknown):
        return
    if facts.view.secret(CONTROL_SECRET) is None:
        yield bad(
            "secrets",
            f"there is no Swarm secret {CONTROL_SECRET}",
            "operators, members and routers know each other by it",
            f"`openssl rand -hex 32 | docker secret create {CONTROL_SECRET} -`",
        )
        return
    weak = [
        (name, purpose)
        for name, one in sorted(facts.inspections.items())
        if isinstance(one, Inspection)
        for purpose in one.weak
    ]
    if weak:
        purposes = ", ".join(sorted({f"{purpose} of {name.partition('/')[0]}" for name, purpose in weak}))
        yield bad(
            "secrets",
            f"the password for {purposes} is short or well known",
            "whoever reaches a router can try it",
            "make a Swarm secret with a long random one and name it in the document: spec.postgres.passwords",
        )
    else:
        yield good("secrets", "the secrets are there, and no password looks like a default")


def _operators(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.operators, Unknown):
        yield unknown("operators", f"the operators cannot be counted: {facts.operators.why}")
        return
    managers = 0 if isinstance(facts.view, Unknown) else sum(1 for node in facts.view.nodes if node.role == "manager")
    if facts.operators == 0:
        yield bad(
            "operators",
            "no operator answers",
            "writes go on, but nothing is elected, mended or made",
            "`docker stack deploy -c stack/pgswarm.yml pgswarm`",
        )
    elif facts.operators < managers:
        yield warn(
            "operators",
            f"{facts.operators} of {managers} operators answer",
            "one is enough, and it may be on the node that is lost next",
            "`docker service ps pgswarm_operator`, `pgswarm logs operator`",
        )
    else:
        yield good("operators", f"{facts.operators} operator{'' if facts.operators == 1 else 's'} answer")


def _mistakes(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.document_errors, Unknown):
        yield unknown("documents", f"it is not known whether a document is wrong: {facts.document_errors.why}")
        return
    for text in facts.document_errors:
        yield bad("documents", text, "a wrong document changes nothing: the last good one is in force", "correct it")
    if not facts.document_errors:
        yield good("documents", "no document is wrong")


OF_SWARM: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _quorum, _nodes, _engines, _heartbeat, _clocks, _networks, _secrets, _operators, _mistakes,
)  # fmt: skip


def _documents(facts: Facts) -> list[PostgresCluster]:
    return [world.document for world in facts.worlds.values() if world.document is not None]


def _version(engine: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", engine)
    return (int(found[1]), int(found[2])) if found else (0, 0)
