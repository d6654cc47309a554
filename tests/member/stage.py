"""A stage for agents: each a process of its own under an unprivileged user, with its own loopback address.

Addresses are 127.X.Y.N with X and Y from this process, so that several runs on one machine do not meet; ports are the
same for all members of a stage, as in a cluster, so contacts (member → address) work unchanged. Orders are made by
`orders.order_for` from a record that the test changes as an operator would.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import psycopg

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.orders import Circumstances, OrderMessage, Settings, order_for
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Kept, MemberReport
from pgswarm.core.wal import Reign, next_timeline
from pgswarm.member.config import from_environment
from pgswarm.wire import Answer, credentials

CLUSTER = "main"
SECRET = "control-secret"
OWNER_PASSWORD = "owner's \\ password: ü"
REPLICATION_PASSWORD = "re:pli\\cation"
NAMES = ("a", "b", "c")
MEMORY, ROOM = "/dev/shm", 4 << 30


def new_folder() -> Path:
    """A short one, for the sockets' sake; in memory if there is room, where it costs a third less."""
    path = Path(tempfile.mkdtemp(prefix="pgsw-", dir=MEMORY if _has_room(MEMORY) else "/tmp"))
    if os.geteuid() == 0:
        shutil.chown(path, "postgres", "postgres")
    return path


def _has_room(folder: str) -> bool:
    return os.path.ismount(folder) and shutil.disk_usage(folder).free >= ROOM


def remove_folder(path: Path) -> None:
    if os.environ.get("PGSWARM_TEST_KEEP"):
        print(f"kept {path}")
        return
    shutil.rmtree(path, ignore_errors=True)


def unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def first_record(*members: str, revision: int = 1, system_id: str = "") -> Record:
    primary = f"{members[0]}/00000001"
    return Record(
        revision=revision,
        term=1,
        primary=primary,
        claim=Claim(members=(primary,), r=1),
        lineage=(Reign(term=1, incarnation=primary, timeline=1, fork=0),),
        places=tuple(Place(member=name, node_id=name, node_name=name, volume=name) for name in members),
        system_id=system_id,
    )


def succeed(record: Record, winner: MemberReport, term: int | None = None, **changes: Any) -> Record:
    """The record of the next term, as a ballot writes it."""
    assert winner.position is not None
    assert winner.incarnation is not None
    reign = Reign(
        term=term or record.term + 1,
        incarnation=winner.incarnation,
        timeline=next_timeline(winner.position, record.lineage),
        fork=winner.position.lsn,
    )
    fields = {
        "term": reign.term,
        "primary": winner.incarnation,
        "claim": Claim(members=(winner.incarnation,), r=1),
        "sync": Sync(),
        "lineage": (*record.lineage, reign),
        **changes,
    }
    return record.amended("test", **fields)


