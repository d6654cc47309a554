"""One installed pgswarm for all lab tests that break it, with a writing client to each test.

The installation is made once a session and brought back to health before every test, so each test can run alone and
in any order; what a test may rely on is said in its fixture's name: `whole` is three counted members at rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pgswarm.drill.ledger import Gap
from pgswarm.drill.stage import STACK, TOP, Broken, LabStage, run, wait_for
from pgswarm.drill.whole import CLUSTER, DATABASE, MEMBERS, OWNER, Whole, Writing
from pgswarm.drill.whole import install as install_whole

__all__ = [
    "CLUSTER",
    "CUT_SHORT",
    "DATABASE",
    "LAB",
    "MEMBERS",
    "OWNER",
    "Whole",
    "Writing",
    "deploy",
    "incarnation",
    "installed",
    "no_longer",
    "state",
    "stayed",
    "whole",
    "why_primary",
]

LAB = TOP / "stack" / "lab" / "lab"


@pytest.fixture(scope="session")
def installed() -> Iterator[Whole]:
    """pgswarm on the lab, with images of this very tree."""
    run([str(LAB), "up"], text=None, deadline=900, environment=None)
    house = install_whole(LabStage())
    yield house
    house.repair()
    house.remove()


@pytest.fixture
def whole(installed: Whole, request: pytest.FixtureRequest) -> Whole:
    """Three counted members at rest, whatever the test before has left."""
    if request.config.stash.get(CUT_SHORT, False):
        _take_back(installed)
        request.config.stash[CUT_SHORT] = False
    installed.heal()
    return installed


CUT_SHORT = pytest.StashKey[bool]()
"""A test has ended before its end."""


def _take_back(whole: Whole) -> None:
    """What a person may have asked for in it: where it was not asked for, it is refused."""
    whole.repair()
    words = [("resume",), ("switchover", "--cancel"), *(("unfence", member) for member in MEMBERS)]
    for one in (*words, *(("maintenance", node, "off") for node in whole.stage.nodes)):
        with suppress(Broken):
            whole.stage.pgswarm(*one)


def no_longer(gap: Gap, most: float) -> None:
    """Nobody went without a write for as long as that, in seconds. Raises Broken.

    `make bench` measures outages; such a limit only tells one who waits for the wrong thing, a time-out or the end of
    a lease, from one who does not. On two cores that three labs share it can be missed all the same: hence the words
    by which a wait in vain is tried once more (`IN_VAIN` in the Makefile).
    """
    if gap.seconds >= most:
        raise Broken(f"not within {most:g} s: the next write; {gap}")


def stayed(whole: Whole, before: str) -> None:
    """The same primary as before. Raises Broken if only its agent was not heard in time: a failover that a starved
    machine may well bring, but none that this test is about."""
    now = whole.primary()
    if now == before:
        return
    why = why_primary(whole, now)
    if "has been silent for" in why:
        raise Broken(f"not within detectionTimeout: a word of {before}; {why}")
    pytest.fail(f"{now} is primary, not {before}: {why}")


def why_primary(whole: Whole, primary: str, node: int | None = None) -> str:
    """Why it was made so, last of all: Swarm's store says that, whoever decided it."""
    events = json.loads(whole.stage.pgswarm("history", "-o", "json", node=node))
    return next(
        (str(one["text"]) for one in reversed(events) if (one["kind"], one["primary"]) == ("new primary", primary)),
        "the history does not say why",
    )


def state(whole: Whole, member: str) -> str:
    """What status says of a member, in a word."""
    return next(str(one["state"]) for one in whole.status()["members"] if one["name"] == member)


def incarnation(whole: Whole, member: str) -> str:
    """What a member's agent remembers as its data's own name."""

    def look() -> str | None:
        memory = whole.within(whole.stage.container(whole.service(member)), "cat /var/lib/pgswarm/agent/state.json")
        return str(json.loads(memory)["incarnation"])

    return wait_for(look, f"the memory of {member}", 60)  # after a heal Swarm may just be replacing its container


def deploy(stage: LabStage, *files: str) -> None:
    """The stack of these files, and every operator replaced by one of it. Raises Broken."""
    words = [word for file in files for word in ("-c", file)]
    stage.docker("stack", "deploy", "--detach=false", "--quiet", *words, STACK, deadline=240)
    # That waits for three that run, whichever; one that is still to be replaced would end under a test's hands.
    state = ("service", "inspect", "--format", "{{with .UpdateStatus}}{{.State}}{{end}}", f"{STACK}_operator")
    wait_for(lambda: True if stage.docker(*state).strip() in ("", "completed") else None, "all operators anew", 240)
