"""Drift: said where a hand was, never where an engine only writes the same thing differently."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pgswarm import settings
from pgswarm.core.swarmview import Service
from pgswarm.render import drift
from tests.render.wanted import container, member, router


def live(spec: Any, **more: Any) -> Service:
    whole = {"id": "s", "version": 1, "name": spec["Name"], "labels": spec["Labels"], "spec": spec, **more}
    return Service.model_validate(whole)


def without_empties(value: Any) -> Any:
    """As engines return it: what is empty is left away."""
    if isinstance(value, dict):
        parts = {name: without_empties(part) for name, part in value.items()}
        return {
            name: part for name, part in parts.items() if part not in (None, "", 0, False, [], {}) or name == "Delay"
        }
    return [without_empties(part) for part in value] if isinstance(value, list) else value


def as_an_engine_returns_it(spec: Any) -> Any:
    found = without_empties(copy.deepcopy(spec))
    found["TaskTemplate"]["ForceUpdate"] = 0
    found["TaskTemplate"]["Runtime"] = "container"
    found["TaskTemplate"]["Resources"] = {"Limits": {}, "Reservations": {}}
    container(found)["Isolation"] = "default"
    container(found)["Env"].reverse()
    container(found).get("Mounts", []).reverse()
    found["EndpointSpec"].get("Ports", []).reverse()
    found["SomethingNew"] = {"Of": "a later engine"}
    found["Mode"] = spec["Mode"]
    return found


@pytest.mark.parametrize("spec", [member(), *router(), *router(nodes=["node1"]), *router(publish=False)])
def test_a_service_as_an_engine_returns_it_has_no_drift(spec: Any) -> None:
    found = live(as_an_engine_returns_it(spec))
    assert drift.drift(found, spec) == ()
    assert drift.merged(found.spec, spec) == found.spec


def test_labels_that_somebody_added_are_no_drift_and_are_kept() -> None:
    found = copy.deepcopy(member())
    found["Labels"]["traefik.enable"] = "false"
    assert drift.drift(live(found), member()) == ()
    changed = copy.deepcopy(found)
    changed["Labels"][settings.LABEL_MEMBER] = "x"
    assert drift.merged(changed, member())["Labels"]["traefik.enable"] == "false"


def test_an_environment_is_told_by_its_names_only() -> None:
    found = copy.deepcopy(member())
    container(found)["Env"] = ["PGSWARM_CLUSTER=other", "PASSWORD=hunter2"]
    (said,) = drift.drift(live(found), member())
    missing = "PGSWARM_MEMBER is missing, PGSWARM_PLACE is missing, PGSWARM_TASK is missing"
    assert said == f"environment: PASSWORD was added, {missing}, PGSWARM_CLUSTER was changed"


def test_a_document_that_changed_is_not_a_hand() -> None:
    bigger = member(shared_memory=2**30)
    found = live(member())
    assert drift.drift(found, bigger)
    assert not drift.was_edited(found, bigger)
    assert drift.was_edited(live({**member(), "Mode": {"Replicated": {}}}), member())


def test_a_scale_to_nothing_is_found_also_where_the_engine_leaves_zero_away() -> None:
    found = {**member(), "Mode": {"Replicated": {}}}
    assert drift.drift(live(found), member()) == ("it is scaled to 0, wanted is 1",)


def test_another_mode_is_said_whole() -> None:
    (wanted,) = router(nodes=["node1"])
    found = {**copy.deepcopy(wanted), "Mode": {"Global": {}}}
    assert drift.drift(live(found), wanted) == ("its mode is global, wanted is replicated",)
    assert drift.merged(found, wanted)["Mode"] == wanted["Mode"]


def test_a_network_a_port_and_a_mount_that_were_added_are_said() -> None:
    (wanted,) = router()
    found = copy.deepcopy(wanted)
    found["TaskTemplate"]["Networks"].append({"Target": "net9"})
    found["EndpointSpec"]["Ports"].append({"Protocol": "tcp", "TargetPort": 22, "PublishedPort": 2222})
    container(found)["Mounts"].append({"Type": "bind", "Source": "/", "Target": "/host"})
    assert set(drift.drift(live(found), wanted)) == {
        "Networks has net9 added",
        "EndpointSpec.Ports has 2222 added",
        "ContainerSpec.Mounts has /host added",
    }


def test_putting_back_keeps_what_nobody_named() -> None:
    found = copy.deepcopy(member())
    found["TaskTemplate"]["ForceUpdate"] = 4
    found["TaskTemplate"]["LogDriver"] = {"Name": "local"}
    container(found)["Image"] = "other"
    sent = drift.merged(found, member())
    assert (sent["TaskTemplate"]["ForceUpdate"], sent["TaskTemplate"]["LogDriver"]) == (4, {"Name": "local"})
    assert drift.drift(live(sent), member()) == ()


def test_a_service_without_anything_differs_in_everything_and_can_be_put_right() -> None:
    assert drift.drift(live({"Name": "main_pg-1", "Labels": {}}), member())
    assert drift.drift(live(drift.merged({}, member())), member()) == ()
