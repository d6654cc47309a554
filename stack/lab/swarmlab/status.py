"""One table of what is true now: each node as the machine sees it, as its engine sees it, and as the Swarm sees
it."""

from __future__ import annotations

import concurrent.futures
import dataclasses

from swarmlab import cgroups, engine, network, rooms
from swarmlab.settings import Lab, Node

ASK_FOR = 2.0  # seconds; a manager without quorum would keep us waiting for twenty


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    node: str
    address: str
    power: str
    link: str
    engine: str
    swarm: str
    seen: str = "-"  # by the first manager that answers

    def cells(self) -> tuple[str, ...]:
        return dataclasses.astuple(self)


HEAD = Row(
    node="NODE", address="ADDRESS", power="POWER", link="LINK", engine="ENGINE", swarm="SWARM", seen="SEEN BY SWARM AS"
)


def table(lab: Lab) -> str:
    nodes = lab.standing().nodes
    with concurrent.futures.ThreadPoolExecutor(len(nodes)) as threads:
        rows = list(threads.map(lambda node: _row(lab, node), nodes))
    views = _views(lab, nodes)
    rows = [HEAD, *(dataclasses.replace(row, seen=views.get(row.node, "-")) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*(row.cells() for row in rows), strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row.cells(), widths, strict=True)] for row in rows)
    lines = ["  ".join(cells).rstrip() for cells in padded]
    registry = "up" if rooms.outside(lab).pid() is not None else "off"
    return "\n".join([*lines, "", f"registry {lab.registry} {registry}   run {lab.run}   data {lab.data}"])


def _row(lab: Lab, node: Node) -> Row:
    room = rooms.of_node(lab, node.name)
    address = lab.address(node)
    if room.pid() is None:
        return Row(node=node.name, address=address, power="off", link="-", engine="-", swarm="-")
    link = "cut" if network.is_cut(lab, node) else "up"
    if cgroups.temperature(room.group) == "frozen":
        return Row(node=node.name, address=address, power="frozen", link=link, engine="-", swarm="-")
    deaf = network.cut_from(room)
    if deaf:
        names = {lab.address(other): other.name for other in lab.standing().nodes}
        link += ", not with " + ", ".join(names.get(address, address) for address in deaf)
    try:
        said = engine.ask(lab.socket(node), "GET", "/info", deadline=ASK_FOR)
        running = len(engine.ask(lab.socket(node), "GET", "/containers/json", deadline=ASK_FOR))
    except (OSError, engine.Refused):
        return Row(node=node.name, address=address, power="on", link=link, engine="silent", swarm="-")
    role = "manager" if said["Swarm"]["ControlAvailable"] else "worker"
    state = said["Swarm"]["LocalNodeState"]
    return Row(
        node=node.name,
        address=address,
        power="on",
        link=link,
        engine=f"{said['ServerVersion']}, {running} running",
        swarm=f"{state} {role}" if state == "active" else state,
    )


def _views(lab: Lab, nodes: tuple[Node, ...]) -> dict[str, str]:
    for node in nodes:
        room = rooms.of_node(lab, node.name)
        if node.role == "worker" or room.pid() is None or cgroups.temperature(room.group) == "frozen":
            continue
        try:
            found = engine.ask(lab.socket(node), "GET", "/nodes", deadline=ASK_FOR)
        except (OSError, engine.Refused):
            continue
        return {each["Description"]["Hostname"]: _view(each) for each in found}
    return {}


def _view(node: dict[str, dict[str, object]]) -> str:
    manager = node.get("ManagerStatus", {})
    words = [str(node["Status"]["State"]), str(node["Spec"]["Availability"])]
    if manager:
        words.append("leader" if manager.get("Leader") else str(manager.get("Reachability")))
    return " ".join(words)
