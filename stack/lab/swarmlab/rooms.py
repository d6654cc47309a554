"""A room: namespaces, a disk and a first process. A node is a room with a network of its own; `outside` is one
without.

    unshare --net --mount --uts --ipc --pid --fork boot.sh …        (in the room's control group)
        └─ tini, the room's pid 1
             ├─ dockerd ─ containerd
             └─ containerd-shim ─ the containers

The pid namespace is what makes `kill` honest: when its first process dies, the kernel kills everything else in
it in the same instant, containers included, and mounts, network devices and addresses disappear with the last
process. So a power cut needs no list of processes, and a crash of the lab leaves processes (found by control
group) but no mounts.

`outside` shares the machine's network: the registry and the builder live there.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
from collections.abc import Sequence

from swarmlab import cgroups, talk
from swarmlab.settings import Lab

BOOT = pathlib.Path(__file__).with_name("boot.sh")
BOOT_WITHIN = 20.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENTER = 'for f in $1; do echo $$ >"$f"; done; shift; exec "$@"'  # join the control group, then become the command


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    name: str
    group: str  # below the lab's top group
    disk: pathlib.Path
    seen: pathlib.Path  # /outside in the room
    own_network: bool
    binds: tuple[tuple[pathlib.Path, str], ...]

    def pid(self) -> int | None:
        """The first process, as the machine numbers it; None when the room is dark."""
        try:
            pid = int((self.seen / "init.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if pid in cgroups.processes(f"{self.group}/init") else None

    def log(self, daemon: str) -> pathlib.Path:
        return self.seen / f"{daemon}.log"


def of_node(lab: Lab, name: str) -> Room:
    return Room(
        name=name,
        group=f"{lab.prefix}/{name}",
        disk=lab.data / name,
        seen=lab.run / name,
        own_network=True,
        binds=(
            (lab.data / name / "docker", "/var/lib/docker"),
        ),  # a real folder: overlay2 does not stack on an overlay
    )


def outside(lab: Lab) -> Room:
    return Room(
        name="outside",
        group=f"{lab.prefix}/outside",
        disk=lab.data / "outside",
        seen=lab.run / "outside",
        own_network=False,
        binds=((lab.cache, "/cache"),),
    )


def open_up(room: Room, engine: pathlib.Path) -> int:
    """Boot the room unless it is open; return its first process."""
    pid = room.pid()
    if pid is not None:
        return pid
    cgroups.end(room.group)  # half a boot that somebody interrupted
    cgroups.create(f"{room.group}/init")
    room.disk.mkdir(parents=True, exist_ok=True)
    room.seen.mkdir(parents=True, exist_ok=True)
    (room.seen / "init.pid").unlink(missing_ok=True)
    own = ["--net"] if room.own_network else []
    binds = [f"{here}:{there}" for here, there in room.binds]
    resolver = "no" if room.own_network else "yes"
    boot = ["sh", str(BOOT), str(engine), str(room.disk), str(room.seen), room.name, resolver, *binds]
    argv = ["unshare", *own, "--mount", "--uts", "--ipc", "--pid", "--fork", "--", *boot]
    with room.log("boot").open("ab") as log:
        first = subprocess.Popen(
            in_group(f"{room.group}/init", argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"},
        )

    def is_open() -> bool:
        if first.poll() is not None:
            raise talk.LabError(f"{room.name} did not boot\n{talk.tail(room.log('boot'))}")
        return room.pid() is not None

    talk.until(is_open, what=f"{room.name} to boot", deadline=BOOT_WITHIN, show=lambda: talk.tail(room.log("boot")))
    pid = room.pid()
    assert pid is not None
    return pid


def shut(rooms: Sequence[Room]) -> None:
    """End everything in these rooms at once, their namespaces with it; the disks stay."""
    for room in rooms:
        pid = room.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
    for room in rooms:
        cgroups.end(room.group)
        for file in room.seen.glob("*"):
            if file.is_socket() or file.name == "init.pid":
                file.unlink()


def inside(room: Room, argv: Sequence[str], *, environment: Sequence[str] = (), group: str | None = None) -> list[str]:
    """The command line that runs `argv` as a process of the room (in another control group, if one is named)."""
    pid = room.pid()
    if pid is None:
        raise talk.LabError(f"{room.name} is off: `lab start {room.name}` first")
    if cgroups.temperature(room.group) == "frozen":
        raise talk.LabError(f"{room.name} is frozen, nothing can run there: `lab thaw {room.name}` first")
    spaces = ["--net"] if room.own_network else []
    enter = ["nsenter", f"--target={pid}", *spaces, "--mount", "--uts", "--ipc", "--pid", "--"]
    clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", *environment]
    return in_group(f"{group or room.group}/init", [*enter, *clean, *argv])


def start_daemon(room: Room, name: str, argv: Sequence[str], *, group: str | None = None) -> None:
    """Start a long-running process: a child of the room's first process, with a log in the folder `seen`."""
    line = 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null'
    daemon = ["setsid", "--fork", "sh", "-c", line, "sh", f"/outside/{name}.log", *argv]
    talk.run(inside(room, daemon, group=group), name=f"start of {name}")


def in_group(group: str, argv: Sequence[str]) -> list[str]:
    return ["sh", "-c", ENTER, "sh", " ".join(cgroups.entrance(group)), *argv]
