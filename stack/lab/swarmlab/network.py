"""The wires: a switch, a cable to each node, and the cuts.

    machine ── <prefix>-out ══ out ┐
                                   ├ bridge "switch" in the namespace <prefix>-net
    node N ──────────── eth0 ══ nN ┘

The switch lives in a namespace of its own because an engine in the machine's namespace sets its FORWARD policy
to DROP, and bridged frames may have to pass it. The cable of a node is cut at the switch's end, so inside the
node the address stays and packets vanish silently, as when a switch port dies. Between two nodes only, each (one
of them, for a one-way cut) drops what comes from the other before anything else looks at it (table `raw`): that takes
VXLAN, published ports and the control plane alike.

MAC addresses follow from the node's number: a node that comes back after a power cut is known to its neighbours
at once.
"""

from __future__ import annotations

import pathlib
import subprocess

from swarmlab import rooms, talk
from swarmlab.settings import Lab, Node

CHAIN = "PGSWARM-CUT"


def lay(lab: Lab) -> None:
    """The switch and the machine's own cable; what is there stays."""
    space = _space(lab)
    if not pathlib.Path("/run/netns", space).exists():
        talk.run(["ip", "netns", "add", space])
    if not _has_link(lab, "switch"):
        _ip(lab, "link", "add", "switch", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    _ip(lab, "link", "set", "switch", "up")
    if not _has_link(lab, "out"):
        ours = f"{lab.prefix}-out"
        _drop_link(ours)
        talk.run(["ip", "link", "add", ours, "type", "veth", "peer", "name", "out", "netns", space])
        talk.run(["ip", "address", "add", f"{lab.outside}/24", "dev", ours])
        talk.run(["ip", "link", "set", ours, "up"])
    _ip(lab, "link", "set", "out", "master", "switch", "up")


def plug(lab: Lab, node: Node, pid: int) -> None:
    """Give the room of this node its cable, unless it has one, and switch the port on."""
    port = _port(node)
    if not _inside(pid, "ip", "link", "show", "eth0"):
        unplug(lab, node)
        mac = f"02:42:{int(lab.net.split('.')[1]):02x}:{int(lab.net.split('.')[2]):02x}:00:{10 + node.index:02x}"
        _ip(lab, "link", "add", port, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", str(pid))
    for command in (
        f"ip address replace {lab.address(node)}/24 dev eth0",
        "ip link set lo up",
        "ip link set eth0 up",
    ):
        talk.run(["nsenter", f"--net=/proc/{pid}/ns/net", *command.split()])
    _ip(lab, "link", "set", port, "master", "switch", "up")


def unplug(lab: Lab, node: Node) -> None:
    """Take the cable away, both ends. The kernel does the same, later, when the node's last process has died."""
    if _has_link(lab, _port(node)):
        subprocess.run(["ip", "-n", _space(lab), "link", "delete", _port(node)], capture_output=True, check=False)


def cut(lab: Lab, node: Node) -> None:
    if _has_link(lab, _port(node)):
        _ip(lab, "link", "set", _port(node), "down")


def heal(lab: Lab, node: Node) -> None:
    if _has_link(lab, _port(node)):
        _ip(lab, "link", "set", _port(node), "up")


def is_cut(lab: Lab, node: Node) -> bool:
    shown = subprocess.run(
        ["ip", "-n", _space(lab), "-o", "link", "show", _port(node)], capture_output=True, text=True, check=False
    ).stdout
    return ",UP" not in shown.partition(">")[0]


def cut_between(lab: Lab, one: Node, other: Node) -> None:
    cut_oneway(lab, one, other)
    cut_oneway(lab, other, one)


def cut_oneway(lab: Lab, speaker: Node, listener: Node) -> None:
    """The listener hears nothing of the speaker any more; the speaker still hears the listener."""
    room = rooms.of_node(lab, listener.name)
    if room.pid() is None:
        return
    if not talk.works(rooms.inside(room, _tables("-n", "-L", CHAIN))):
        talk.run(rooms.inside(room, _tables("-N", CHAIN)))
        talk.run(rooms.inside(room, _tables("-I", "PREROUTING", "-j", CHAIN)))
    if lab.address(speaker) not in cut_from(room):
        talk.run(rooms.inside(room, _tables("-A", CHAIN, "-s", lab.address(speaker), "-j", "DROP")))


def heal_between(lab: Lab, one: Node, other: Node) -> None:
    for here, there in ((one, other), (other, one)):
        room = rooms.of_node(lab, here.name)
        if room.pid() is not None and lab.address(there) in cut_from(room):
            talk.run(rooms.inside(room, _tables("-D", CHAIN, "-s", lab.address(there), "-j", "DROP")))


def cut_from(room: rooms.Room) -> list[str]:
    """The addresses that this node hears nothing from."""
    shown = subprocess.run(
        rooms.inside(room, _tables("-S", CHAIN)), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    ).stdout
    return [line.split()[3].removesuffix("/32") for line in shown.splitlines() if line.startswith("-A")]


def take_up(lab: Lab) -> None:
    """Remove everything that `lay` made."""
    _drop_link(f"{lab.prefix}-out")
    if pathlib.Path("/run/netns", _space(lab)).exists():
        talk.run(["ip", "netns", "delete", _space(lab)])


def _space(lab: Lab) -> str:
    return f"{lab.prefix}-net"


def _port(node: Node) -> str:
    return f"n{node.index}"


def _ip(lab: Lab, *words: str) -> None:
    talk.run(["ip", "-n", _space(lab), *words])


def _has_link(lab: Lab, name: str) -> bool:
    return talk.works(["ip", "-n", _space(lab), "link", "show", name])


def _inside(pid: int, *words: str) -> bool:
    return talk.works(["nsenter", f"--net=/proc/{pid}/ns/net", *words])


def _drop_link(name: str) -> None:
    if talk.works(["ip", "link", "show", name]):
        talk.run(["ip", "link", "delete", name])


def _tables(*words: str) -> list[str]:
    return ["iptables", "-w", "5", "-t", "raw", *words]
