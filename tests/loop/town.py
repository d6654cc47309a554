"""A small town for the loop: a Swarm, a store and agents that are quick, honest, and break where a test says.

The plan, the workers, the hands and the streams are the real ones. What is played is what lies behind the ports: a
store with compare-and-set, services whose tasks run at once, and members that do what their orders say in no time
(what real members do is tested with real PostgreSQL). `dies_at` is the number of the effect after which the operator
that caused it is killed: the effect has happened, and nobody was told.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from pgswarm import settings
from pgswarm.core.claim import application_name, incarnation
from pgswarm.core.orders import OrderMessage
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, InForce, MemberReport, Postgres, Role, Serving, Walsender
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Identity as StoredIdentity
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import Network, Node, Secret, Service, SwarmView, Task
from pgswarm.core.wal import Position
from pgswarm.core.wish import Wish
from pgswarm.errors import Again, Conflict, Refused
from pgswarm.loop.house import House, Identity
from pgswarm.loop.observe import Images
from pgswarm.ports.agents import Closed
from pgswarm.ports.tenures import Tenures
from pgswarm.wire import HEARTBEAT, Answer, GrantRequest, PromiseRequest

DOCUMENT = """
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {name}}}
spec:
  instances:
    - {{name: a, node: node1}}
    - {{name: b, node: node2}}
  router: {{name: front-{name}, network: webnet, nodes: managers, publish: false}}
