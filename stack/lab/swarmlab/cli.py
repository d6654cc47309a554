"""The command line: one verb, one short function. `up` and `down` are the two that put others together.

`up` also heals: a node that was killed, cut, frozen or interrupted in its first boot is on afterwards. `down`
removes everything of this prefix, whoever left it there; cut short, it is finished by the next `up` before anything
else, for half-removed disks boot and are good for nothing. Neither ever touches a process outside the lab's
control groups.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from swarmlab import cgroups, images, network, nodes, rooms, rootfs, settings, status, swarm, talk

REMOVERS = 8


def main(words: Sequence[str]) -> int:
    asked = _parser().parse_args(words)
    try:
        if os.geteuid() != 0:
            raise talk.LabError("the lab makes namespaces and mounts: run it as root")
        named = {} if asked.prefix is None else {"PGSWARM_LAB": asked.prefix}
        lab = settings.from_environment(os.environ | named)
        return int(asked.act(lab, asked) or 0)
    except talk.LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `lab up` continues, `lab down` removes", file=sys.stderr)
        return 130


def up(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        if lab.going.exists():
            talk.say("a `lab down` was cut short: finishing it first")
            _take_down(lab)
            lab = lab.anew(os.environ)
        shape = _shape(lab, asked)
        labels = [_label(word, shape) for word in asked.label]
        rootfs.prepare_machine()
        engine_root = rootfs.engine(lab)
        lab.keep(shape)
        network.lay(lab)
        images.open_registry(lab, engine_root)
        talk.say(f"booting {', '.join(node.name for node in shape.nodes)}")
        for node in shape.nodes:
            nodes.boot(lab, node, engine_root)
        _heal_all(lab, shape)
        for node in shape.nodes:
            nodes.wait_for_engine(lab, node)
        talk.say("all engines answer")
        swarm.gather(lab, shape)
        for node, label in labels:
            swarm.label(lab, node, label)
        talk.say("the lab is up: `lab status`, `eval $(lab env 1)`")


def down(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        _take_down(lab)
        talk.say(f"lab {lab.prefix!r} is down")


def _take_down(lab: settings.Lab) -> None:
    lab.going.parent.mkdir(parents=True, exist_ok=True)
    lab.going.touch()
    rooms.shut([rooms.of_node(lab, name) for name in sorted(cgroups.children(lab.prefix))])
    cgroups.end(lab.prefix)
    network.take_up(lab)
    talk.say("every node is off; removing their disks")
    for folder in (lab.run, lab.data):
        _refuse_mounts(folder)
        _remove(folder)
        if folder.exists():
            raise talk.LabError(f"{folder} could not be removed")
    lab.going.unlink()


def show_status(lab: settings.Lab, asked: argparse.Namespace) -> None:
    print(status.table(lab))


def show_environment(lab: settings.Lab, asked: argparse.Namespace) -> None:
    node = lab.find(asked.node)
    print(f"export DOCKER_HOST=unix://{lab.socket(node)}")
    print(f"export PGSWARM_REGISTRY={lab.registry}")
    print(f"export PGSWARM_LAB={lab.prefix}")
    print(f"export PGSWARM_LAB_NET={lab.net}.0")
    if shutil.which("docker") is None:
        folder = _client(lab)
        print(f"export PATH={shlex.quote(os.pathsep.join((os.environ.get('PATH', os.defpath), str(folder))))}")
        print("# this machine has no docker client, so the PATH now ends with the one of the lab's own nodes")


def _client(lab: settings.Lab) -> pathlib.Path:
    """A folder with nothing but the nodes' docker client in it, which needs no more than a C library of 2022."""
    folder = lab.run / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "docker"
    link.unlink(missing_ok=True)
    link.symlink_to(lab.cache / "engine" / "usr" / "bin" / "docker")
    return folder


def execute(lab: settings.Lab, asked: argparse.Namespace) -> None:
    _become(rooms.inside(rooms.of_node(lab, lab.find(asked.node).name), _command(asked)))


