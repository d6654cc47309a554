"""A small application of three replicas that reads and writes through `postgres-ha:5432`, and shows what a failover
is to it.

Each replica writes a numbered row several times a second with `pgswarm.client`, and keeps a ledger of what came of
every number. The page (`page.html`) shows the counter that all replicas push, the server behind the router, the
pauses; it is told by server-sent events, so it goes on without reloading. Where the database is comes from `DB_HOST`,
`DB_PORT`, `DB_NAME`, `DB_USER` and a Swarm secret (`DB_PASS_FILE`).

`/health` says whether this process serves and asks no database: an orchestrator that restarts every replica because the
database is away for two seconds makes a short pause a long one. `/ready` says whether writes go through.

Nothing but the standard library and `pgswarm.client`; everything in one file, to be read as an example.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pgswarm.client import Connection, Database, OutcomeUnknown, Patience, Unavailable

PAGE = Path(__file__).with_name("page.html")
PACE = 0.1
"""Seconds between two writes of one replica."""
TOLD_EVERY = 0.25
"""Seconds between two pictures for a page."""
READY_WITHIN = 5.0
"""Seconds without a write after which this replica does not call itself ready."""
LISTENERS = 100
"""Pages at the same time; more are asked to come back later."""
TABLES = """
CREATE TABLE IF NOT EXISTS app_writes (
    replica text, number bigint, written timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (replica, number)
);
CREATE TABLE IF NOT EXISTS app_counters (replica text PRIMARY KEY, counter bigint NOT NULL)"""

WRITE = "INSERT INTO app_writes VALUES (%s, %s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO app_counters VALUES (%s, 1) ON CONFLICT (replica) DO UPDATE SET counter = app_counters.counter + 1"""
READ = "SELECT host(inet_server_addr()), sum(counter)::bigint FROM app_counters"
"""A counter for each replica, added up: nobody waits for the lock of a replica that was lost."""


class Ledger:
    """What came of every number that this replica has written. Shared by threads."""

    def __init__(self) -> None:
        # A replica that is replaced begins anew, with a name of its own.
        self.replica = f"{socket.gethostname()}-{time.time_ns() // 1_000_000:x}"
        self.attempted = 0
        self.acknowledged = 0
        self.not_committed: list[int] = []
        self.unknown: list[int] = []
        self.told: deque[tuple[float, str]] = deque(maxlen=8)
        self.server = ""
        self.counter = 0
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._pauses: deque[tuple[float, float]] = deque(maxlen=50)
        """When a write was acknowledged after a pause worth telling, and how long it was (seconds)."""

    def wrote(self, server: str, counter: int) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._last > 3 * PACE:
                self._pauses.append((time.time(), now - self._last))
            self._last, self.server, self.counter = now, server, counter
            self.acknowledged += 1

    def failed(self, number: int, error: Exception) -> None:
        with self._lock:
            (self.unknown if isinstance(error, OutcomeUnknown) else self.not_committed).append(number)
            self.told.append((time.time(), str(error)))

    @property
    def silence(self) -> float:
        """Seconds since the last acknowledged write."""
        return time.monotonic() - self._last

    def picture(self) -> dict[str, Any]:
        with self._lock:
            return {
                "replica": self.replica,
                "attempted": self.attempted,
                "acknowledged": self.acknowledged,
                "not_committed": self.not_committed,
                "unknown": self.unknown,
                "counter": self.counter,
                "server": self.server,
                "silence": round(self.silence, 3),
                "pauses": [[round(when, 1), round(pause, 3)] for when, pause in self._pauses],
                "told": list(self.told),
            }


def write_once(database: Database, ledger: Ledger) -> None:
    """One numbered row. Done twice it is the same as done once, so it may be tried until it is known to be there."""
    ledger.attempted += 1
    number = ledger.attempted

    def write(tx: Connection) -> tuple[str, int]:
        if tx.execute(WRITE, [ledger.replica, number]).rowcount:
            tx.execute(COUNT, [ledger.replica])
        return tx.execute(READ).fetchone() or ("", 0)

    try:
        server, counter = database.run(write, idempotent=True)
    except Exception as error:  # told with its number; the next number is another attempt
        ledger.failed(number, error)
        print(f"write {number}: {error}", file=sys.stderr, flush=True)
    else:
        ledger.wrote(server, counter)


