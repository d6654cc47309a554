"""Swarm's configs, as an engine would answer for them: no more of it than the record store needs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from pgswarm.errors import Conflict
from pgswarm.ports.records import SwarmRecords


class Configs:
    """The objects, each with its version; `before_write` is somebody else, who may be first."""

    def __init__(self) -> None:
        self.raw: list[dict[str, Any]] = []
        self.writes = 0
        self.before_write: Callable[[], None] = lambda: None

    def records(self) -> SwarmRecords:
        engine: Any = self
        return SwarmRecords(engine)

    def labels(self, cluster: str = "main") -> dict[str, str]:
        found: dict[str, str] = self._of(f"pgswarm.{cluster}")["Spec"]["Labels"]
        return found

    def touched(self, cluster: str = "main") -> None:
        """Somebody has written it."""
        self._of(f"pgswarm.{cluster}")["Version"]["Index"] += 1

    async def get(self, path: str, **_: Any) -> list[dict[str, Any]]:
        return copy.deepcopy(self.raw)

    async def read(self, path: str, **_: Any) -> bytes:
        return json.dumps(self.raw).encode()

    def parsed(self, content: bytes, doing: str) -> Any:
        return json.loads(content)

    async def post(self, path: str, body: dict[str, Any], *, doing: str, version: int = 0) -> dict[str, Any]:
        self.before_write()
        self.writes += 1
        if path == "/configs/create":
            if any(one["Spec"]["Name"] == body["Name"] for one in self.raw):
                raise Conflict(f"{doing}: it is there")
            self.raw.append({"ID": body["Name"], "Version": {"Index": 1}, "Spec": body})
            return {"ID": body["Name"]}
        one = self._of(body["Name"])
        if one["Version"]["Index"] != version:
            raise Conflict(f"{doing}: update out of sequence")
        one["Spec"] = {**one["Spec"], "Labels": body["Labels"]}
        one["Version"] = {"Index": version + 1}
        return {"ID": one["ID"]}

    def _of(self, name: str) -> dict[str, Any]:
        return next(one for one in self.raw if one["Spec"]["Name"] == name)