@dataclass
class Member:
    """One agent process and the way to it."""

    name: str
    address: str
    folder: Path
    port: int
    postgres_port: int
    process: subprocess.Popen[bytes] | None = None
    volume: Path = Path()
    everybody: tuple[str, ...] = ()  # what the cluster's name on the control network would resolve to
    extra: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "PGSWARM_CLUSTER": CLUSTER,
            "PGSWARM_MEMBER": self.name,
            "PGSWARM_PLACE": f"{self.name}/{self.name}",
            "PGSWARM_VOLUME": str(self.volume),
            "PGSWARM_BIND": self.address,
            "PGSWARM_PORT": str(self.port),
            "PGSWARM_POSTGRES_PORT": str(self.postgres_port),
            "PGSWARM_SECRET_FILE": str(self.folder / "secret"),
            "PGSWARM_OWNER_PASSWORD_FILE": str(self.folder / "owner"),
            "PGSWARM_REPLICATION_PASSWORD_FILE": str(self.folder / "replication"),
            "PGSWARM_LOG_LEVEL": "DEBUG",
            "PGSWARM_MEMBERS": ",".join(self.everybody),
            **self.extra,
        }
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                [*unprivileged(), sys.executable, "-m", "pgswarm.member"],
                env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/",
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a container that is killed: the agent is gone at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    @property
    def postmaster_pid(self) -> int:
        return int((self.volume / "pgdata" / "postmaster.pid").read_text().split()[0])

    async def call(self, verb: str, path: str, body: str | None = None, timeout: float = 40.0) -> httpx.Response:
        async with httpx.AsyncClient(
            headers=credentials(SECRET), trust_env=False, verify=False, timeout=timeout
        ) as client:
            return await client.request(verb, f"http://{self.address}:{self.port}{path}", content=body)

    async def report(self) -> MemberReport:
        return MemberReport.model_validate_json((await self.call("GET", "/report")).content)

    async def order(
        self, record: Record, contacts: dict[str, str], settings: Settings | None = None, **changes: Any
    ) -> Answer:
        order = order_for(CLUSTER, record, self.name).model_copy(update=changes)
        circumstances = Circumstances(contacts=contacts, settings=settings or Settings())
        message = OrderMessage(order=order, circumstances=circumstances)
        response = await self.call("PUT", "/order", message.model_dump_json())
        answer = Answer.model_validate_json(response.content)
        assert answer.accepted == (response.status_code == 200)
        return answer

    async def promise(self, term: int) -> MemberReport:
        response = await self.call("POST", "/promise", f'{{"cluster": "{CLUSTER}", "term": {term}}}')
        assert response.status_code == 200, response.text
        return MemberReport.model_validate_json(response.content)

    async def until(self, what: str, true: Callable[[MemberReport], Any], deadline: float = 90.0) -> MemberReport:
        """Wait for a report of which this is true."""
        report: MemberReport | None = None
        give_up = time.monotonic() + deadline
        while time.monotonic() < give_up:
            try:
                report = await self.report()
            except (httpx.HTTPError, ValueError):
                report = None
            if report is not None and true(report):
                return report
            await anyio.sleep(0.01)
        why = (await self.call("GET", "/primary")).text if report else "it does not answer"
        raise AssertionError(
            f"{self.name} did not become {what} in {deadline} s; it says {report} ({why})\n{self.log[-6000:]}"
        )

    async def until_live(self) -> MemberReport:
        return await self.until("live", lambda report: True)

    async def until_primary(self, deadline: float = 90.0) -> MemberReport:
        return await self.until("primary", lambda report: report.serving == "primary", deadline)

    async def until_streaming(self, deadline: float = 90.0) -> MemberReport:
        return await self.until("streaming", lambda report: report.upstream is not None, deadline)

    @asynccontextmanager
    async def client(
        self, dbname: str = "app", user: str = "app"
    ) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
        """A connection as the application makes it."""
        async with await psycopg.AsyncConnection.connect(
            host=self.address, port=self.postgres_port, user=user, password=OWNER_PASSWORD, dbname=dbname,
            connect_timeout=5, autocommit=True,
        ) as connection:  # fmt: skip
            yield connection

    async def sql(self, query: str, *, timeout: float = 10.0, dbname: str = "app") -> list[tuple[Any, ...]]:
        """As the application: over the network, with its password."""
        async with self.client(dbname) as connection:
            with anyio.fail_after(timeout):
                cursor = await connection.execute(query.encode())
                return await cursor.fetchall() if cursor.description else []

    async def until_rows(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        """Wait until the query gives exactly these: what was received is not replayed at the same instant."""
        with anyio.fail_after(60):
            while (found := await self.sql(query)) != rows:
                assert len(found) <= len(rows), found
                await anyio.sleep(0.02)

    async def ended(self, deadline: float = 60.0) -> int:
        """The exit code of the agent, once it has ended."""
        assert self.process is not None
        with anyio.fail_after(deadline):
            while True:
                code = self.process.poll()
                if code is not None:
                    return code
                await anyio.sleep(0.02)

    def control_data(self) -> str:
        """What pg_controldata says of a data directory at rest."""
        names = {"PGSWARM_CLUSTER": CLUSTER, "PGSWARM_MEMBER": self.name, "PGSWARM_SOCKET_DIR": "/tmp"}
        program = from_environment(names).program("pg_controldata")
        argv = [*unprivileged(), program, "-D", str(self.volume / "pgdata")]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=10).stdout

    def waldump(self, kept: Kept) -> str:
        """What pg_waldump reads in a piece of log that was kept aside, by the command that lies beside it."""
        about = (self.volume / kept.folder / "about.txt").read_text()
        words = about.rpartition("pg_waldump ")[2].splitlines()[0].split()
        names = {"PGSWARM_CLUSTER": CLUSTER, "PGSWARM_MEMBER": self.name, "PGSWARM_SOCKET_DIR": "/tmp"}
        program = from_environment(names).program("pg_waldump")
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=10, cwd=self.volume / kept.folder
        )
        return done.stdout + done.stderr

    def root(self, query: str, *, timeout: float = 10.0) -> str:
        """As the superuser, over the agent's socket."""
        socket_dir = self.extra.get("PGSWARM_SOCKET_DIR", str(self.volume / "agent"))
        return subprocess.run(
            [*unprivileged(), "psql", "-XAtq", "-h", socket_dir, "-p", str(self.postgres_port), "-U", "postgres",
             "-d", "postgres", "-c", query],
            check=True, capture_output=True, text=True, timeout=timeout, cwd="/",
        ).stdout.strip()  # fmt: skip


