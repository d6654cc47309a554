"""The connection string of the guide, with libpq as it is: which ways to be lost it covers, and how fast."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.client.stage import PASSWORD, Gate, Server

pytestmark = pytest.mark.postgres

GUIDE = Path(__file__).parents[2] / "docs/how-to/connect.md"


@pytest.fixture
def gates(server: Server) -> Iterator[list[Gate]]:
    gates = [Gate(server.port) for _ in range(3)]
    yield gates
    for gate in gates:
        gate.close()


def _as_in_the_guide(*ports: int) -> str:
    """Its string, with these servers' places."""
    found = re.search(r"postgresql://\S+@(\S+?)/(?:.|\n)*?(?=\n```)", GUIDE.read_text())
    assert found
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    text = re.sub(r"\s+", "", found[0].replace(found[1], hosts).replace("cnv_user@", "app@"))
    return text.replace("/cnv_project?", "/app?")


def _connect(*ports: int) -> tuple[int, float]:
    """The port that it ended on, and the seconds that it took."""
    began = time.monotonic()
    with psycopg.connect(_as_in_the_guide(*ports), password=PASSWORD, autocommit=True) as connection:
        connection.execute("SELECT 1")
        return connection.info.port, time.monotonic() - began


def test_a_router_that_refuses_is_passed_over_at_once(gates: list[Gate]) -> None:
    gates[0].fail("greeting")
    port, took = _connect(gates[0].port, gates[1].port)
    assert port == gates[1].port
    assert took < 2, "its time-out was not waited for"


def test_a_router_that_says_nothing_costs_two_seconds(gates: list[Gate]) -> None:
    gates[0].fail("silence")
    port, took = _connect(gates[0].port, gates[1].port)
    assert port == gates[1].port
    assert 1.5 < took < 10


def test_a_server_that_is_read_only_is_refused(gates: list[Gate], server: Server) -> None:
    with server.root() as root:
        root.execute("ALTER ROLE app SET default_transaction_read_only = on")
    try:
        with pytest.raises(psycopg.OperationalError, match="read-only"):
            _connect(gates[0].port)
    finally:
        with server.root() as root:
            root.execute("ALTER ROLE app RESET default_transaction_read_only")


def test_every_word_of_the_guide_is_one_of_libpq(gates: list[Gate]) -> None:
    wanted = psycopg.conninfo.conninfo_to_dict(_as_in_the_guide(1))
    assert (wanted["connect_timeout"], wanted["tcp_user_timeout"], wanted["keepalives_count"]) == ("2", "3000", "3")
