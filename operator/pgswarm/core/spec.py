"""The desired-state document: what a person may ask for. `crds/` is generated from these models.

Kubernetes conventions: camelCase, `apiVersion`, `kind`, `metadata`, `spec`. Every field has a default that gives a
complete, safe cluster, except the names that only the owner can know. Unknown fields are refused. Finding the line
of an error in a file is `ports/documents`' work; here is only what is right and wrong.

A field can be wrong by itself: then its type says so. Or two fields contradict each other: then `contradictions` says
so, all of them at once and each with the place that a person should look at. A model with a contradiction cannot be
made, so whoever holds a `PostgresCluster` need not check again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from pgswarm.core.parameters import OWNED_PARAMETERS

API_VERSION = "pgswarm/v1"
MAX_INSTANCES = 9
MAX_SERVICE_NAME = 63
"""Swarm refuses a longer name of a service; ours are CLUSTER_MEMBER and CLUSTER_ROUTER."""
LEAST_REPLACE_AFTER = 10.0  # seconds: what is down for less is mostly back before a clone would be
LEAST_TIMEOUT = 1.0
"""Seconds. Agents speak every half second when nothing happens, so a shorter silence says nothing."""


@dataclass(frozen=True)
class Shape:
    """Text of one shape, with words for whoever gets it wrong."""

    pattern: str
    words: str
    longest: int = 255

    def check(self, value: object) -> object:
        if not isinstance(value, str) or len(value) > self.longest or not re.fullmatch(self.pattern, value):
            raise ValueError(self.words)
        return value

    def schema(self) -> dict[str, object]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$", "minLength": 1, "maxLength": self.longest}


_NAME = Shape(
    r"[a-z]([a-z0-9-]*[a-z0-9])?",
    "must be 1 to 40 lower-case letters, digits and hyphens, begin with a letter and not end in a hyphen",
    longest=40,
)
_IDENTIFIER = Shape(
    r"[a-z_][a-z0-9_]*",
    "must be lower-case letters, digits and underscores, at most 63, not beginning with a digit",
    63,
)
_PARAMETER = Shape(
    r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?",
    "must be the lower-case name of a PostgreSQL parameter, such as shared_buffers or auto_explain.log_min_duration",
    longest=127,
)
_OBJECT = Shape(
    r"[A-Za-z0-9][A-Za-z0-9_.-]*", "must be letters, digits, '_', '.' and '-', beginning with a letter or digit"
)
_IMAGE = Shape(r"[^\s]+", "must be the name of an image, such as registry:5000/team/postgres:17")
_HBA = Shape(
    r"(local|host|hostssl|hostnossl|hostgssenc|hostnogssenc)[ \t][ -~\t]*",
    "must be one line as in pg_hba.conf, beginning with local, host, hostssl, hostnossl, hostgssenc or hostnogssenc",
    longest=500,
)
_DURATION = Shape(r"\d+(\.\d+)?(ms|s|m|h)", "must be a number and a unit: 500ms, 3s, 2m or 1h", 20)
_SIZE = Shape(r"\d+(B|kB|MB|GB|TB)", "must be a whole number and a unit: 512kB, 16MB or 1GB", 20)


def _is_parameter(value: object) -> object:
    if value in OWNED_PARAMETERS:
        raise ValueError("pgswarm sets this itself; remove it from the document")
    return _PARAMETER.check(value)


Name = Annotated[str, BeforeValidator(_NAME.check), WithJsonSchema(_NAME.schema())]
Identifier = Annotated[str, BeforeValidator(_IDENTIFIER.check), WithJsonSchema(_IDENTIFIER.schema())]
ParameterName = Annotated[
    str,
    BeforeValidator(_is_parameter),
    WithJsonSchema({**_PARAMETER.schema(), "not": {"enum": sorted(OWNED_PARAMETERS)}}),
]
ObjectName = Annotated[str, BeforeValidator(_OBJECT.check), WithJsonSchema(_OBJECT.schema())]
ImageName = Annotated[str, BeforeValidator(_IMAGE.check), WithJsonSchema(_IMAGE.schema())]
HbaRule = Annotated[str, BeforeValidator(_HBA.check), WithJsonSchema(_HBA.schema())]
Duration = Annotated[str, BeforeValidator(_DURATION.check), WithJsonSchema(_DURATION.schema())]
Size = Annotated[str, BeforeValidator(_SIZE.check), WithJsonSchema(_SIZE.schema())]
Port = Annotated[int, Field(ge=1, le=65535)]

_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@cache
def seconds(duration: str) -> float:
    """The seconds in a duration such as `500ms` or `3s`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", duration)
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

    owner: ObjectName | None = Field(
        default=None, description="name of an existing Swarm secret with the owner's password"
    )
    replication: ObjectName | None = Field(
        default=None, description="name of an existing Swarm secret with the replication password"
    )


