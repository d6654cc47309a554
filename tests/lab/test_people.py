"""What people are told through a failover, on real parts: metrics, a webhook, a status that is watched."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import select
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from house import CLUSTER, MEMBERS, Whole, deploy
from prometheus_client.parser import text_string_to_metric_families
from tests.monitoring.test_metrics import HAPROXY, NAME, expressions

from pgswarm.drill.stage import STACK, TOP, Broken, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

HOOK, KEY = "pgswarm-webhook", "pgswarm-webhook-key"

SCRAPE = """
import json, sys, urllib.request
def get(url):
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).read().decode()
targets = json.loads(get("http://127.0.0.1:8011/targets"))
said = {}
for group in targets:
    for target in group["targets"]:
        try:
            said.setdefault(group["labels"]["job"], {})[target] = get("http://" + target + "/metrics")
        except OSError as exc:
            said.setdefault(group["labels"]["job"], {})[target] = "# " + str(exc)
print(json.dumps(said))
"""
"""In an operator's container, on the control network as a Prometheus would be: everything that /targets names."""


def scraped(whole: Whole) -> dict[str, dict[str, str]]:
    """By job and address: the text of /metrics."""
    one = whole.stage.operators()[0]
    python = "/opt/pgswarm/bin/python"
    said: dict[str, dict[str, str]] = json.loads(
        whole.stage.docker("exec", one.id, python, "-c", SCRAPE, node=one.node, deadline=60)
    )
    return said