"""
NODES = tuple(Node(id=f"id{n}", name=f"node{n}", role="manager", state="ready") for n in (1, 2, 3))


class Member:
    """An agent that does at once what it is ordered."""

    def __init__(self, town: Town, cluster: str, name: str) -> None:
        self.town, self.alive, self.hangs, self.asks_again = town, True, False, False
        self.calls: list[str] = []
        self.primary: str | None = None
        self.changed = anyio.Event()
        self.report = MemberReport(cluster=cluster, member=name, boot="1", sequence=1, data=Data.NONE)

    def tell(self, **changes: Any) -> None:
        self.report = self.report.model_copy(update={**changes, "sequence": self.report.sequence + 1})
        self.changed.set()
        self.changed = anyio.Event()

    def kill(self) -> None:
        self.alive = False
        self.tell()

    def start(self) -> None:
        """A new process over the same volume."""
        self.alive = True
        boot = str(int(self.report.boot) + 1)
        self.tell(
            boot=boot, heeded=None, role=Role.NONE, serving=Serving.NONE, postgres=Postgres.STOPPED, upstream=None
        )

    def order(self, message: OrderMessage) -> Answer:
        order, said = message.order, self.report
        if order.member != said.member or order.term < said.promised:
            return Answer(accepted=False, reason="not mine, or over", report=said)
        changes: dict[str, Any] = {"promised": order.term, "accepted": order.key, "heeded": order.key}
        changes |= {"data": Data.READY, "postgres": Postgres.RUNNING, "settled": False}
        changes |= {"system_id": order.system_id or said.system_id or "7", "position": Position(timeline=1, lsn=500)}
        changes |= {"settings_digest": message.circumstances.settings.digest}
        asks = order.role == "primary" and message.circumstances.settings.durability == "async"
        changes |= {"asks": said.asks or "n1" if asks else "", "consented": 0.0, "clock": 1000.0}
        if order.role == "primary":
            changes |= {"incarnation": order.primary, "role": Role.PRIMARY, "serving": Serving.PRIMARY}
            changes |= {"upstream": None, "reigned": order.term}
            changes |= {"in_force": InForce(term=order.term, revision=order.revision, since=500)}
        else:
            mine = said.incarnation or incarnation(said.member, "0b0b0b0b")
            changes |= {"incarnation": mine, "role": Role.STANDBY, "serving": Serving.REPLICA}
            changes |= {"upstream": order.primary, "in_force": None, "walsenders": ()}
        self.primary = order.primary
        self.tell(**changes)
        self.town.join_streams(said.cluster)
        return Answer(accepted=True, reason="", report=self.report)


class Town:
    """The world around one or more operators."""

    def __init__(self, folder: Path, *clusters: str) -> None:
        self.members: dict[str, Member] = {}
        self.effects: list[str] = []
        self.dies_at = 0
        self.tenures: Tenures | None = None
        self.hangs: Callable[[str], bool] = lambda what: False
        self.unreachable = ""
        self.store: dict[str, Stored] = {}
        self.services: dict[str, Service] = {}
        self.networks: dict[str, Network] = {}
        self.secrets = {settings.CONTROL_SECRET: Secret(id="0", name=settings.CONTROL_SECRET)}
        self.folder = folder
        self._index = 10
        self._killed: anyio.CancelScope | None = None
        folder.mkdir(exist_ok=True)
        for name in clusters or ("main",):
            (folder / f"{name}.yaml").write_text(DOCUMENT.format(name=name))

    async def operator(self, name: str, until: Callable[[], bool], patience: float = 20.0) -> bool:
        """Run one operator until something is true; False if it was killed before. Raises after `patience`."""
        house = self.house(name)
        with anyio.fail_after(patience), anyio.CancelScope() as self._killed:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(house.run)
                while not until():  # noqa: ASYNC110 - the world has no bell
                    await anyio.sleep(0.02)
                tasks.cancel_scope.cancel()
            return True
        return False

    def house(self, name: str = "op.1") -> House:
        who: Any = self
        wire: Any = Wire(self)
        identity = Identity(name=name, node_id="id3", node_name="node3")
        return House(identity, who, who, wire, Images(member="m", router="r"), self.folder, self.tenures)

    async def happen(self, what: str, effect: Callable[[], Any]) -> Any:
        """One effect on the world; the operator may hang before it, or be killed right after."""
        if self.hangs(what):
            await anyio.sleep_forever()
        if self.unreachable:
            raise Again(self.unreachable)
        answer = effect()
        self.effects.append(what)
        if len(self.effects) == self.dies_at and self._killed is not None:
            self._killed.cancel()
            await anyio.lowlevel.checkpoint()
        return answer

    def wish(self, kind: str, to: str) -> None:
        """A person writes a wish into the record of main."""
        stored = self.store["main"]
        assert stored.record is not None
        fields = {"id": "w1", "kind": kind, "term": stored.record.term, "to": to, "until": time.time() + 30.0}
        record = stored.record.amended(f"{kind} asked for", wish=Wish.model_validate(fields))
        self._keep(stored.model_copy(update={"record": record}))

    def record(self, cluster: str = "main") -> Record | None:
        stored = self.store.get(cluster)
        return stored.record if stored else None

    def is_whole(self, cluster: str = "main") -> bool:
        """A primary serves under the newest record, and two copies are claimed."""
        record = self.record(cluster)
        if record is None or record.claim.r != 2 or not record.system_id:
            return False
        own = self.members[f"{cluster}/{record.primary_member}"]
        return own.alive and own.report.heeded == (record.term, record.revision)

    # Swarm

    async def view(self, cluster: str | None = None) -> SwarmView:
        await anyio.lowlevel.checkpoint()
        if self.unreachable:
            raise Again(self.unreachable)
        tasks = tuple(self._task(one) for one in self.services.values() if one.member)
        return SwarmView(
            nodes=NODES,
            services=tuple(self.services.values()),
            tasks=tasks,
            networks=tuple(self.networks.values()),
            secrets=tuple(self.secrets.values()),
        )

    def _task(self, service: Service) -> Task:
        key = f"{service.cluster}/{service.member}"
        running = Task(
            id=f"t-{service.name}", service_id=service.id, node_id="id1", slot=1, state="running", desired="running",
            addresses={settings.CONTROL_NETWORK: key}, container_id="c",
        )  # fmt: skip
        if self.members[key].alive or not self.members[key].report.task:
            return running
        return running.model_copy(update={"state": "failed", "desired": "shutdown", "exit_code": 137})

    async def events(self) -> AsyncIterator[None]:
        yield None
        await anyio.sleep_forever()

    async def resolve_image(self, reference: str) -> str:
        return str(await self.happen(f"resolve {reference}", lambda: f"{reference}@sha256:0"))

    async def ensure_network(self, name: str, labels: Any, *, attachable: bool = True) -> str:
        made = Network(name=name, id=name, scope="swarm")
        return str(await self.happen(f"network {name}", lambda: self.networks.setdefault(name, made).id))

    async def create_secret(self, name: str, data: bytes, labels: Any) -> str:
        def create() -> str:
            return self.secrets.setdefault(name, Secret(id=name, name=name, labels=labels)).id

        return str(await self.happen(f"secret {name}", create))

    async def create_service(self, spec: dict[str, Any]) -> str:
        def create() -> str:
            if spec["Name"] in self.services:
                raise Conflict("there is one of that name")
            self._index += 1
            made = Service(id=spec["Name"], version=self._index, name=spec["Name"], labels=spec["Labels"], spec=spec)
            self.services[made.name] = made
            if made.member and made.cluster:
                self.members[f"{made.cluster}/{made.member}"] = Member(self, made.cluster, made.member)
            return made.id

        return str(await self.happen(f"create {spec['Name']}", create))

    async def update_service(self, service_id: str, version: int, spec: dict[str, Any]) -> None:
        def update() -> None:
            found = self.services[service_id]
            if found.version != version:
                raise Conflict("update out of sequence")
            self._index += 1
            replicas = spec["Mode"].get("Replicated", {}).get("Replicas")
            changes = {"spec": spec, "labels": spec["Labels"], "version": self._index, "replicas": replicas}
            self.services[service_id] = found.model_copy(update=changes)

        await self.happen(f"update {service_id}", update)

    async def remove_service(self, service_id: str) -> None:
        def remove() -> None:
            self.services.pop(service_id, None)

        await self.happen(f"remove {service_id}", remove)

    # the store

    async def by_cluster(self) -> dict[str, Stored]:
        await anyio.lowlevel.checkpoint()
        if self.unreachable:
            raise Again(self.unreachable)
        return dict(self.store)

    async def read(self, cluster: str) -> Stored | None:
        return (await self.by_cluster()).get(cluster)

    async def create(self, cluster: str, document: PostgresCluster, *, edited_at: float, source: str) -> Stored:
        def create() -> Stored:
            if cluster in self.store:
                raise Conflict("there is one")
            identity = StoredIdentity(cluster=cluster, id="1", createdAt="now")
            return self._keep(
                Stored(config_id=cluster, version_index=0, identity=identity, document=document, edited_at=edited_at)
            )

        return await self.happen(f"store {cluster}", create)  # type: ignore[no-any-return]

    async def write(self, before: Stored, **changes: Any) -> Stored:
        def write() -> Stored:
            if self.store[before.cluster].version_index != before.version_index:
                raise Conflict("somebody else wrote first")
            return self._keep(before.model_copy(update=changes))

        return await self.happen(f"write {before.cluster}", write)  # type: ignore[no-any-return]

    def _keep(self, stored: Stored) -> Stored:
        self._index += 1
        self.store[stored.cluster] = stored.model_copy(update={"version_index": self._index})
        return self.store[stored.cluster]

    def join_streams(self, cluster: str) -> None:
        """The primary sees those who follow it."""
        record = self.record(cluster)
        ours = [one for key, one in self.members.items() if key.startswith(f"{cluster}/")]
        for own in ours:
            if own.report.role is not Role.PRIMARY or record is None:
                continue
            rows = tuple(
                Walsender(name=application_name(one.report.incarnation, record.term), state="streaming", flush=500)
                for one in ours
                if one.alive and one.report.upstream == own.report.incarnation and one.report.incarnation
            )
            if rows != own.report.walsenders:
                own.tell(walsenders=rows)


class Wire:
    """The agents' port, for one town."""

    def __init__(self, town: Town) -> None:
        self._town = town

    async def stream(
        self, address: str, port: int, *, silence: float = 1.5, beat: Callable[[], None] | None = None
    ) -> AsyncGenerator[MemberReport, None]:
        member = self._at(address)
        boot = member.report.boot
        while member.alive and member.report.boot == boot:
            changed = member.changed
            yield member.report
            with anyio.move_on_after(HEARTBEAT):
                await changed.wait()
        raise Closed("EOF")

    async def send_order(self, address: str, port: int, message: OrderMessage, *, deadline: float = 2.0) -> Answer:
        member = self._at(address)
        what = f"order {address} {message.order.term}.{message.order.revision}"
        return await self._town.happen(what, lambda: member.order(message))  # type: ignore[no-any-return]

    async def send_grant(self, address: str, port: int, request: GrantRequest, *, deadline: float = 1.0) -> Answer:
        member = self._at(address)

        def grant() -> Answer:
            if request.nonce != member.report.asks or request.term != member.report.promised:
                return Answer(accepted=False, reason="nobody asked for that", report=member.report)
            member.tell(granted=True, asks=f"n{int(request.nonce[1:]) + 1}" if member.asks_again else request.nonce)
            return Answer(accepted=True, reason="granted", report=member.report)

        return await self._town.happen(f"grant {address} {request.nonce}", grant)  # type: ignore[no-any-return]

    async def ask_promise(
        self, address: str, port: int, request: PromiseRequest, *, deadline: float = 5.0
    ) -> MemberReport:
        member = self._at(address)

        def promise() -> MemberReport:
            if request.term < member.report.promised:
                raise Refused("promised more already")
            if request.prepare:
                member.tell(yields=request.term, serving=Serving.NONE)
                return member.report
            if member.report.role is Role.PRIMARY:  # it shuts down in order
                member.tell(
                    promised=request.term, role=Role.NONE, serving=Serving.NONE, settled=True, walsenders=(),
                    in_force=None, postgres=Postgres.STOPPED, yields=0,
                )  # fmt: skip
                return member.report
            member.tell(
                promised=request.term, role=Role.FENCED, serving=Serving.NONE, settled=True, upstream=None,
                walsenders=(), in_force=None, postgres=Postgres.RUNNING,
            )  # fmt: skip
            self._town.join_streams(member.report.cluster)
            return member.report

        what = "ready" if request.prepare else "promise"
        return await self._town.happen(f"{what} {address} {request.term}", promise)  # type: ignore[no-any-return]

    def _at(self, address: str) -> Member:
        member = self._town.members.get(address)
        if member is None or not member.alive:
            raise Closed("ECONNREFUSED")
        return member