class Stage:
    """Members by name, made when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        number = os.getpid()
        self._network = f"127.{1 + number % 250}.{1 + number // 250 % 250}"
        self.members: dict[str, Member] = {}
        for name, text in (
            ("secret", SECRET), ("owner", OWNER_PASSWORD), ("replication", REPLICATION_PASSWORD)
        ):  # fmt: skip
            (folder / name).write_text(text + "\n")

    def member(self, name: str, volume: Path | None = None) -> Member:
        if name not in self.members:
            place = volume or self.folder / name
            place.mkdir(exist_ok=True)
            if os.geteuid() == 0:
                shutil.chown(place, "postgres", "postgres")
            self.members[name] = Member(
                name=name, address=f"{self._network}.{2 + NAMES.index(name)}", folder=self.folder,
                port=18009, postgres_port=15432, volume=place,
                everybody=tuple(f"{self._network}.{2 + number}" for number in range(len(NAMES))),
            )  # fmt: skip
        return self.members[name]

    @property
    def contacts(self) -> dict[str, str]:
        return {name: member.address for name, member in self.members.items()}

    async def begun(self, *names: str, settings: Settings | None = None) -> Record:
        """A primary and its streaming standbys; the record as it is then (nothing claimed but the primary)."""
        members = [self.member(name) for name in names]
        for member in members:
            member.start()
        for member in members:
            await member.until_live()
        record = first_record(*names)
        answer = await members[0].order(record, self.contacts, settings)
        assert answer.accepted, answer.reason
        report = await members[0].until("created", lambda report: report.system_id and report.role == "primary")
        assert report.serving == "none", "what is not in the record yet may be made anew: nobody may write"
        record = record.amended("created", system_id=report.system_id)
        await self.give(record, settings)
        await members[0].until_primary()
        for member in members[1:]:
            await member.until_streaming()
        return record

    async def give(self, record: Record, settings: Settings | None = None, *, to: str = "") -> None:
        """The orders of this record to everybody, or to those named."""
        for name, member in self.members.items():
            if to and name not in to.split():
                continue
            answer = await member.order(record, self.contacts, settings)
            assert answer.accepted, answer.reason

    async def claimed(self, record: Record, *names: str, k: int = 1, settings: Settings | None = None) -> Record:
        """Write sync for these standbys, see it in force, widen the claim."""
        incarnations = [(await self.members[name].report()).incarnation or "" for name in names]
        record = record.amended("sync", sync=Sync(k=k, names=tuple(incarnations)))
        await self.give(record, settings)
        primary = self.members[record.primary_member]
        await primary.until("in force", lambda report: report.in_force and report.in_force.revision == record.revision)
        record = record.amended("claim", claim=Claim(members=(record.primary, *incarnations), r=1 + k))
        await self.give(record, settings)
        return record

    async def close(self) -> None:
        for member in self.members.values():
            if member.process is not None and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            if not _postgres_in(self.folder):
                return
            await anyio.sleep(0.02)
        for pid in _postgres_in(self.folder):
            os.kill(pid, signal.SIGKILL)


def _postgres_in(folder: Path) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if os.readlink(f"/proc/{entry.name}/cwd").startswith(str(folder)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@asynccontextmanager
async def a_stream(member: Member) -> AsyncIterator[Callable[[], Awaitable[MemberReport]]]:
    """The reports of an open stream, one at each call."""
    async with httpx.AsyncClient(headers=credentials(SECRET), trust_env=False, verify=False, timeout=10.0) as client:
        async with client.stream("GET", f"http://{member.address}:{member.port}/stream") as response:
            lines = response.aiter_lines()

            heard = MemberReport.model_validate_json(await anext(lines))

            async def next_report() -> MemberReport:
                nonlocal heard
                line = await anext(lines)
                heard = MemberReport.model_validate_json(line) if line else heard
                return heard

            yield next_report
