"""`pgswarm doctor` on a real site: nothing bad of a healthy one, and what is wrong is found from a manager's shell."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from house import CLUSTER, Whole

from pgswarm.drill.stage import TOP

pytestmark = pytest.mark.lab


def test_a_healthy_site_is_good_and_a_lost_member_a_pause_and_a_drained_node_are_found(whole: Whole) -> None:
    done, found = _doctor(whole)
    assert done == 0, [one for one in found if one["level"] == "bad"]
    levels = {one["check"]: one["level"] for one in found}
    for check in ("swarm-quorum", "clocks", "mtu", "secrets", "operators", "routers-agree", "dns"):
        assert levels[check] == "good", [one for one in found if one["check"] == check]
    for path in [one for one in found if one["check"] == "application-path"]:  # a busy machine may be slow, and says so
        assert path["what"].startswith("6 sessions") or " takes " in path["what"], path
    victim = next(name for name in whole.standbys() if whole.node_of(name) != 1)  # whom node 1 is asked about
    node = whole.stage.nodes[whole.node_of(victim) - 1]
    whole.stage.pgswarm("pause", "--for", "5m", "--why", "to see whether it is found")
    try:
        whole.stage.docker("node", "update", "--availability", "drain", node)
        container = whole.stage.container(whole.service(victim))
        whole.stage.docker("kill", container.id, node=container.node)
        done, found = _doctor(whole)
    finally:
        whole.stage.docker("node", "update", "--availability", "active", node)
        whole.stage.pgswarm("resume")
    said = {(one["check"], one["level"]) for one in found}
    assert done == 1
    assert {("nodes", "note"), ("pause", "warn"), ("replication", "bad")} <= said, found
    assert all(one["why"] and one["mend"] for one in found if one["level"] != "good")
    whole.stage.wait_healthy(CLUSTER, members=3)


def _doctor(whole: Whole) -> tuple[int, list[dict[str, Any]]]:
    """As a person says it on this machine, with nothing but the socket of a manager."""
    done = subprocess.run(
        [str(TOP / ".venv/bin/pgswarm"), "doctor", "-o", "json"],
        env={**os.environ, **whole.stage.socket(1)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
