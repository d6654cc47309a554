"""Swarm and its store as one operator meets them: the ports `swarm` and `records`, through one manager's engine.

The contract of `ports/records` is kept word for word, since the safety of every write stands on it: a write whose
outcome is unknown is read back and compared; ours is there: it succeeded; something else: `Conflict`; nothing can be
read: `Conflict` too. What is played is everything that may make an outcome unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio

from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Identity, Stored
from pgswarm.core.swarmview import Network, Secret, SwarmView
from pgswarm.core.tenure import Tenure
from pgswarm.errors import Again, Conflict
from pgswarm.ports.records import UNCHANGED, _check_succession
from pgswarm.ports.tenures import Found

if TYPE_CHECKING:
    from pgswarm.sim.operator import Operator
    from pgswarm.sim.site import Site

CALL = 5.0
"""Seconds after which a call to the engine is given up."""


class Manager:
    """Both ports of one operator."""

    def __init__(self, site: Site, node: str, operator: Operator) -> None:
        self._site, self._node, self._swarm, self._operator = site, node, site.swarm, operator

    # ports/swarm

    async def view(self, cluster: str | None = None) -> SwarmView:
        await self._reach("looking at the Swarm")
        return self._swarm.view(self._node)

    async def events(self) -> AsyncIterator[None]:
        yield None
        while True:
            rung = asyncio.get_running_loop().create_future()
            self._swarm.changed.on(lambda rung=rung: rung.done() or rung.set_result(None))  # type: ignore[misc]
            await rung
            yield None

    async def create_service(self, spec: dict[str, Any]) -> str:
        name: str = await self._write(f"creating {spec['Name']}", lambda: self._swarm.add_service(spec))
        return name

    async def update_service(self, service_id: str, version: int, spec: dict[str, Any]) -> None:
        self._site.ledger.service_changed(service_id)
        await self._write(f"changing {service_id}", lambda: self._swarm.change_service(service_id, version, spec))

    async def remove_service(self, service_id: str) -> None:
        why = self._site.ledger.why_kept(service_id)  # by what is so when it is asked: that it is done late is Swarm's

        def remove() -> None:
            if why and self._swarm.spec(service_id):  # one of another id is not touched
                self._site.ledger.fail(why)
            self._swarm.remove_service(service_id)

        await self._write(f"removing {service_id}", remove)

    async def ensure_network(self, name: str, labels: Mapping[str, str], *, attachable: bool = True) -> str:
        def create() -> str:
            if all(one.name != name for one in self._swarm.networks):
                self._swarm.networks.append(Network(name=name, id=name, driver="overlay", scope="swarm"))
                self._swarm.touch()
            return name

        made: str = await self._write(f"creating {name}", create)
        return made

    async def create_secret(self, name: str, data: bytes, labels: Mapping[str, str]) -> str:
        def create() -> str:
            if all(one.name != name for one in self._swarm.secrets):
                self._swarm.secrets.append(Secret(id=name, name=name, labels=dict(labels)))
                self._swarm.touch()
            return name

        made: str = await self._write(f"creating {name}", create)
        return made

    async def secrets(self) -> tuple[Secret, ...]:
        return (await self.view()).secrets

    async def resolve_image(self, reference: str) -> str:
        await self._reach(f"resolving {reference}")
        return self._site.image(reference)

    # ports/records

    async def by_cluster(self) -> dict[str, Stored]:
        await self._reach("listing records")
        return dict(self._swarm.read(self._node))

    async def read(self, cluster: str) -> Stored | None:
        return (await self.by_cluster()).get(cluster)

    async def create(self, cluster: str, document: PostgresCluster, *, edited_at: float, source: str) -> Stored:
        identity = Identity(cluster=cluster, id=f"{self._site.rng.getrandbits(64):016x}", createdAt="now")
        wanted = Stored(
            config_id=cluster, version_index=0, identity=identity, document=document, edited_at=edited_at, source=source
        )
        return await self._put(wanted, None)

    async def write(self, before: Stored, **given: Any) -> Stored:
        changes = {name: value for name, value in given.items() if value is not UNCHANGED}
        wanted = before.model_copy(update=changes)
        if wanted.says_the_same(before):
            return before
        _check_succession(before, wanted)
        return await self._put(wanted, before.version_index)

    async def _put(self, wanted: Stored, version: int | None) -> Stored:
        doing = f"writing the record of {wanted.cluster}"
        heard = self._operator.heard_primary()

        def put() -> Stored:
            self._site.ledger.losses.heard = heard
            return self._swarm.put(wanted, version)

        try:
            stored: Stored = await self._write(doing, put)
        except (Conflict, Again) as failure:
            try:
                there = await self.read(wanted.cluster)
            except Again as unknown:
                self._site.count("outcome unknown")
                raise Conflict(f"{failure}; and it cannot be read back yet: {unknown}") from unknown
            if there is None or there.version_index == version or not there.says_the_same(wanted):
                raise Conflict(failure.reason) from failure
            self._site.count("outcome read back")
            return there
        return stored

    # ports/tenures, for `tenancy`

    async def read_tenure(self) -> Found | None:
        await self._reach("reading the tenure")
        return self._swarm.tenures.read(from_memory=self._swarm.access(self._node) == "memory")

    async def write_tenure(self, before: Found | None, tenure: Tenure) -> Found:
        doing = f"writing tenure {tenure.number}"
        done: Found = await self._write(doing, lambda: self._swarm.tenures.put(before, tenure))
        return done

    # The engine

    async def _reach(self, doing: str) -> None:
        """Get to somebody who can read, or fail as an engine fails."""
        site = self._site
        await anyio.sleep(site.draw(0.001, 0.006))
        match self._swarm.access(self._node):
            case "leader" | "memory":
                return
            case "no engine":
                raise Again(f"{doing}: the engine does not answer")
        if site.rng.random() < 0.5:
            raise Again(f"{doing}: the swarm does not have a leader")
        await anyio.sleep(CALL)
        raise Again(f"{doing}: no answer within {CALL:g} s")

    async def _write(self, doing: str, effect: Callable[[], Any]) -> Any:
        """One write through Raft: done, refused, lost, or of an outcome that the caller does not learn."""
        site, swarm = self._site, self._swarm
        await anyio.sleep(site.draw(0.001, 0.004))
        match swarm.access(self._node):
            case "no engine":
                raise Again(f"{doing}: the engine does not answer")
            case "leader":
                await anyio.sleep(site.draw(0.002, 0.012, rare=0.3))
                if swarm.access(self._node) == "leader":
                    luck = site.rng.random() if site.unruly else 1.0
                    if luck < 0.02:
                        raise Again(f"{doing}: connection reset by the engine")
                    done = effect()
                    if luck < 0.06:
                        site.count("answer to a write lost")
                        raise Again(f"{doing}: no answer; the outcome is unknown")
                    return done
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        swarm.park(self._node, lambda: _settle(outcome, effect))
        with anyio.move_on_after(CALL):
            return await outcome
        raise Again(f"{doing}: no answer within {CALL:g} s; the outcome is unknown")


def _settle(outcome: asyncio.Future[Any], effect: Callable[[], Any]) -> None:
    """A write that is done late: its caller may have given up, or be gone."""
    try:
        done = effect()
    except Conflict as conflict:
        if not outcome.done():
            outcome.set_exception(conflict)
        return
    if not outcome.done():
        outcome.set_result(done)
