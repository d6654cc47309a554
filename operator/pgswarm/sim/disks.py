"""Which volume is whose: every one that was ever made, and for each member the one that it lives on now.

A volume is one name on one node (`Place.id`) and outlives whoever lived on it. A member that moves leaves one behind
and begins on another, so for a while two containers may bear its name, each on a volume of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pgswarm.core.bootstrap import volume_of
from pgswarm.core.record import Record
from pgswarm.core.spec import Instance, PostgresCluster
from pgswarm.sim.volume import Volume

if TYPE_CHECKING:
    from pgswarm.sim.container import Container


class Disks:
    """All volumes of a site."""

    def __init__(self, cluster: str) -> None:
        self.now: dict[str, Volume] = {}  # member → the volume that it lives on
        self._cluster = cluster
        self._all: dict[str, Volume] = {}

    def wanted(self, document: PostgresCluster) -> None:
        """Every member that a document names has a volume, somewhere."""
        for one in document.instances():
            if one.name not in self.now:
                self.now[one.name] = self._expected(document, one)

    def recorded(self, record: Record) -> None:
        """Members live where the record says."""
        for place in record.places:
            self.now[place.member] = self._at(place.member, place.id)

    def of_service(self, spec: dict[str, Any], member: str, record: Record | None) -> Volume:
        """What a container of this service finds; made if there is none of that name on that node."""
        env: list[str] = spec["TaskTemplate"]["ContainerSpec"]["Env"]
        place = next(text.partition("=")[2] for text in env if text.startswith("PGSWARM_PLACE="))
        found = self._at(member, place)
        if record is None or record.place(member) is None:
            self.now[member] = found
        return found

    def others(self, volume: Volume) -> Iterable[Volume]:
        """Those on which the other members live."""
        return [one for one in self.now.values() if one is not volume]

    def is_left_behind(self, container: Container) -> bool:
        """Does it live, and not where its member does now?"""
        return container.alive and container.volume is not self.now[container.member]

    def _expected(self, document: PostgresCluster, one: Instance) -> Volume:
        if one.node is None:
            return Volume.empty(self._cluster, one.name, "")
        return self._at(one.name, f"{one.node}/{volume_of(document, one)}")

    def _at(self, member: str, place: str) -> Volume:
        return self._all.setdefault(place, Volume.empty(self._cluster, member, place))
