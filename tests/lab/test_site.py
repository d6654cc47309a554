"""The whole site loses power, and no operator comes back with it (an agent's law 5)."""

from __future__ import annotations

import json
import time

import pytest
from house import CLUSTER, MEMBERS, Whole

from pgswarm import settings
from pgswarm.drill.stage import Container, wait_for

pytestmark = pytest.mark.lab

PROMISE = """
import json, urllib.request
secret = open("/run/secrets/pgswarm-control").read().strip()
term = json.load(open("/var/lib/pgswarm/agent/state.json"))["promised"] + 1
body = json.dumps({"cluster": "%s", "term": term}).encode()
asked = urllib.request.Request("http://127.0.0.1:8009/promise", data=body, method="POST")
asked.add_header("Authorization", "Bearer " + secret)
print(json.load(urllib.request.urlopen(asked, timeout=30))["promised"])
"""


def without_operators(whole: Whole) -> None:
    whole.stage.docker("service", "rm", "pgswarm_operator")
    wait_for(lambda: None if whole.stage.operators() else True, "no operator container", 60)


def power_cut(whole: Whole) -> None:
    nodes = range(1, len(whole.stage.nodes) + 1)
    for node in nodes:
        whole.stage.lab("kill", str(node))
    for node in nodes:
        whole.stage.lab("start", str(node))


def reign(whole: Whole) -> tuple[str, int]:
    """Primary and term, as Swarm's store has them; nobody but an operator writes there."""
    form = f'{{{{index .Spec.Labels "{settings.LABEL_RECORD}"}}}}'
    look = ("config", "inspect", settings.record_name(CLUSTER), "--format", form)
    record = json.loads(wait_for(lambda: whole.stage.docker(*look), "Swarm to tell what it stores", 120))
    return str(record["primary"]), int(record["term"])


def all_members(whole: Whole) -> list[Container]:
    return [whole.stage.container(whole.service(member)) for member in MEMBERS]


def test_after_a_power_cut_of_the_whole_site_writes_go_on_though_no_operator_is_there(whole: Whole) -> None:
    with whole.writing() as writing:
        without_operators(whole)
        before = reign(whole)
        power_cut(whole)
        began = time.monotonic()
        try:
            wait_for(lambda: all_members(whole), "all members' containers", 180)
            there = time.monotonic()
            writing.ledger.wait_for_writes(200, deadline=120)
            took = time.monotonic()
            assert reign(whole) == before, "only an operator begins another"
            print(f"members there after {there - began:.1f} s, 200 writes {took - there:.1f} s later, with no operator")
            assert not whole.stage.operators()
        finally:
            whole.stage.install()
        whole.stage.wait_healthy(CLUSTER, members=3, deadline=300)


def test_a_standby_that_has_promised_more_keeps_the_former_primary_from_resuming(whole: Whole) -> None:
    standby = whole.standbys()[0]
    with whole.writing() as writing:
        without_operators(whole)
        one = whole.stage.container(whole.service(standby))
        promised = whole.stage.docker("exec", one.id, "python3", "-c", PROMISE % CLUSTER, node=one.node)
        assert int(promised) > 1
        power_cut(whole)
        try:
            wait_for(lambda: all_members(whole), "all members' containers", 180)
            acknowledged = writing.ledger.acknowledged
            until = time.monotonic() + 25
            while time.monotonic() < until:
                assert writing.ledger.acknowledged == acknowledged, "only an operator can know what became of the term"
                time.sleep(0.5)
        finally:
            whole.stage.install()
        writing.goes_on(within=300)
        whole.stage.wait_healthy(CLUSTER, members=3, deadline=300)
