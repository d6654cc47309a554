"""`pgswarm.client` with real PostgreSQL: each failure at each place of a transaction, and what comes of it.

Every test is run with both clients. Its transaction is a generator that yields statements and gets their rows, which
the synchronous client's driver and the asynchronous one's go through alike. What was written is counted at the end: a
transaction that is told as committed is there exactly once, one that is told as not committed is not there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgswarm.client import (
    AsyncConnection,
    AsyncDatabase,
    Connection,
    Database,
    OutcomeUnknown,
    Patience,
    TransactionEnded,
    Unavailable,
    Where,
)
from tests.client.stage import PASSWORD, Gate, Server, let_go_once_somebody_looks

pytestmark = pytest.mark.postgres

Body = Callable[[], Generator[str, list[tuple[Any, ...]], Any]]
QUICK = Patience(deadline=15, first=0.02, longest=0.2)


class Sync:
    """A `Database` as the tests use it."""

    def __init__(self, where: Where, **words: Any) -> None:
        self.database = Database(where, **{"patience": QUICK, **words})

    def __enter__(self) -> Sync:
        self.database.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def run(self, body: Body, landed: Body | None = None, **wish: Any) -> Any:
        return self.database.run(self._played(body), landed=self._played(landed) if landed else None, **wish)

    @staticmethod
    def _played(body: Body) -> Callable[[Connection], Any]:
        def play(connection: Connection) -> Any:
            steps, rows = body(), None
            try:
                while True:
                    cursor = connection.execute(steps.send(rows).encode())  # type: ignore[arg-type]
                    rows = cursor.fetchall() if cursor.description else []
            except StopIteration as end:
                return end.value

        return play


class Async:
    """An `AsyncDatabase` likewise, on a loop of its own that stands still between two runs."""

    def __init__(self, where: Where, **words: Any) -> None:
        self.database = AsyncDatabase(where, **{"patience": QUICK, **words})
        self.runner = asyncio.Runner()

    def __enter__(self) -> Async:
        self.runner.run(self.database.open())
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.run(self.database.close())
        self.runner.close()

    def run(self, body: Body, landed: Body | None = None, **wish: Any) -> Any:
        look = self._played(landed) if landed else None
        return self.runner.run(self.database.run(self._played(body), landed=look, **wish))

    @staticmethod
    def _played(body: Body) -> Callable[[AsyncConnection], Any]:
        async def play(connection: AsyncConnection) -> Any:
            steps, rows = body(), None
            try:
                while True:
                    cursor = await connection.execute(steps.send(rows).encode())  # type: ignore[arg-type]
                    rows = await cursor.fetchall() if cursor.description else []
            except StopIteration as end:
                return end.value

        return play


@pytest.fixture
def where(gate: Gate) -> Where:
    return Where(hosts=("127.0.0.1",), ports=(gate.port,), database="app", user="app", password=PASSWORD)


@pytest.fixture(params=[Sync, Async])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(kind: Any, where: Where) -> Iterator[Any]:
    with kind(where) as client:
        yield client


class Insert:
    """A transaction that inserts one number; counts how often it was begun, and does something of the test's first."""

    def __init__(self, number: int = 1, before: Callable[[int], str] = lambda call: "", once: bool = False) -> None:
        self.calls = 0
        self._number = number
        self._before = before
        self._once = once

    def __call__(self) -> Generator[str, list[tuple[Any, ...]], int]:
        self.calls += 1
        call = self.calls
        text = self._before(call)
        if text:
            yield text
        condition = f"WHERE NOT EXISTS (SELECT FROM ledger WHERE n = {self._number})" if self._once else ""
        yield f"INSERT INTO ledger SELECT {self._number} {condition}"
        return call


def is_there(number: int = 1) -> Body:
    def look() -> Generator[str, list[tuple[Any, ...]], bool]:
        rows = yield f"SELECT count(*) FROM ledger WHERE n = {number}"
        return bool(rows[0][0])

    return look


def test_a_transaction_is_committed_and_its_result_returned(client: Any, server: Server) -> None:
    assert client.run(Insert()) == 1
    assert server.rows("ledger") == [1]


def test_idle_connections_that_died_are_not_noticed(client: Any, server: Server) -> None:
    client.run(Insert(1))
    assert server.end_sessions() >= 1
    client.run(Insert(2))
    assert server.rows("ledger") == [1, 2]


