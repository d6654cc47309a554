"""Members made of little: an agent that speaks the wire, and a server behind it that answers with its own name.

Each lives on a loopback address of its own, so that all use the same ports as in a container. The router in front is
the real process with the real HAProxy.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import anyio
import httpx
from anyio.abc import SocketStream, TaskGroup
from anyio.streams.stapled import MultiListener

from pgswarm.core.orders import RouterOrder, RouterOrderMessage
from pgswarm.core.reports import Data, MemberReport, Postgres, Role, RouterReport, Serving
from pgswarm.ports.agents import AgentClient
from pgswarm.wire import HEARTBEAT, Answer, encode_line
from tests import free

CLUSTER = "main"
SECRET = "a secret of the tests"

_networks = count(os.getpid() % 200 + 1)


def fresh_addresses(n: int) -> list[str]:
    """Loopback addresses that no other test of this run has used."""
    network = next(_networks)
    return [f"127.{network // 250 + 77}.{network % 250}.{host}" for host in range(1, n + 1)]


@dataclass
class Member:
    """A fake member: what it reports is set by the test, and its server greets with its name and echoes."""

    name: str
    address: str
    api_port: int
    postgres_port: int
    report: MemberReport = field(init=False)
    served: list[SocketStream] = field(default_factory=list)
    is_mute: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _scopes: list[anyio.CancelScope] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.report = MemberReport(
            cluster=CLUSTER,
            member=self.name,
            boot="1",
            sequence=0,
            data=Data.READY,
            incarnation=f"{self.name}/00000001",
            postgres=Postgres.RUNNING,
        )

    def say(self, **changes: object) -> None:
        """Report this from now on."""
        self.report = self.report.model_copy(update=changes)
        self._changed.set()
        self._changed = anyio.Event()

    def lead(self, term: int, revision: int = 1) -> None:
        self.say(
            serving=Serving.PRIMARY,
            role=Role.PRIMARY,
            postgres=Postgres.RUNNING,
            accepted=(term, revision),
            heeded=(term, revision),
            reigned=term,
        )

    def follow(self, term: int, revision: int = 1) -> None:
        self.say(serving=Serving.REPLICA, role=Role.STANDBY, accepted=(term, revision), heeded=(term, revision))

    def turn_away(self) -> None:
        self.say(serving=Serving.NONE)

    async def live(self, group: TaskGroup) -> None:
        """Start agent and server."""
        agent = await anyio.create_tcp_listener(local_host=self.address, local_port=self.api_port)
        server = await anyio.create_tcp_listener(local_host=self.address, local_port=self.postgres_port, backlog=1000)

        async def serve(
            listener: MultiListener[SocketStream], handler: Callable[[SocketStream], Awaitable[None]]
        ) -> None:
            with anyio.CancelScope() as scope:
                self._scopes.append(scope)
                async with listener:
                    await listener.serve(handler)

        group.start_soon(serve, agent, self._speak)
        group.start_soon(serve, server, self._echo)

    def die(self) -> None:
        """Agent and server end as a killed container does: every connection is closed at once."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()

    async def _speak(self, stream: SocketStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            async with stream:
                await stream.receive()
                await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                sequence = 0
                while True:
                    changed = self._changed
                    sequence += 1
                    line = encode_line(self.report.model_copy(update={"sequence": sequence}))
                    if not self.is_mute:
                        await stream.send(b"%x\r\n%s\r\n" % (len(line), line))
                    with anyio.move_on_after(HEARTBEAT):
                        await changed.wait()

    async def _echo(self, stream: SocketStream) -> None:
        self.served.append(stream)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with stream:
                await stream.send(f"{self.name}\n".encode())
                async for data in stream:
                    await stream.send(data)
        self.served.remove(stream)


@dataclass
class RouterProcess:
    """The real router agent with its HAProxy."""

    directory: Path
    address: str
    ports: dict[str, int]
    process: subprocess.Popen[bytes]
    client: AgentClient
    sessions: list[SocketStream] = field(default_factory=list)

    async def report(self) -> RouterReport:
        report = await self.client.get_report(self.address, self.ports["api"])
        assert isinstance(report, RouterReport)
        return report

    async def order(
        self, primary: Member, term: int, revision: int = 1, contacts: dict[str, str] | None = None, vouched: int = 0
    ) -> Answer:
        assert primary.report.incarnation
        order = RouterOrder(cluster=CLUSTER, term=term, revision=revision, primary=primary.report.incarnation)
        message = RouterOrderMessage(order=order, contacts=contacts or {}, vouched=vouched)
        return await self.client.send_order(self.address, self.ports["api"], message)

    async def until(self, wanted: Callable[[RouterReport], bool], deadline: float = 20.0) -> RouterReport:
        """The first report of the stream of which this is true."""
        last: object = None
        with anyio.move_on_after(deadline):
            while True:
                try:
                    async for report in self.client.stream(self.address, self.ports["api"]):
                        last = report
                        assert isinstance(report, RouterReport)
                        if wanted(report):
                            return report
                except Exception as exc:
                    last = last or exc
                    await anyio.sleep(0.05)
        raise AssertionError(f"not within {deadline:g} s; last: {last}")

    async def connect(self, port: str = "write", deadline: float = 20.0) -> tuple[str, SocketStream]:
        """Connect as a client does: who answered, and the open session."""
        with anyio.fail_after(deadline):
            stream = await anyio.connect_tcp(self.address, self.ports[port])
            self.sessions.append(stream)
            greeting = b""
            while not greeting.endswith(b"\n"):
                greeting += await stream.receive()
        return greeting.decode().strip(), stream

    async def admin(self, command: str) -> str:
        async with await anyio.connect_unix(str(self.directory / "admin.sock")) as stream:
            await stream.send(command.encode() + b"\n")
            return b"".join([chunk async for chunk in stream]).decode()

    async def health(self) -> tuple[int, str]:
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(f"http://{self.address}:{self.ports['health']}/")
        return response.status_code, response.text

    def haproxy_pid(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(pid) for pid in children if b"haproxy.cfg" in Path(f"/proc/{pid}/cmdline").read_bytes())


@dataclass
class World:
    directory: Path
    members: dict[str, Member]
    router_address: str
    group: TaskGroup
    client: AgentClient
    stack: AsyncExitStack

    @property
    def contacts(self) -> dict[str, str]:
        return {member.name: member.address for member in self.members.values()}

    async def start_router(self, members: str = "", **environment: str) -> RouterProcess:
        """Start a router; `members` is what the cluster's alias would resolve to."""
        first = next(iter(self.members.values()))
        names = ("write", "read", "stats", "health", "api")
        ports = dict(zip(names, free.ports(len(names)), strict=True))
        secret = self.directory / "secret"
        secret.write_text(SECRET)
        process = subprocess.Popen(  # noqa: ASYNC220 - it outlives this call, and is ended by its id
            [sys.executable, "-m", "pgswarm.router"],
            env={
                "PATH": os.environ["PATH"],
                "PGSWARM_CLUSTER": CLUSTER,
                "PGSWARM_LOG_LEVEL": os.environ.get("PGSWARM_LOG_LEVEL", "INFO"),
                "PGSWARM_MEMBERS": members or "nobody.invalid",
                "PGSWARM_MEMBER_PORT": str(first.api_port),
                "PGSWARM_POSTGRES_PORT": str(first.postgres_port),
                "PGSWARM_SECRET_FILE": str(secret),
                "PGSWARM_WORK": str(self.directory / "work"),
                "PGSWARM_BIND": self.router_address,
                "PGSWARM_PORT": str(ports["write"]),
                "PGSWARM_READ_ONLY_PORT": str(ports["read"]),
                "PGSWARM_STATS_PORT": str(ports["stats"]),
                "PGSWARM_HEALTH_PORT": str(ports["health"]),
                "PGSWARM_API_PORT": str(ports["api"]),
                **environment,
            },
        )
        self.stack.callback(_end, process)
        router = RouterProcess(self.directory / "work", self.router_address, ports, process, self.client)
        self.stack.push_async_callback(_leave, router.sessions)
        await router.until(lambda report: report.haproxy == "running", deadline=20)
        return router


async def is_cut(session: SocketStream, within: float = 5.0) -> bool:
    """Is this idle session closed from the other side within that time?"""
    with anyio.move_on_after(within):
        try:
            await session.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True
    return False


async def is_open(session: SocketStream) -> bool:
    """Does a word said into this session come back?"""
    try:
        with anyio.fail_after(5):
            await session.send(b"hello\n")
            return await session.receive() == b"hello\n"
    except (TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False


@asynccontextmanager
async def a_world(directory: Path, *names: str) -> AsyncIterator[World]:
    """Members that live, and no router yet."""
    addresses = fresh_addresses(len(names) + 1)
    api_port, postgres_port = free.ports(2)
    members = {
        name: Member(name=name, address=address, api_port=api_port, postgres_port=postgres_port)
        for name, address in zip(names, addresses, strict=False)
    }
    async with AsyncExitStack() as stack:
        client = AgentClient(SECRET)
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        for member in members.values():
            await member.live(group)
        yield World(directory, members, addresses[-1], group, client, stack)


def is_running(pid: int) -> bool:
    """Is there a process of this id that has not ended?"""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def settles(router: RouterProcess, name: str) -> bool:
    """Do new writers come to this member, and stay with it?"""
    seen: list[str] = []
    with anyio.move_on_after(40):
        while seen[-3:] != [name] * 3:
            try:
                who, stream = await router.connect(deadline=10)
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, TimeoutError):
                seen.append("nobody")
                await anyio.sleep(0.05)
                continue
            seen.append(who)
            await _close(stream)
            await anyio.sleep(0.7)
        return True
    return False


async def _close(stream: SocketStream) -> None:
    with anyio.move_on_after(1):
        await stream.aclose()


async def eventually(condition: Callable[[], Awaitable[bool]], deadline: float = 20.0) -> None:
    """Wait until this is true."""
    with anyio.fail_after(deadline):
        while not await condition():  # noqa: ASYNC110 - another process, which cannot set our events
            await anyio.sleep(0.02)


async def _leave(sessions: list[SocketStream]) -> None:
    for session in sessions:
        await anyio.aclose_forcefully(session)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
