"""What the models say about a document, in a person's words and at a person's place.

pydantic knows what is wrong but speaks of types and of paths that contain names of types (`list[Instance]`) wherever a
field may be one of several kinds. Here every error gets the path as written in the file; of several kinds only the one
that the person evidently meant is spoken of; and every kind of error has a sentence that says what would be accepted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pgswarm.core.spec import API_VERSION, CONTRADICTIONS, PostgresCluster
from pgswarm.ports.documents_yaml import Mistake, Path, Spot, Tree

KINDS: dict[str, type[BaseModel]] = {"PostgresCluster": PostgresCluster}


def cluster_of(tree: Tree) -> tuple[PostgresCluster | None, list[Mistake]]:
    """The cluster that a document describes, or everything that is wrong with it."""
    mistakes = [*tree.mistakes, *_wrong_header(tree)]
    if mistakes and not _is_known_kind(tree.data):
        return None, mistakes
    try:
        cluster = PostgresCluster.model_validate(tree.data, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        header = {("apiVersion",), ("kind",)}
        found = [mistake for mistake in in_words(error, tree) if mistake.path not in header]
        return None, _in_order([*mistakes, *found])
    return (None, _in_order(mistakes)) if mistakes else (cluster, [])


def show_path(path: Path) -> str:
    """`spec.instances[0].name`"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _is_known_kind(data: object) -> bool:
    return isinstance(data, dict) and data.get("kind") in KINDS


def _wrong_header(tree: Tree) -> Iterator[Mistake]:
    data = tree.data
    if not isinstance(data, dict):
        kind = _kind_of(data)
        yield Mistake(tree.start, (), f"must be a mapping with apiVersion, kind, metadata and spec, not {kind}")
        return
    for key, known in (("apiVersion", [API_VERSION]), ("kind", list(KINDS))):
        if key not in data:
            yield Mistake(tree.start, (key,), f"is missing; known: {', '.join(known)}")
        elif data[key] not in known:
            yield Mistake(tree.values[(key,)], (key,), f"{_show(data[key])} is not known; known: {', '.join(known)}")


def in_words(error: ValidationError, tree: Tree) -> list[Mistake]:
    """Every error of a validation, once, at its place."""
    found: dict[tuple[Path, str], Mistake] = {}
    for detail in error.errors(include_url=False):
        path = _as_written(detail["loc"], tree.data)
        if path is None:
            continue
        for mistake in _told(detail, path, tree):
            found.setdefault((mistake.path, mistake.text), mistake)
    return list(found.values()) or [Mistake(tree.start, (), f"is not accepted: {error}")]


def _in_order(mistakes: Iterable[Mistake]) -> list[Mistake]:
    return sorted(mistakes, key=lambda mistake: (mistake.spot.line, mistake.spot.column))


def _as_written(loc: tuple[int | str, ...], data: object) -> Path | None:
    """The path in the file, without names of types; None if the error is about a kind that was not meant."""
    path: list[str | int] = []
    here = data
    for part in loc:
        if isinstance(here, dict) and isinstance(part, str) and (part in here or _is_key_name(part)):
            path.append(part)
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int):
            path.append(part)
            here = here[part] if part < len(here) else None
        elif part == "[key]":
            continue
        elif _is_other_kind(str(part), here):
            return None
    return tuple(path)


def _is_key_name(part: str) -> bool:
    return part not in {"str", "int", "float", "bool"} and re.fullmatch(r"[A-Za-z]+", part) is not None


def _is_other_kind(tag: str, value: object) -> bool:
    """Of a field that may be a word, a number or a list: is this the branch that the person did not mean?

    A parameter's value may be text, a number or a boolean; `str` speaks for all of them.
    """
    if tag in {"str", "int", "float", "bool"}:
        return tag != "str"
    return ("list" in tag) != isinstance(value, list)


def _told(detail: ErrorDetails, path: Path, tree: Tree) -> Iterator[Mistake]:
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            yield Mistake(_key_spot(path, tree), path, f"is not known here{_nearest(path)}")
        case "missing":
            yield Mistake(_key_spot(path[:-1], tree), path, "is missing; it has no default")
        case kind if kind == CONTRADICTIONS:
            for place, text in context["all"]:
                full = (*path, *place)
                yield Mistake(_value_spot(full, tree), full, text)
        case kind:
            is_key = detail["loc"][-1] == "[key]"
            value = path[-1] if is_key else _value_at(path, tree.data)
            spot = _key_spot(path, tree) if is_key else _value_spot(path, tree)
            words = "is empty; give it a value or leave it out" if value is None else _sentence(kind, context, value)
            if kind in {"int_type", "literal_error"} and any(
                "-int" in str(p) or "literal" in str(p) for p in detail["loc"]
            ):
                words = words.replace(", not ", " or a list, not ")
            yield Mistake(spot, path, words)


def _sentence(kind: str, context: Mapping[str, Any], value: object) -> str:
    if kind == "value_error":
        words = str(context["error"])
        return f"{words}, not {_show(value)}" if words.startswith("must ") and not isinstance(value, dict) else words
    accepted = _ACCEPTED.get(kind)
    if accepted is None:
        return f"is not accepted ({kind.replace('_', ' ')})"
    return f"must be {accepted.format(**context)}, not {_show(value)}"


_ACCEPTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "string_type": "text (put numbers, yes and no in quotes)",
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of at least {min_length}",
}


def _nearest(path: Path) -> str:
    known = _known_keys(path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    lower = [name for name in known if name.lower() == str(path[-1]).replace("_", "").replace("-", "").lower()]
    if lower or close:
        return f"; did you mean {(lower or close)[0]}?"
    return f"; known: {', '.join(known)}"


def _known_keys(path: Path) -> list[str]:
    """The keys that the section at this path may have."""
    model: type[BaseModel] = PostgresCluster
    for part in path:
        if isinstance(part, int):
            continue
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        inner = next(_models_in(fields[part].annotation), None) if part in fields else None
        if inner is None:
            return []
        model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _value_at(path: Path, data: object) -> object:
    for part in path:
        if isinstance(data, dict) and isinstance(part, str):
            data = data.get(part, "")
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
    return data


def _value_spot(path: Path, tree: Tree) -> Spot:
    """Where the value is; for a default that is written nowhere, the section that it belongs to."""
    for length in range(len(path), -1, -1):
        if path[:length] in tree.values:
            return tree.values[path[:length]]
    return tree.start


def _key_spot(path: Path, tree: Tree) -> Spot:
    return tree.keys.get(path) or _value_spot(path, tree)


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "empty"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"the text {_show(value)}"


def _show(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list() | dict():
            return _kind_of(value)
        case str():
            return repr(value if len(value) <= 60 else f"{value[:57]}...")
        case _:
            return str(value)