@pytest.mark.parametrize("fault", ["greeting", "begin"])
def test_what_fails_before_anything_was_done_is_done_again(
    kind: Any, where: Where, gate: Gate, server: Server, fault: str
) -> None:
    with kind(where, max_size=1) as client:
        client.run(Insert(0))
        server.end_sessions()
        gate.fail(fault, fault)
        client.run(Insert(1))
    assert gate.is_quiet
    assert server.rows("ledger") == [0, 1]


def test_a_backend_killed_in_the_transaction_is_nothing_but_another_attempt(client: Any, server: Server) -> None:
    insert = Insert(before=lambda call: "SELECT pg_terminate_backend(pg_backend_pid())" if call < 3 else "")
    assert client.run(insert) == 3
    assert server.rows("ledger") == [1]


def test_a_backend_killed_while_the_function_thinks_is_seen_before_commit_is_sent(
    client: Any, server: Server, gate: Gate
) -> None:
    calls: list[int] = []

    def thinks() -> Generator[str, list[tuple[Any, ...]], None]:
        calls.append(1)
        yield "INSERT INTO ledger VALUES (1)"
        if len(calls) == 1:
            gate.parted.clear()
            assert server.end_sessions("state = 'idle in transaction'") == 1
            assert gate.parted.wait(20), "the server's good-bye is with the client"

    client.run(thinks)
    assert len(calls) == 2
    assert gate.passed == 1, "COMMIT of the first attempt was never sent"
    assert server.rows("ledger") == [1]


@pytest.mark.parametrize(
    "text",
    [
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$",
        "SET TRANSACTION READ ONLY",
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P03'; END $$",
    ],
)
def test_errors_that_another_attempt_mends(client: Any, server: Server, text: str) -> None:
    insert = Insert(before=lambda call: text if call == 1 else "")
    assert client.run(insert) == 2
    assert server.rows("ledger") == [1]


