"""A real PostgreSQL, and a gate before it that can fail at exactly one place of the conversation.

Backends can be killed at a moment of their own choosing, but not at each of the moments that matter: whether COMMIT
never arrived, arrived and was not answered, or arrives when its sender has long gone is decided between two packets.
The gate reads what the client sends and does it on purpose."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.free import ports
from tests.member.stage import unprivileged

PASSWORD = "an application's \\ password: ü"
BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


class Server:
    """One PostgreSQL with the role `app` and its database, and passwords as over any network."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgsw-app-", dir="/tmp"))
        self.port = ports(1)[0]
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        (self.data / "pg_hba.conf").write_text("local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.start()
        with self.root() as root:
            root.execute("CREATE ROLE app LOGIN")
            text = psycopg.sql.SQL("ALTER ROLE app PASSWORD {}").format(psycopg.sql.Literal(PASSWORD))
            root.execute(text)
            root.execute("CREATE DATABASE app OWNER app")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=30"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", how, "stop")

    def remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # it may be stopped
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def root(self, dbname: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=dbname, autocommit=True, connect_timeout=10
        )

    def setting(self, text: str) -> None:
        """ALTER SYSTEM …, in force for sessions that start from now on, and for those that wait."""
        with self.root() as root:
            root.execute(f"ALTER SYSTEM {text}".encode())
            root.execute("SELECT pg_reload_conf()")

    def wait_for_nobody(self) -> None:
        """Let every commit wait for a standby that does not exist; back when one does.

        That a setting is shown does not mean that backends wait: the checkpointer raises the flag when it gets to it.
        """
        self.setting("SET synchronous_standby_names = 'nobody'")
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            with self.root() as root:
                pid = root.info.backend_pid
                end = threading.Timer(0.2, self._terminate, [pid])
                end.start()
                try:
                    root.execute("SELECT pg_logical_emit_message(true, 'canary', '')")
                except psycopg.OperationalError:
                    return
                finally:
                    end.cancel()
        raise AssertionError("commits do not wait")

    def _terminate(self, pid: int) -> None:
        with self.root() as root:
            root.execute("SELECT pg_terminate_backend(%s)", [pid])

    def rows(self, table: str) -> list[int]:
        with self.root("app") as root:
            return [row[0] for row in root.execute(f"SELECT n FROM {table} ORDER BY n".encode())]

    def end_sessions(self, condition: str = "true") -> int:
        """Terminate the application's sessions of which this is true; how many."""
        query = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app' AND {condition}"
        with self.root() as root:
            row = root.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def end_sessions_that_wait(self) -> None:
        """As soon as a COMMIT of the application waits for its standby, terminate it."""
        self.until("wait_event = 'SyncRep'")
        self.end_sessions()

    def count(self, condition: str = "true") -> int:
        """How many sessions of the application there are of which this is true."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND {condition}"
        with self.root() as root:
            row = root.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def until(self, condition: str, number: int = 1, deadline: float = 30) -> None:
        """Wait until so many sessions of the application are like this."""
        give_up = time.monotonic() + deadline
        while self.count(condition) != number:
            assert time.monotonic() < give_up, f"not {number} sessions became {condition}"
            threading.Event().wait(0.01)

    def _run(self, program: str, *words: str) -> None:
        argv = [*unprivileged(), str(BIN / program), *words]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, cwd="/")


class Gate:
    """A port that leads to a server. `fail` names what it does once; then it lets everything through again."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.passed = 0
        """COMMITs that the server has got."""
        self.swallowed = 0
        self.greeted = 0
        self._faults: list[str] = []
        self._held: list[Callable[[], None]] = []
        self.parted = threading.Event()
        """A connection has come to its end, and both sides were told."""
        self._threads: list[threading.Thread] = []
        self._open = True
        self._spawn(self._listen)

    def fail(self, *faults: str) -> None:
        """The next faults in order.

        `greeting`: a connection is ended at once. `begin`: BEGIN is not passed on, the session is cut. `commit`: the
        same with COMMIT. `answer`: COMMIT is passed on, its answer is not. `late`: the client is cut at COMMIT, which
        the server gets when `let_go` is called. `silence`: a connection is accepted, and nothing is ever said."""
        self._faults = list(faults)

    @property
    def is_quiet(self) -> bool:
        """Has everything that was to fail failed?"""
        return not self._faults

    def let_go(self) -> None:
        for pass_on in self._held:
            pass_on()
        self._held.clear()

    def close(self) -> None:
        self._open = False
        self.let_go()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _spawn(self, work: Callable[..., None], *words: Any) -> None:
        thread = threading.Thread(target=work, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _due(self, *faults: str) -> str:
        return self._faults.pop(0) if self._faults and self._faults[0] in faults else ""

    def _listen(self) -> None:
        while self._open:
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, _ = self._listener.accept()
            self.greeted += 1
            if self._due("greeting"):
                client.close()
            else:
                self._spawn(self._carry, client, bool(self._due("silence")))

    def _carry(self, client: socket.socket, silent: bool) -> None:
        try:
            with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._server)) as server:
                self._carry_between(client, server, silent)
        finally:
            self.parted.set()

    def _carry_between(self, client: socket.socket, server: socket.socket, silent: bool) -> None:
        while self._open:
            for one in select.select([client, server], [], [], 0.05)[0]:
                data = one.recv(65536)
                if not data:
                    return
                if silent:
                    continue
                if one is server:
                    client.sendall(data)
                elif not self._passes(data, client, server):
                    return

    def _passes(self, data: bytes, client: socket.socket, server: socket.socket) -> bool:
        if b"BEGIN" in data and self._due("begin"):
            return False
        if b"COMMIT" in data:
            fault = self._due("commit", "answer", "late")
            if fault == "commit":
                self.swallowed += 1
                return False
            if fault == "late":
                let_go = threading.Event()
                self._held.append(let_go.set)
                client.close()
                let_go.wait(30)
            self.passed += 1
            server.sendall(data)
            if fault:
                server.recv(65536)
                return False
            return True
        server.sendall(data)
        return True


def let_go_once_somebody_looks(gate: Gate, server: Server) -> None:
    """The look of who was cut off waits for the lock of the session whose COMMIT is held."""
    server.until("wait_event = 'advisory'")
    gate.let_go()


@contextlib.contextmanager
def a_server() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.remove()
