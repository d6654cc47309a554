"""One installed pgswarm for all lab tests that break it, with a writing client to each test.

The installation is made once a session and brought back to health before every test, so each test can run alone and
in any order; what a test may rely on is said in its fixture's name: `whole` is three counted members at rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgswarm.drill.stage import TOP, LabStage, run
from pgswarm.drill.whole import CLUSTER, DATABASE, MEMBERS, OWNER, Whole, Writing
from pgswarm.drill.whole import install as install_whole

__all__ = ["CLUSTER", "DATABASE", "LAB", "MEMBERS", "OWNER", "Whole", "Writing", "installed", "whole"]

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
