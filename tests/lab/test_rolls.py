"""What a running member cannot take goes round the members; another build goes round everything. A client writes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from house import CLUSTER, MEMBERS, Whole, Writing, no_longer

from pgswarm.drill.stage import STACK, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

OUTAGE = 5.0
"""Seconds without an acknowledged write that none of this may take, on a busy machine; `make bench` measures them."""


@contextmanager
def rolled(whole: Whole, what: str) -> Iterator[Writing]:
    """A client writes while something is rolled; nobody crashes, nothing is lost, nobody waits for long."""
    before = _crashes(whole)
    with whole.writing() as writing:
        began = time.monotonic()
        yield writing
        gap = writing.goes_on()
        print(f"{what}: {time.monotonic() - began:.1f} s, longest time without a write {gap.seconds:.3f} s")
        no_longer(gap, OUTAGE)
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


def test_another_build_goes_round_under_load_and_back_and_a_bad_image_stops_at_the_first_member(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators, routers and members by the one command of docs/operations.md; between the two a bad image."""
    _until_all_run_with(whole, "SHOW max_connections", "100")  # what the test before has left is rolled back
    first_build = os.environ.get("PGSWARM_TAG", "dev")
    good, bad = _image(whole, "two", "LABEL pgswarm.build=two"), _image(whole, "bad", 'ENTRYPOINT ["/no/such"]')
    for name in ("operator", "router"):
        _image(whole, "two", "LABEL pgswarm.build=two", name)
    before, term = whole.primary(), whole.status()["term"]
    with rolled(whole, "another build of operators, routers and members") as writing:
        monkeypatch.setenv("PGSWARM_TAG", "two")
        _deployed(whole, "two")
        print(f"the longest pause of one single writer, on whichever router: {writing.ledger.gap().slowest:.3f} s")
    assert whole.primary() != before, "the primary handed over before its container was replaced"
    assert f"{before}: its image is" in _said_by_operators(whole)
    print(f"{whole.status()['term'] - term} switchovers")

    primary, first = whole.primary(), whole.standbys()[0]
    with rolled(whole, "a bad image, and the former build again"):
        whole.stage.write_document(_with_image(whole, bad))

        def stopped() -> str | None:
            waits = [text for text in whole.status()["waits"] if f"waiting until {first} is back" in text]
            return next((text for text in waits if "program" in text), None)

        print(wait_for(stopped, "a roll that stops", 120, lambda: whole.stage.picture(CLUSTER)))
        others = [member for member in MEMBERS if member != first]
        assert all(_running_image(whole, member).startswith(good) for member in others)
        assert whole.primary() == primary
        whole.stage.write_document(whole.document())
        monkeypatch.setenv("PGSWARM_TAG", first_build)
        _deployed(whole, first_build)


def _deployed(whole: Whole, tag: str) -> None:
    """`docker stack deploy` with this PGSWARM_TAG, until everything runs it and is at rest."""
    began = time.monotonic()
    whole.stage.install()
    for what in (f"{STACK}_operator", f"{CLUSTER}_postgres-ha"):
        _until_updated(whole, what, tag)
        print(f"{what} runs {tag} on every node after {time.monotonic() - began:.0f} s")
    _until_all_have(whole, f"{whole.stage.environment['PGSWARM_REGISTRY']}pgswarm/member:{tag}")
    whole.stage.wait_healthy(CLUSTER, members=3, deadline=240)


def _said_by_operators(whole: Whole) -> str:
    """By those that have ended as well."""
    shown = ["ps", "-aq", "--filter", f"label=com.docker.swarm.service.name={STACK}_operator"]
    found = [(node, one) for node in (1, 2, 3) for one in whole.stage.docker(*shown, node=node).split()]
    return "\n".join(whole.stage.docker_all("logs", one, node=node) for node, one in found)


def _with_image(whole: Whole, image: str) -> str:
    return whole.document().replace("  postgres:\n", f"  postgres:\n    image: {image}\n")


def _image(whole: Whole, tag: str, change: str, name: str = "member") -> str:
    """One of the images with one thing changed, under another tag in the lab's registry."""
    service = {"member": whole.service(whole.primary()), "operator": f"{STACK}_operator"}
    found = whole.stage.container(service.get(name, f"{CLUSTER}_postgres-ha"))
    image = f"{whole.stage.environment['PGSWARM_REGISTRY']}pgswarm/{name}:{tag}"
    made = whole.stage.docker("create", _image_of(whole, found.id, found.node), node=found.node).strip()
    whole.stage.docker("commit", "--change", change, made, image, node=found.node)
    whole.stage.docker("rm", made, node=found.node)
    whole.stage.docker("push", "--quiet", image, node=found.node)
    return image


def _until_updated(whole: Whole, service: str, tag: str) -> None:
    """One container on each node, all of this build."""

    def look() -> bool | None:
        shown = "{{.Image}} {{.DesiredState}} {{.CurrentState}}"
        rows = whole.stage.docker("service", "ps", "--no-trunc", "--format", shown, service).splitlines()
        running = [row.split()[0] for row in rows if " Running Running" in row]
        return True if len(running) == 3 and all(f":{tag}@" in f"{image}@" for image in running) else None

    wait_for(look, f"{service} of {tag} on each node", 240, lambda: whole.stage.picture(CLUSTER))


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
