"""One installed pgswarm for all lab tests that break it, with a writing client to each test.

The installation is made once a session and brought back to health before every test, so each test can run alone and
in any order; what a test may rely on is said in its fixture's name: `whole` is three counted members at rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgswarm.drill.ledger import Gap
from pgswarm.drill.stage import STACK, TOP, Broken, LabStage, run, wait_for
from pgswarm.drill.whole import CLUSTER, DATABASE, MEMBERS, OWNER, Whole, Writing
from pgswarm.drill.whole import install as install_whole

__all__ = [
    "CLUSTER",
    "DATABASE",
    "LAB",
    "MEMBERS",
    "OWNER",
    "Whole",
    "Writing",
    "deploy",
    "installed",
    "no_longer",
    "whole",
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
def whole(installed: Whole) -> Whole:
    """Three counted members at rest, whatever the test before has left."""
    installed.heal()
    return installed


def no_longer(gap: Gap, most: float) -> None:
    """Nobody went without a write for as long as that, in seconds. Raises Broken.

    `make bench` measures outages; such a limit only tells one who waits for the wrong thing, a time-out or the end of
    a lease, from one who does not. On two cores that three labs share it can be missed all the same: hence the words
    by which a wait in vain is tried once more (`IN_VAIN` in the Makefile).
    """
    if gap.seconds >= most:
        raise Broken(f"not within {most:g} s: the next write; {gap}")


def deploy(stage: LabStage, *files: str) -> None:
    """The stack of these files, and every operator replaced by one of it. Raises Broken."""
    words = [word for file in files for word in ("-c", file)]
    stage.docker("stack", "deploy", "--detach=false", "--quiet", *words, STACK, deadline=240)
    # That waits for three that run, whichever; one that is still to be replaced would end under a test's hands.
    state = ("service", "inspect", "--format", "{{with .UpdateStatus}}{{.State}}{{end}}", f"{STACK}_operator")
    wait_for(lambda: True if stage.docker(*state).strip() in ("", "completed") else None, "all operators anew", 240)
