"""Docker's JSON, of several engines, as values; events, frames and names of images beside it."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.ports import swarm_parse
from pgswarm.ports.delegate import STDERR, STDOUT, frames
from pgswarm.ports.swarm_events import Wake, wake_of
from pgswarm.ports.swarm_images import digest_of, familiar

TASK: dict[str, Any] = {
    "ID": "t1", "ServiceID": "s1", "NodeID": "n1", "Slot": 1, "DesiredState": "running",
    "CreatedAt": "2026-01-02T03:04:05.123456789Z",
    "Spec": {"ContainerSpec": {"Image": "member:17"}},
    "Status": {
        "State": "running", "Timestamp": "2026-01-02T03:04:06Z", "Message": "started",
        "ContainerStatus": {"ContainerID": "c1", "PID": 7, "ExitCode": 0},
    },
    "NetworksAttachments": [
        {"Network": {"Spec": {"Name": "pgswarm-control"}}, "Addresses": ["10.0.3.7/24"]},
        {"Network": {"Spec": {"Name": "webnet"}}, "Addresses": ["fd00::1/64", "10.0.4.9/24"]},
        {"Network": {"Spec": {"Name": "bare"}}},
    ],
}  # fmt: skip


def test_a_task_is_read_with_its_addresses_and_times() -> None:
    task = swarm_parse.task(TASK)
    assert task.addresses == {"pgswarm-control": "10.0.3.7", "webnet": "10.0.4.9"}
    assert (task.state, task.desired, task.container_id, task.image) == ("running", "running", "c1", "member:17")
    assert task.since - task.created == pytest.approx(0.876543, abs=1e-4)
    assert task.exit_code is None


def test_a_task_of_the_first_moment_has_hardly_anything() -> None:
    task = swarm_parse.task({"ID": "t1", "Status": {"State": "new"}})
    assert (task.state, task.node_id, task.addresses, task.created) == ("new", "", {}, 0.0)


def test_a_task_that_ended_has_its_exit_code() -> None:
    status = {"State": "failed", "Err": "task: non-zero exit (3)", "ContainerStatus": {"ExitCode": 3}}
    task = swarm_parse.task({"ID": "t1", "Status": status})
    assert (task.exit_code, task.error) == (3, "task: non-zero exit (3)")


def test_a_manager_behind_a_local_address_is_known_by_the_one_the_others_use() -> None:
    raw = {
        "ID": "n1",
        "Spec": {"Role": "manager", "Availability": "drain", "Labels": {"disk": "fast"}},
        "Description": {"Hostname": "a", "Engine": {"EngineVersion": "29.0.1"}},
        "Status": {"State": "ready", "Addr": "0.0.0.0"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "10.1.1.1:2377"},
    }
    node = swarm_parse.node(raw)
    assert (node.address, node.is_raft_leader, node.takes_tasks, node.engine) == ("10.1.1.1", True, False, "29.0.1")


def test_a_word_that_nobody_knows_is_unknown() -> None:
    node = swarm_parse.node({"ID": "n1", "Status": {"State": "dreaming"}, "Spec": {"Role": None}})
    assert (node.state, node.role, node.name) == ("unknown", "worker", "n1")


def test_a_global_service_has_no_number_of_replicas() -> None:
    both = {"ID": "s", "Version": {"Index": 4}, "Spec": {"Name": "x", "Mode": {"Global": {}}}}
    assert swarm_parse.service(both).replicas is None
    zero = {**both, "Spec": {"Name": "x", "Mode": {"Replicated": {}}}}
    assert swarm_parse.service(zero).replicas == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T01:00:00.250000000+01:00", 0.25),
        ("0001-01-01T00:00:00Z", 0.0),
        ("yesterday", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_times_are_seconds(text: str | None, seconds: float) -> None:
    assert swarm_parse.seconds(text) == seconds


@pytest.mark.parametrize(
    ("line", "wake"),
    [
        (b'{"Type":"config","Action":"update","Actor":{"ID":"x","Attributes":{"name":"pgswarm.main"}}}',
         Wake(kind="config", action="update", name="pgswarm.main")),
        (b'{"Type":"container","Action":"die","Actor":{"Attributes":{"com.docker.swarm.service.name":"main_pg-1"}}}',
         Wake(kind="container", action="die", name="main_pg-1")),
        (b'{"Type":"container","Action":"die","Actor":{"Attributes":{"name":"mine"}}}', None),
        (b'{"Type":"node","Action":"update","Actor":{"ID":"x"}}', Wake(kind="node", action="update", name="")),
        (b'{"half', None),
        (b"[]", None),
    ],
)  # fmt: skip
def test_an_event_wakes_by_name(line: bytes, wake: Wake | None) -> None:
    assert wake_of(line) == wake


def test_frames_are_put_together_wherever_they_were_cut() -> None:
    raw = b"\x01\0\0\0\0\0\0\x03one" + b"\x02\0\0\0\0\0\0\x03two" + b"\x01\0\0\0\0\0\0\x05thr"
    for size in range(1, len(raw) + 1):
        parts = [raw[start : start + size] for start in range(0, len(raw), size)]
        assert list(frames(parts)) == [(STDOUT, b"one"), (STDERR, b"two")]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("registry:5000/pgswarm/member:dev", "registry:5000/pgswarm/member"),
        ("registry:5000/member", "registry:5000/member"),
        ("postgres:17", "postgres"),
        ("docker.io/library/postgres:17", "postgres"),
        ("docker.io/me/x", "me/x"),
        ("a/b:c@sha256:1", "a/b"),
    ],
)
def test_the_repository_of_a_reference(reference: str, name: str) -> None:
    assert familiar(reference) == name


def test_only_a_digest_of_the_same_repository_counts() -> None:
    known = ["other/member@sha256:1", "registry:5000/pgswarm/member@sha256:2"]
    assert digest_of("registry:5000/pgswarm/member:dev", known) == "sha256:2"
    assert digest_of("member:dev", known) is None
