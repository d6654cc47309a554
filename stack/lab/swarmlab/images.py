"""The registry, and building the project's images into it, quickly when little has changed.

Real users build with `docker build` and push to their registry, so the lab does the same: a registry on the
machine's lab address, and a builder engine of its own in the room `outside`, which shares the machine's network
and has neither bridge nor iptables rules. The base image `debian:trixie-slim` is the cached minimal root file
system, imported under that name: the Dockerfile is the one that users have. The builder's data and the
registry's live in the cache, so a changed line of Python rebuilds and moves one small layer.

The builder runs only while images are built, under the cache's lock: labs share it. The registry's store is
each lab's own, because the registry rewrites its small files in place, and while one lab pushes a layer that
another has too, that one's pull may read a file in between.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import shutil
import time
import urllib.request
from collections.abc import Iterator, Mapping

from swarmlab import cgroups, engine, rooms, rootfs, talk
from swarmlab.settings import Lab, Node

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
TARGETS = ("operator", "member", "router", "app")
CONTEXT = (
    ".dockerignore",
    "LICENSE",
    "pyproject.toml",
    "requirements.lock",
    "operator/pgswarm",
    "stack/app",
    "stack/images",
)
BASE_IMAGE = f"debian:{rootfs.RELEASE}-slim"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
REGISTRY_CONFIG = """\
version: 0.1
storage: {filesystem: {rootdirectory: /cache/registry/%s}}
http: {addr: "%s"}
"""
READY_WITHIN = 30.0
BUILD_WITHIN = 1200.0


def open_registry(lab: Lab, engine_root: pathlib.Path) -> None:
    room = rooms.outside(lab)
    rooms.open_up(room, engine_root)
    if _registry_answers(lab):
        return
    (room.seen / "registry.yml").write_text(REGISTRY_CONFIG % (lab.prefix, lab.registry))
    rooms.start_daemon(room, "registry", ["docker-registry", "serve", "/outside/registry.yml"])
    talk.until(
        lambda: _registry_answers(lab),
        what=f"the registry on {lab.registry}",
        deadline=READY_WITHIN,
        show=lambda: talk.tail(room.log("registry")),
    )


def build_all(lab: Lab, environ: Mapping[str, str]) -> None:
    """Build and push the images of this checkout: pgswarm's three, and the sample application."""
    lab.standing()
    with lab.cache_locked(), _builder(lab) as room:
        _copy_context(room.seen / "context")
        _import_base(lab, room)
        tag = environ.get("PGSWARM_TAG", "dev")
        for target in TARGETS:
            _build(lab, room, target, f"{lab.registry}/pgswarm/{target}:{tag}", _arguments(environ))


def prune(lab: Lab, *, everything: bool) -> None:
    """Forget built images and pushed layers; with `everything` the root file systems too."""
    with lab.cache_locked():
        if rootfs.in_use():
            raise talk.LabError(f"the cache is in use by {', '.join(rootfs.in_use())}: `lab down` first")
        for folder in ("builder", "registry", *(("base", "engine") if everything else ())):
            (lab.cache / f"{folder}.recipe").unlink(missing_ok=True)
            shutil.rmtree(lab.cache / folder, ignore_errors=True)


def pull_all(lab: Lab, environ: Mapping[str, str]) -> None:
    """Fetch the images to every node that is on, side by side, so that no task has to wait for that later."""
    nodes = [node for node in lab.standing().nodes if rooms.of_node(lab, node.name).pid() is not None]
    tag = environ.get("PGSWARM_TAG", "dev")

    def pull(node: Node) -> None:
        for target in TARGETS:
            image = f"{lab.registry}/pgswarm/{target}"
            path = f"/images/create?fromImage={image}&tag={tag}"
            engine.ask(lab.socket(node), "POST", path, deadline=BUILD_WITHIN)
            engine.ask(lab.socket(node), "GET", f"/images/{image}:{tag}/json")  # a failed pull is told in words only

    with concurrent.futures.ThreadPoolExecutor(max(len(nodes), 1)) as threads:
        list(threads.map(pull, nodes))
    talk.say(f"pulled to {', '.join(node.name for node in nodes)}")


@contextlib.contextmanager
def _builder(lab: Lab) -> Iterator[rooms.Room]:
    room = rooms.outside(lab)
    socket = room.seen / "builder.sock"
    group = rootfs.work_group(lab, "build")
    cgroups.end(group)  # one that an interrupted command left, perhaps in another lab
    cgroups.create(f"{group}/init")
    talk.run(rooms.inside(room, ["rm", "-f", "/run/docker.pid"]))
    socket.unlink(missing_ok=True)
    flags = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    rooms.start_daemon(
        room,
        "builder",
        [
            "dockerd",
            "--data-root=/cache/builder",
            "--host=unix:///outside/builder.sock",
            *flags,
            f"--insecure-registry={lab.registry}",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent=/{cgroups.TOP}/{group}/containers",
            "--storage-driver=overlay2",
        ],
        group=group,
    )
    try:
        talk.until(
            lambda: engine.answers(socket),
            what="the builder's engine",
            deadline=READY_WITHIN,
            show=lambda: talk.tail(room.log("builder")),
        )
        yield room
    finally:
        talk.works(rooms.inside(room, ["pkill", "-TERM", "-x", "dockerd"]))
        talk.until(
            lambda: not cgroups.processes(group),
            what="the builder's end",
            deadline=READY_WITHIN,
            show=lambda: talk.tail(room.log("builder")),
        )
        cgroups.end(group)


