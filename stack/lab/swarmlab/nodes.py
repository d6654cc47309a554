"""A node's life: on, off, frozen, thawed, its engine started or killed. Each verb may be said twice.

`kill` is the power cord: first the cable goes dead, then every process of the node dies in one instant. In this
order the peers see what a lost machine shows them, silence, and not the connection resets that a dying process
would still send. With `link_up` they get those resets. The disk stays, so `start` boots the same machine again:
same engine, same place in the Swarm, new container and network namespaces.
"""

from __future__ import annotations

import pathlib

from swarmlab import cgroups, engine, network, rooms, talk
from swarmlab.settings import Lab, Node

ENGINE_WITHIN = 60.0  # seconds for a cold start on a loaded machine; two to three are usual
STOP_WITHIN = 90.0  # for an orderly shutdown: containers may use their stop grace
RAFT_TICKS = (
    "--swarm-raft-heartbeat-tick=1",
    "--swarm-raft-election-tick=3",
)  # hidden options; Swarm's own are 1 and 10


def boot(lab: Lab, node: Node, rootfs: pathlib.Path, *, fast: bool) -> None:
    """Room, cable, engine process; does not wait for the engine, so that several nodes boot side by side."""
    room = rooms.of_node(lab, node.name)
    if cgroups.temperature(room.group) == "frozen":
        cgroups.freeze(room.group, frozen=False)
    was_off = room.pid() is None
    pid = rooms.open_up(room, rootfs)
    network.plug(lab, node, pid)
    if was_off or not talk.works(rooms.inside(room, ["pgrep", "-x", "dockerd"])):
        talk.run(rooms.inside(room, ["rm", "-f", "/run/docker.pid"]))  # its owner is dead, and its number may be reused
        lab.socket(node).unlink(missing_ok=True)
        rooms.start_daemon(room, "dockerd", _dockerd(lab, room, fast=fast))


def wait_for_engine(lab: Lab, node: Node) -> None:
    log = rooms.of_node(lab, node.name).log("dockerd")
    talk.until(
        lambda: engine.answers(lab.socket(node)),
        what=f"{node.name}'s engine to answer",
        deadline=ENGINE_WITHIN,
        show=lambda: talk.tail(log),
    )


def start(lab: Lab, node: Node, rootfs: pathlib.Path, *, fast: bool) -> None:
    boot(lab, node, rootfs, fast=fast)
    wait_for_engine(lab, node)


def kill(lab: Lab, node: Node, *, link_up: bool = False) -> None:
    if not link_up:
        network.cut(lab, node)
    rooms.shut(rooms.of_node(lab, node.name))
    network.unplug(lab, node)


def kill_engine(lab: Lab, node: Node) -> None:
    """SIGKILL to dockerd alone. Its containerd dies with it; the containers go on."""
    room = rooms.of_node(lab, node.name)
    talk.works(rooms.inside(room, ["pkill", "-KILL", "-x", "dockerd"]))
    talk.until(
        lambda: not talk.works(rooms.inside(room, ["pgrep", "-x", "dockerd"])), what="the death of dockerd", deadline=10
    )


def stop(lab: Lab, node: Node) -> None:
    """An orderly shutdown: the engine stops its containers, then the machine goes off."""
    room = rooms.of_node(lab, node.name)
    if room.pid() is not None:
        talk.works(rooms.inside(room, ["pkill", "-TERM", "-x", "dockerd"]))
        talk.until(
            lambda: not talk.works(rooms.inside(room, ["pgrep", "-x", "dockerd"])),
            what=f"{node.name}'s engine to stop",
            deadline=STOP_WITHIN,
            show=lambda: talk.tail(room.log("dockerd")),
        )
    kill(lab, node)


def freeze(lab: Lab, node: Node) -> None:
    """Every process stands still; the kernel still answers pings and accepts connections, as with a hung machine."""
    room = rooms.of_node(lab, node.name)
    if room.pid() is None:
        raise talk.LabError(f"{node.name} is off: nothing to freeze")
    cgroups.freeze(room.group, frozen=True)


def thaw(lab: Lab, node: Node) -> None:
    cgroups.freeze(rooms.of_node(lab, node.name).group, frozen=False)


def _dockerd(lab: Lab, room: rooms.Room, *, fast: bool) -> list[str]:
    return [
        "dockerd",
        "--host=unix:///run/docker.sock",  # where stack files expect it; /var/run is /run
        "--host=unix:///outside/docker.sock",
        f"--insecure-registry={lab.registry}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--cgroup-parent=/{cgroups.TOP}/{room.group}/containers",
        "--storage-driver=overlay2",
        *(RAFT_TICKS if fast else ()),
    ]