def docker(lab: settings.Lab, asked: argparse.Namespace) -> None:
    """The machine's own client sees the machine's files; the node's is the same version as the engine."""
    node = lab.find(asked.node)
    if shutil.which("docker") is not None:
        os.environ["DOCKER_HOST"] = f"unix://{lab.socket(node)}"
        _become(["docker", *_command(asked)])
    _become(rooms.inside(rooms.of_node(lab, node.name), ["docker", *_command(asked)]))


def kill(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        nodes.kill(lab, _nodes(lab, asked), link_up=asked.link_up)


def kill_engine(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        for node in _nodes(lab, asked):
            nodes.kill_engine(lab, node)


def stop(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        nodes.stop(lab, _nodes(lab, asked))


def start(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        nodes.start(lab, _nodes(lab, asked), rootfs.engine(lab))


def cut(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        for node in _nodes(lab, asked):
            network.cut(lab, node)


def heal(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        if asked.nodes == ["all"]:
            _heal_all(lab, lab.standing())
        else:
            for node in _nodes(lab, asked):
                network.heal(lab, node)


def cut_between(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        network.cut_between(lab, lab.find(asked.one), lab.find(asked.other))


def cut_oneway(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        network.cut_oneway(lab, lab.find(asked.one), lab.find(asked.other))


def heal_between(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        network.heal_between(lab, lab.find(asked.one), lab.find(asked.other))


def freeze(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        for node in _nodes(lab, asked):
            nodes.freeze(lab, node)


def thaw(lab: settings.Lab, asked: argparse.Namespace) -> None:
    with lab.locked():
        for node in _nodes(lab, asked):
            nodes.thaw(lab, node)


def build_images(lab: settings.Lab, asked: argparse.Namespace) -> None:
    images.build_all(lab, os.environ)
    if asked.pull:
        images.pull_all(lab, os.environ)


def prune_cache(lab: settings.Lab, asked: argparse.Namespace) -> None:
    images.prune(lab, everything=asked.all)


def _shape(lab: settings.Lab, asked: argparse.Namespace) -> settings.Shape:
    """What was asked for, or what stands; never a silent mixture of both."""
    standing = lab.shape()
    if standing is not None and os.environ.get("PGSWARM_LAB_NET", f"{lab.net}.0") != f"{lab.net}.0":
        raise talk.LabError(f"this lab stands on {lab.net}.0: `lab down` first to have it on another network")
    says_nothing = asked.names is None and asked.nodes is None and not asked.workers and not asked.fast_swarm
    if standing is not None and says_nothing:
        return standing
    names = asked.names.split(",") if asked.names else [f"node{i}" for i in range(1, (asked.nodes or 3) + 1)]
    if asked.nodes is not None and len(names) != asked.nodes:
        raise talk.LabError(f"--nodes {asked.nodes}, but --names has {len(names)}")
    wanted = settings.Shape.of(names=tuple(names), workers=asked.workers, fast=asked.fast_swarm)
    if standing is not None and standing != wanted:
        raise talk.LabError(
            "another lab stands under this prefix: `lab down` first, or heal it by `lab up` without a shape"
        )
    return wanted


def _nodes(lab: settings.Lab, asked: argparse.Namespace) -> list[settings.Node]:
    if asked.nodes == ["all"]:
        return list(lab.standing().nodes)
    return [lab.find(reference) for reference in asked.nodes]


def _label(word: str, shape: settings.Shape) -> tuple[settings.Node, dict[str, str]]:
    name, _, rest = word.partition("=")
    key, equals, value = rest.partition("=")
    for node in shape.nodes:
        if name in (node.name, str(node.index)) and key and equals:
            return node, {key: value}
    names = ", ".join(node.name for node in shape.nodes)
    raise talk.LabError(f"--label {word}: wanted NODE=KEY=VALUE with a node of {names}")


def _heal_all(lab: settings.Lab, shape: settings.Shape) -> None:
    for node in shape.nodes:
        nodes.thaw(lab, node)
        network.heal(lab, node)
    for one in shape.nodes:
        for other in shape.nodes[one.index :]:
            network.heal_between(lab, one, other)


def _refuse_mounts(folder: pathlib.Path) -> None:
    """Never delete through a mount. There is none in this namespace unless somebody made it by hand."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if (line.split()[4] + "/").startswith(f"{folder}/"):
            raise talk.LabError(f"{line.split()[4]} is mounted below {folder}; unmount it, then `lab down` again")


def _remove(folder: pathlib.Path) -> None:
    """The whole tree, several layers at once: some disks are told of every freed block, and let one wait for it."""
    layers = list(folder.glob("*/docker/*/*"))
    with ThreadPoolExecutor(REMOVERS) as pool:
        list(pool.map(lambda layer: shutil.rmtree(layer, ignore_errors=True), layers))
    shutil.rmtree(folder, ignore_errors=True)


def _command(asked: argparse.Namespace) -> list[str]:
    words = list(asked.command)
    return words[1:] if words[:1] == ["--"] else words


def _become(argv: list[str]) -> None:
    sys.stdout.flush()
    with contextlib.suppress(FileNotFoundError):
        os.execvp(argv[0], argv)
    raise talk.LabError(f"{argv[0]} is not installed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="A real Docker Swarm of several nodes on this machine.")
    parser.add_argument("--prefix", help="name of the lab (default: PGSWARM_LAB or 'lab'); two can stand side by side")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("up", help="boot the nodes and join them to a Swarm; heal what is broken")
    verb.add_argument("--nodes", type=int, help=f"how many, 1 to {settings.MOST_NODES} (default 3)")
    verb.add_argument("--workers", type=int, default=0, help="how many of them, the last ones, are workers (default 0)")
    verb.add_argument("--names", help="their host names, as in manager1,worker01,worker02 (default node1,node2,…)")
    verb.add_argument("--label", action="append", default=[], metavar="NODE=KEY=VALUE", help="a node label; repeatable")
    verb.add_argument(
        "--fast-swarm", action="store_true", help="a heartbeat of 1 s: lost nodes are down in 2 to 3 s, not 10 to 14"
    )
    verb.set_defaults(act=up)
    for name, act, text in (
        ("down", down, "remove everything of this lab, also what a crash left; the cache stays"),
        ("status", show_status, "a table of the nodes"),
    ):
        verbs.add_parser(name, help=text).set_defaults(act=act)
    verb = verbs.add_parser("images", help="build the project's images and push them to the lab's registry")
    verb.add_argument("--pull", action="store_true", help="and fetch them to every node")
    verb.set_defaults(act=build_images)
    verb = verbs.add_parser("prune-cache", help="forget built images and the registry's layers")
    verb.add_argument("--all", action="store_true", help="the cached root file systems too")
    verb.set_defaults(act=prune_cache)
    verb = verbs.add_parser("env", help="print the variables that point a docker client to a node")
    verb.add_argument("node", nargs="?", default="1")
    verb.set_defaults(act=show_environment)
    for name, act, text in (
        ("exec", execute, "run a command on a node"),
        ("docker", docker, "run the docker client against a node's engine"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("node")
        verb.add_argument("command", nargs=argparse.REMAINDER, metavar="-- …")
        verb.set_defaults(act=act)
    for name, act, text in (
        ("start", start, "switch a node on, or only its engine if that is what is missing"),
        ("stop", stop, "shut a node down in order"),
        ("kill-engine", kill_engine, "SIGKILL to a node's dockerd; its containers go on"),
        ("cut", cut, "pull a node's network cable"),
        ("heal", heal, "plug it in again; `heal all` ends every cut and freeze"),
        ("freeze", freeze, "stop every process of a node (it hangs; its kernel still answers)"),
        ("thaw", thaw, "let them go on"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("nodes", nargs="+", metavar="node", help="number or name; several, or all")
        verb.set_defaults(act=act)
    verb = verbs.add_parser("kill", help="power off: everything on the node at once, its cable first")
    verb.add_argument("nodes", nargs="+", metavar="node", help="number or name; several, or all")
    verb.add_argument("--link-up", action="store_true", help="leave the cable in: peers see resets, not silence")
    verb.set_defaults(act=kill)
    for name, act, text in (
        ("cut-between", cut_between, "two nodes no longer hear each other"),
        ("cut-oneway", cut_oneway, "the second node no longer hears the first; the first still hears the second"),
        ("heal-between", heal_between, "they hear each other again, whichever way they were cut"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("one")
        verb.add_argument("other")
        verb.set_defaults(act=act)
    return parser