def _copy_context(context: pathlib.Path) -> None:
    """What the builds see is of one moment, however busily somebody edits meanwhile."""
    shutil.rmtree(context, ignore_errors=True)
    for name in CONTEXT:
        source, copy = REPOSITORY / name, context / name
        if not source.exists():
            raise talk.LabError(f"{source} is not there: nothing to build images from")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy)


def _import_base(lab: Lab, room: rooms.Room) -> None:
    folder, fingerprint = rootfs.base(lab)
    with contextlib.suppress(engine.Refused):
        known = engine.ask(room.seen / "builder.sock", "GET", f"/images/{BASE_IMAGE}/json")
        if (known["Config"]["Labels"] or {}).get("pgswarm.lab.recipe") == fingerprint:
            return
    talk.say(f"importing {BASE_IMAGE} into the builder")
    line = (
        'tar -C "/cache/$1" --exclude="./dev/*" --exclude=./etc/resolv.conf -c . '
        '| docker import --change "LABEL pgswarm.lab.recipe=$2" --change \'CMD ["bash"]\' - "$3"'
    )
    argv = ["sh", "-ec", line, "sh", folder.name, fingerprint, BASE_IMAGE]
    talk.run(rooms.inside(room, argv, environment=_client()), deadline=BUILD_WITHIN, name=f"import of {BASE_IMAGE}")


def _build(lab: Lab, room: rooms.Room, target: str, image: str, arguments: list[str]) -> None:
    began = time.monotonic()
    context = "/outside/context"
    argv = [
        "docker", "build", "--network=host", "--force-rm", f"--target={target}", f"--tag={image}",
        *arguments, f"--file={context}/stack/images/Dockerfile", context,
    ]  # fmt: skip
    log = room.seen / f"build-{target}.log"
    log.unlink(missing_ok=True)
    build = rooms.inside(room, argv, environment=_client())
    talk.run(build, deadline=BUILD_WITHIN, log=log, name=f"docker build --target={target}")
    built = str(engine.ask(room.seen / "builder.sock", "GET", f"/images/{image}/json")["Id"])
    took = f"built in {time.monotonic() - began:.1f} s"
    if _pushed(lab, target, image.rpartition(":")[2]) == built:
        talk.say(f"{image}: unchanged, {took}")
        return
    began = time.monotonic()
    push = rooms.inside(room, ["docker", "push", "--quiet", image], environment=_client())
    talk.run(push, deadline=BUILD_WITHIN, log=log, name=f"docker push {image}")
    talk.say(f"{image}: {took}, pushed in {time.monotonic() - began:.1f} s ({built.removeprefix('sha256:')[:12]})")


def _arguments(environ: Mapping[str, str]) -> list[str]:
    """What this machine's pip and network need in a build, and nothing on a machine that needs nothing."""
    wanted: dict[str, str] = {}
    if rootfs.extra_certificates():
        wanted |= {"PIP_CERT": BUNDLE, "SSL_CERT_FILE": BUNDLE}
    index = environ.get("PIP_INDEX_URL") or _pip_setting("global.index-url")
    if index:
        wanted["PIP_INDEX_URL"] = index
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        value = environ.get(name) or environ.get(name.upper())
        if value:
            wanted[name] = value
    return [f"--build-arg={name}={value}" for name, value in wanted.items()]


def _pip_setting(name: str) -> str | None:
    if shutil.which("pip") is None:
        return None
    try:
        return talk.run(["pip", "config", "get", name]).strip() or None
    except talk.LabError:  # pip's way to say that it is not set
        return None


def _client() -> list[str]:
    return ["DOCKER_HOST=unix:///outside/builder.sock", "DOCKER_BUILDKIT=0"]


def _registry_answers(lab: Lab) -> bool:
    return _get(lab, "/v2/") is not None


def _pushed(lab: Lab, target: str, tag: str) -> str | None:
    """The id of the image that the registry has under this name."""
    manifest = _get(lab, f"/v2/pgswarm/{target}/manifests/{tag}")
    return None if manifest is None else str(json.loads(manifest)["config"]["digest"])


def _get(lab: Lab, path: str) -> bytes | None:
    """What the registry says, or None. No proxy: the address is on this machine."""
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://{lab.registry}{path}", headers={"Accept": kind})
    try:
        with opener.open(request, timeout=5) as answer:
            return bytes(answer.read())
    except (OSError, http.client.HTTPException):
        return None
