"""What all tests share."""

from __future__ import annotations

import hypothesis
import pytest

# How long one example takes says more of this machine's other work than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    """Everything here runs on asyncio."""
    return "asyncio"