def test_errors_that_no_attempt_mends_come_through_as_they_are(client: Any, server: Server) -> None:
    insert = Insert(before=lambda call: "SELECT 1 / 0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        client.run(insert)
    assert insert.calls == 1
    assert server.rows("ledger") == []


def test_a_deferred_constraint_that_fails_at_commit_is_a_definite_no(client: Any, server: Server) -> None:
    with server.root("app") as root:
        root.execute("ALTER TABLE ledger ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")
    client.run(Insert(1))
    insert = Insert(1)
    with pytest.raises(psycopg.errors.UniqueViolation):
        client.run(insert)
    assert insert.calls == 1


def test_commit_that_was_sent_and_never_answered_is_told_apart(client: Any, gate: Gate, server: Server) -> None:
    for fault, rows in (("answer", [1]), ("commit", [1])):
        insert = Insert(len(rows))
        gate.fail(fault)
        with pytest.raises(OutcomeUnknown, match="it may have been committed, after"):
            client.run(insert)
        assert insert.calls == 1, "what may be done already is not done again"
        assert server.rows("ledger") == [1], "the same words for both, as nobody can know"


@pytest.mark.parametrize("fault", ["answer", "commit"])
def test_what_may_be_done_twice_is_done_until_it_is_known_to_be_there(
    client: Any, gate: Gate, server: Server, fault: str
) -> None:
    gate.fail(fault, fault)
    insert = Insert(once=True)
    assert client.run(insert, idempotent=True) == 3
    assert server.rows("ledger") == [1]


@pytest.mark.parametrize(("fault", "calls"), [("answer", 1), ("commit", 2)])
def test_who_can_look_is_asked_and_nothing_is_done_twice(
    client: Any, gate: Gate, server: Server, fault: str, calls: int
) -> None:
    gate.fail(fault)
    insert = Insert()
    assert client.run(insert, is_there()) == calls
    assert insert.calls == calls
    assert server.rows("ledger") == [1]


def test_who_looks_waits_for_a_commit_that_is_still_on_its_way(client: Any, gate: Gate, server: Server) -> None:
    """The client is gone when its COMMIT arrives; whoever looked at once would not see it, and do everything twice."""
    gate.fail("late")
    looks = threading.Thread(target=let_go_once_somebody_looks, args=(gate, server))
    looks.start()
    insert = Insert()
    assert client.run(insert, is_there()) == 1
    looks.join()
    assert insert.calls == 1
    assert server.rows("ledger") == [1]


def test_a_look_that_is_cut_off_itself_is_repeated(client: Any, gate: Gate, server: Server) -> None:
    gate.fail("answer", "begin", "answer")
    insert = Insert()
    assert client.run(insert, is_there()) == 1
    assert gate.is_quiet
    assert server.rows("ledger") == [1]


def test_a_read_may_always_be_repeated(client: Any, gate: Gate) -> None:
    gate.fail("answer", "commit")
    assert client.run(is_there(), read_only=True) is False
    assert gate.is_quiet
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        client.run(Insert(), read_only=True)


def test_a_session_ended_while_its_commit_waits_for_a_standby_is_unknown(client: Any, server: Server) -> None:
    """PostgreSQL has it on its own disk and says what it says at any shutdown: 57P01 proves nothing after COMMIT."""
    server.wait_for_nobody()
    end = threading.Thread(target=server.end_sessions_that_wait)
    end.start()
    insert = Insert()
    with pytest.raises(OutcomeUnknown):
        client.run(insert)
    end.join()
    assert insert.calls == 1
    assert server.rows("ledger") == [1]


def test_a_look_is_not_believed_before_what_it_saw_is_confirmed(client: Any, server: Server) -> None:
    """The row is there for everybody, on one machine only. Who looked waits until a standby has it, here in vain."""
    server.wait_for_nobody()
    end = threading.Thread(target=server.end_sessions_that_wait)
    end.start()
    with pytest.raises(OutcomeUnknown):
        client.run(Insert(), is_there(), deadline=5)
    end.join()
    assert server.rows("ledger") == [1]


def test_a_repetition_that_finds_its_work_done_is_not_believed_before_that_is_confirmed(
    client: Any, server: Server
) -> None:
    server.wait_for_nobody()
    end = threading.Thread(target=server.end_sessions_that_wait)
    end.start()
    insert = Insert(once=True)
    with pytest.raises(OutcomeUnknown):
        client.run(insert, idempotent=True, deadline=8)
    end.join()
    assert insert.calls == 2, "the second found the row and had nothing to write, and waited nevertheless"
    assert server.rows("ledger") == [1]


def test_a_look_that_fails_by_itself_leaves_the_outcome_unknown(client: Any, gate: Gate) -> None:
    def looks_in_vain() -> Generator[str, list[tuple[Any, ...]], bool]:
        yield "SELECT * FROM nowhere"
        return True

    gate.fail("answer")
    with pytest.raises(OutcomeUnknown) as told:
        client.run(Insert(), looks_in_vain)
    assert isinstance(told.value.__cause__, psycopg.errors.UndefinedTable)


def test_the_deadline_ends_a_query_and_nothing_was_committed(client: Any, server: Server) -> None:
    insert, began = Insert(before=lambda call: "SELECT pg_sleep(60)"), time.monotonic()
    with pytest.raises(Unavailable, match=r"nothing was committed, after \d\.\d s and 1 attempt"):
        client.run(insert, deadline=0.5)
    assert time.monotonic() - began < 20
    assert server.rows("ledger") == []
    client.run(Insert())


def test_the_deadline_ends_a_commit_that_waits_and_cancels_nothing(client: Any, server: Server) -> None:
    client.run(is_there())  # connected before the time runs
    server.wait_for_nobody()
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        client.run(Insert(), deadline=3)
    assert time.monotonic() - began < 20
    assert server.rows("ledger") == [], "it still waits: nobody has cancelled it"
    server.setting("RESET synchronous_standby_names")
    server.until("wait_event = 'SyncRep'", number=0)
    assert server.rows("ledger") == [1]


@pytest.mark.parametrize("silent", [True, False])
def test_the_deadline_ends_the_waiting_for_a_server(kind: Any, where: Where, gate: Gate, silent: bool) -> None:
    gate.fail(*["silence" if silent else "greeting"] * 100)
    began = time.monotonic()
    with kind(where) as client, pytest.raises(Unavailable):
        client.run(Insert(), deadline=0.7)
    assert time.monotonic() - began < 20


def test_a_wrong_password_is_told_at_once(kind: Any, where: Where) -> None:
    wrong = Where(hosts=where.hosts, ports=where.ports, database="app", user="app", password="wrong")
    began = time.monotonic()
    with kind(wrong) as client, pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        client.run(Insert())
    assert time.monotonic() - began < QUICK.deadline / 2


def test_a_password_that_is_exchanged_is_read_again(kind: Any, where: Where, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    with kind(Where(hosts=where.hosts, ports=where.ports, database="app", user="app", password_file=file)) as client:
        client.run(Insert(1))
        try:
            with server.root() as root:
                root.execute("ALTER ROLE app PASSWORD 'another'")
            file.write_text("another\n")
            server.end_sessions()
            client.run(Insert(2))
        finally:
            with server.root() as root:
                root.execute(psycopg.sql.SQL("ALTER ROLE app PASSWORD {}").format(psycopg.sql.Literal(PASSWORD)))
    assert server.rows("ledger") == [1, 2]


def test_the_server_may_be_away_for_a_while(client: Any, server: Server) -> None:
    client.run(Insert(1))
    server.stop()
    back = threading.Timer(1.0, server.start)
    back.start()
    client.run(Insert(2))
    back.join()
    assert server.rows("ledger") == [1, 2]


def test_a_function_that_ends_its_transaction_itself_is_refused(client: Any) -> None:
    def ends() -> Generator[str, list[tuple[Any, ...]], None]:
        yield "INSERT INTO ledger VALUES (1)"
        yield "COMMIT"

    with pytest.raises(TransactionEnded):
        client.run(ends)


def test_one_dead_connection_takes_all_of_its_age_with_it(kind: Any, where: Where, server: Server) -> None:
    with kind(where, min_size=4, max_size=4) as client:
        client.run(Insert(1))
        give_up = time.monotonic() + 10
        while server.count() < 4:
            assert time.monotonic() < give_up
            client.run(is_there())
        assert server.end_sessions() == 4
        insert = Insert(2)
        client.run(insert)
        assert insert.calls == 1
        found_dead = client.database._pool.get_stats()["returns_bad"]
        assert found_dead == 1, "BEGIN has found the first one dead, and the others were not tried"
    assert server.rows("ledger") == [1, 2]


def test_a_function_that_passes_over_an_error_does_not_look_committed(where: Where, server: Server) -> None:
    def passes_over(connection: Connection) -> None:
        connection.execute("INSERT INTO ledger VALUES (1)")
        try:
            connection.execute("SELECT 1 / 0")
        except psycopg.Error:
            return

    with Database(where, patience=QUICK) as database, pytest.raises(psycopg.errors.InFailedSqlTransaction):
        database.run(passes_over)
    assert server.rows("ledger") == []


def test_a_decorated_function_is_a_transaction(where: Where, server: Server) -> None:
    with Database(where, patience=QUICK) as database:

        @database.transaction(idempotent=True)
        def write(connection: Connection, number: int) -> int:
            """Insert it."""
            connection.execute("INSERT INTO ledger VALUES (%s)", [number])
            return number

        assert write(7) == 7
        assert write.__doc__ == "Insert it."
        with database.connection() as connection:
            connection.execute("INSERT INTO ledger VALUES (8)")
    assert server.rows("ledger") == [7, 8]


def test_a_connection_taken_by_itself_is_one_that_answers(where: Where, server: Server) -> None:
    with Database(where, patience=QUICK) as database:
        database.run(lambda connection: connection.execute("SELECT 1"))
        server.end_sessions()
        with database.connection() as connection:
            connection.execute("INSERT INTO ledger VALUES (1)")
    assert server.rows("ledger") == [1]


def test_a_task_cancelled_in_commit_cancels_nothing_at_the_server(where: Where, server: Server) -> None:
    server.wait_for_nobody()

    async def play() -> None:
        async with AsyncDatabase(where, patience=QUICK) as database:

            async def insert(connection: AsyncConnection) -> None:
                await connection.execute("INSERT INTO ledger VALUES (1)")

            task = asyncio.create_task(database.run(insert))
            await asyncio.to_thread(server.until, "wait_event = 'SyncRep'")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(play())
    assert server.rows("ledger") == [], "it still waits"
    server.setting("RESET synchronous_standby_names")
