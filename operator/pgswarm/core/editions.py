"""The last documents of a cluster: what was in force, since when, from where; and how two of them differ.

Whoever makes another document the one in force - an operator that found an edited file, a person with `apply` or
`rollback` - keeps the former ones beside it, in the same write of Swarm's store. So there is a way back that needs no
file, and an operator can tell an edited file from one that was only written again.

What wins is simple: *the newest edit*. `apply` is an edit of the moment in which it is said; a watched file is one of
the moment in which it was changed. A file that says what it said when it was last taken over has not been edited,
however new it looks: a checkout or a copy does not undo what was applied since.

Two documents differ where their meaning does: a default that is written out is no difference, nor the order of members.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

from pydantic import Field, TypeAdapter, ValidationError

from pgswarm.core.base import Message
from pgswarm.core.spec import PostgresCluster

KEPT = 10
"""Documents that are remembered, the one in force among them."""

MOST_BYTES = 200_000
"""All of them together; a Swarm object holds a megabyte and has more to carry."""


class Edition(Message):
    """One document that was in force."""

    number: int = Field(ge=1, description="counts up for ever")
    document: PostgresCluster
    edited_at: float = Field(description="seconds since the epoch")
    source: str = Field(description="node:path of a file, or who applied it")

    @property
    def path(self) -> str:
        """The file's path, whichever manager has it; empty if it came from no file."""
        return self.source.partition(":")[2]


class Change(Message):
    """One difference between two documents."""

    path: str
    before: str = Field(description="as text; empty if it was not there")
    after: str = Field(description="as text; empty if it is not there any more")

    def __str__(self) -> str:
        if not self.before:
            return f"{self.path}: {self.after} (new)"
        if not self.after:
            return f"{self.path}: {self.before} is taken away"
        return f"{self.path}: {self.before} → {self.after}"


_EDITIONS: TypeAdapter[tuple[Edition, ...]] = TypeAdapter(tuple[Edition, ...])


def continued(text: str, before: Edition | None, after: Edition | None) -> str:
    """What is kept once `after` is in force instead of `before`; numbers are given here."""
    if after is None or (before is not None and before.document == after.document):
        return text
    known = editions(text)
    if not known and before is not None:
        known = (before.model_copy(update={"number": 1}),)  # from before editions were kept
    number = known[-1].number + 1 if known else 1
    kept = [*known, after.model_copy(update={"number": number})][-KEPT:]
    while len(said := _written(kept)) > MOST_BYTES and len(kept) > 1:
        kept = kept[1:]
    return said


@lru_cache(maxsize=32)
def editions(text: str) -> tuple[Edition, ...]:
    """Those that are kept, the oldest first; none if they cannot be read: the one in force stands elsewhere too."""
    try:
        return _EDITIONS.validate_json(text) if text else ()
    except ValidationError:
        return ()


def is_as_taken_over(text: str, source: str, document: PostgresCluster) -> bool:
    """Does this file say what it said when it was last taken over, from whichever manager that was?"""
    path = source.partition(":")[2]
    last = next((one for one in reversed(editions(text)) if path and one.path == path), None)
    return last is not None and last.document == document


def differences(before: PostgresCluster | None, after: PostgresCluster) -> tuple[Change, ...]:
    """What another document changes, in its own order; everything is new where there was none."""
    old, new = _flat(before) if before is not None else {}, _flat(after)
    return tuple(
        Change(path=path, before=old.get(path, ""), after=new.get(path, ""))
        for path in dict.fromkeys([*new, *old])
        if old.get(path) != new.get(path)
    )


def _written(many: list[Edition]) -> str:
    rows = [
        {
            "number": one.number,
            "document": one.document.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "edited_at": one.edited_at,
            "source": one.source,
        }
        for one in many
    ]
    return json.dumps(rows, separators=(",", ":"))


def _flat(cluster: PostgresCluster) -> dict[str, str]:
    """Every value by its path, defaults included; members by their name, whether counted or listed."""
    whole = cluster.model_dump(mode="json", by_alias=True)
    whole["spec"]["postgres"]["parameters"] = cluster.spec.postgres.settings()
    members = {one.name: one.model_dump(mode="json", by_alias=True, exclude={"name"}) for one in cluster.instances()}
    whole["spec"]["instances"] = {
        name: fields if any(fields.values()) else "anywhere" for name, fields in members.items()
    }
    return dict(_leaves("", whole))


def _leaves(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    elif value is not None:
        yield path, value if isinstance(value, str) else json.dumps(value)
