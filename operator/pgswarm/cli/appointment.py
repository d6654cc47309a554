"""`switchover --at` and `--cancel`: the part of that verb which is about a time to come."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import typer

from pgswarm.cli.documents import Output
from pgswarm.cli.person import moment, seconds

if TYPE_CHECKING:
    from pgswarm.core.stored import Stored
    from pgswarm.core.wish import Appointment


def appoint(
    to: str | None, at: str, within: str, cluster: str | None, by: str, output: Output, *, dry_run: bool
) -> None:
    """Make the appointment; says first what it would be."""
    import anyio
    from loguru import logger

    from pgswarm.loop import appointing

    logger.disable("pgswarm")
    when, window = moment(at, time.time()), seconds(within)

    async def looking() -> tuple[Stored, Appointment]:
        stored = await appointing.look(cluster)
        if stored.record is None:
            raise AssertionError("looked at")
        return stored, appointing.proposed(stored.record, to, when, window, by)

    stored, appointment = anyio.run(looking)
    if output is Output.TEXT:
        print(f"  {appointment} ({appointing.remaining(appointment)})")
        print("  if it cannot be begun by then it is not done, and status says why; it is cancelled by --cancel")
    if not dry_run:

        async def making() -> Stored:
            return await appointing.made(stored.cluster, appointment)

        anyio.run(making)
    _say(stored.cluster, str(appointment), "nothing is done: --dry-run" if dry_run else "it is kept", output)


def cancel(cluster: str | None, by: str, output: Output) -> None:
    """Take it back, if there is one."""
    import anyio
    from loguru import logger

    from pgswarm.loop import appointing

    logger.disable("pgswarm")

    async def cancelling() -> tuple[Stored, str]:
        return await appointing.cancelled(cluster, by)

    stored, before = anyio.run(cancelling)
    _say(stored.cluster, "", f"cancelled: {before}" if before else "no switchover was planned", output)


def _say(cluster: str, planned: str, text: str, output: Output) -> None:
    if output is Output.JSON:
        print(json.dumps({"cluster": cluster, "planned": planned or None, "text": text}, indent=2))
    else:
        typer.secho(text, fg=typer.colors.GREEN)
