"""The writing client of `pgswarm drill`: it goes the way of an application, and tells what it sees as it sees it.

It runs as a short-lived service of its own on the network of the applications, knows the routers by their name and the
owner's password by its secret, and nothing of operators, members or records. What it says is one JSON object a line
(`core/drillreport.Said`): ready, what was acknowledged and what failed, and at the end how much of it is not there.

Its table is in a schema of its own, dropped at the end, and at the begin, should an earlier client have been killed.
A write that takes longer than `PATIENCE` is given up with its connection, and counts as failed; nothing asks the
server to cancel by a time-out of its own, which would make a commit that waits for its copies look acknowledged.
"""

from __future__ import annotations

import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from pgswarm.core.drilling import SCHEMA
from pgswarm.core.drillreport import Said
from pgswarm.drill.ledger import COLUMNS, Ledger, Target
from pgswarm.settings import OWNER_PASSWORD_FILE

Connection = psycopg.Connection[tuple[object, ...]]

WRITERS = 4
PATIENCE = 3.0
"""Seconds that one write or one attempt to connect may take."""

CONNECT = 2
"""Seconds for one router's address; docs/how-to/connect.md advises the same."""

EVERY = 0.2
"""Seconds between two lines."""

MOST, FEW = 200, 20
"""Acknowledgements, and failures, in one line: Docker cuts lines at 16 KB."""

FIRST = 20
"""Writes after which it is ready."""

BEGIN = 30.0
"""Seconds until then."""

STEADY, HICCUP, LONGER = 3.0, 1.0, 90.0
"""It ends once no pause in the last STEADY seconds was longer than HICCUP, or LONGER after its time."""

WORDS = 160
"""Characters of a failure that are told."""


def run(host: str, port: int, database: str, user: str, seconds: float) -> int:
    """Write for so long, then look what is there. The exit code."""
    password = Path(OWNER_PASSWORD_FILE).read_text().strip()
    target = Target(hosts=(host,), port=port, database=database, user=user, password=password, connect_timeout=CONNECT)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    table = f"writes_{secrets.token_hex(4)}"
    try:
        _once(target, partial(_made_anew, table=table))
        try:
            return _written(target, table, seconds, ended)
        finally:
            with suppress(psycopg.Error):
                _once(target, partial(_dropped, table=table))
    except (psycopg.Error, OSError, TimeoutError, RuntimeError) as error:
        _say(Said(drill="failed", at=time.time(), text=" ".join(str(error).split()) or type(error).__name__))
        return 1


def _written(target: Target, table: str, seconds: float, ended: threading.Event) -> int:
    with Ledger(target, writers=WRITERS, table=f"{SCHEMA}.{table}", patience=PATIENCE) as ledger:
        ledger.wait_for_writes(FIRST, BEGIN)
        teller = Teller(ledger)
        teller.tell("ready")
        began = time.monotonic()
        while not ended.wait(EVERY):
            teller.tell("wrote")
            over = time.monotonic() - began - seconds
            if over > LONGER or (over > 0 and ledger.gap(time.monotonic() - STEADY).seconds <= HICCUP):
                break
        stopped_at = time.time()  # a write that is long in coming back now is no pause of the cluster's
        ledger.stop()
        teller.tell("wrote")
        missing = ledger.missing()
        _say(Said(drill="end", at=stopped_at, missing=len(missing), text=", ".join(map(str, missing[:5]))))
    return 0


class Teller:
    """Says what is new since it last spoke."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._acks = self._failures = 0
        self._to_epoch = time.time() - time.monotonic()

    def tell(self, kind: str) -> None:
        acks = self._ledger.moments(self._acks)
        failures = list(self._ledger.failures[self._failures :])
        self._acks += len(acks)
        self._failures += len(failures)
        while True:
            _say(
                Said.model_validate(
                    {
                        "drill": kind,
                        "at": round(time.time(), 4),
                        "acks": [(round(at + self._to_epoch, 4), round(took, 4)) for at, took in acks[:MOST]],
                        "failures": [(round(at + self._to_epoch, 4), text[:WORDS]) for at, text in failures[:FEW]],
                    }
                )
            )
            acks, failures, kind = acks[MOST:], failures[FEW:], "wrote"
            if not acks and not failures:
                return


def _made_anew(connection: Connection, table: str) -> None:
    """The schema and the table, and nothing of what an earlier client has left; in one step, see `_dropped`."""
    with connection.transaction():
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(SCHEMA)))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(SCHEMA, table), sql.SQL(COLUMNS)))


def _dropped(connection: Connection, table: str) -> None:
    """The table, and the schema if it is empty then: another client may have begun that knows nothing of this one."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(SCHEMA, table)))
    with suppress(psycopg.errors.DependentObjectsStillExist):
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(sql.Identifier(SCHEMA)))


def _once(target: Target, work: Callable[[Connection], None]) -> None:
    """Do it on a connection that holds; one that a switch has cut is made anew, for BEGIN seconds."""
    give_up = time.monotonic() + BEGIN
    while True:
        try:
            with psycopg.connect(target.conninfo(), autocommit=True) as connection:
                work(connection)
            return
        except psycopg.OperationalError:
            if time.monotonic() > give_up:
                raise
            threading.Event().wait(0.5)


def _say(said: Said) -> None:
    sys.stdout.write(said.model_dump_json(exclude_defaults=True) + "\n")
    sys.stdout.flush()
