"""Looking again and again: what `status --watch` and `top` have in common.

On a terminal the picture is redrawn in place, on a screen of its own, and the last one stays when Ctrl-C ends it:
that is how a person ends it, so it is no failure (exit code 0). Where nobody looks (a pipe, a file) each picture
follows the one before, under its time.

A look that fails is shown as what it is, above the last picture that was had: who watches a failover wants to see that
for a moment nobody answered, and then who is primary.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pgswarm.cli.failures import BadInput
from pgswarm.errors import Failure

if TYPE_CHECKING:
    from rich.console import RenderableType

LEAST = 0.5
"""Seconds between two looks, at least: each is a question to every operator."""


def watch(look: Callable[[], RenderableType], every: float) -> None:
    """Draw what `look` gives, until Ctrl-C."""
    import asyncio

    from rich.console import Group
    from rich.text import Text

    from pgswarm.cli import show

    console = show.console()
    seen: RenderableType = Text("…")

    def picture() -> RenderableType:
        nonlocal seen
        lines: list[RenderableType] = [Text(f"{time.strftime('%H:%M:%SZ', time.gmtime())}  Ctrl-C ends", style="dim")]
        try:
            seen = look()
        except BadInput:
            raise
        except Failure as failure:
            lines.append(Text(failure.reason, style=show.BAD))
        return Group(*lines, Text(), seen)

    try:
        if console.is_terminal:
            _in_place(console, picture, every)
        else:
            _one_after_another(picture, every)
    except (KeyboardInterrupt, asyncio.CancelledError):  # the second where Ctrl-C meets a look that waits for an answer
        console.print(seen)


def _in_place(console: object, picture: Callable[[], RenderableType], every: float) -> None:
    from rich.console import Console
    from rich.live import Live

    assert isinstance(console, Console)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(), refresh=True)
            pause(every)


def _one_after_another(picture: Callable[[], RenderableType], every: float) -> None:
    from pgswarm.cli import show

    while True:
        show.console().print(picture())
        sys.stdout.flush()
        pause(every)


def pause(every: float) -> None:
    """Until the next look; Ctrl-C ends it at once."""
    import threading

    threading.Event().wait(max(LEAST, every))
