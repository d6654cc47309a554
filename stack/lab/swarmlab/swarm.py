"""Make one Swarm of the nodes: the first founds it, the others join in their role, labels are set. Again
changes nothing.

Who belongs already is asked of each engine itself (`/info`), so a node that was killed in the middle of its
join is joined by the next `up`. A node that cannot reach its managers yet says "pending" or "error" for some
seconds: that is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarmlab import engine, rooms, talk
from swarmlab.settings import Lab, Node, Shape

SETTLE_WITHIN = 240.0  # seconds; after a restart of all managers Swarm takes up to about 40 to elect
SECOND = 1_000_000_000  # the engine counts nanoseconds


def gather(lab: Lab, shape: Shape) -> None:
    """Every node of the shape is in the Swarm, ready, in its role."""
    first = shape.nodes[0]
    if _state(lab, first) == "inactive":
        talk.say(f"{first.name} founds the Swarm")
        address = lab.address(first)
        engine.ask(
            lab.socket(first),
            "POST",
            "/swarm/init",
            {"ListenAddr": f"{address}:2377", "AdvertiseAddr": address, "Spec": _spec(fast=shape.fast)},
            deadline=engine.ACT_WITHIN,
        )
    _wait_until_active(lab, first)
    for node in shape.nodes[1:]:
        if _state(lab, node) == "inactive":
            _join(lab, first, node)
        _wait_until_active(lab, node)
    talk.until(
        lambda: _ready(lab, first) >= {node.name for node in shape.nodes},
        what="all nodes to be ready in the Swarm",
        deadline=SETTLE_WITHIN,
        show=lambda: f"ready: {sorted(_ready(lab, first))}",
    )


def label(lab: Lab, node: Node, labels: Mapping[str, str]) -> None:
    """Add labels to a node; those it has stay."""
    first = lab.socket(lab.standing().nodes[0])
    for found in engine.ask(first, "GET", "/nodes"):
        if found["Description"]["Hostname"] == node.name:
            spec = found["Spec"]
            if labels.items() <= spec.setdefault("Labels", {}).items():
                return
            spec["Labels"] |= labels
            engine.ask(first, "POST", f"/nodes/{found['ID']}/update?version={found['Version']['Index']}", spec)
            return
    raise talk.LabError(f"{node.name} is not in the Swarm")


def _join(lab: Lab, first: Node, node: Node) -> None:
    talk.say(f"{node.name} joins as a {node.role}")
    tokens = engine.ask(lab.socket(first), "GET", "/swarm")["JoinTokens"]
    address = lab.address(node)
    engine.ask(
        lab.socket(node),
        "POST",
        "/swarm/join",
        {
            "ListenAddr": f"{address}:2377",
            "AdvertiseAddr": address,
            "RemoteAddrs": [f"{lab.address(first)}:2377"],
            "JoinToken": tokens["Manager" if node.role == "manager" else "Worker"],
        },
        deadline=engine.ACT_WITHIN,
    )


def _wait_until_active(lab: Lab, node: Node) -> None:
    def show() -> str:
        return f"it says {_state(lab, node)!r}\n{talk.tail(rooms.of_node(lab, node.name).log('dockerd'))}"

    what = f"{node.name} to be in the Swarm"
    talk.until(lambda: _state(lab, node) == "active", what=what, deadline=SETTLE_WITHIN, show=show)


def _state(lab: Lab, node: Node) -> str:
    try:
        return str(engine.ask(lab.socket(node), "GET", "/info")["Swarm"]["LocalNodeState"])
    except OSError as error:
        return f"silent: {error}"


def _ready(lab: Lab, first: Node) -> set[str]:
    try:
        nodes = engine.ask(lab.socket(first), "GET", "/nodes")
    except (OSError, engine.Refused):  # no leader yet
        return set()
    return {node["Description"]["Hostname"] for node in nodes if node["Status"]["State"] == "ready"}


def _spec(*, fast: bool) -> dict[str, Any]:
    """Swarm's defaults, or a heartbeat of one second: a lost node is then `down` after 2 to 3 s instead of 10 to 14.

    Raft's election cannot be shortened: engine 26.1 knows the option and the daemon.json key by name, and refuses both.
    """
    return {"Dispatcher": {"HeartbeatPeriod": SECOND}} if fast else {}
