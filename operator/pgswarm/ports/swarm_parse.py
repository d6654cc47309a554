"""Docker's JSON as the core's values: pure, and forgiving towards engines that say more or less than ours.

A missing field becomes its default, an unknown word becomes `unknown`; only an object without an id is an error, for
then the answer is not what it was asked for. Times come as RFC 3339 with nanoseconds and leave as seconds.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, get_args

from pgswarm.core.swarmview import Network, Node, Secret, Service, Task

Raw = Mapping[str, Any]


def node(raw: Raw) -> Node:
    spec, status, manager = _part(raw, "Spec"), _part(raw, "Status"), _part(raw, "ManagerStatus")
    description = _part(raw, "Description")
    return Node(
        id=raw["ID"],
        name=description.get("Hostname") or raw["ID"],
        role=_word(Node, "role", spec.get("Role"), "worker"),
        availability=_word(Node, "availability", spec.get("Availability"), "active"),
        state=_word(Node, "state", status.get("State"), "unknown"),
        is_raft_leader=bool(manager.get("Leader")),
        reachability=_word(Node, "reachability", manager.get("Reachability"), ""),
        address=_node_address(status.get("Addr") or "", manager.get("Addr") or ""),
        engine=_part(description, "Engine").get("EngineVersion") or "",
        labels=spec.get("Labels") or {},
    )


def service(raw: Raw) -> Service:
    spec = _part(raw, "Spec")
    replicated, update = _part(_part(spec, "Mode"), "Replicated"), _part(raw, "UpdateStatus")
    is_replicated = "Replicated" in _part(spec, "Mode")
    return Service(
        id=raw["ID"],
        version=_part(raw, "Version").get("Index", 0),
        name=spec.get("Name") or raw["ID"],
        labels=spec.get("Labels") or {},
        spec=dict(spec),
        replicas=replicated.get("Replicas", 0) or 0 if is_replicated else None,
        update_state=update.get("State") or "",
        update_message=update.get("Message") or "",
    )


def task(raw: Raw) -> Task:
    status = _part(raw, "Status")
    container = _part(status, "ContainerStatus")
    state = status.get("State") or "unknown"
    return Task(
        id=raw["ID"],
        service_id=raw.get("ServiceID") or "",
        node_id=raw.get("NodeID") or "",
        slot=raw.get("Slot") or 0,
        state=state,
        desired=raw.get("DesiredState") or "unknown",
        message=status.get("Message") or "",
        error=status.get("Err") or "",
        exit_code=container.get("ExitCode", 0) if container and state in ("complete", "failed", "shutdown") else None,
        addresses=_addresses(raw),
        image=_part(_part(raw, "Spec"), "ContainerSpec").get("Image") or "",
        container_id=container.get("ContainerID") or "",
        created=seconds(raw.get("CreatedAt")),
        since=seconds(status.get("Timestamp")),
    )


def network(raw: Raw) -> Network:
    return Network(
        name=raw["Name"],
        id=raw["Id"],
        driver=raw.get("Driver") or "",
        scope=raw.get("Scope") or "",
        attachable=bool(raw.get("Attachable")),
        labels=raw.get("Labels") or {},
    )


def secret(raw: Raw) -> Secret:
    spec = _part(raw, "Spec")
    return Secret(id=raw["ID"], name=spec.get("Name") or raw["ID"], labels=spec.get("Labels") or {})


def seconds(text: str | None) -> float:
    """RFC 3339 as seconds since the epoch; 0 for nothing, for Go's zero time and for what cannot be read."""
    if not text or text.startswith("0001-"):
        return 0.0
    whole, dot, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    try:
        moment = datetime.datetime.fromisoformat((whole + rest[digits:]) if dot else text)
        return moment.timestamp() + (float(f"0.{rest[:digits]}") if digits else 0.0)
    except ValueError:
        return 0.0


def _addresses(raw: Raw) -> dict[str, str]:
    found: dict[str, str] = {}
    for attachment in raw.get("NetworksAttachments") or ():
        name = _part(_part(attachment, "Network"), "Spec").get("Name")
        for address in attachment.get("Addresses") or ():
            if name and "." in address:
                found.setdefault(name, address.partition("/")[0])
    return found


def _node_address(address: str, manager: str) -> str:
    """A manager's own address where Docker only knows how the others see it (`0.0.0.0` or `127.0.0.1`)."""
    if address in ("", "0.0.0.0", "127.0.0.1", "::"):
        return manager.rpartition(":")[0].strip("[]") or address
    return address


def _part(raw: Raw, name: str) -> Raw:
    found = raw.get(name)
    return found if isinstance(found, Mapping) else {}


def _word(of: type[Node], field: str, word: str | None, default: str) -> Any:
    return word if word in get_args(of.model_fields[field].annotation) else default
