"""The lab keeps its own promises: real nodes, faults that look like the real ones, and nothing left behind.

These tests stand a lab of their own beside the one that a developer may have running (another prefix, another network,
another image tag, the same cache), and take about two minutes. They look from where a user of the lab looks: its
command line, the addresses, the machine's process and mount tables.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from pgswarm.drill.stage import Broken

LAB = pathlib.Path(__file__).resolve().parents[2] / "stack" / "lab" / "lab"
TAG = "labself"
MEMBER = f"pgswarm/member:{TAG}"
PORT = 18000
PATIENCE = 180.0  # seconds, for anything that Swarm decides; the first start of a task pulls its image

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
]


class Lab:
    """The command line of a lab under its own prefix."""

    def __init__(self, prefix: str, net: str) -> None:
        self.prefix, self.net = prefix, net
        self.environment: Mapping[str, str] = {
            **os.environ,
            "PGSWARM_LAB": prefix,
            "PGSWARM_LAB_NET": f"{net}.0",
            "PGSWARM_TAG": TAG,
        }

    def __call__(self, *words: str) -> str:
        done = self.attempt(*words)
        assert done.returncode == 0, f"lab {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [LAB, *words], env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )

    def docker(self, node: str, *words: str) -> str:
        return self("exec", node, "--", "docker", *words)

    def address(self, number: int) -> str:
        return f"{self.net}.{10 + number}"

    def container(self, node: str) -> str:
        return self.docker(node, "ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=echo").strip()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three managers, and on each of them a web server on an overlay network with a port of its node."""
    lab = Lab("labself", "10.213.8")
    lab("down")
    try:
        lab("up")
        lab("images")
        lab.docker("1", "network", "create", "--driver=overlay", "echo")
        lab.docker(
            "1", "service", "create", "--quiet", "--detach", "--name=echo", "--mode=global", "--network=echo", "--init",
            "--endpoint-mode=dnsrr", f"--publish=mode=host,target=8000,published={PORT}", "--restart-delay=0s",
            "--entrypoint=python3", f"{lab.net}.1:5000/{MEMBER}", "-m", "http.server", "8000",
        )  # fmt: skip
        for number in (1, 2, 3):
            until(functools.partial(responds, lab.address(number)), f"an answer of node {number}")
        yield lab
    finally:
        lab("down")


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test finds a whole lab and may break it."""
    yield
    if "lab" in request.fixturenames:
        lab = request.getfixturevalue("lab")
        lab("up")
        for number in (1, 2, 3):
            until(functools.partial(responds, lab.address(number)), f"an answer of node {number}")


def test_every_node_is_a_ready_manager_with_its_own_name_and_address(lab: Lab) -> None:
    listed = lab.docker("2", "node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}").splitlines()
    assert sorted(line.split()[:2] for line in listed) == [["node1", "Ready"], ["node2", "Ready"], ["node3", "Ready"]]
    assert all(line.split()[2] in ("Leader", "Reachable") for line in listed)
    assert [lab("exec", str(n), "--", "hostname").strip() for n in (1, 2, 3)] == ["node1", "node2", "node3"]


def test_up_a_second_time_changes_nothing(lab: Lab) -> None:
    before = lab.docker("1", "node", "ls", "--quiet"), lab.container("node3")
    lab("up")
    assert before == (lab.docker("1", "node", "ls", "--quiet"), lab.container("node3"))


def test_another_shape_is_refused_while_a_lab_stands(lab: Lab) -> None:
    refused = lab.attempt("up", "--nodes", "2")
    assert refused.returncode == 1
    assert "lab down" in refused.stderr


def test_containers_of_different_nodes_reach_each_other(lab: Lab) -> None:
    here = lab.container("node1")
    until(lambda: len(peers(lab, here)) == 3, "three peers by name")
    for peer in peers(lab, here):
        until(functools.partial(reaches, lab, here, peer), f"an answer of {peer}")


def test_the_environment_points_a_client_to_the_node(lab: Lab) -> None:
    told = [line for line in lab("env", "node2").splitlines() if line.startswith("export ")]
    lines = dict(line.removeprefix("export ").split("=", 1) for line in told)
    assert lines["PGSWARM_REGISTRY"] == f"{lab.net}.1:5000"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.connect(lines["DOCKER_HOST"].removeprefix("unix://"))
        engine.sendall(b"GET /info HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: engine.recv(65536), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["Name"] == "node2"


def test_a_cut_node_is_silent_until_it_is_healed(lab: Lab) -> None:
    with conversation(lab.address(2)) as talking:
        lab("cut", "2")
        lab("cut", "2")
        assert is_silent(lab.address(2))
        assert hears_nothing(talking)
    lab("heal", "2")
    until(lambda: responds(lab.address(2)), "an answer of node 2")


def test_two_nodes_can_be_cut_from_each_other_alone(lab: Lab) -> None:
    here = lab.container("node1")
    theirs = {node: address_in_overlay(lab, node) for node in ("node2", "node3")}
    lab("cut-between", "1", "3")
    lab("cut-between", "node3", "node1")
    until(lambda: reaches(lab, here, theirs["node2"]), "an answer of node 2")
    assert not reaches(lab, here, theirs["node3"])
    for number in (1, 2, 3):
        until(functools.partial(responds, lab.address(number)), f"an answer of node {number}")
    lab("heal-between", "3", "1")
    lab("heal-between", "3", "1")
    until(lambda: reaches(lab, here, theirs["node3"]), "an answer of node 3")


def test_a_node_can_be_deaf_to_another_that_still_hears_it(lab: Lab) -> None:
    here, there = lab.container("node1"), address_in_overlay(lab, "node3")
    lab("cut-oneway", "1", "3")
    lab("cut-oneway", "node1", "node3")
    rows = {line.split()[0]: line for line in lab("status").splitlines() if line.startswith("node")}
    assert "not with node1" in rows["node3"]
    assert "not with" not in rows["node1"]
    assert not reaches(lab, here, there)
    lab("heal-between", "1", "3")
    until(lambda: reaches(lab, here, there), "an answer of node 3")


def test_a_frozen_node_accepts_and_never_answers(lab: Lab) -> None:
    lab("freeze", "3")
    with socket.create_connection((lab.address(3), PORT), timeout=1) as accepted:
        accepted.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert hears_nothing(accepted)
    assert lab.attempt("exec", "3", "--", "true").returncode == 1
    lab("thaw", "3")
    until(lambda: responds(lab.address(3)), "an answer of node 3")


def test_a_killed_node_falls_silent_without_saying_goodbye_and_comes_back_as_itself(lab: Lab) -> None:
    identity = lab.docker("2", "info", "--format", "{{.Swarm.NodeID}}")
    with conversation(lab.address(2)) as talking:
        lab("kill", "2")
        assert hears_nothing(talking), "a lost machine sends no reset"
    assert not processes_of("labself/node2")
    lab("start", "2")
    until(lambda: responds(lab.address(2)), "an answer of node 2")
    assert lab.docker("2", "info", "--format", "{{.Swarm.NodeID}}") == identity


def test_a_frozen_node_can_be_killed_together_with_another(lab: Lab) -> None:
    lab("freeze", "3")
    lab("kill", "3", "2")
    assert not processes_of("labself/node3")
    assert not processes_of("labself/node2")


def test_a_node_with_a_paused_container_can_be_killed(lab: Lab) -> None:
    lab.docker("3", "pause", lab.container("node3"))
    lab("kill", "3")
    assert not processes_of("labself/node3")


def test_a_killed_engine_leaves_its_containers(lab: Lab) -> None:
    lab("kill-engine", "3")
    assert "silent" in lab("status")
    until(lambda: responds(lab.address(3)), "an answer of node 3")


def test_an_interrupted_up_is_continued_by_the_next_and_removed_by_down_and_so_is_an_interrupted_down() -> None:
    lab = Lab("labcrash", "10.213.9")
    lab("down")
    try:
        for fatal in ("booting", "engines answer", "joins"):
            with subprocess.Popen(
                [LAB, "up", "--nodes", "2", "--workers", "1"], env=lab.environment, stderr=subprocess.PIPE, text=True
            ) as started:
                assert started.stderr is not None
                assert any(fatal in line for line in started.stderr), f"`lab up` never said {fatal!r}"
                started.kill()
            if fatal == "joins":
                lab("up")
                roles = lab.docker("1", "node", "ls", "--format", "{{.Hostname}}={{.ManagerStatus}}").split()
                assert sorted(roles) == ["node1=Leader", "node2="]
                _cut_down_short(lab)
            lab("down")
            assert leftovers(lab) == []
    finally:
        lab("down")
    lab("down")


def _cut_down_short(lab: Lab) -> None:
    """The next `up` finishes an interrupted `down` before it begins anew; until then nobody goes on with its disks."""
    lab("exec", "1", "--", "touch", "/var/lib/docker/of-the-lab-before")
    with subprocess.Popen([LAB, "down"], env=lab.environment, stderr=subprocess.PIPE, text=True) as going:
        assert going.stderr is not None
        assert any("removing their disks" in line for line in going.stderr)
        going.kill()
    assert "half taken down" in lab.attempt("start", "1").stderr
    assert "finishing it first" in lab.attempt("up", "--nodes", "2").stderr
    assert "of-the-lab-before" not in lab("exec", "1", "--", "ls", "/var/lib/docker")
    assert len(lab.docker("1", "node", "ls", "--quiet").split()) == 2


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise Broken(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.05)


def responds(address: str) -> bool:
    """Does the web server behind the node's port answer a request within a second?"""
    try:
        with socket.create_connection((address, PORT), timeout=1) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(4) == b"HTTP"
    except OSError:
        return False


