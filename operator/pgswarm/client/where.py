"""Where the database is, and how to speak with it so that a failover is felt as a pause: an environment becomes
libpq's words.

The names are those of the common images and classes: `DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_USER`, `DB_PASS`. A
password is better a Swarm secret, so a file: `DB_PASS_FILE`. The file is read for each connection, because a secret
may be exchanged while the program runs. With neither, libpq looks where it always does (PGPASSFILE, ~/.pgpass).

`DB_HOST` may name several routers, with commas; `DB_PORT` is one for all, or as many. Each time-out below is for a
way in which a server can be lost without a word; README tells which.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

CONNECT_TIMEOUT = 2
"""Seconds for each address in turn; libpq knows no less."""

ACKNOWLEDGED_WITHIN = 3000
"""Milliseconds until a session ends whose words the other machine does not confirm (tcp_user_timeout)."""

KEEPALIVES = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3}
"""Seconds, seconds, times: a session that only waits for an answer notices a lost machine after five seconds."""

SPREADING_LIBPQ = 160000
"""The first libpq that tries several addresses in an order by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """One database, as an application reaches it."""

    hosts: tuple[str, ...] = ("postgres-ha",)
    ports: tuple[int, ...] = (5432,)
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    application: str = "pgswarm-client"
    writable: bool = True
    """Pass over servers that are read-only; False for the port that leads to standbys."""

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be connected to."""
        if not self.hosts or not all(self.hosts):
            raise ValueError("the hosts must be one name or several, with commas and none of them empty")
        if len(self.ports) not in (1, len(self.hosts)):
            raise ValueError(f"{len(self.ports)} ports for {len(self.hosts)} hosts: give one for all, or one for each")
        if self.password is not None and self.password_file is not None:
            raise ValueError("the password is given twice, as itself and as a file: take one away")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, prefix: str = "DB_") -> Where:
        """From DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASS or DB_PASS_FILE. Raises ValueError, naming the variable."""
        given = {name: value for name, value in (os.environ if environ is None else environ).items() if value}
        for name in ("NAME", "USER"):
            if prefix + name not in given:
                raise ValueError(f"{prefix}{name} is not set")
        try:
            ports = tuple(int(port) for port in given.get(f"{prefix}PORT", "5432").split(","))
        except ValueError:
            raise ValueError(f"{prefix}PORT must be a number, or one for each host with commas") from None
        file = given.get(f"{prefix}PASS_FILE")
        try:
            return cls(
                hosts=tuple(host.strip() for host in given.get(f"{prefix}HOST", "postgres-ha").split(",")),
                ports=ports,
                database=given[f"{prefix}NAME"],
                user=given[f"{prefix}USER"],
                password=given.get(f"{prefix}PASS"),
                password_file=Path(file) if file else None,
            )
        except ValueError as error:
            raise ValueError(f"{prefix}…: {error}") from None

    def parameters(self) -> dict[str, str | int]:
        """libpq's parameters, with the password of this moment. Raises OSError if its file cannot be read."""
        ports = self.ports * len(self.hosts) if len(self.ports) == 1 else self.ports
        wanted: dict[str, str | int] = {
            "host": ",".join(self.hosts),
            "port": ",".join(str(port) for port in ports),
            "dbname": self.database,
            "user": self.user,
            "application_name": self.application,
            "connect_timeout": CONNECT_TIMEOUT,
            "tcp_user_timeout": ACKNOWLEDGED_WITHIN,
            **KEEPALIVES,
        }
        if self.writable:
            wanted["target_session_attrs"] = "read-write"
        if psycopg.pq.version() >= SPREADING_LIBPQ:
            wanted["load_balance_hosts"] = "random"
        password = self.password
        if self.password_file is not None:
            password = self.password_file.read_text().rstrip("\r\n")
        if password is not None:
            wanted["password"] = password
        return wanted
