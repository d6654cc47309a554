"""What the document asks for and a running member cannot take goes round the members, under a writing client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from house import CLUSTER, MEMBERS, Whole

from pgswarm.drill.stage import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

OUTAGE = 5.0
"""Seconds without an acknowledged write that none of this may take, on a busy machine; `make bench` measures them."""


@contextmanager
def rolled(whole: Whole, what: str) -> Iterator[None]:
    """A client writes while something is rolled; nobody crashes, nothing is lost, nobody waits for long."""
    before = _crashes(whole)
    with whole.writing() as writing:
        began = time.monotonic()
        yield
        gap = writing.goes_on()
        print(f"{what}: {time.monotonic() - began:.1f} s, longest time without a write {gap.seconds:.3f} s")
        assert gap.seconds < OUTAGE
    assert _crashes(whole) <= before, "no PostgreSQL crashed"


def _crashes(whole: Whole) -> int:
    """How often a PostgreSQL has ended by itself, as the members that run now tell: other tests kill some."""
    return sum(_log(whole, member).count("ended unasked") for member in MEMBERS)


def test_settings_that_need_a_restart_go_round_raised_and_lowered(whole: Whole) -> None:
    held = _boots(whole)
    with rolled(whole, "more connections and a library"):
        whole.stage.write_document(
            whole.document(parameters=", max_connections: 150, shared_preload_libraries: auto_explain")
        )
        _until_all_run_with(whole, "SHOW max_connections", "150")
    assert all("auto_explain" in one for one in _everywhere(whole, "SHOW shared_preload_libraries"))
    assert _everywhere(whole, "SHOW auto_explain.log_min_duration") == {"-1"}
    before = whole.primary()
    with rolled(whole, "fewer connections"):
        whole.stage.write_document(whole.document(parameters=", shared_preload_libraries: auto_explain"))
        _until_all_run_with(whole, "SHOW max_connections", "100")
    assert whole.primary() == before, "a primary that is to have less is started anew where it is"
    assert _boots(whole) == held, "no container was replaced"


def test_a_pause_holds_a_restart_back(whole: Whole) -> None:
    whole.stage.pgswarm("pause", "--for", "10m", "--why", "a test")
    whole.stage.write_document(whole.document(parameters=", max_connections: 120"))
    wait_for(
        lambda: True if any("paused" in one for one in whole.status()["waits"]) else None, "a word of the pause", 90
    )
    assert _everywhere(whole, "SHOW max_connections") == {"100"}
    whole.stage.pgswarm("resume")
    _until_all_run_with(whole, "SHOW max_connections", "120")


def test_an_image_goes_round_under_load_and_a_bad_one_stops_at_the_first_member(whole: Whole) -> None:
    _until_all_run_with(whole, "SHOW max_connections", "100")  # what the test before has left is rolled back
    good, bad = _image(whole, "two", "LABEL pgswarm.build=two"), _image(whole, "bad", 'ENTRYPOINT ["/no/such"]')
    before = whole.primary()
    with rolled(whole, "another image"):
        whole.stage.write_document(_with_image(whole, good))
        _until_all_have(whole, good)
        whole.stage.wait_healthy(CLUSTER, members=3, deadline=240)
    assert whole.primary() != before, "the primary handed over before its container was replaced"
    told = "\n".join(whole.stage.docker_all("logs", one.id, node=one.node) for one in whole.stage.operators())
    assert f"{before}: its image is" in told

    primary, first = whole.primary(), whole.standbys()[0]
    with whole.writing() as writing:
        whole.stage.write_document(_with_image(whole, bad))

        def stopped() -> str | None:
            waits = [text for text in whole.status()["waits"] if f"waiting until {first} is back" in text]
            return next((text for text in waits if "program" in text), None)

        said = wait_for(stopped, "a roll that stops", 120, lambda: whole.stage.picture(CLUSTER))
        print(said)
        others = [member for member in MEMBERS if member != first]
        assert all(_running_image(whole, member).startswith(good) for member in others)
        assert whole.primary() == primary
        whole.stage.write_document(_with_image(whole, good))
        whole.stage.wait_healthy(CLUSTER, members=3, deadline=240)
        assert writing.goes_on().seconds < OUTAGE
    assert all(_running_image(whole, member).startswith(good) for member in MEMBERS)


def _with_image(whole: Whole, image: str) -> str:
    return whole.document().replace("  postgres:\n", f"  postgres:\n    image: {image}\n")


def _image(whole: Whole, tag: str, change: str) -> str:
    """The member's image with one thing changed, under another tag in the lab's registry."""
    name = f"{whole.stage.environment['PGSWARM_REGISTRY']}pgswarm/member:{tag}"
    found = whole.stage.container(whole.service(whole.primary()))
    made = whole.stage.docker("create", _image_of(whole, found.id, found.node), node=found.node).strip()
    whole.stage.docker("commit", "--change", change, made, name, node=found.node)
    whole.stage.docker("rm", made, node=found.node)
    whole.stage.docker("push", "--quiet", name, node=found.node)
    return name


def _image_of(whole: Whole, container: str, node: int) -> str:
    return whole.stage.docker("inspect", "--format", "{{.Image}}", container, node=node).strip()


def _running_image(whole: Whole, member: str) -> str:
    """Of the container that runs: its service may name another already. Raises Broken if none does."""
    found = whole.stage.container(whole.service(member))
    return whole.stage.docker("inspect", "--format", "{{.Config.Image}}", found.id, node=found.node).strip()


def _until_all_have(whole: Whole, image: str) -> None:
    wait_for(
        lambda: True if all(_running_image(whole, one).startswith(image) for one in MEMBERS) else None,
        f"everybody with {image}",
        240,
        lambda: whole.stage.picture(CLUSTER),
    )


def _until_all_run_with(whole: Whole, question: str, answer: str) -> None:
    wait_for(
        lambda: True if _everywhere(whole, question) == {answer} else None,
        f"{question}: {answer} everywhere",
        180,
        lambda: whole.stage.picture(CLUSTER),
    )
    status: dict[str, Any] = whole.stage.wait_healthy(CLUSTER, members=3, deadline=120)
    assert not any(one["pending_restart"] for one in status["members"])


def _everywhere(whole: Whole, question: str) -> set[str]:
    return {whole.sql(question, member=member) for member in MEMBERS}


def _boots(whole: Whole) -> dict[str, str]:
    return {member: whole.stage.container(whole.service(member)).id for member in MEMBERS}


def _log(whole: Whole, member: str) -> str:
    found = whole.stage.container(whole.service(member))
    return whole.stage.docker_all("logs", found.id, node=found.node)
