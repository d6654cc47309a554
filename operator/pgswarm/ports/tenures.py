"""The tenure's store: one Swarm config for the whole house, changed by compare-and-set (core/tenure has the meaning).

The same care as for records (ports/records): a write names the version that was read, one whose outcome is unknown is
read back and compared, and what cannot be read is never taken for absent. Every content is written once only (`token`,
`number` and `beat` see to that), so equal content means that it was this very write.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from pydantic import ValidationError

from pgswarm import settings
from pgswarm.core.tenure import Tenure
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.ports.swarm_http import Engine, Missing

READS, PAUSE = 20, 0.05
"""How often, and after how many seconds each, a write that succeeded is looked for; reads may lag behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The tenure as it was read, with the version that a write must name."""

    config_id: str
    version: int
    tenure: Tenure


class Tenures(Protocol):
    """Where the tenure is kept. Failures are those of `pgswarm.errors`."""

    async def read(self) -> Found | None:
        """What is stored; None if the store says that there is nothing. Refused if it cannot be understood."""
        ...

    async def write(self, before: Found | None, tenure: Tenure) -> Found:
        """What is stored then, if nobody wrote since `before` was read (None: since there was none); else Conflict."""
        ...


class SwarmTenures:
    """The tenure in the labels of one Swarm config, through the Docker socket of a manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self) -> Found | None:
        name = settings.TENURE_CONFIG
        answer = await self._engine.get("/configs", doing="reading the tenure", filters={"name": [name]})
        if not isinstance(answer, list):
            raise Again("reading the tenure: Docker's answer is not a list")
        return next((_understood(raw) for raw in answer if raw["Spec"]["Name"] == name), None)

    async def write(self, before: Found | None, tenure: Tenure) -> Found:
        labels = {settings.LABEL_KIND: "tenure", settings.LABEL_TENURE: tenure.model_dump_json()}
        spec: dict[str, Any] = {"Name": settings.TENURE_CONFIG, "Labels": labels}
        doing = f"writing tenure {tenure.number}"
        try:
            if before is None:
                data = base64.b64encode(b"who may grant; the labels say it").decode()
                await self._engine.post("/configs/create", {**spec, "Data": data}, doing=doing)
            else:
                path = f"/configs/{before.config_id}/update"
                await self._engine.post(path, spec, doing=doing, version=before.version)
        except (Conflict, Again, Missing) as failure:
            there = await self._there(failure)
            if there is None or there.tenure != tenure:
                raise Conflict(failure.reason) from failure
            return there
        for _ in range(READS):
            there = await self._there(Again("it cannot be read back"))
            if there is not None and there.tenure == tenure:
                return there
            if there is not None and before is not None and there.version > before.version:
                break
            await anyio.sleep(PAUSE)
        raise Conflict(f"{doing}: it was written, and cannot be read back: read again")

    async def _there(self, failure: Exception) -> Found | None:
        try:
            return await self.read()
        except Again as unknown:
            raise Conflict(f"{failure}; and it cannot be read back yet: {unknown}") from unknown


def _understood(raw: Mapping[str, Any]) -> Found:
    text = (raw["Spec"].get("Labels") or {}).get(settings.LABEL_TENURE, "")
    try:
        tenure = Tenure.model_validate_json(text)
    except ValidationError as error:
        raise Refused(
            f"config {settings.TENURE_CONFIG} does not say in {settings.LABEL_TENURE} who may grant: it was edited, or "
            "written by a newer pgswarm. Clusters with durability async go on by their members' consent, and fail "
            "over to nobody; remove it with `docker config rm` once every operator is of one version"
        ) from error
    return Found(config_id=raw["ID"], version=raw["Version"]["Index"], tenure=tenure)