def is_silent(address: str) -> bool:
    """Neither accepted nor refused: that is what a missing machine looks like."""
    try:
        socket.create_connection((address, PORT), timeout=0.5).close()
    except TimeoutError:
        return True
    return False


@contextlib.contextmanager
def conversation(address: str) -> Iterator[socket.socket]:
    """An open connection that the server is waiting on."""
    with socket.create_connection((address, PORT), timeout=1) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n")
        yield connection


def hears_nothing(connection: socket.socket) -> bool:
    connection.settimeout(1.0)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    return False


def peers(lab: Lab, container: str) -> list[str]:
    ask = "import socket; print(*{a[4][0] for a in socket.getaddrinfo('tasks.echo', 8000, socket.AF_INET)})"
    return lab.docker("node1", "exec", container, "python3", "-c", ask).split()


def reaches(lab: Lab, container: str, address: str) -> bool:
    ask = f"import socket; socket.create_connection(({address!r}, 8000), 1)"
    return lab.attempt("exec", "node1", "--", "docker", "exec", container, "python3", "-c", ask).returncode == 0


def address_in_overlay(lab: Lab, node: str) -> str:
    form = '{{(index .NetworkSettings.Networks "echo").IPAddress}}'
    return lab.docker(node, "inspect", "--format", form, lab.container(node)).strip()


def processes_of(group: str) -> list[str]:
    """Every process below this control group, in any of the machine's trees."""
    roots = [pathlib.Path("/sys/fs/cgroup"), *pathlib.Path("/sys/fs/cgroup").iterdir()]
    files = (file for root in roots for file in (root / "pgswarm-lab" / group).glob("**/cgroup.procs"))
    return [pid for file in files for pid in file.read_text().split()]


def leftovers(lab: Lab) -> list[str]:
    """Whatever on this machine still bears the lab's name."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    links = os.listdir("/sys/class/net")
    groups = pathlib.Path("/sys/fs/cgroup").glob(f"**/pgswarm-lab/{lab.prefix}")
    folders = (pathlib.Path(top, lab.prefix) for top in ("/run/pgswarm-lab", "/var/lib/pgswarm-lab"))
    return [
        *(f"mount {line}" for line in mounts.splitlines() if f"pgswarm-lab/{lab.prefix}" in line),
        *(f"link {name}" for name in links if name.startswith(lab.prefix)),
        *(f"namespace {path}" for path in pathlib.Path("/run/netns").glob(f"{lab.prefix}-*")),
        *(f"control group {path}" for path in groups),
        *(f"folder {path}" for path in folders if path.exists()),
    ]
