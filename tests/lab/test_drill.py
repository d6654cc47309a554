"""Every drill on real parts, and applications that live through it: the sample application in the Swarm, Python, PHP
and plain libpq.

All clients write at the same time through one drill after the other on one installed cluster. Each keeps a ledger of
every number that it tried, as the drill's own client does. At the end nothing that was told as committed may be
missing, nothing that was told as not committed may be there, and the sum must be the number of attempts: nothing is
left without an answer. How long writers paused is no matter here: the machine has other things to do.

Then what speaks against a drill, and what becomes of one that is interrupted or killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from house import DATABASE, OWNER, Whole

from pgswarm.drill.stage import OWNER_SECRET, TOP, Broken, wait_for
from pgswarm.loop.drilling import REST

pytestmark = pytest.mark.lab

CLIENTS = {
    "python-sync": [sys.executable, str(TOP / "tests/client/write.py"), "sync"],
    "python-async": [sys.executable, str(TOP / "tests/client/write.py"), "async"],
    "php": ["php", str(TOP / "tests/client/write.php")],
}
GUIDE = TOP / "docs/how-to/connect.md"


def test_every_application_goes_on_through_every_drill_and_all_ledgers_agree(whole: Whole, tmp_path: Path) -> None:
    with _database(whole) as look:
        look.execute("CREATE TABLE IF NOT EXISTS app_ledger (client text, number bigint, PRIMARY KEY (client, number))")
        look.execute("TRUNCATE app_ledger")
    page = tmp_path / "report.html"
    with _the_application(whole), _clients(whole) as running, Plain(whole) as plain:
        _wait_until_all_write(whole)
        for kind, seconds in DRILLS.items():
            before = whole.primary()
            drill = partial(_from_a_shell, page=page) if kind == "switchover" else _drill
            report = wait_for(partial(_let, drill, whole, kind, seconds), f"the drill {kind} to be let", 120)
            print(f"{kind}: {before} to {report['successor']}: {report['verdict']}; {report['failed']} failed attempts")
            assert report["primary"] == before
            assert report["successor"] not in ("", before)
            assert (report["missing"], report["left"]) == (0, [])
            assert report["acknowledged"] > 100
            assert report["kept"] == (report["outage"] <= report["promise"]["seconds"])
            if report["whole_after"] is None:
                raise Broken(f"not within {REST:.0f} s: rest after the drill {kind}")
            assert {"struck", "record", "first", "whole"} <= {mark["kind"] for mark in report["marks"]}
            _nothing_is_left(whole)
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
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "acknowledged writes missing" in text


def test_what_the_cluster_could_not_survive_is_refused_with_what_mends_it(whole: Whole) -> None:
    primary, (one, other) = whole.primary(), whole.standbys()
    refused = _drill(whole, "node-drain", 10, node=whole.node_of(primary))
    assert "drains itself" in refused["refusal"]
    for member in (one, other):
        whole.stage.pgswarm("fence", member, "--with-fewer-copies", deadline=90)
    refused = _drill(whole, "postgres", 10)
    assert refused["refusal"].startswith(f"nobody could follow {primary}")
    assert refused["mend"].startswith("pgswarm ")
    for member in (one, other):
        whole.stage.pgswarm("unfence", member, deadline=90)
    status = whole.wait_healthy()
    assert (status["primary"], status["term"]) == (primary, whole.status()["term"]), "nobody was struck"
    _nothing_is_left(whole)


def test_a_drill_that_is_killed_is_cleared_by_the_next_and_one_that_is_interrupted_clears_itself(whole: Whole) -> None:
    first, node = _begun(whole)
    _signal(whole, node, "KILL")
    drained = _drained(whole)
    if not drained:
        raise Broken("not within the drill: its end by a signal")
    assert drained == [first], "nobody has given it back"
    wait_for(lambda: None if whole.primary() == whole.member_on(first) else True, "the primary to leave", 90)
    refused = _drill(whole, "switchover", 10, node=next(one for one in (1, 2, 3) if one != first))
    assert "is under way" in refused["refusal"], "its client still writes, so nobody can know better"
    whole.stage.docker("service", "rm", *_services(whole))
    second, node = _begun(whole, besides=first)
    assert first not in _drained(whole), "the next drill has given it back, before it drained another"
    _signal(whole, node, "INT")
    wait_for(lambda: True if not _drained(whole) else None, f"node {second} to be given back", 60)
    whole.wait_healthy()
    wait_for(lambda: True if not _services(whole) else None, "the client to go", 60)
    with _database(whole) as look:
        wait_for(lambda: None if _schemas(look) else True, "the schema to go", 60)


DRILLS = {"switchover": 8, "postgres": 8, "container": 10, "node-drain": 20}
"""Each with the seconds for which its client writes."""

PID = "/tmp/drill.pid"
"""In the operator's container: the process of a drill that is to be ended."""


