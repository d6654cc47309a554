"""What networks, power and Swarm do to several at once: one-way cuts, everything dark, twice the same member."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from house import CLUSTER, Whole, state, stayed

from pgswarm.drill.stage import Broken, Container, wait_for
from pgswarm.settings import VOLUME_PATH

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("deaf", [True, False], ids=["deaf", "mute"])
def test_a_cut_in_one_direction_only_loses_nothing_and_stops_nobody_for_long(whole: Whole, deaf: bool) -> None:
    before = whole.primary()
    here, there = whole.node_of(before), whole.node_of(whole.standbys()[0])
    with whole.writing() as writing:
        speaker, listener = (there, here) if deaf else (here, there)
        whole.stage.lab("cut-oneway", str(speaker), str(listener))
        # Long enough for silence to be judged, and a ballot if there is to be one.
        writing.ledger.wait_until_steady(6.0, 1.0, deadline=90)
        whole.stage.lab("heal-between", str(speaker), str(listener))
        writing.ledger.wait_for_all_writers(deadline=60)
        whole.wait_healthy()


def test_the_node_that_leads_swarm_and_has_the_primary_is_lost(whole: Whole) -> None:
    before = whole.place_primary(on_leader=True)
    node = whole.node_of(before)
    with whole.writing() as writing:
        whole.stage.lab("kill", str(node))
        writing.goes_on(within=120)
        whole.another_primary_than(before, deadline=120, node=node % len(whole.stage.nodes) + 1)
        whole.stage.lab("start", str(node))
        whole.wait_healthy()


def test_all_nodes_lose_power_at_once_and_everything_acknowledged_is_there_afterwards(whole: Whole) -> None:
    with whole.writing() as writing:
        whole.stage.lab("kill", "all")
        whole.stage.lab("up")
        writing.goes_on(within=240)
        whole.wait_healthy(deadline=300)


def test_a_second_container_on_a_members_volume_waits_for_the_first_to_end(whole: Whole) -> None:
    """As Swarm runs them when a partition heals; here by hand, so that it surely happens."""
    primary = whole.primary()
    first = whole.stage.container(whole.service(primary))
    with whole.writing() as writing:
        second = _twin(whole, first)
        try:
            words = "two containers are on this volume"
            wait_for(lambda: True if words in _log(whole, second) else None, f"the second to say that {words}", 30)
            writing.ledger.wait_for_writes(200)
            assert "postgres -D" not in whole.stage.docker("top", second.id, "-eo", "pid,args", node=second.node)
        finally:
            whole.stage.docker("rm", "--force", second.id, node=second.node)
    stayed(whole, primary)


def test_a_primary_that_is_cut_off_acknowledges_nothing_and_rejoins_when_healed(whole: Whole) -> None:
    before = whole.primary()
    node, service = whole.node_of(before), whole.service(before)
    with whole.writing() as writing:
        whole.stage.lab("cut", str(node))
        writing.goes_on(within=120)
        whole.another_primary_than(before, deadline=120, node=node % len(whole.stage.nodes) + 1)
        # Long enough for Swarm to give the node up: at the heal it runs the old container and a new one of the same
        # service side by side on one volume, and may depose its Raft leader.
        wait_for(lambda: True if _is_down(whole, node) else None, f"node {node} down", 90)
        healed = whole.stage.docker("info", "--format", "{{.SystemTime}}", node=node).strip()
        whole.stage.lab("heal", str(node))
        whole.stage.wait_healthy(CLUSTER, members=3, deadline=300)
        wait_for(lambda: True if state(whole, before) == "streaming" else None, f"{before} to stream", 60)
    _only_one_touched_the_volume(whole, service, node, healed)


def _only_one_touched_the_volume(whole: Whole, service: str, node: int, healed: str) -> None:
    """Each container that got the lock got it after the last word of the one before, however long they overlapped."""
    logs = [_log(whole, Container(node=node, id=ident)) for ident in _lived(whole, service, node, healed)]
    assert len(logs) >= 2, f"Swarm has not replaced the container: {logs}"
    holders = [log for number, log in enumerate(logs) if number == 0 or _LOCKED in log]
    assert len(holders) >= 2, f"no container after the first says {_LOCKED!r}: {logs}"
    for first, second in pairwise(holders):
        ended, began = _moments(first)[-1], _moments(second[: second.index(_LOCKED)])[-1]
        assert began >= ended, f"two on one volume: one wrote until {ended}, the next began at {began}"


_LOCKED = f" of {CLUSTER}: data "
"""In what an agent says first when it has the lock."""


def _moments(log: str) -> list[str]:
    """When each line was written, by the writer's own clock, which all containers of a node share."""
    return re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", log, re.MULTILINE)


def _twin(whole: Whole, first: Container) -> Container:
    """Another agent of the same member on the same volume. It needs no true secret, because nobody shall talk to it."""
    shown = "{{.Config.Image}} {{range .Config.Env}}{{.}} {{end}}{{range .Mounts}}{{.Name}}:{{.Destination}} {{end}}"
    image, *words = whole.stage.docker("inspect", first.id, "--format", shown, node=first.node).split()
    volumes = [f"--volume={word}" for word in words if word.endswith(f":{VOLUME_PATH}")]
    given = [f"--env={word}" for word in words if word.startswith(("PGSWARM_CLUSTER=", "PGSWARM_MEMBER="))]
    assert len(volumes) == 1, words
    run = ("run", "--detach", "--init", *volumes, *given, "--env=PGSWARM_SECRET_FILE=/etc/hostname", image)
    return Container(node=first.node, id=whole.stage.docker(*run, node=first.node).strip())


def _log(whole: Whole, container: Container) -> str:
    try:
        return whole.stage.docker_all("logs", container.id, node=container.node)
    except Broken:  # Swarm keeps only the newest few containers of a service
        return ""


def _containers(whole: Whole, service: str, node: int) -> list[str]:
    wanted = f"label=com.docker.swarm.service.name={service}"
    return whole.stage.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", wanted, node=node).split()


def _lived(whole: Whole, service: str, node: int, since: str) -> list[str]:
    """The containers of a service that were there since then, the oldest first."""
    lives = []
    for ident in _containers(whole, service, node):
        shown = "{{.State.Running}} {{.State.StartedAt}} {{.State.FinishedAt}}"
        try:
            running, began, ended = whole.stage.docker("inspect", ident, "--format", shown, node=node).split()
        except Broken:  # Swarm keeps only the newest few containers of a service
            continue
        if running == "true" or ended > since:
            lives.append((began, ident))
    return [ident for _, ident in sorted(lives)]


def _is_down(whole: Whole, node: int) -> bool:
    other = node % len(whole.stage.nodes) + 1
    rows = whole.stage.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}", node=other, deadline=30)
    return f"{whole.stage.nodes[node - 1]} Down" in rows
