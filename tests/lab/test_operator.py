"""The operator may die at any instant, be there several times, or not at all."""

from __future__ import annotations

import time

import pytest
from house import CLUSTER, Whole

from pgswarm.drill.stage import Broken, wait_for

pytestmark = pytest.mark.lab


def test_writes_go_on_and_routers_find_the_primary_with_no_operator_alive(whole: Whole) -> None:
    with whole.writing() as writing:
        whole.stage.docker("service", "rm", "pgswarm_operator")
        try:
            wait_for(lambda: None if whole.stage.operators() else True, "no operator container", 60)
            router = whole.stage.container(f"{CLUSTER}_postgres-ha")
            whole.stage.docker("kill", router.id, node=router.node)
            writing.ledger.wait_for_writes(200, deadline=60)
        finally:
            whole.stage.install()
        whole.stage.wait_healthy(CLUSTER, members=3)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.3, 0.6])
def test_a_failover_is_finished_though_every_operator_is_killed_in_its_middle(whole: Whole, delay: float) -> None:
    before = whole.primary()
    operators = whole.stage.operators()
    with whole.writing() as writing:
        victim = whole.stage.container(whole.service(before))
        whole.stage.docker("kill", victim.id, node=victim.node)
        until = time.monotonic() + delay
        while time.monotonic() < until:
            pass
        for container in operators:
            whole.stage.docker("kill", container.id, node=container.node)
        writing.goes_on(within=120)
        whole.stage.wait_healthy(CLUSTER, members=3)


def test_two_passes_by_hand_beside_the_operators_do_no_harm(whole: Whole) -> None:
    before = whole.primary()
    said: list[str] = []
    with whole.writing() as writing:
        victim = whole.stage.container(whole.service(before))
        whole.stage.docker("kill", victim.id, node=victim.node)
        for _ in range(3):
            said.append(_reconcile_once(whole))
        writing.goes_on()
        whole.stage.wait_healthy(CLUSTER, members=3)
    assert not [text for text in said if "Traceback" in text or "unexpected" in text]


def _reconcile_once(whole: Whole) -> str:
    """What it said; that a step lost against an operator is no fault."""
    try:
        return whole.stage.pgswarm("reconcile", "--once")
    except Broken as broken:
        return broken.reason
