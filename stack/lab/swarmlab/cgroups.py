"""Which process belongs to which node: the answer is the control group it was born in, and nothing else.

Every process of the lab is started inside `/pgswarm-lab/<prefix>/<room>/init`, and each engine puts its
containers under `/pgswarm-lab/<prefix>/<room>/containers`. A process cannot leave by forking, so membership
finds the whole of a node (also after the lab's own script was killed half-way) and never a process that
somebody else started: no matching of names, no trust in pid files. The same group freezes a node.

Both layouts work: version 1 (one tree per controller, plus possibly an empty unified one) and version 2 (one
tree, in which processes live in leaves only: hence `init` beside `containers`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import signal
from collections.abc import Iterator
from typing import Literal

from swarmlab import talk

TOP = "pgswarm-lab"
FREEZE_WITHIN = 60.0  # seconds; a process in an uninterruptible wait delays it
DIE_WITHIN = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    root: pathlib.Path
    version: int
    controllers: frozenset[str]


@functools.cache
def hierarchies() -> tuple[Hierarchy, ...]:
    """Every mounted control group tree of this machine."""
    found: dict[str, Hierarchy] = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind not in ("cgroup", "cgroup2") or fields[3] != "/":
            continue
        root = pathlib.Path(fields[4])
        controllers = options.split(",")
        if kind == "cgroup2":
            controllers = (root / "cgroup.controllers").read_text().split()
        found.setdefault(
            fields[2], Hierarchy(root=root, version=1 if kind == "cgroup" else 2, controllers=frozenset(controllers))
        )
    if not found:
        raise talk.LabError("no control groups are mounted under /sys/fs/cgroup; Docker cannot run here")
    return tuple(found.values())


def create(group: str) -> None:
    """Make the group in every tree, ready to take processes."""
    for tree in hierarchies():
        folder = tree.root
        for part in (TOP, *group.split("/")):
            if tree.version == 2:
                _delegate(folder)
            folder = folder / part
            folder.mkdir(exist_ok=True)
            if "cpuset" in tree.controllers and tree.version == 1:
                for file in ("cpuset.cpus", "cpuset.mems"):  # a new version-1 cpuset is empty and takes nobody
                    (folder / file).write_text((folder.parent / file).read_text())


def entrance(group: str) -> list[str]:
    """The `cgroup.procs` files through which a process enters the group; for use in a shell line."""
    return [str(folder / "cgroup.procs") for folder in _folders(group)]


def processes(group: str) -> set[int]:
    """All processes in the group and below, in any tree."""
    found: set[int] = set()
    for folder in _folders(group):
        for below in _with_all_below(folder):
            try:
                found.update(int(pid) for pid in (below / "cgroup.procs").read_text().split())
            except OSError:  # the group went away, or is a threaded one, between the look and the read
                continue
    return found - {os.getpid()}


def children(group: str) -> set[str]:
    return {
        name for folder in _folders(group) for _, names, _ in itertools.islice(os.walk(folder), 1) for name in names
    }


def freeze(group: str, *, frozen: bool) -> None:
    """Stop or resume every process at once; returns when the kernel says that it is so."""
    for folder, tree in _freezers(group):
        if tree.version == 1:
            (folder / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        else:
            (folder / "cgroup.freeze").write_text("1" if frozen else "0")
    wanted = "frozen" if frozen else "thawed"
    talk.until(lambda: temperature(group) in (wanted, "absent"), what=f"{group} {wanted}", deadline=FREEZE_WITHIN)


def temperature(group: str) -> Literal["frozen", "freezing", "thawed", "absent"]:
    for folder, tree in _freezers(group):
        if tree.version == 1:
            match (folder / "freezer.state").read_text().strip():
                case "FROZEN":
                    return "frozen"
                case "FREEZING":
                    return "freezing"
            return "thawed"
        return "frozen" if "frozen 1" in (folder / "cgroup.events").read_text() else "thawed"
    return "absent"


def end(group: str) -> None:
    """Kill whatever lives in the group and remove it. Nothing there is fine too."""

    def alive() -> bool:
        for pid in processes(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _thaw(group)  # version 1 delivers the kill only when the group thaws
        return bool(processes(group))

    def gone() -> bool:
        return not alive() and _removed(group)

    talk.until(gone, what=f"the end of all processes in {group}", deadline=DIE_WITHIN, show=lambda: _survivors(group))
    for tree in hierarchies():
        _rmdir(tree.root / TOP)  # goes with the last lab


def _thaw(group: str) -> None:
    """The group, if it is frozen, and each container in it that the engine has paused."""
    if temperature(group) in ("frozen", "freezing"):
        freeze(group, frozen=False)
    for folder, tree in _freezers(group):
        name, word = ("freezer.state", "THAWED") if tree.version == 1 else ("cgroup.freeze", "0")
        for below in _with_all_below(folder):
            with contextlib.suppress(OSError):  # has no freezer, or was removed meanwhile
                (below / name).write_text(word)


def _removed(group: str) -> bool:
    for folder in _folders(group):
        for below in sorted(_with_all_below(folder), reverse=True):
            _rmdir(below)
    return not _folders(group)


def _rmdir(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):  # still busy for a moment after the last process's death; the caller looks again
        folder.rmdir()


def _survivors(group: str) -> str:
    lines = []
    for pid in sorted(processes(group)):
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            lines.append(f"{pid} {status[0].split()[1]} {status[2]}")
        except OSError:
            continue
    return "\n".join(lines)


def _folders(group: str) -> list[pathlib.Path]:
    paths = (tree.root / TOP / group for tree in hierarchies())
    return [path for path in paths if path.is_dir()]


def _with_all_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder and those below it; the kernel may remove any of them under our feet, and that one is passed over."""
    for path, _, _ in os.walk(folder):
        yield pathlib.Path(path)


def _freezers(group: str) -> list[tuple[pathlib.Path, Hierarchy]]:
    trees = [tree for tree in hierarchies() if tree.version == 1 and "freezer" in tree.controllers]
    if not trees:
        trees = [tree for tree in hierarchies() if tree.version == 2]
    return [(folder, tree) for tree in trees if (folder := tree.root / TOP / group).is_dir()]


def _delegate(folder: pathlib.Path) -> None:
    for controller in (folder / "cgroup.controllers").read_text().split():
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:  # not every controller can be handed down; Docker says what it misses
            continue
