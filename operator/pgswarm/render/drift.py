"""What differs between a service as it is and as it shall be, in words, and how to put it right.

Both are Docker's JSON. Only fields that the wanted spec names are compared, so a default that a newer engine adds is
never taken for an edit; and since `render/services` names every field that a hand is likely to touch, also those that
shall be empty, an edit is found. *Empty* is one thing here: no key, null, "", 0, false, [] and {} are the same, for
engines differ in which of them they leave away. Lists are compared without regard to order, where Docker has none.

`merged` is the spec to send: everything that was found, with the wanted fields in their place. What nobody named here,
such as the counter that `docker service update --force` raises, stays as it is, so that putting back a label does not
restart a database.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from pgswarm import settings
from pgswarm.core.swarmview import Service

Spec = dict[str, Any]

ORDERED = ("Command", "Args", "Options", "Nameservers", "Search")
"""Lists in which the order has a meaning."""

MISSING_MEANS = {("TaskTemplate", "RestartPolicy", "Delay"): 5_000_000_000}
"""Where an absent field is not an empty one but a default of Docker's (nanoseconds)."""


def drift(service: Service, wanted: Spec) -> tuple[str, ...]:
    """The differences, in words; none if the service is as wanted."""
    return tuple(_say(path, have, want) for path, have, want in _differences(service.spec, wanted, ()))


def ends(service: Service, wanted: Spec) -> str:
    """The first difference whose putting right makes Swarm replace the task; empty if none does."""
    found = (_say(*one) for one in _differences(service.spec, wanted, ()) if one[0][:1] == ("TaskTemplate",))
    return next(found, "")


def was_edited(service: Service, wanted: Spec) -> bool:
    """Where they differ: did a hand change it, rather than the document? The operator left a hash of its last wish."""
    return bool(service.wanted == wanted["Labels"][settings.LABEL_WANTED])


def merged(raw: Spec, wanted: Spec) -> Spec:
    """The spec to send: as found, with every wanted field as wanted."""
    result = copy.deepcopy(raw)
    for path, _, want in _differences(raw, wanted, ()):
        _put(result, path, copy.deepcopy(want))
    return result


Path = tuple[str, ...]


def _differences(have: Any, want: Any, path: Path) -> list[tuple[Path, Any, Any]]:
    """(where, what is there, what should be), at the depth at which it can be said and put right."""
    if have == want:
        return []
    if isinstance(want, dict) and not _is_free(path):
        found = have if isinstance(have, dict) else {}
        if path == ("Mode",) and set(found) != set(want):
            return [(path, have, want)]
        return [
            difference
            for name, part in want.items()
            for difference in _differences(found.get(name, MISSING_MEANS.get((*path, name))), part, (*path, name))
        ]
    return [] if _plain(have, path) == _plain(want, path) else [(path, have, want)]


def _is_free(path: Path) -> bool:
    """Mappings with keys of the user's choice, which are compared whole: extra keys count. (Labels may be added.)"""
    return path[-1:] in (("Sysctls",), ("Limits",), ("Reservations",))


def _plain(value: Any, path: Path) -> Any:
    """A value with nothing empty in it and its lists in one order."""
    if isinstance(value, dict):
        parts = {name: _plain(part, (*path, name)) for name, part in value.items()}
        return {name: part for name, part in sorted(parts.items()) if part is not None} or None
    if isinstance(value, list):
        plain = [_plain(part, path) for part in value]
        if path and path[-1] not in ORDERED:
            plain.sort(key=lambda part: json.dumps(part, sort_keys=True))
        return plain or None
    return value or None


def _put(spec: Spec, path: Path, value: Any) -> None:
    *above, last = path
    for name in above:
        below = spec.get(name)
        if not isinstance(below, dict):
            below = spec[name] = {}
        spec = below
    spec[last] = value


def _say(path: Path, have: Any, want: Any) -> str:
    match path:
        case ("Name",):
            return f"its name is {have}, wanted is {want}"
        case ("Mode",) | ("Mode", "Global"):
            return f"its mode is {_mode(have)}, wanted is {_mode(want)}"
        case ("Mode", "Replicated", "Replicas"):
            return f"it is scaled to {have or 0}, wanted is {want}"
        case ("Labels", label):
            return f"label {label} is {have!r}, wanted is {want!r}" if have else f"label {label} is missing"
        case (*_, "Image"):
            return f"its image is {have}, wanted is {want}"
        case (*_, "Env"):
            return _say_env(have or [], want or [])
        case (*_, "Constraints"):
            return f"it is bound to {_items(have) or 'no node'}, wanted is {_items(want) or 'any node'}"
    where = ".".join(path[1:] if path[0] == "TaskTemplate" else path)
    if isinstance(want, list) and path[-1] not in ORDERED:
        more, less = _apart(have or [], want)
        parts = [f"has {_items(more)} added"] * bool(more) + [f"lacks {_items(less)}"] * bool(less)
        return f"{where} {' and '.join(parts)}"
    return f"{where} is {_items(have) or 'empty'}, wanted is {_items(want) or 'empty'}"


def _say_env(have: list[str], want: list[str]) -> str:
    """Names only: a value may be a password that somebody put there."""
    before, after = (dict(one.partition("=")[::2] for one in env) for env in (have, want))
    parts = [f"{name} was added" for name in before if name not in after]
    parts += [f"{name} is missing" for name in after if name not in before]
    parts += [f"{name} was changed" for name in after if name in before and before[name] != after[name]]
    return f"environment: {', '.join(parts) or 'a name is given twice'}"


def _apart(have: list[Any], want: list[Any]) -> tuple[list[Any], list[Any]]:
    left, right = ([_plain(one, ()) for one in some] for some in (have, want))
    return [one for one in left if one not in right], [one for one in right if one not in left]


def _mode(mode: Any) -> str:
    return " and ".join(name.lower() for name in mode) if isinstance(mode, dict) and mode else "unknown"


def _items(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_items(one) for one in value)
    if isinstance(value, dict):
        named = value.get("SecretName") or value.get("Target") or value.get("PublishedPort") or value.get("Name")
        return str(named) if named else json.dumps(value, sort_keys=True)
    return "" if value is None else str(value)
