"""What a hand or a crash changes beside the document is put back, and a broken document changes nothing."""

from __future__ import annotations

import json

import psycopg
import pytest
from house import CLUSTER, DATABASE, OWNER, Whole

from pgswarm.drill.stage import wait_for

pytestmark = pytest.mark.lab


def test_a_second_pass_at_rest_plans_nothing_and_writes_nothing(whole: Whole) -> None:
    before = _config(whole)
    plan = json.loads(whole.stage.pgswarm("plan", "-o", "json"))
    done = json.loads(whole.stage.pgswarm("reconcile", "--once", "-o", "json"))
    assert [one["steps"] for one in plan["clusters"]] == [[]]
    assert done["outcomes"] == []
    assert _config(whole) == before


def test_a_service_edited_by_hand_is_put_back(whole: Whole) -> None:
    service = whole.service(whole.standbys()[0])
    whole.stage.docker("service", "update", "--detach", "--env-add", "PGSWARM_MEMBER=somebody-else", service)

    def put_back() -> bool | None:
        spec = whole.stage.docker(
            "service", "inspect", service, "--format", "{{json .Spec.TaskTemplate.ContainerSpec.Env}}"
        )
        return True if "somebody-else" not in spec else None

    wait_for(put_back, f"{service} as it was", 90, lambda: whole.stage.picture(CLUSTER))
    whole.stage.wait_healthy(CLUSTER, members=3)


def test_the_router_service_removed_by_hand_is_made_again(whole: Whole) -> None:
    service = f"{CLUSTER}_postgres-ha"
    before = _ident(whole, service)
    with whole.writing() as writing:
        whole.stage.docker("service", "rm", service)
        wait_for(lambda: True if _ident(whole, service) not in ("", before) else None, "another router service", 60)
        whole.wait_healthy()
        # Who was connected may be carried to the end by the HAProxy that leaves; who comes now meets the new ones.
        writing.ledger.spread(120)


def test_haproxy_killed_by_hand_is_back_with_its_state(whole: Whole) -> None:
    with whole.writing() as writing:
        for node in range(1, len(whole.stage.nodes) + 1):
            found = whole.stage.docker(
                "ps", "-q", "--filter", f"label=com.docker.swarm.service.name={CLUSTER}_postgres-ha", node=node
            ).split()
            whole.stage.docker("exec", found[0], "sh", "-c", _KILL_HAPROXY, node=node)
        writing.goes_on()


def test_haproxy_pointed_elsewhere_by_hand_is_pointed_back(whole: Whole) -> None:
    standby = next(one for one in whole.status()["members"] if one["name"] != whole.primary())
    router = whole.stage.container(f"{CLUSTER}_postgres-ha")
    whole.stage.docker("exec", router.id, "python3", "-c", _POINT_AT.format(address="127.0.0.9"), node=router.node)
    host = whole.stage.hosts[router.node - 1]

    def writable() -> bool | None:
        try:
            with psycopg.connect(
                host=host, port=5432, dbname=DATABASE, user=OWNER, password=whole.password, connect_timeout=3
            ) as connection:
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        except psycopg.OperationalError:
            return None
        return True if row == (False,) else None

    assert wait_for(writable, "the router sends writers to the primary again", 30)
    assert standby["name"] in {one["name"] for one in whole.status()["members"]}


def test_a_broken_document_changes_nothing_and_is_reported(whole: Whole) -> None:
    before = whole.status()
    good = whole.document()
    whole.stage.write_document(good.replace("postgres-ha", "Postgres HA").replace("database:", "databse:"))

    def reported() -> list[str] | None:
        errors = [str(error) for error in whole.status()["errors"]]
        return errors if len(errors) >= 2 else None

    errors = wait_for(reported, "the mistakes in status", 30, lambda: whole.stage.picture(CLUSTER))
    assert any("databse" in error and "database" in error for error in errors)
    assert whole.status()["revision"] == before["revision"]
    whole.stage.write_document(good)
    whole.stage.wait_healthy(CLUSTER, members=3)


def test_a_document_that_is_gone_changes_nothing(whole: Whole) -> None:
    before = whole.status()
    whole.stage.lab("exec", "1", "--", "rm", "/etc/pgswarm/main.yaml")
    plan = json.loads(whole.stage.pgswarm("plan", "-o", "json"))
    assert [one["steps"] for one in plan["clusters"]] == [[]]
    assert whole.status()["revision"] == before["revision"]
    reported = wait_for(
        lambda: text if "no good document" in (text := whole.status()["document"]) else None, "a word", 30
    )
    assert "stays in force" in reported
    whole.stage.write_document(whole.document())


def test_passwords_are_nowhere_to_be_seen(whole: Whole) -> None:
    seen = [whole.password]
    for name in (*(whole.service(one["name"]) for one in whole.status()["members"]), f"{CLUSTER}_postgres-ha"):
        found = whole.stage.container(name)
        control = whole.stage.docker("exec", found.id, "cat", "/run/secrets/pgswarm-control", node=found.node).strip()
        inspect = whole.stage.docker("inspect", found.id, node=found.node)
        logs = whole.stage.docker("logs", found.id, node=found.node)
        processes = whole.stage.docker("top", found.id, "-ef", node=found.node)
        service = whole.stage.docker("service", "inspect", name)
        for secret in {*seen, control}:
            for where, text in (("inspect", inspect), ("logs", logs), ("ps", processes), ("service", service)):
                assert secret not in text, f"a secret shows in {where} of {name}"


def _ident(whole: Whole, service: str) -> str:
    """Swarm's name for it; empty if it is not there."""
    rows = whole.stage.docker("service", "ls", "--format", "{{.Name}} {{.ID}}").splitlines()
    return next((row.split()[1] for row in rows if row.split()[0] == service), "")


def _config(whole: Whole) -> str:
    return whole.stage.docker(
        "config", "inspect", f"pgswarm.{CLUSTER}", "--format", "{{json .Version}}{{json .Spec.Labels}}"
    )


_KILL_HAPROXY = "for p in /proc/[0-9]*; do grep -qs ^haproxy $p/comm && kill -9 ${p#/proc/}; done; true"

_POINT_AT = """
import glob, socket
for path in glob.glob('/run/pgswarm*/**/*.sock', recursive=True) + glob.glob('/tmp/pgswarm*/**/*.sock', recursive=True):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(path)
    except OSError:
        continue
    s.sendall(b'show servers state\\n')
    text = b''
    while chunk := s.recv(65536):
        text += chunk
    for line in text.decode().splitlines():
        words = line.split()
        if len(words) > 5 and words[3] == 'primary':
            t = socket.socket(socket.AF_UNIX)
            t.connect(path)
            t.sendall(f'set server {{words[1]}}/primary addr {address} port 5432\\n'.encode())
            t.recv(4096)
            print('pointed')
"""
