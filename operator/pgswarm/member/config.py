"""Where this agent is: names, paths and ports, from the environment, once.

Only names come from the environment; secrets are files whose paths come from it. Everything that the agent writes
lies in one volume, in two folders: `agent/` is its own (memory, lock, PostgreSQL's configuration) and `pgdata/` is
PostgreSQL's, so that a clone or a rewind replaces the one and never touches the other.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pgswarm import settings, wire
from pgswarm.errors import Refused

SOCKET_PATH_LIMIT = 90
"""Bytes: a unix socket's path must be shorter than 108 with PostgreSQL's own file name in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One agent's place in the world."""

    cluster: str
    member: str
    volume: Path
    bind: str = "0.0.0.0"
    port: int = wire.MEMBER_PORT
    postgres_listen: str = "0.0.0.0"
    postgres_port: int = wire.POSTGRES_PORT
    secret_file: Path = Path(wire.SECRET_FILE)
    owner_password_file: Path = Path(settings.OWNER_PASSWORD_FILE)
    replication_password_file: Path = Path(settings.REPLICATION_PASSWORD_FILE)
    bindir: Path
    socket_dir: Path
    place: str = ""
    """Where the volume is, `Place.id`; empty if nobody said so."""
    task: str = ""
    """The Swarm task that this container belongs to; empty if nobody said so."""
    names: tuple[str, ...] = ()
    """What resolves to the members of the cluster, in place of its name on the control network."""

    @property
    def agent(self) -> Path:
        return self.volume / "agent"

    @property
    def conf(self) -> Path:
        return self.agent / "conf"

    @property
    def pgdata(self) -> Path:
        return self.volume / "pgdata"

    @property
    def fresh(self) -> Path:
        """A data directory that is being made."""
        return self.volume / "pgdata.new"

    @property
    def former(self) -> Path:
        """The data directory that was replaced, until it is deleted."""
        return self.volume / "pgdata.old"

    @property
    def aside(self) -> Path:
        """Log that was off the line, kept before the directory that held it was rewound or replaced."""
        return self.volume / "kept"

    @property
    def wal(self) -> Path:
        return self.pgdata / "pg_wal"

    @property
    def passfile(self) -> Path:
        return self.agent / "pgpass"

    @property
    def state_file(self) -> Path:
        return self.agent / "state.json"

    @property
    def reserve(self) -> Path:
        """Room that only the agent's own few files may take, on a volume that is full."""
        return self.agent / "reserve"

    @property
    def ballast(self) -> Path:
        """Room that is given up for a PostgreSQL that could not start otherwise."""
        return self.agent / "ballast"

    @property
    def lock_file(self) -> Path:
        return self.agent / "lock"

    def program(self, name: str) -> str:
        return str(self.bindir / name)

    def has_library(self, name: str) -> bool:
        """Could PostgreSQL load it? Debian has libraries beside the programs; one that is missing ends every start."""
        return (self.bindir.resolve().parent / "lib" / f"{name}.so").exists()


def from_environment(env: Mapping[str, str]) -> Config:
    """Read the configuration. Raises Refused with what is missing."""
    volume = Path(env.get("PGSWARM_VOLUME", settings.VOLUME_PATH))
    bind = env.get("PGSWARM_BIND", "0.0.0.0")
    return Config(
        cluster=_needed(env, "PGSWARM_CLUSTER"),
        member=_needed(env, "PGSWARM_MEMBER"),
        volume=volume,
        bind=bind,
        port=_port(env, "PGSWARM_PORT", wire.MEMBER_PORT),
        postgres_listen=env.get("PGSWARM_POSTGRES_LISTEN", bind),
        postgres_port=_port(env, "PGSWARM_POSTGRES_PORT", wire.POSTGRES_PORT),
        secret_file=Path(env.get("PGSWARM_SECRET_FILE", wire.SECRET_FILE)),
        owner_password_file=Path(env.get("PGSWARM_OWNER_PASSWORD_FILE", settings.OWNER_PASSWORD_FILE)),
        replication_password_file=Path(
            env.get("PGSWARM_REPLICATION_PASSWORD_FILE", settings.REPLICATION_PASSWORD_FILE)
        ),
        bindir=_bindir(env),
        socket_dir=_socket_dir(env, volume),
        place=env.get("PGSWARM_PLACE", ""),
        task=env.get("PGSWARM_TASK", ""),
        names=tuple(name.strip() for name in env.get("PGSWARM_MEMBERS", "").split(",") if name.strip()),
    )


def secret(path: Path) -> str:
    """A secret without its line end. Raises Refused if there is none."""
    try:
        text = path.read_text().strip("\r\n")
    except OSError as exc:
        raise Refused(f"cannot read the secret {path}: {exc.strerror}; is it mounted into this container?") from exc
    if not text:
        raise Refused(f"the secret {path} is empty")
    return text


def system_user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _needed(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise Refused(f"{name} is not set: a member needs PGSWARM_CLUSTER and PGSWARM_MEMBER")
    return value


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name, str(default))
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise Refused(f"{name} is {value!r}: it must be a port, 1 to 65535")
    return int(value)


def _bindir(env: Mapping[str, str]) -> Path:
    """The programs of the newest PostgreSQL that has a server here."""
    given = env.get("PGSWARM_BINDIR")
    if given:
        return Path(given)
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "postgres").exists()]
    numbered = [path for path in versions if path.parent.name.isdigit()]
    if numbered:
        return max(numbered, key=lambda path: int(path.parent.name))
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    raise Refused("PostgreSQL's server programs are not installed here; set PGSWARM_BINDIR to their directory")


def _socket_dir(env: Mapping[str, str], volume: Path) -> Path:
    given = env.get("PGSWARM_SOCKET_DIR")
    path = Path(given) if given else volume / "agent"
    if len(str(path)) > SOCKET_PATH_LIMIT:
        raise Refused(f"{path} is too long for a unix socket; set PGSWARM_SOCKET_DIR to a shorter directory")
    return path
