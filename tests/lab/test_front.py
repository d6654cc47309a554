"""What applications and people reach from outside: the two ports, the statistics, the health, the command line."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
from house import CLUSTER, DATABASE, OWNER, Whole

from pgswarm.drill.stage import TOP, wait_for

pytestmark = pytest.mark.lab


def test_every_router_sends_writers_to_the_primary_and_readers_to_standbys(whole: Whole) -> None:
    for host in whole.stage.hosts:
        for port, standby in ((5432, False), (5433, True)):
            look = partial(_leads, whole, host, port, standby)
            wait_for(look, f"port {port} of {host} to lead to {'a standby' if standby else 'the primary'}", 30)


def test_statistics_metrics_and_health_answer_on_every_router(whole: Whole) -> None:
    for host in whole.stage.hosts:
        for port, path, word in ((8405, "", ""), (8404, "", "HAProxy"), (8404, "metrics", "haproxy_")):
            look = partial(_answers, f"http://{host}:{port}/{path}", word)
            wait_for(look, f"{word or 'health'} at port {port} of {host}", 30)


def test_a_container_on_the_client_network_finds_the_routers_by_name(whole: Whole) -> None:
    image = f"{whole.stage.environment['PGSWARM_REGISTRY']}pgswarm/member:dev"
    text = f"host=postgres-ha port=5432 dbname={DATABASE} user={OWNER} connect_timeout=5"
    words = ("run", "--rm", "--network", "webnet", "--env", "PGPASSWORD", "--entrypoint", "psql", image)
    run = subprocess.run(
        [str(TOP / "stack/lab/lab"), "docker", "1", "--", *words, "-Atc", "SELECT 'written by name'", text],
        env={**os.environ, "PGPASSWORD": whole.password},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout.strip() == "written by name", run.stderr


def test_a_person_on_a_manager_needs_no_secret_and_no_address(whole: Whole) -> None:
    for verb in (["status"], ["plan"], ["reconcile", "--once"]):
        done = _as_a_person(whole, *verb)
        assert done.returncode == 0, done.stderr
    assert "pg-a" in _as_a_person(whole, "status").stdout


def test_a_pass_by_hand_works_while_no_operator_runs(whole: Whole, tmp_path: Path) -> None:
    """The one-off container carries the verb; a document of this machine is not on the node, so none is given."""
    image = f"{whole.stage.environment['PGSWARM_REGISTRY']}pgswarm"
    whole.stage.docker("service", "rm", "pgswarm_operator")
    try:
        wait_for(lambda: True if not whole.stage.operators() else None, "no operator container", 60)
        service = whole.service(whole.standbys_by_hand()[0])
        whole.stage.docker("service", "scale", "--detach", f"{service}=0")
        given = {
            "PGSWARM_OPERATOR_IMAGE": f"{image}/operator:dev",
            "PGSWARM_MEMBER_IMAGE": f"{image}/member:dev",
            "PGSWARM_ROUTER_IMAGE": f"{image}/router:dev",
        }
        done = _as_a_person(whole, "reconcile", "--once", **given)
        assert done.returncode == 0, done.stdout + done.stderr
        assert service in done.stdout
        replicas = whole.stage.docker("service", "inspect", service, "--format", "{{.Spec.Mode.Replicated.Replicas}}")
        assert replicas.strip() == "1"
    finally:
        whole.stage.install()
    whole.stage.wait_healthy(CLUSTER, members=3)


def _as_a_person(whole: Whole, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
    """The command on this machine, with nothing but the socket of a manager."""
    return subprocess.run(
        [str(TOP / ".venv/bin/pgswarm"), *words],
        env={**os.environ, **whole.stage.socket(1), **given},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def _answers(url: str, word: str) -> bool | None:
    """Well, and with this word in it; None if not yet."""
    try:
        answer = httpx.get(url, trust_env=False, follow_redirects=True)
    except httpx.HTTPError:
        return None
    return True if answer.status_code == 200 and word in answer.text else None


def _leads(whole: Whole, host: str, port: int, standby: bool) -> bool | None:
    """To a standby, or to the primary, as it should; None if not, or not yet."""
    conninfo = psycopg.conninfo.make_conninfo(
        host=host, port=port, dbname=DATABASE, user=OWNER, password=whole.password, connect_timeout=5
    )
    try:
        with psycopg.connect(conninfo) as connection:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    except psycopg.OperationalError:
        return None
    return True if row == (standby,) else None
