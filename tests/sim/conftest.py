"""A play for each test, ended after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger

from pgswarm.sim.play import Play


@pytest.fixture
def play() -> Iterator[Play]:
    one = Play()
    logger.disable("pgswarm")
    yield one
    one.close()
    logger.enable("pgswarm")
