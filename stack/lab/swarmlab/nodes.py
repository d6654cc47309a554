"""A node's life: on, off, frozen, thawed, its engine started or killed. Each verb may be said twice.

`kill` is the power cord: first the cable goes dead, then every process of the node dies in one instant. In this
order the peers see what a lost machine shows them, silence, and not the connection resets that a dying process
would still send. With `link_up` they get those resets. The disk stays, so `start` boots the same machine again:
same engine, same place in the Swarm, new container and network namespaces.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from swarmlab import cgroups, engine, network, rooms, talk
from swarmlab.settings import Lab, Node

ENGINE_WITHIN = 180.0  # seconds for a cold start on a loaded machine; two to three are usual
STOP_WITHIN = 90.0  # for an orderly shutdown: containers may use their stop grace


def boot(lab: Lab, node: Node, rootfs: pathlib.Path) -> None:
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
        rooms.start_daemon(room, "dockerd", _dockerd(lab, room))


def wait_for_engine(lab: Lab, node: Node) -> None:
    room = rooms.of_node(lab, node.name)

    def answers() -> bool:
        if engine.answers(lab.socket(node)):
            return True
        if not talk.works(rooms.inside(room, ["pgrep", "-x", "dockerd"])):
            raise talk.LabError(f"{node.name}'s engine ended at once\n{talk.tail(room.log('dockerd'))}")
        return False

    talk.until(
        answers,
        what=f"{node.name}'s engine to answer",
        deadline=ENGINE_WITHIN,
        show=lambda: talk.tail(room.log("dockerd")),
    )


def start(lab: Lab, nodes: Sequence[Node], rootfs: pathlib.Path) -> None:
    for node in nodes:
        boot(lab, node, rootfs)
    for node in nodes:
        wait_for_engine(lab, node)


def kill(lab: Lab, nodes: Sequence[Node], *, link_up: bool = False) -> None:
    if not link_up:
        for node in nodes:
            network.cut(lab, node)
    rooms.shut([rooms.of_node(lab, node.name) for node in nodes])
    for node in nodes:
        network.unplug(lab, node)


def kill_engine(lab: Lab, node: Node) -> None:
    """SIGKILL to dockerd alone. Its containerd dies with it; the containers go on."""
    room = rooms.of_node(lab, node.name)
    talk.works(rooms.inside(room, ["pkill", "-KILL", "-x", "dockerd"]))
    talk.until(
        lambda: not talk.works(rooms.inside(room, ["pgrep", "-x", "dockerd"])), what="the death of dockerd", deadline=10
    )


def stop(lab: Lab, nodes: Sequence[Node]) -> None:
    """An orderly shutdown: the engines stop their containers, then the machines go off."""
    on = [room for room in (rooms.of_node(lab, node.name) for node in nodes) if room.pid() is not None]
    for room in on:
        talk.works(rooms.inside(room, ["pkill", "-TERM", "-x", "dockerd"]))
    talk.until(
        lambda: not any(talk.works(rooms.inside(room, ["pgrep", "-x", "dockerd"])) for room in on),
        what="the engines to stop",
        deadline=STOP_WITHIN,
        show=lambda: "\n".join(talk.tail(room.log("dockerd")) for room in on),
    )
    kill(lab, nodes)


def freeze(lab: Lab, node: Node) -> None:
    """Every process stands still; the kernel still answers pings and accepts connections, as with a hung machine."""
    room = rooms.of_node(lab, node.name)
    if room.pid() is None:
        raise talk.LabError(f"{node.name} is off: nothing to freeze")
    cgroups.freeze(room.group, frozen=True)


def thaw(lab: Lab, node: Node) -> None:
    cgroups.freeze(rooms.of_node(lab, node.name).group, frozen=False)


def _dockerd(lab: Lab, room: rooms.Room) -> list[str]:
    return [
        "dockerd",
        "--host=unix:///run/docker.sock",  # where stack files expect it; /var/run is /run
        "--host=unix:///outside/docker.sock",
        f"--insecure-registry={lab.registry}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--cgroup-parent=/{cgroups.TOP}/{room.group}/containers",
        "--storage-driver=overlay2",
    ]
