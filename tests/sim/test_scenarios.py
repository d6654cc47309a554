"""Known incidents, played; each has a reviewed transcript beside it.

A story that changed is either a bug or a change that somebody wanted: then `PGSWARM_REVIEW=1 pytest tests/sim` writes
the new one, and its diff is reviewed with the code.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgswarm.sim.play import Play, perform
from tests.sim import scenarios

Scenario = Callable[[Play], None]


def found() -> Iterator[Scenario]:
    """Every public function of every module in scenarios/ that takes a play."""
    for module in pkgutil.iter_modules(scenarios.__path__):
        there = importlib.import_module(f"tests.sim.scenarios.{module.name}")
        for name, one in inspect.getmembers(there, inspect.isfunction):
            if one.__module__ == there.__name__ and not name.startswith("_"):
                yield one


@pytest.mark.parametrize("scenario", list(found()), ids=lambda one: one.__name__)
def test_a_known_incident_ends_well_and_is_told_as_reviewed(scenario: Scenario) -> None:
    story = perform(scenario)
    reviewed = Path(inspect.getfile(scenario)).parent / f"{scenario.__name__}.txt"
    text = f"{inspect.getdoc(scenario)}\n\n{story}\n"
    if os.environ.get("PGSWARM_REVIEW"):
        reviewed.write_text(text)

    assert reviewed.exists(), f"no transcript beside it yet; review this one:\n{text}"
    assert timeless(text) == timeless(reviewed.read_text())


def timeless(text: str) -> list[str]:
    """What happened, in its order; the seconds are there for the reader."""
    return [re.sub(r"^ *\d+ s  ", "", line) for line in text.splitlines()]


def test_every_transcript_belongs_to_a_scenario() -> None:
    names = {f"{one.__name__}.txt" for one in found()}
    assert {path.name for path in Path(scenarios.__path__[0]).glob("*.txt")} == names
