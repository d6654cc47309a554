"""The desired-state document: what a person may ask for. `crds/` is generated from these models.

Kubernetes conventions: camelCase, `apiVersion`, `kind`, `metadata`, `spec`. Every field has a default that gives a
complete, safe cluster, except the names that only the owner can know. Unknown fields are refused. Finding the line
of an error in a file is `ports/documents`' work; here is only what is right and wrong.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

API_VERSION = "pgswarm/v1"
MAX_INSTANCES = 9

_NAME = re.compile(r"^[a-z]([a-z0-9-]*[a-z0-9])?$")


def _is_name(value: str) -> str:
    if not _NAME.match(value) or len(value) > 40:
        raise ValueError(
            "must be 1 to 40 lower-case letters, digits and hyphens, begin with a letter and not end in a hyphen"
        )
    return value


Name = Annotated[str, AfterValidator(_is_name)]
Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Port = Annotated[int, Field(ge=1, le=65535)]

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h)$")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _is_duration(value: str) -> str:
    if not _DURATION.match(value):
        raise ValueError("must be a number and a unit: 500ms, 3s, 2m or 1h")
    return value


Duration = Annotated[str, AfterValidator(_is_duration)]


def seconds(duration: str) -> float:
    """The seconds in a duration such as `500ms` or `3s`."""
    match = _DURATION.match(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration")
    return float(match[1]) * _UNIT[match[2]]


class Section(BaseModel):
    """A part of a document: frozen, camelCase outside, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Metadata(Section):
    """The cluster's name; it begins the names of its services, volumes, secrets and record."""

    name: Name


class Passwords(Section):
    """Swarm secrets that hold the passwords. Those not named are generated and kept as Swarm secrets."""

    owner: str | None = Field(default=None, description="name of an existing Swarm secret with the owner's password")
    replication: str | None = Field(
        default=None, description="name of an existing Swarm secret with the replication password"
    )


class PostgresSection(Section):
    """PostgreSQL itself."""

    version: Literal[17] = Field(default=17, description="major version")
    image: str | None = Field(default=None, description="another member image than the operator's default")
    database: Identifier = Field(default="app", description="database that applications use")
    owner: Identifier = Field(default="app", description="role that owns it")
    parameters: dict[Identifier, str | int | float | bool] = Field(
        default_factory=dict, description="settings of postgresql.conf"
    )
    passwords: Passwords = Field(default_factory=Passwords)

    @field_validator("owner")
    @classmethod
    def _owner_is_free(cls, value: str) -> str:
        if value in {"postgres", "pgswarm_replication"} or value.startswith("pg_"):
            raise ValueError(f"{value!r} is a role of PostgreSQL or pgswarm; choose another name")
        return value

    @field_validator("parameters")
    @classmethod
    def _not_ours(cls, value: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        taken = sorted(set(value) & OWNED_PARAMETERS)
        if taken:
            raise ValueError(f"{', '.join(taken)}: pgswarm sets this itself; remove it from the document")
        return value


OWNED_PARAMETERS = frozenset(
    {
        "allow_alter_system", "archive_cleanup_command", "config_file", "data_directory", "external_pid_file",
        "full_page_writes", "fsync", "hba_file", "hot_standby", "ident_file", "listen_addresses", "port",
        "primary_conninfo", "primary_slot_name", "promote_trigger_file", "recovery_target",
        "recovery_target_action", "recovery_target_inclusive", "recovery_target_lsn", "recovery_target_name",
        "recovery_target_time", "recovery_target_timeline", "recovery_target_xid", "restart_after_crash",
        "restore_command", "synchronous_commit", "synchronous_standby_names", "unix_socket_directories",
        "wal_level", "wal_log_hints",
    }
)  # fmt: skip
"""Parameters on which the protocol stands: a document may not set them."""


class Instance(Section):
    """One member: a PostgreSQL with its own volume on one node."""

    name: Name
    node: str | None = Field(
        default=None, description="host name or id of the Swarm node; chosen and remembered if not given"
    )
    volume: str | None = Field(default=None, description="name of its local volume; CLUSTER_NAME if not given")


class RouterSection(Section):
    """HAProxy in front: one address for writers, one for readers."""

    name: Name = Field(default="postgres-ha", description="the name that applications connect to")
    network: str = Field(default="webnet", description="overlay network of the applications; created if missing")
    port: Port = Field(default=5432, description="writers")
    read_only_port: Port = Field(default=5433, description="readers")
    stats_port: Port = Field(default=8404, description="HAProxy's statistics page and /metrics")
    health_port: Port = Field(default=8405, description="200 while writers can be served")
    nodes: Literal["managers", "all"] | list[str] = Field(
        default="managers", description="managers, all, or a list of node names: one router on each"
    )
    publish: bool = Field(default=True, description="publish the ports on the nodes that run a router")
    image: str | None = Field(default=None, description="another router image than the operator's default")

    @model_validator(mode="after")
    def _ports_differ(self) -> RouterSection:
        ports = [self.port, self.read_only_port, self.stats_port, self.health_port]
        if len(set(ports)) < len(ports):
            raise ValueError("port, readOnlyPort, statsPort and healthPort must be four different ports")
        return self


class ClusterSpec(Section):
    """What the cluster shall be."""

    postgres: PostgresSection = Field(default_factory=PostgresSection)
    instances: (
        Annotated[int, Field(ge=1, le=MAX_INSTANCES)]
        | Annotated[list[Instance], Field(min_length=1, max_length=MAX_INSTANCES)]
    ) = Field(default=2, description="a number (nodes are chosen and remembered) or a list")
    durability: Literal["preferred", "required", "async"] = Field(
        default="preferred",
        description="preferred: waits for a standby while there is one; nothing is ever lost by a failover",
    )
    router: RouterSection = Field(default_factory=RouterSection)
    detection_timeout: Duration = Field(default="3s", description="silence after which a member counts as gone")
    isolation_timeout: Duration = Field(default="5s", description="after which a cut-off primary turns clients away")

    @model_validator(mode="after")
    def _names_differ(self) -> ClusterSpec:
        if isinstance(self.instances, int):
            return self
        names = [instance.name for instance in self.instances]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two instances are named {name!r}; give each a name of its own")
        if self.router.name in names:
            raise ValueError(f"the router and an instance are both named {self.router.name!r}")
        return self


class PostgresCluster(Section):
    """One document."""

    api_version: Literal["pgswarm/v1"]
    kind: Literal["PostgresCluster"]
    metadata: Metadata
    spec: ClusterSpec = Field(default_factory=ClusterSpec)

    @property
    def name(self) -> str:
        return self.metadata.name

    def instances(self) -> tuple[Instance, ...]:
        """The wanted members by name; a bare number names them pg-1, pg-2, …"""
        if isinstance(self.spec.instances, int):
            return tuple(Instance(name=f"pg-{n}") for n in range(1, self.spec.instances + 1))
        return tuple(self.spec.instances)