def write_on(database: Database, ledger: Ledger, ended: threading.Event) -> None:
    """Write until the end. The tables are made by whoever is first; that they are there already is no error."""
    while not ended.is_set():
        try:
            database.run(lambda tx: tx.execute(TABLES), idempotent=True)
            break
        except Exception as error:  # the cluster may be made later than its application
            print(f"no tables yet: {error}", file=sys.stderr, flush=True)
            ended.wait(1)
    while not ended.wait(PACE):
        write_once(database, ledger)


def missing(database: Database, ledger: Ledger, deadline: float = 5.0) -> list[int]:
    """Acknowledged numbers that are not in the table: must be none."""
    last = ledger.attempted - 1  # the newest may be under way
    doubtful = {*ledger.not_committed, *ledger.unknown}

    def look(tx: Connection) -> set[int]:
        rows = tx.execute("SELECT number FROM app_writes WHERE replica = %s", [ledger.replica])
        return {row[0] for row in rows}

    there = database.run(look, read_only=True, deadline=deadline)
    return [number for number in range(1, last + 1) if number not in there and number not in doubtful]


class Handler(BaseHTTPRequestHandler):
    """The page, and what it and Swarm ask for."""

    database: Database
    ledger: Ledger
    ended: threading.Event
    listeners = threading.BoundedSemaphore(LISTENERS)
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match urlsplit(self.path).path:
            case "/":
                self._answer(200, PAGE.read_bytes(), "text/html; charset=utf-8")
            case "/health":
                self._answer(200, b"serving\n")
            case "/ready":
                silence = self.ledger.silence
                ready = silence < READY_WITHIN
                self._answer(200 if ready else 503, f"last write {silence:.1f} s ago\n".encode())
            case "/ledger":
                self._ledger()
            case "/events":
                self._events()
            case _:
                self._answer(404, b"there is /, /events, /ledger, /ready and /health\n")

    def _ledger(self) -> None:
        try:
            gone = missing(self.database, self.ledger)
        except Unavailable as error:
            self._answer(503, f"{error}\n".encode())
            return
        picture = {**self.ledger.picture(), "missing": gone}
        self._answer(200, json.dumps(picture).encode(), "application/json")

    def _events(self) -> None:
        if not self.listeners.acquire(blocking=False):
            self._answer(503, b"too many pages are open\n")
            return
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            while not self.ended.wait(TOLD_EVERY):
                self.wfile.write(f"data: {json.dumps(self.ledger.picture())}\n\n".encode())
                self.wfile.flush()
        except OSError:
            return  # the page was closed
        finally:
            self.close_connection = True
            self.listeners.release()

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Requests are not told: what happens to writes is."""


class Server(ThreadingHTTPServer):
    daemon_threads = True


def told_to_stop() -> threading.Event:
    """Set at SIGTERM and SIGINT."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


def main() -> None:
    port, deadline = int(os.environ.get("APP_PORT", "8080")), float(os.environ.get("APP_DEADLINE", "30"))
    ledger, ended = Ledger(), told_to_stop()
    with Database.from_environment(max_size=4, patience=Patience(deadline=deadline)) as database:
        server = Server(("", port), type("Bound", (Handler,), {"database": database, "ledger": ledger, "ended": ended}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        writer = threading.Thread(target=write_on, args=(database, ledger, ended))
        writer.start()
        ended.wait()
        writer.join(8)  # with the look below still within Swarm's stop_grace_period
        server.shutdown()
        # The ledger of a replica that ends is its last line: nothing that was promised is forgotten with it.
        try:
            gone: object = missing(database, ledger)
        except Exception as error:
            gone = f"not known: {error}"
        print(json.dumps({"ledger": {**ledger.picture(), "missing": gone}}), flush=True)


if __name__ == "__main__":
    main()
