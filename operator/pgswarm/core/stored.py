"""What is kept of a cluster in Swarm's store, and how it is written there: pure, both ways.

One Swarm config object per cluster. Its data never changes and says which cluster this is; its labels hold what does:

    data              {"cluster": "main", "id": "9f2c…", "createdAt": "2026-01-02T03:04:05Z"}
    pgswarm.cluster   main
    pgswarm.kind      cluster
    pgswarm.record    the record, once there is one
    pgswarm.spec      the document in force, when it was edited, and where it came from
    pgswarm.editions  the last documents, that one among them (`editions`)
    pgswarm.chronicle who became primary when and why, as text for people (`chronicle`)

A label that cannot be read is never taken for one that is not there: a cluster whose record seems absent would be
created anew, over data that exists. So everything that is not understood is refused, with what to do about it. The
chronicle and the editions alone are taken as they are, unread: nothing may fail for what is kept for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import Field, ValidationError

from pgswarm import settings
from pgswarm.core.base import Value
from pgswarm.core.editions import Edition
from pgswarm.core.record import Record
from pgswarm.core.spec import PostgresCluster
from pgswarm.errors import Refused

KIND = "cluster"


class Identity(Value):
    """Which cluster a store object is of: written once."""

    cluster: str
    id: str = Field(description="random, tells two clusters of one name apart")
    created_at: str = Field(alias="createdAt", description="RFC 3339, for people")


class Stored(Value):
    """The store object of one cluster as it was read, with the version that a write must name."""

    config_id: str
    version_index: int
    identity: Identity
    record: Record | None = None
    document: PostgresCluster | None = None
    edited_at: float = Field(default=0.0, description="when the document was edited: seconds since the epoch")
    source: str = Field(default="", description="where the document came from: node:path")
    chronicle: str = Field(default="", description="events for people, as `chronicle` writes them")
    editions: str = Field(default="", description="the last documents, as `editions` writes them")
    others: dict[str, str] = Field(default={}, description="labels that are not ours; kept as they are")

    @property
    def cluster(self) -> str:
        return self.identity.cluster

    @property
    def edition(self) -> Edition | None:
        """The document in force, as it is to be kept."""
        if self.document is None:
            return None
        return Edition(number=1, document=self.document, edited_at=self.edited_at, source=self.source)

    def says_the_same(self, other: Stored) -> bool:
        """Equal but for the version."""
        return self.model_copy(update={"version_index": other.version_index}) == other


def labels_of(stored: Stored) -> dict[str, str]:
    """The labels that say what `stored` says."""
    labels = {**stored.others, settings.LABEL_CLUSTER: stored.cluster, settings.LABEL_KIND: KIND}
    if stored.record is not None:
        labels[settings.LABEL_RECORD] = stored.record.model_dump_json(exclude_none=True)
    if stored.document is not None:
        document = stored.document.model_dump(mode="json", by_alias=True, exclude_unset=True)
        spec = {"document": document, "editedAt": stored.edited_at, "source": stored.source}
        labels[settings.LABEL_SPEC] = json.dumps(spec, separators=(",", ":"))
    if stored.chronicle:
        labels[settings.LABEL_CHRONICLE] = stored.chronicle
    if stored.editions:
        labels[settings.LABEL_EDITIONS] = stored.editions
    return labels


def identity_bytes(identity: Identity) -> bytes:
    return identity.model_dump_json(by_alias=True).encode()


def understand(*, name: str, config_id: str, version_index: int, data: bytes, labels: Mapping[str, str]) -> Stored:
    """What a config object says. Refused, with directions, for anything that pgswarm did not write like this."""
    cluster = name.removeprefix(settings.record_name(""))
    try:
        identity = Identity.model_validate_json(data)
    except ValidationError as error:
        raise Refused(
            f"Swarm has a config named {name}, but it does not say which cluster it is of: if it is somebody else's, "
            f"name the cluster differently; look with `docker config inspect {name}`"
        ) from error
    if labels.get(settings.LABEL_KIND) != KIND or not (
        cluster == identity.cluster == labels.get(settings.LABEL_CLUSTER)
    ):
        raise Refused(
            f"config {name} is of cluster {identity.cluster!r} but its labels {settings.LABEL_KIND} and "
            f"{settings.LABEL_CLUSTER} say otherwise: somebody edited them; put them back"
        )
    spec = _spec(name, labels.get(settings.LABEL_SPEC))
    return Stored(
        config_id=config_id,
        version_index=version_index,
        identity=identity,
        record=_record(name, labels.get(settings.LABEL_RECORD)),
        document=spec.document if spec else None,
        edited_at=spec.edited_at if spec else 0.0,
        source=spec.source if spec else "",
        chronicle=labels.get(settings.LABEL_CHRONICLE, ""),
        editions=labels.get(settings.LABEL_EDITIONS, ""),
        others={label: value for label, value in labels.items() if label not in _OURS},
    )


def is_ours(*, name: str, data: bytes, labels: Mapping[str, str]) -> bool:
    """Is this config meant to be a cluster's store object, readable or not?"""
    if not name.startswith(settings.record_name("")):
        return False
    if settings.LABEL_KIND in labels:
        return labels[settings.LABEL_KIND] == KIND
    try:
        Identity.model_validate_json(data)
    except ValidationError:
        return False
    return True


_OURS = frozenset(
    {
        settings.LABEL_CLUSTER,
        settings.LABEL_KIND,
        settings.LABEL_RECORD,
        settings.LABEL_SPEC,
        settings.LABEL_CHRONICLE,
        settings.LABEL_EDITIONS,
    }
)


class _Spec(Value):
    document: PostgresCluster
    edited_at: float = Field(alias="editedAt")
    source: str


def _record(name: str, text: str | None) -> Record | None:
    if text is None:
        return None
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise Refused(_unreadable(name, settings.LABEL_RECORD, error)) from error


def _spec(name: str, text: str | None) -> _Spec | None:
    if text is None:
        return None
    try:
        return _Spec.model_validate_json(text)
    except ValidationError as error:
        raise Refused(_unreadable(name, settings.LABEL_SPEC, error)) from error


def _unreadable(name: str, label: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return (
        f"label {label} of config {name} cannot be read ({where + ': ' if where else ''}{first['msg']}): it was edited "
        f"by hand, or written by a newer pgswarm. Nothing is decided until it can be read: use the newer version, or "
        f"put the label back as it was"
    )