def _drill(whole: Whole, kind: str, seconds: float, node: int | None = None) -> dict[str, Any]:
    """The report, or the announcement that says why it is refused; from a node that is not the primary's."""
    words = f"pgswarm drill {kind} --yes --seconds {seconds} -o json"
    script = f'said=$({words} 2>/tmp/drill.err); test -n "$said" || {{ cat /tmp/drill.err >&2; exit 3; }}; echo "$said"'
    return dict(json.loads(_in_an_operator(whole, script, node or _another_node(whole), deadline=400)))


def _let(drill: Callable[[Whole, str, float], dict[str, Any]], *what: Any) -> dict[str, Any]:
    """The report. Raises Broken if it is refused: nothing was struck, for somebody may not be counted again yet."""
    report = drill(*what)
    if "refusal" in report:
        raise Broken(report["refusal"])
    return report


def _from_a_shell(whole: Whole, kind: str, seconds: float, page: Path) -> dict[str, Any]:
    """The same as a person has it on a manager: the verb finds the operator by itself, and the page is written here."""
    words = [
        str(Path(sys.executable).with_name("pgswarm")),
        "drill",
        kind,
        "--yes",
        "--seconds",
        str(seconds),
        "-o",
        "json",
    ]
    environment = {**os.environ, **whole.stage.socket(_another_node(whole))}
    done = subprocess.run(
        [*words, "--html", str(page)], env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout))


def _another_node(whole: Whole) -> int:
    return next(number for number in (1, 2, 3) if number != whole.node_of(whole.primary()))


def _in_an_operator(whole: Whole, script: str, node: int, deadline: float = 60) -> str:
    found = next(one for one in whole.stage.operators() if one.node == node)
    return whole.stage.docker("exec", found.id, "sh", "-c", script, node=node, deadline=deadline)


def _begun(whole: Whole, besides: int = 0) -> tuple[int, int]:
    """A drill under way that has drained a node: which, and on which it runs, in the operator's container."""
    drained = whole.node_of(whole.primary())
    node = next(number for number in (1, 2, 3) if number not in (drained, besides))
    found = next(one for one in whole.stage.operators() if one.node == node)
    script = f"echo $$ >{PID}; exec pgswarm drill node-drain --yes --seconds 300 >/tmp/drill.out 2>&1"
    whole.stage.docker("exec", "--detach", found.id, "sh", "-c", script, node=node)
    wait_for(lambda: True if drained in _drained(whole) else None, f"node {drained} to be drained", 120)
    return drained, node


def _signal(whole: Whole, node: int, name: str) -> None:
    _in_an_operator(whole, f"kill -{name} $(cat {PID})", node)


def _drained(whole: Whole) -> list[int]:
    rows = whole.stage.docker("node", "ls", "--format", "{{.Hostname}} {{.Availability}}").splitlines()
    return [whole.stage.nodes.index(row.split()[0]) + 1 for row in rows if row.endswith(" Drain")]


def _services(whole: Whole) -> list[str]:
    names = whole.stage.docker("service", "ls", "--format", "{{.Name}}").split()
    return [name for name in names if name.startswith("pgswarm-drill-")]


def _schemas(look: psycopg.Connection[tuple[Any, ...]]) -> bool:
    return bool(look.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'pgswarm_drill'").fetchone())


def _nothing_is_left(whole: Whole) -> None:
    assert not _drained(whole)
    assert not _services(whole)
    with _database(whole) as look:  # the client says that it ends, and then takes away what it has made
        wait_for(lambda: None if _schemas(look) else True, "the schema to go", 60)


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
    pages = wait_for(lambda: told if len(told := _pages(whole, "/ledger")) == 3 else None, "three ledgers", 60)
    found = [json.loads(text) for text in pages.values()]
    for node in (1, 2, 3):
        label = "label=com.docker.swarm.service.name=app_web"
        for one in whole.stage.docker("ps", "-aq", "--filter", label, "--filter", "status=exited", node=node).split():
            lines = whole.stage.docker_all("logs", one, node=node).splitlines()
            found += [json.loads(line)["ledger"] for line in lines if line.startswith('{"ledger"')]
    assert len(found) > 3, "the drained node's replica has left its ledger behind"
    return found


def _check(whole: Whole, told: dict[str, Any]) -> None:
    if "replica" in told:  # it has looked itself, at the same table, if it could before it had to end
        print(f"{told['replica']}: {told['attempted']} attempted, {told['acknowledged']} acknowledged, {told['told']}")
        assert (_missing(whole, told) if isinstance(told["missing"], str) else told["missing"]) == []
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


def _missing(whole: Whole, told: dict[str, Any]) -> list[int]:
    """What a replica would have found that could not look any more."""
    with _database(whole) as look:
        rows = look.execute("SELECT number FROM app_writes WHERE replica = %s", [told["replica"]]).fetchall()
    known = {row[0] for row in rows} | {*told["not_committed"]} | {*told["unknown"]}
    return [number for number in range(1, told["attempted"]) if number not in known]
