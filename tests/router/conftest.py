"""Fixtures of the router's tests: a world of fake members on loopback addresses, and the real router in front."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
