"""`pgswarm doctor` and what befalls the Swarm itself: managers, nodes, engines, operators, documents, networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from consult import Sign, do, expect, expect_none, on, say
from house import Whole

from pgswarm.drill.stage import Broken, wait_for
from pgswarm.drill.whole import AGENT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

FOLDER = "/etc/pgswarm"

UNBORN = """\
---
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {name}}}
spec:
  instances: 1
  router:
    {{name: {name}-ha, network: {network}, port: {port}2, readOnlyPort: {port}3,
      statsPort: {port}4, healthPort: {port}5}}
"""


def test_managers_heartbeat_documents_and_a_strange_config_are_found(whole: Whole) -> None:
    stage = whole.stage
    two = Sign("swarm-quorum", "warn", "2 managers")
    signs = (
        Sign("heartbeat", "warn", "heartbeat is 30 s"),
        Sign("documents", "bad", "broken.yaml:"),
        Sign("placement", "bad", "does not say which cluster it is of"),
        Sign("document", "warn", "no document is in force"),
    )
    alone = (Sign("swarm-quorum", "warn", "1 manager"), Sign("routers", "warn", "there is one router"))
    try:
        stage.docker("swarm", "update", "--dispatcher-heartbeat", "30s")
        on(whole, 1, f"echo 'kind: [PostgresCluster' > {FOLDER}/broken.yaml")
        stage.docker("config", "create", "--label", "pgswarm.kind=cluster", "pgswarm.odd", "-", text="somebody's own")
        stage.docker("node", "demote", stage.nodes[2])
        told = expect(whole, two, *signs)
        expect(whole, Sign("documents", "bad", "broken.yaml:", of=f"on {stage.nodes[0]}: "), node=2)
        do(whole, told[1])
        on(whole, 1, f"rm {FOLDER}/broken.yaml")
        stage.docker("config", "rm", "pgswarm.odd")
        stage.docker("node", "demote", stage.nodes[1])
        told = expect(whole, *alone)
        expect_none(whole, *signs)
        for name in stage.nodes[1:]:
            do(whole, told[0], {"NODE": name})
    finally:
        stage.docker("node", "promote", *stage.nodes)
        stage.docker("swarm", "update", "--dispatcher-heartbeat", "5s")
        on(whole, 1, f"rm -f {FOLDER}/broken.yaml")
        with contextlib.suppress(Broken):
            stage.docker("config", "rm", "pgswarm.odd")
    expect_none(whole, two, *alone, Sign("operators", "warn", "operators answer"))


def test_operators_that_all_hang_are_found_and_networks_that_documents_name(whole: Whole) -> None:
    """While they hang nobody makes the networks, and no operator sees the documents, which go before they wake."""
    stage, operators = whole.stage, whole.stage.operators()
    signs = (
        Sign("operators", "bad", "no operator answers"),
        Sign("networks", "bad", "there is no network", of="nowhere"),
        Sign("networks", "bad", "bridge network of this node alone"),
        Sign("networks", "bad", "is a bridge network", of="bridged"),
        Sign("placement", "warn", "there is none yet"),
    )
    text = "".join(
        UNBORN.format(name=f"unborn-{number}", network=network, port=1500 + number)
        for number, network in enumerate(("nowhere", "here-alone", "bridged"))
    )
    try:
        for one in operators:
            whole.signal(one, "STOP", AGENT)
        stage.docker("network", "create", "--driver", "bridge", "here-alone")
        stage.docker("network", "create", "--driver", "bridge", "--scope", "swarm", "bridged")
        stage.lab("exec", "1", "--", "sh", "-c", f"cat > {FOLDER}/unborn.yaml", text=text)
        expect(whole, *signs)
    finally:
        on(whole, 1, f"rm -f {FOLDER}/unborn.yaml")
        for one in operators:
            whole.signal(one, "CONT", AGENT)
        for name in ("here-alone", "bridged"):
            with contextlib.suppress(Broken):
                stage.docker("network", "rm", name)
    expect_none(whole, *signs)
    assert stage.clusters() == ("main",)


def test_a_swarm_without_a_quorum_is_found_and_what_is_not_seen_then_is_never_called_good(whole: Whole) -> None:
    """The engines of two managers hang, and all containers go on; Swarm has no leader to be asked."""
    lost = Sign("swarm-quorum", "bad", "Swarm cannot be observed")
    signs = (
        lost,
        Sign("heartbeat", "warn", "heartbeat is not known"),
        Sign("operators", "warn", "cannot be counted"),
        Sign("clocks", "warn", "no agent has told its time"),
        Sign("placement", "warn", "the record cannot be read: "),
        Sign("application-path", "warn", "no member could try a session"),
        Sign("dns", "warn", "could look up"),
    )
    with whole.writing() as writing:
        with _engines_hang(whole, 2, 3):
            found = expect(whole, *signs, deadline=120)
            writing.goes_on()
            assert "pg-a" in say(whole, "status")
            assert "copies" in say(whole, "explain", "main")
        print(found[0]["what"])
        expect_none(whole, *signs, deadline=180)
    whole.wait_healthy()


def test_a_node_that_is_lost_is_found_and_the_way_of_applications_is_still_tried(whole: Whole) -> None:
    stage = whole.stage
    if whole.primary() != whole.member_on(1):
        whole.switch_over(whole.member_on(1))
    number = next(one for one in (2, 3) if one != whole.raft_leader())
    node, member = stage.nodes[number - 1], whole.member_on(number)
    signs = (
        Sign("swarm-quorum", "bad", "cannot be reached, of 3 managers", of=node),
        Sign("nodes", "bad", "is down", of=node),
        Sign("replication", "bad", "has not been heard", of=member),
        Sign("application-path", "warn", "could not be asked", of=member),
    )
    try:
        stage.lab("kill", str(number))
        expect(whole, *signs, deadline=120)
    finally:
        stage.lab("up")
    expect_none(whole, *signs, deadline=180)
    whole.wait_healthy()


@contextlib.contextmanager
def _engines_hang(whole: Whole, *nodes: int) -> Iterator[None]:
    try:
        for node in nodes:
            on(whole, node, "pkill -STOP -x dockerd")
        yield
    finally:
        for node in nodes:
            on(whole, node, "pkill -CONT -x dockerd")
        wait_for(whole.raft_leader, "a Raft leader", 120)
