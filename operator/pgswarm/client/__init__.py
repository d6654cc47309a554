"""For applications in Python: transactions that outlive a failover, synchronous and asynchronous.

    from pgswarm.client import Database

    with Database.from_environment() as database:  # DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASS or DB_PASS_FILE
        number = database.run(lambda tx: tx.execute("SELECT …").fetchone())

    @database.transaction(idempotent=True, deadline=10)
    def pay(tx: Connection, order: int) -> None: …

A function that gets a connection inside a transaction is the unit: it is called again, from its beginning and on
another connection if need be, when an attempt failed in a way that *cannot* have committed anything. When the
connection is lost after COMMIT was sent nobody can know; then the caller hears `OutcomeUnknown`, unless it said that
the function may be done twice (`idempotent`), or gave a way to look (`landed`). Why that is sound stands in
`operator/decisions/0026`.

This is a floor of its own: it imports nothing of the operator, only psycopg and psycopg_pool. Read `verdict` first
(which error means what), then `effort` (what follows from it: the decisions, without I/O), then `sync`; `aio` is the
same with `await`. `where` says how to connect, `dial` makes connections for the pool, `fuse` ends what outlives its
deadline.
"""

from __future__ import annotations

from pgswarm.client.aio import AsyncConnection, AsyncDatabase
from pgswarm.client.effort import Patience
from pgswarm.client.failures import OutcomeUnknown, TransactionEnded, Unavailable
from pgswarm.client.sync import Connection, Database
from pgswarm.client.where import Where

__all__ = [
    "AsyncConnection",
    "AsyncDatabase",
    "Connection",
    "Database",
    "OutcomeUnknown",
    "Patience",
    "TransactionEnded",
    "Unavailable",
    "Where",
]
