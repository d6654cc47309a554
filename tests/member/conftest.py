"""Real agents with real PostgreSQL on loopback addresses; see stage.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.member.stage import Stage, new_folder, remove_folder


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder() -> Iterator[Path]:
    path = new_folder()
    yield path
    remove_folder(path)


@pytest.fixture
async def stage(folder: Path) -> AsyncIterator[Stage]:
    stage = Stage(folder)
    try:
        yield stage
    finally:
        await stage.close()
