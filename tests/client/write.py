"""A writing application for the lab's tests: `write.py sync` or `write.py async`, configured by DB_….

It writes numbered rows in three ways by turns: as most applications do (`plain`, whose outcome may remain unknown), as
something that may be done twice (`idempotent`), and as something that can be looked for (`landed`). A row is unique,
so one that is done twice is an error. At the end of its input it says in one line of JSON what came of each number,
and ends."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from typing import Any

from pgswarm.client import AsyncConnection, AsyncDatabase, Connection, Database, OutcomeUnknown, Patience, Unavailable

WRITERS = 3
PACE = 0.02
PATIENCE = Patience(deadline=20)
INSERT = "INSERT INTO app_ledger VALUES (%s, %s)"
AGAIN = f"{INSERT} ON CONFLICT DO NOTHING"
THERE = "SELECT count(*) FROM app_ledger WHERE client = %s AND number = %s"


class Ledger:
    """What came of each number. Shared by threads."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.came: dict[str, list[int]] = {name: [] for name in ("acknowledged", "not_committed", "unknown", "errors")}
        self.told: list[str] = []
        self.slowest = 0.0
        self.ended = threading.Event()
        self._number = 0
        self._lock = threading.Lock()

    def next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def note(self, number: int, began: float, error: BaseException | None) -> None:
        kind = "acknowledged"
        if error is not None:
            doubtful = "unknown" if isinstance(error, OutcomeUnknown) else "errors"
            kind = "not_committed" if isinstance(error, Unavailable) else doubtful
            self.told.append(f"{number}: {type(error).__name__}: {error}")
        with self._lock:
            self.came[kind].append(number)
            self.slowest = max(self.slowest, time.monotonic() - began)

    def tell(self) -> None:
        kept = {"client": self.client, "attempted": self._number, "slowest": self.slowest, "told": self.told[:50]}
        print(json.dumps({**kept, **self.came}), flush=True)


def write_on(database: Database, ledger: Ledger) -> None:
    while not ledger.ended.wait(PACE):
        number = ledger.next_number()
        row: list[Any] = [ledger.client, number]
        began = time.monotonic()
        error: Exception | None = None

        def insert(tx: Connection, row: list[Any] = row) -> None:
            tx.execute(AGAIN if row[1] % 3 == 1 else INSERT, row)

        def landed(tx: Connection, row: list[Any] = row) -> bool:
            return tx.execute(THERE, row).fetchone() == (1,)

        try:
            database.run(insert, idempotent=number % 3 == 1, landed=landed if number % 3 == 2 else None)
        except Exception as failure:
            error = failure
        ledger.note(number, began, error)


async def write_on_and_on(database: AsyncDatabase, ledger: Ledger) -> None:
    while not ledger.ended.is_set():
        await asyncio.sleep(PACE)
        number = ledger.next_number()
        row: list[Any] = [ledger.client, number]
        began = time.monotonic()
        error: Exception | None = None

        async def insert(tx: AsyncConnection, row: list[Any] = row) -> None:
            await tx.execute(AGAIN if row[1] % 3 == 1 else INSERT, row)

        async def landed(tx: AsyncConnection, row: list[Any] = row) -> bool:
            return await (await tx.execute(THERE, row)).fetchone() == (1,)

        try:
            await database.run(insert, idempotent=number % 3 == 1, landed=landed if number % 3 == 2 else None)
        except Exception as failure:
            error = failure
        ledger.note(number, began, error)


def with_threads(ledger: Ledger) -> None:
    with Database.from_environment(patience=PATIENCE) as database:
        writers = [threading.Thread(target=write_on, args=(database, ledger)) for _ in range(WRITERS)]
        for writer in writers:
            writer.start()
        sys.stdin.read()
        ledger.ended.set()
        for writer in writers:
            writer.join()


async def with_tasks(ledger: Ledger) -> None:
    async with AsyncDatabase.from_environment(patience=PATIENCE) as database, asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(write_on_and_on(database, ledger))
        await asyncio.to_thread(sys.stdin.read)
        ledger.ended.set()


def main() -> None:
    ledger = Ledger(f"python-{sys.argv[1]}")
    if sys.argv[1] == "sync":
        with_threads(ledger)
    else:
        asyncio.run(with_tasks(ledger))
    ledger.tell()


if __name__ == "__main__":
    main()
