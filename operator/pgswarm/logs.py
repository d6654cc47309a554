"""One log format for every process: a line for each decision and each effect, on standard error.

Docker keeps what a container writes there; times are UTC, and what a line says is what status says.
"""

from __future__ import annotations

import os
import sys

from loguru import logger


def begin(what: str) -> None:
    """Log as `what` (operator, member, router) from now on; PGSWARM_LOG_LEVEL chooses how much."""
    logger.remove()
    logger.add(
        sys.stderr,
        level=os.environ.get("PGSWARM_LOG_LEVEL", "INFO").upper(),
        format=f"{{time:YYYY-MM-DD HH:mm:ss.SSS!UTC}} {{level: <7}} {what} {{message}}",
        backtrace=False,
        diagnose=False,
    )