def values(texts: dict[str, str], name: str, **labels: str) -> list[float]:
    """Every number of that name and these labels, of all that were asked."""
    return [
        sample.value
        for text in texts.values()
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


@contextmanager
def webhook(whole: Whole) -> Iterator[list[dict[str, Any]]]:
    """A small server on this machine, which the operators are told to tell; what it has heard."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append({**json.loads(body), "signature": self.headers.get("Pgswarm-Signature", "")})
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    gateway = f"{whole.stage.hosts[0].rpartition('.')[0]}.1"
    server = ThreadingHTTPServer((gateway, 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    stage = whole.stage
    there = stage.docker("secret", "ls", "--format", "{{.Name}}").split()
    for name in (one for one in (HOOK, KEY) if one in there):
        stage.docker("secret", "rm", name)
    stage.docker("secret", "create", HOOK, "-", text=f"http://{gateway}:{server.server_port}/hook\n")
    stage.docker("secret", "create", KEY, "-", text=secrets.token_hex(32))
    deploy(stage, *(str(TOP / "stack" / name) for name in ("pgswarm.yml", "notices.yml")))
    try:
        yield heard
    finally:
        words = ["--secret-rm", HOOK, "--secret-rm", KEY]
        stage.docker("service", "update", "--detach=false", "--quiet", *words, f"{STACK}_operator", deadline=240)
        for name in (HOOK, KEY):
            stage.docker("secret", "rm", name)
        server.shutdown()
        server.server_close()


def test_a_status_that_is_watched_on_a_terminal_redraws_and_ends_at_ctrl_c(whole: Whole) -> None:
    """As a person in the operator's container would: docker exec -it … pgswarm status --watch."""
    one = whole.stage.operators()[0]
    ours, theirs = pty.openpty()
    lab = [str(TOP / "stack/lab/lab"), "docker", str(one.node), "--"]
    words = ["exec", "-it", one.id, "env", "TERM=xterm", "COLUMNS=80", "LINES=40", "pgswarm", "status", "--watch"]
    process = subprocess.Popen([*lab, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        said = _read(
            ours, lambda text: len(re.findall(r"\d\d:\d\d:\d\dZ  Ctrl-C ends", text)) >= 3 and MEMBERS[0] in text
        )
        os.write(ours, b"\x03")
        said += _read(ours, lambda text: process.poll() is not None)
        assert process.wait(20) == 0, said[-3000:]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        os.close(ours)
    left = said.index("\x1b[?1049l")
    assert said.index("\x1b[?1049h") < left
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said[left:])
    assert "survives the loss of: any one member" in last
    assert "Traceback" not in said


def test_metrics_and_notices_and_top_tell_of_a_failover(whole: Whole) -> None:
    with webhook(whole) as heard:
        whole.wait_healthy()
        assert "delivered" in whole.stage.pgswarm("notify", "test", "hello")
        [test] = [one for one in heard if one["kind"] == "test"]
        assert test["signature"].startswith("t=")
        whole.stage.pgswarm("notify", "drill-started", "we pull the plug of node2", "--cluster", CLUSTER)
        assert [one["cluster"] for one in heard if one["kind"] == "drill-started"] == [CLUSTER]
        before = whole.primary()
        with whole.writing() as writing:
            found = wait_for(lambda: _everybody(scraped(whole)), "three of each among the targets", 90)
            _every_name_is_there(found)
            term = max(values(found["pgswarm-operator"], "pgswarm_cluster_term", cluster=CLUSTER))
            assert values(found["pgswarm-member"], "pgswarm_member_role", member=before, role="primary") == [1]
            words = (f"*{before}", "INSERT INTO")  # the client's own statement is among the costliest
            wait_for(lambda: _shows(whole.stage.pgswarm("top", "--once"), words), f"{words} in top", 60)
            whole.signal(
                whole.stage.container(whole.service(before)),
                "KILL",
                "$(head -1 /var/lib/pgswarm/pgdata/postmaster.pid)",
            )
            after = whole.another_primary_than(before)
            print(f"outage as the client saw it: {writing.goes_on().seconds:.3f} s")
        whole.wait_healthy()
        what = "three of each among the targets again, one operator that acts, and routers that know the primary"
        found = wait_for(lambda: _at_rest(_everybody(scraped(whole))), what, 90)
        members, operators = found["pgswarm-member"], found["pgswarm-operator"]
        assert values(members, "pgswarm_member_role", member=after, role="primary") == [1]
        assert values(members, "pgswarm_member_role", member=before, role="standby") == [1]
        assert max(values(operators, "pgswarm_cluster_term", cluster=CLUSTER)) > term
        memory = {
            job: max(values(found[job], "process_resident_memory_bytes")) / 1e6 for job in found if "haproxy" not in job
        }
        print(f"resident memory, MB: {memory}")
        assert memory["pgswarm-member"] < 60
        kinds = ["failover-started", "failover-ended"]
        wait_for(
            lambda: True if set(kinds) <= {one["kind"] for one in heard} else None,
            f"{kinds} in {[one['id'] for one in heard]}",
            120,
            lambda: _of_notices(whole),
        )
        # Two that are sent within the same second may arrive the other way round.
        once = {one["id"]: one for one in heard if one["kind"] in kinds}
        story = sorted(once.values(), key=lambda one: kinds.index(one["kind"]))
        assert [one["kind"] for one in story] == kinds
        assert (story[1]["former"], story[1]["primary"]) == (before, after)
        assert 0 < story[1]["outage_seconds"] < 30
        print(f"outage as the operator told it: {story[1]['outage_seconds']:.3f} s")
        one = whole.stage.operators()[0]
        drill = "pgswarm drill switchover --yes --seconds 5 || test $? = 1"  # a promise may break on a busy machine
        whole.stage.docker("exec", one.id, "sh", "-c", drill, node=one.node, deadline=300)
        told = {"drill-started", "primary-changed", "drill-ended"}
        wait_for(lambda: True if told <= {one["kind"] for one in heard} else None, f"{told} in {heard}", 60)
        assert max(Counter(one["id"] for one in heard).values()) <= 2, "at least once, and rarely twice"


def _of_notices(whole: Whole) -> str:
    """What each operator says of them in its log."""
    logs = [whole.stage.docker_all("logs", "--tail", "4000", one.id, node=one.node) for one in whole.stage.operators()]
    return "\n".join(line for text in logs for line in text.splitlines() if " notice " in line or "acts for" in line)


def _everybody(found: dict[str, dict[str, str]]) -> dict[str, dict[str, str]] | None:
    """What three of each say; an operator that was just begun is not among the targets at once, or does not answer."""
    jobs = ("pgswarm-operator", "pgswarm-member", "pgswarm-router", "pgswarm-haproxy")
    there = {
        job: sum(not text.startswith("# ") or "\n" in text for text in found.get(job, {}).values()) for job in jobs
    }
    return found if there == dict.fromkeys(jobs, 3) else None


def _at_rest(found: dict[str, dict[str, str]] | None) -> dict[str, dict[str, str]] | None:
    """They are asked one after the other: meanwhile another may begin to act, or a router may hear nothing for long."""
    if found is None:
        return None
    acting = values(found["pgswarm-operator"], "pgswarm_cluster_acting", cluster=CLUSTER)
    known = values(found["pgswarm-router"], "pgswarm_router_primary_known")
    return found if acting.count(1) == 1 and set(known) == {1} else None


def _shows(said: str, words: tuple[str, ...]) -> bool | None:
    return True if all(word in said for word in words) else None


def _every_name_is_there(found: dict[str, dict[str, str]]) -> None:
    """Of the dashboard and the alerts: what is only told in trouble is left to the tests of the catalogue."""
    used = {name for _, expression in expressions() for name in NAME.findall(expression)}
    told = {
        line.split("{")[0].split(" ")[0]
        for texts in found.values()
        for text in texts.values()
        for line in text.splitlines()
        if line and not line.startswith("#")
    }
    only_in_trouble = {
        "pgswarm_member_problem", "pgswarm_member_work_done_bytes", "pgswarm_member_work_size_bytes",
        "pgswarm_cluster_steps_total",
    }  # fmt: skip
    assert used - only_in_trouble <= told
    assert told >= HAPROXY


def _read(read: int, enough: Any, seconds: float = 40.0) -> str:
    said, deadline = "", time.monotonic() + seconds
    while not enough(said):
        if time.monotonic() > deadline:
            raise Broken(f"not within {seconds:g} s: what a terminal shows; {said[-2000:]}")
        if select.select([read], [], [], 0.2)[0]:
            try:
                piece = os.read(read, 65536)
            except OSError:
                break
            if not piece:
                break
            said += piece.decode(errors="replace")
    return said
