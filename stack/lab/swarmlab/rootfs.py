"""The root file systems: a minimal Debian, and the same with a Docker engine. Made once, kept in the cache.

    base     debootstrap, minimal; becomes the image `debian:trixie-slim` of the lab's builder
    engine   base + docker.io, registry and tools; every room is an overlay above it

Nothing is configured here about where Debian packages come from: the machine's own apt knows (its mirrors with
the release's name exchanged, its proxies and date checks), and a machine that trusts additional certificate
authorities passes them on. Each folder is made beside its final name and renamed when complete, with the recipe
that made it; another recipe makes it anew. The work runs in a control group of its own, so that what an
interrupted `up` left running is ended by the next one.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable

from swarmlab import cgroups, rooms, talk
from swarmlab.settings import Lab

RELEASE = "trixie"
TOOLS = ("docker.io", "docker-cli", "docker-registry", "tini", "iptables", "iproute2", "iputils-ping", "procps", "curl")
NEEDED = {"debootstrap": "debootstrap", "ip": "iproute2", "nsenter": "util-linux", "pivot_root": "util-linux"}
UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")  # "slim" leaves them out as well
CERTIFICATES = pathlib.Path("/usr/local/share/ca-certificates")
MINUTES = 60.0


def prepare_machine() -> None:
    """Install the few Debian packages that the machine itself must have."""
    missing = sorted({package for command, package in NEEDED.items() if shutil.which(command) is None})
    if missing:
        talk.say(f"installing {', '.join(missing)} on this machine with apt-get")
        talk.run(["apt-get", "update"], deadline=5 * MINUTES)
        talk.run(["apt-get", "install", "-y", "--no-install-recommends", *missing], deadline=10 * MINUTES)


def engine(lab: Lab) -> pathlib.Path:
    """The folder of the engine's root file system, made if need be."""
    with lab.cache_locked():
        if (lab.cache / "engine.recipe").exists() and in_use():
            return lab.cache / "engine"  # not to be exchanged under running nodes, whatever the recipe says now
        recipe = {"base": _base_recipe(), "tools": TOOLS}
        return _made(lab, "engine", recipe, lambda folder: _make_engine(lab, folder))


def base(lab: Lab) -> tuple[pathlib.Path, str]:
    """The folder of the minimal system and a fingerprint of its recipe. The caller holds the cache's lock."""
    recipe = _base_recipe()
    return _made(lab, "base", recipe, lambda folder: _make_base(lab, folder)), _fingerprint(recipe)


def in_use() -> list[str]:
    """The labs, of any prefix, that have processes now."""
    return sorted(group for group in cgroups.children("") if not group.startswith("_") and cgroups.processes(group))


def work_group(lab: Lab, work: str) -> str:
    """The control group of work on the cache: of each cache, not of each lab, as the cache's lock says who may.

    So whoever has the lock can end what an earlier holder, killed half-way, left running. The underscore keeps
    these groups apart from the prefixes of labs.
    """
    return f"_{_fingerprint(str(lab.cache))}_{work}"


def extra_certificates() -> list[pathlib.Path]:
    return sorted(CERTIFICATES.glob("**/*.crt"))


def sources() -> list[str]:
    """The machine's Debian sources with its release replaced by ours: lines for a sources.list."""
    machine = (
        dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
        .get("VERSION_CODENAME", "")
        .strip('"')
    )
    form = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    lines = set()
    for target in talk.run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines():
        uri, codename, component = target.split(" ", 2)
        if machine and (codename == machine or codename.startswith(f"{machine}-")) and component == "main":
            lines.add(f"deb {uri.rstrip('/')} {codename.replace(machine, RELEASE, 1)} main")
    if not any(line.endswith(f" {RELEASE} main") for line in lines):
        raise talk.LabError(
            "this machine's apt has no Debian source to take the lab's Debian from; "
            "`apt-get update` first (the lab reads `apt-get indextargets`)"
        )
    return sorted(lines)


def _base_recipe() -> object:
    certificates = [hashlib.sha256(file.read_bytes()).hexdigest() for file in extra_certificates()]
    return {
        "release": RELEASE,
        "sources": sources(),
        "apt": _apt_settings(),
        "unread": UNREAD,
        "certificates": certificates,
    }


def _apt_settings() -> list[str]:
    """What the machine's apt was told about proxies and about clocks that are not of today."""
    kept = ("Acquire::Check-", "Acquire::http::Proxy ", "Acquire::https::Proxy ")
    return [line for line in talk.run(["apt-config", "dump"]).splitlines() if line.startswith(kept)]


def _make_base(lab: Lab, folder: pathlib.Path) -> None:
    talk.say(f"debootstrap of Debian {RELEASE}: about half a minute, once")
    lines = sources()
    mirror = next(line.split()[1] for line in lines if line.endswith(f" {RELEASE} main"))
    packages = ["--include=ca-certificates"] if extra_certificates() else []
    _work(lab, ["debootstrap", "--variant=minbase", *packages, RELEASE, str(folder), mirror])
    (folder / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
    (folder / "etc/apt/apt.conf.d/90lab").write_text("\n".join(_apt_settings()) + "\n")
    unread = "".join(f"path-exclude=/{path}/*\n" for path in UNREAD)
    (folder / "etc/dpkg/dpkg.cfg.d/90lab").write_text(f"force-unsafe-io\n{unread}")
    for certificate in extra_certificates():
        shutil.copy(certificate, folder / "usr/local/share/ca-certificates" / certificate.name)
    if extra_certificates():
        _work(lab, ["chroot", str(folder), "update-ca-certificates"])
    for leftover in ("var/cache/apt", "var/lib/apt/lists", *UNREAD):
        shutil.rmtree(folder / leftover, ignore_errors=True)
        (folder / leftover).mkdir()


def _make_engine(lab: Lab, folder: pathlib.Path) -> None:
    minimal, _ = base(lab)
    talk.say("installing the Docker engine, the registry and tools into a copy of it")
    _work(lab, ["cp", "-a", "--reflink=auto", str(minimal), str(folder)])
    policy = folder / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # Debian's way to install a daemon without starting it
    policy.chmod(0o755)
    install = (
        'mount -t proc proc "$1/proc"; cp /etc/resolv.conf /etc/hosts "$1/etc/"; chroot "$1" sh -ec "'
        "export DEBIAN_FRONTEND=noninteractive; apt-get update; "
        f'apt-get install -y --no-install-recommends {" ".join(TOOLS)}; apt-get clean"'
    )
    _work(lab, ["sh", "-ec", install, "sh", str(folder)])


def _made(lab: Lab, name: str, recipe: object, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    final, fresh, note = lab.cache / name, lab.cache / f"{name}.new", lab.cache / f"{name}.recipe"
    if note.exists() and note.read_text() == _fingerprint(recipe):
        return final
    cgroups.end(work_group(lab, "make"))
    shutil.rmtree(fresh, ignore_errors=True)
    make(fresh)
    cgroups.end(work_group(lab, "make"))
    note.unlink(missing_ok=True)
    shutil.rmtree(final, ignore_errors=True)
    fresh.rename(final)
    note.write_text(_fingerprint(recipe))  # last: without it the folder counts as not made
    return final


def _work(lab: Lab, argv: list[str]) -> None:
    """Run one step in the cache's control group and in its own mount namespace: nothing of it can stay behind."""
    group = f"{work_group(lab, 'make')}/init"
    cgroups.create(group)
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    step = rooms.in_group(group, [*apart, *argv])
    talk.run(step, deadline=20 * MINUTES, log=lab.cache / "make.log", name=argv[0])


def _fingerprint(recipe: object) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
