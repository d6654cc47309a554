"""One PostgreSQL for all tests of the helpers, an empty table and a fresh gate for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.stage import Gate, Server, a_server


@pytest.fixture(scope="session")
def the_server() -> Iterator[Server]:
    with a_server() as server:
        yield server


@pytest.fixture
def server(the_server: Server) -> Server:
    the_server.setting("RESET ALL")
    the_server.end_sessions()
    with the_server.root("app") as root:
        root.execute("DROP TABLE IF EXISTS ledger")
        root.execute("CREATE TABLE ledger (n int)")
        root.execute("ALTER TABLE ledger OWNER TO app")
    return the_server


@pytest.fixture
def gate(server: Server) -> Iterator[Gate]:
    gate = Gate(server.port)
    yield gate
    gate.close()
