"""Applications through the faults that users meet most: the sample application in the Swarm, Python, PHP and plain
libpq.

All clients write at the same time through one sequence of faults on one installed cluster. Each keeps a ledger of every
number that it tried. At the end nothing that was told as committed may be missing, nothing that was told as not
committed may be there, and the sum must be the number of attempts: nothing is left without an answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

import httpx
import psycopg
import pytest
from house import DATABASE, OWNER, Whole

from pgswarm.drill import faults
from pgswarm.drill.stage import OWNER_SECRET, TOP, Broken, wait_for

pytestmark = pytest.mark.lab

CLIENTS = {
    "python-sync": [sys.executable, str(TOP / "tests/client/write.py"), "sync"],
    "python-async": [sys.executable, str(TOP / "tests/client/write.py"), "async"],
    "php": ["php", str(TOP / "tests/client/write.php")],
}
GUIDE = TOP / "docs/how-to/connect.md"


def test_every_application_goes_on_through_every_fault_and_all_ledgers_agree(whole: Whole) -> None:
    with _database(whole) as look:
        look.execute("CREATE TABLE IF NOT EXISTS app_ledger (client text, number bigint, PRIMARY KEY (client, number))")
        look.execute("TRUNCATE app_ledger")
    with _the_application(whole), _clients(whole) as running, Plain(whole) as plain:
        _wait_until_all_write(whole)
        for kind, strike in FAULTS.items():
            before = whole.primary()
            began = time.monotonic()
            undo = strike(whole, before)
            other = next(number for number in (1, 2, 3) if number != whole.node_of(before))
            whole.another_primary_than(before, node=other)
            _wait_until_all_write(whole, without=before if undo else "")
            print(f"{kind}: {before} to {whole.primary()}, everybody writes after {time.monotonic() - began:.1f} s")
            if undo:
                undo()
            whole.wait_healthy()
            _wait_until_all_write(whole)
        told = [_ended(client) for client in running]
        plain.stop()
        told += _ledgers_of_the_application(whole)
    for one in told:
        _check(whole, one)
    assert plain.acknowledged > 100
    with _database(whole) as look:
        rows = look.execute("SELECT number FROM app_ledger WHERE client = 'libpq'").fetchall()
    assert {row[0] for row in rows} >= set(plain.acknowledged_numbers)


def _kill_postmaster(whole: Whole, primary: str) -> None:
    faults.kill_postmaster(faults.draw(whole, Random(0), primary))


def _kill_container(whole: Whole, primary: str) -> None:
    faults.kill_container(faults.draw(whole, Random(0), primary))


def _switch_over(whole: Whole, primary: str) -> None:
    whole.switch_over(next(name for name in whole.standbys()))


def _drain(whole: Whole, primary: str) -> Callable[[], object]:
    """Of the node's containers the application's replica goes as well."""
    node, other = whole.node_of(primary), next(n for n in (1, 2, 3) if n != whole.node_of(primary))
    name = whole.stage.nodes[node - 1]
    whole.stage.docker("node", "update", "--availability", "drain", name, node=other)
    return lambda: whole.stage.docker("node", "update", "--availability", "active", name, node=other)


FAULTS: dict[str, Callable[[Whole, str], Callable[[], object] | None]] = {
    "postmaster killed": _kill_postmaster,
    "container killed": _kill_container,
    "switchover": _switch_over,
    "node drained": _drain,
}


class Plain:
    """An application of a few lines: libpq with the words of the guide, which connects again when it must."""

    def __init__(self, whole: Whole) -> None:
        found = re.search(r"postgresql://\S+@(\S+?)/(?:.|\n)*?(?=\n```)", GUIDE.read_text())
        assert found, "the guide shows a connection string"
        text = re.sub(r"\s+", "", found[0]).replace("cnv_user@", f"{OWNER}:{whole.password}@")
        hosts = ",".join(f"{host}:5432" for host in whole.stage.hosts)
        self._text = text.replace(found[1], hosts)
        self.acknowledged_numbers: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    @property
    def acknowledged(self) -> int:
        return len(self.acknowledged_numbers)

    def __enter__(self) -> Plain:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(30)

    def _write(self) -> None:
        number = 0
        while not self._ended.is_set():
            with suppress(psycopg.OperationalError), psycopg.connect(self._text, autocommit=True) as connection:
                while not self._ended.wait(0.02):
                    number += 1
                    connection.execute("INSERT INTO app_ledger VALUES ('libpq', %s)", [number])
                    self.acknowledged_numbers.append(number)


def _database(whole: Whole) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(whole.target.conninfo(), autocommit=True)


@contextmanager
def _clients(whole: Whole) -> Iterator[list[subprocess.Popen[str]]]:
    environment = {
        **os.environ,
        "DB_HOST": ",".join(whole.stage.hosts),
        "DB_NAME": DATABASE,
        "DB_USER": OWNER,
        "DB_PASS": whole.password,
    }
    running = [
        subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for words in CLIENTS.values()
    ]
    try:
        yield running
    finally:
        for one in running:
            one.kill()
            one.wait()


def _ended(client: subprocess.Popen[str]) -> dict[str, Any]:
    text, _ = client.communicate("", timeout=60)
    assert client.returncode == 0, text
    return dict(json.loads(text.splitlines()[-1]))


@contextmanager
def _the_application(whole: Whole) -> Iterator[None]:
    """Three replicas, deployed as its README says."""
    text = (TOP / "stack/app/app.yml").read_text().replace("${APP_SECRET:-main-owner}", OWNER_SECRET)
    whole.stage.docker("stack", "deploy", "--detach=true", "-c", "-", "app", text=text)
    try:
        wait_for(lambda: True if len(_pages(whole)) == 3 else None, "three replicas that are ready", 120)
        yield
    finally:
        whole.stage.docker("stack", "rm", "app")


def _pages(whole: Whole, path: str = "/ready") -> dict[str, str]:
    """What the replicas answer that say yes, by the address of their node."""
    found = {}
    for host in whole.stage.hosts:
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"http://{host}:8080{path}", trust_env=False, timeout=5)
            if answer.status_code == 200:
                found[host] = answer.text
    return found


def _counts(whole: Whole) -> dict[str, int]:
    """Rows by client, and acknowledged writes by replica."""
    with _database(whole) as look:
        rows = dict(look.execute("SELECT client, count(*) FROM app_ledger GROUP BY client").fetchall())
    replicas = {host: json.loads(text)["acknowledged"] for host, text in _pages(whole, "/ledger").items()}
    return {**rows, **replicas}


def _wait_until_all_write(whole: Whole, without: str = "") -> None:
    """Each client, and each replica but that on the node of this member, has twenty more writes than now."""
    expected = {*CLIENTS, "libpq", *whole.stage.hosts} - (
        {whole.stage.hosts[whole.node_of(without) - 1]} if without else set()
    )
    first: dict[str, int] = {}

    def look() -> bool | None:
        try:
            now = _counts(whole)
        except psycopg.OperationalError as error:  # this look is cut off like anybody else
            raise Broken(str(error)) from error
        for name, count in now.items():
            if count < first.setdefault(name, count):
                first[name] = count  # a replica that has begun anew
        late = {name for name in expected if now.get(name, 0) < first.get(name, 0) + 20}
        if late:
            raise Broken(f"no twenty writes yet: {sorted(late)} of {now}")
        return True

    wait_for(look, "everybody writes", 90)


def _ledgers_of_the_application(whole: Whole) -> list[dict[str, Any]]:
    """Of the replicas that run, by asking; of those that have ended, their last line."""
    found = [json.loads(text) for text in _pages(whole, "/ledger").values()]
    assert len(found) == 3
    for node in (1, 2, 3):
        label = "label=com.docker.swarm.service.name=app_web"
        for one in whole.stage.docker("ps", "-aq", "--filter", label, "--filter", "status=exited", node=node).split():
            lines = whole.stage.docker_all("logs", one, node=node).splitlines()
            found += [json.loads(line)["ledger"] for line in lines if line.startswith('{"ledger"')]
    assert len(found) > 3, "the drained node's replica has left its ledger behind"
    return found


def _check(whole: Whole, told: dict[str, Any]) -> None:
    if "replica" in told:  # it has looked itself, at the same table
        print(f"{told['replica']}: {told['attempted']} attempted, {told['acknowledged']} acknowledged, {told['told']}")
        assert told["missing"] == []
        sum_of_all = told["acknowledged"] + len(told["not_committed"]) + len(told["unknown"])
        assert told["attempted"] - sum_of_all in (0, 1), "the newest may be under way"
        return
    with _database(whole) as look:
        query = "SELECT number FROM app_ledger WHERE client = %s"
        there = {row[0] for row in look.execute(query, [told["client"]])}
    kinds = ("acknowledged", "not_committed", "unknown", "errors")
    numbers = {kind: set(told[kind]) for kind in kinds}
    said = ", ".join(f"{len(numbers[kind])} {kind.replace('_', ' ')}" for kind in kinds)
    print(
        f"{told['client']}: {told['attempted']} attempted, {said}, slowest {told['slowest']:.2f} s; {told['told'][:5]}"
    )
    assert not numbers["errors"], told["told"]
    assert not numbers["acknowledged"] - there, "missing"
    assert not numbers["not_committed"] & there, "told as not committed, and there"
    assert not there - numbers["acknowledged"] - numbers["unknown"]
    assert sum(len(one) for one in numbers.values()) == told["attempted"]
    unknown = {number for number in numbers["unknown"] if number % 3 != 0}
    assert not unknown, f"{unknown} could have been found out"
