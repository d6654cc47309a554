"""The floor: what PostgreSQL itself takes, with nobody to decide anything. Runs alone inside a member's container.

A primary and a synchronous standby, both here. `kill -9` of the primary's postmaster, `pg_promote(wait)` on a
connection that is open already, the first accepted write. The killed one is then made anew as the standby of the
other. Argument: how many times. Output: seconds as a JSON list.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg

TOP = Path("/tmp/floor")
PORTS = {"a": 6001, "b": 6002}
DEADLINE = 30.0
COMMON = [
    "listen_addresses=127.0.0.1", f"unix_socket_directories={TOP}", "wal_log_hints=on", "wal_compression=on",
    "restart_after_crash=off", "wal_retrieve_retry_interval=200ms", "shared_buffers=64MB",
]  # fmt: skip


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start(name: str) -> subprocess.Popen[bytes]:
    settings = [word for one in [*COMMON, f"port={PORTS[name]}"] for word in ("-c", one)]
    log = (TOP / f"{name}.log").open("ab")
    postmaster = subprocess.Popen(["postgres", "-D", str(TOP / name), *settings], stdout=log, stderr=log)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            connect(name).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return postmaster
    raise TimeoutError(f"{name} did not start: {(TOP / f'{name}.log').read_text()[-2000:]}")


def connect(name: str) -> psycopg.Connection[tuple[object, ...]]:
    words = f"host={TOP} port={PORTS[name]} user=postgres dbname=postgres"
    return psycopg.connect(words, autocommit=True)


def follow(name: str, primary: str) -> subprocess.Popen[bytes]:
    """Make `name` anew as the synchronous standby of `primary`."""
    shutil.rmtree(TOP / name, ignore_errors=True)
    run("pg_basebackup", "-h", str(TOP), "-p", str(PORTS[primary]), "-U", "postgres", "-D", str(TOP / name),
        "--checkpoint=fast", "--write-recovery-conf")  # fmt: skip
    postmaster = start(name)
    with connect(primary) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        end = time.monotonic() + DEADLINE
        while not connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone():
            if time.monotonic() > end:
                raise TimeoutError(f"{name} does not stream")
            time.sleep(0.05)
        connection.execute("INSERT INTO t VALUES (1)")
    return postmaster


def main() -> None:
    shutil.rmtree(TOP, ignore_errors=True)
    TOP.mkdir()
    run("initdb", "-D", str(TOP / "a"), "-U", "postgres", "--auth=trust", "--no-sync")
    primary, standby = "a", "b"
    running = {"a": start("a")}
    with connect("a") as connection:
        connection.execute("CREATE TABLE t (n int)")
    taken = []
    for _ in range(int(sys.argv[1])):
        running[standby] = follow(standby, primary)
        with connect(standby) as ready:
            began = time.monotonic()
            running[primary].send_signal(signal.SIGKILL)
            ready.execute("SELECT pg_promote(true, 20)")
            # It has copied the setting of the other and nobody follows it yet: a bare script lets it go alone.
            ready.execute("SET synchronous_commit = local")
            ready.execute("INSERT INTO t VALUES (2)")
            taken.append(time.monotonic() - began)
        running[primary].wait()
        primary, standby = standby, primary
    for one in running.values():
        if one.poll() is None:
            one.send_signal(signal.SIGQUIT)
            one.wait()
    os.write(1, json.dumps(taken).encode())


main()