class PostgresSection(Section):
    """PostgreSQL itself."""

    version: Literal[17] = Field(default=17, description="major version")
    image: ImageName | None = Field(default=None, description="another member image than the operator's default")
    database: Identifier = Field(default="app", description="database that applications use")
    owner: Identifier = Field(default="app", description="role that owns it")
    parameters: dict[ParameterName, str | int | float | bool] = Field(
        default_factory=dict, description="settings of postgresql.conf"
    )
    hba: Annotated[list[HbaRule], Field(max_length=200)] = Field(
        default=[],
        description="lines of pg_hba.conf, the first that fits decides; those of pgswarm's agents and of replication "
        "come before them, and after them: everybody with a password (scram-sha-256)",
    )
    passwords: Passwords = Field(default_factory=Passwords)

    @field_validator("database")
    @classmethod
    def _database_is_free(cls, value: str) -> str:
        if value in {"template0", "template1"}:
            raise ValueError(f"{value!r} is a template of PostgreSQL; choose another name")
        return value

    @field_validator("owner")
    @classmethod
    def _owner_is_free(cls, value: str) -> str:
        if value in {"postgres", "pgswarm_replication", "public", "none"} or value.startswith("pg_"):
            raise ValueError(f"{value!r} is a role of PostgreSQL or pgswarm; choose another name")
        return value

    @field_validator("parameters")
    @classmethod
    def _on_one_line(cls, value: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        wrong = [
            ((name,), "must be on one line")
            for name, text in sorted(value.items())
            if isinstance(text, str) and not text.isprintable()
        ]
        _refuse(wrong)
        return value

    def settings(self) -> dict[str, str]:
        """The parameters as postgresql.conf has them: every value as text, booleans as on and off."""
        words = {True: "on", False: "off"}
        return {name: words[v] if isinstance(v, bool) else str(v) for name, v in self.parameters.items()}


class Instance(Section):
    """One member: a PostgreSQL with its own volume on one node."""

    name: Name
    node: ObjectName | None = Field(
        default=None, description="host name or id of the Swarm node; chosen and remembered if not given"
    )
    volume: ObjectName | None = Field(default=None, description="name of its local volume; CLUSTER_NAME if not given")


class RouterSection(Section):
    """HAProxy in front: one address for writers, one for readers."""

    name: Name = Field(default="postgres-ha", description="the name that applications connect to")
    network: ObjectName = Field(default="webnet", description="overlay network of the applications; created if missing")
    port: Port = Field(default=5432, description="writers")
    read_only_port: Port = Field(default=5433, description="readers")
    stats_port: Port = Field(default=8404, description="HAProxy's statistics page and /metrics")
    health_port: Port = Field(default=8405, description="200 while writers can be served")
    nodes: Literal["managers", "all"] | Annotated[list[ObjectName], Field(min_length=1)] = Field(
        default="managers", description="managers, all, or a list of node names: one router on each"
    )
    publish: bool = Field(default=True, description="publish the ports on the nodes that run a router")
    image: ImageName | None = Field(default=None, description="another router image than the operator's default")

    @model_validator(mode="after")
    def _coherent(self) -> RouterSection:
        _refuse(_router_contradictions(self))
        return self


class Bootstrap(Section):
    """Where the first data come from; it is read while there is no record of the cluster, and never again."""

    adopt: Name | None = Field(
        default=None,
        description="instance whose volume holds the data directory of a set-up made by hand: it is taken over as it "
        "is, and the others are cloned from it",
    )
    accept_standby: bool = Field(
        default=False, description="take it over although it is a standby's, which may lack what its primary wrote last"
    )


class ClusterSpec(Section):
    """What the cluster shall be."""

    postgres: PostgresSection = Field(default_factory=PostgresSection)
    instances: (
        Annotated[int, Field(ge=1, le=MAX_INSTANCES)]
        | Annotated[list[Instance], Field(min_length=1, max_length=MAX_INSTANCES)]
    ) = Field(default=2, description="a number (nodes are chosen and remembered) or a list")
    durability: Literal["preferred", "required", "async"] = Field(
        default="preferred",
        description="preferred: waits for a standby while there is one; nothing is ever lost by a failover. "
        "async: waits for nobody; an automatic failover may lose the last writes",
    )
    max_lag_on_failover: Size = Field(
        default="16MB",
        description="async only: there is no automatic failover to a member that is known to be further behind",
    )
    bootstrap: Bootstrap = Field(default_factory=Bootstrap)
    router: RouterSection = Field(default_factory=RouterSection)
    detection_timeout: Duration = Field(default="3s", description="silence after which a member counts as gone")
    isolation_timeout: Duration = Field(default="5s", description="after which a cut-off primary turns clients away")
    replace_after: Duration | None = Field(
        default=None,
        description="how long a node may be down until a member whose node is left open gets another; default: never",
    )

    @model_validator(mode="after")
    def _coherent(self) -> ClusterSpec:
        _refuse(_spec_contradictions(self))
        return self


class PostgresCluster(Section):
    """One document."""

    api_version: Literal["pgswarm/v1"]
    kind: Literal["PostgresCluster"]
    metadata: Metadata
    spec: ClusterSpec = Field(default_factory=ClusterSpec)

    @model_validator(mode="after")
    def _coherent(self) -> PostgresCluster:
        _refuse(_name_contradictions(self))
        return self

    @property
    def name(self) -> str:
        return self.metadata.name

    def instances(self) -> tuple[Instance, ...]:
        """The wanted members by name; a bare number names them pg-1, pg-2, …"""
        if isinstance(self.spec.instances, int):
            return tuple(Instance(name=f"pg-{n}") for n in range(1, self.spec.instances + 1))
        return tuple(self.spec.instances)


Place = tuple[str | int, ...]
"""Where in a section to look, as keys and indexes of the document."""

CONTRADICTIONS = "contradictions"
"""The type of the error that carries all contradictions of a section in its context, as (place, words) pairs."""


def _refuse(found: Iterator[tuple[Place, str]] | list[tuple[tuple[str], str]]) -> None:
    wrong = list(found)
    if wrong:
        raise PydanticCustomError(
            CONTRADICTIONS, "{text}", {"text": "; ".join(text for _, text in wrong), "all": wrong}
        )


def warnings(cluster: PostgresCluster) -> list[str]:
    """What is allowed, and should be known by whoever writes it."""
    if cluster.spec.durability != "async":
        return []
    return [
        "durability async: an automatic failover may lose acknowledged commits, up to "
        f"{cluster.spec.max_lag_on_failover} (maxLagOnFailover) that are known to be lacking, and what a primary that "
        "is cut off from everybody writes in its last seconds; preferred loses none"
    ]


def _router_contradictions(router: RouterSection) -> Iterator[tuple[Place, str]]:
    taken: dict[int, str] = {}
    for field in ("port", "read_only_port", "stats_port", "health_port"):
        name, port = to_camel(field), getattr(router, field)
        if port in taken:
            yield (name,), f"{taken[port]} is {port} already; port, readOnlyPort, statsPort and healthPort must differ"
        taken.setdefault(port, name)
    if isinstance(router.nodes, list):
        for index, node in enumerate(router.nodes):
            if node in router.nodes[:index]:
                yield ("nodes", index), f"{node} is listed twice"


def _spec_contradictions(spec: ClusterSpec) -> Iterator[tuple[Place, str]]:
    if isinstance(spec.instances, list):
        yield from _instance_contradictions(spec.instances)
        names = [instance.name for instance in spec.instances]
    else:
        names = [f"pg-{n}" for n in range(1, spec.instances + 1)]
    if spec.router.name in names:
        yield ("router", "name"), f"the router and an instance are both named {spec.router.name!r}"
    if spec.bootstrap.adopt is not None:
        yield from _adoption_contradictions(spec, spec.bootstrap.adopt)
    if spec.durability == "required" and len(names) == 1:
        yield ("durability",), "required with one instance would let no write through; use preferred, or add instances"
    if spec.replace_after is not None and seconds(spec.replace_after) < LEAST_REPLACE_AFTER:
        yield ("replaceAfter",), f"must be at least {LEAST_REPLACE_AFTER:g}s; a node that restarts is down for a while"
    for field in ("detection_timeout", "isolation_timeout"):
        if seconds(getattr(spec, field)) < LEAST_TIMEOUT:
            yield (to_camel(field),), f"must be at least {LEAST_TIMEOUT:g}s; agents speak every half second when idle"


def _instance_contradictions(instances: list[Instance]) -> Iterator[tuple[Place, str]]:
    for index, instance in enumerate(instances):
        for before in instances[:index]:
            at: Place = ("instances", index)
            if instance.name == before.name:
                yield (*at, "name"), f"two instances are named {instance.name!r}; give each a name of its own"
            elif instance.volume and instance.node and (instance.node, instance.volume) == (before.node, before.volume):
                yield (*at, "volume"), f"{before.name} has this volume on {instance.node} already"


def _adoption_contradictions(spec: ClusterSpec, adopt: str) -> Iterator[tuple[Place, str]]:
    listed = spec.instances if isinstance(spec.instances, list) else []
    found = next((instance for instance in listed if instance.name == adopt), None)
    at: Place = ("bootstrap", "adopt")
    if found is None:
        yield at, f"no instance is named {adopt!r}; list it with the node and the volume where the data lie"
    elif found.node is None or found.volume is None:
        yield at, f"{adopt} needs its node and its volume: only they say where the data lie"
    if spec.postgres.passwords.owner is None:
        words = "adopting needs the Swarm secret with the owner's present password: a generated one would replace it"
        yield ("postgres", "passwords"), words


def _name_contradictions(cluster: PostgresCluster) -> Iterator[tuple[Place, str]]:
    if cluster.name == "pgswarm":
        yield ("metadata", "name"), "'pgswarm' is the operator's own name; choose another"
    listed = isinstance(cluster.spec.instances, list)
    for index, instance in enumerate(cluster.instances()):
        if len(cluster.name) + 1 + len(instance.name) > MAX_SERVICE_NAME:
            place: Place = ("spec", "instances", index, "name") if listed else ("metadata", "name")
            yield place, f"{cluster.name}_{instance.name} is too long for a service; at most {MAX_SERVICE_NAME} letters"
    if len(cluster.name) + 1 + len(cluster.spec.router.name) > MAX_SERVICE_NAME:
        yield (
            ("spec", "router", "name"),
            f"{cluster.name}_{cluster.spec.router.name} is too long for a service; at most {MAX_SERVICE_NAME} letters",
        )
