"""`pause` and `resume`: nothing is changed for a while but what safety and a running reign need.

Both are one write of the record, from any manager's shell, also while no operator lives: whichever begins next reads
it first. What goes on and what does not is `core/pausing`; it is said here before anything is written.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.person import seconds, who

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgswarm.core.record import Record
    from pgswarm.core.stored import Stored

Cluster = Annotated[str | None, typer.Argument(help="Which cluster; needed if there are several.")]
By = Annotated[str, typer.Option("--by", hidden=True)]

MEANS = (
    "goes on: replication, routing, what commits wait for, and members that start again by themselves",
    "not done: failover, switchover, edits of the document, new members, services that are put back",
    "while it lasts, a primary that is lost is missed until somebody resumes",
)


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(pause)
    app.command()(resume)


def pause(
    cluster: Cluster = None,
    lasting: Annotated[str, typer.Option("--for", help="It ends by itself after 90s, 15m, 2h, 1d.")] = "",
    why: Annotated[str, typer.Option("--why", help="For the others, in status and history.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it means.")] = False,
    output: OutputOption = Output.TEXT,
    by: By = "",
) -> None:
    """Have the operators observe and report, and change nothing but what a running reign needs.

    For work on the machines or the network during which a failover would be worse than an outage. Clients notice
    nothing. A failover is NOT done while it lasts: use --for, so that a forgotten pause ends by itself. Wishes
    (switchover, failover) are refused meanwhile; a switchover that has passed its point of no return is ended.

    A new --for or --why replaces the former. `pgswarm status` shows who has paused it, `pgswarm resume` ends it.

    Exit code 0: paused. 1: refused or not possible, with the reason. 2: the words are wrong.
    """
    until = time.time() + seconds(lasting) if lasting else None
    by = by or who()
    if output is Output.TEXT:
        for line in MEANS:
            print(f"  {line}")
    if dry_run:
        return

    from pgswarm.core.wish import Pause

    wanted = Pause(by=by, why=why, since=round(time.time(), 3), until=until)
    stored = _written(cluster, lambda record: record.amended(str(wanted), pause=wanted))
    _say(stored, f"{stored.cluster} is {wanted}" + (f", for {lasting}" if lasting else ""), output)


def resume(cluster: Cluster = None, output: OutputOption = Output.TEXT, by: By = "") -> None:
    """End a pause: what was waited with is done from now on, a failover at once if one is due.

    `pgswarm status` shows beforehand what that will be ("paused, so not done: ...").
    """
    by = by or who()
    ended: list[str] = []

    def over(record: Record) -> Record | None:
        if record.pause is None:
            return None
        ended.append(str(record.pause))
        return record.amended(f"resumed by {by}", pause=None)

    stored = _written(cluster, over)
    _say(
        stored, f"{stored.cluster} goes on; it was {ended[-1]}" if ended else f"{stored.cluster} is not paused", output
    )


def _written(cluster: str | None, change: Callable[[Record], Record | None]) -> Stored:
    import anyio
    from loguru import logger

    from pgswarm.loop import shelf

    logger.disable("pgswarm")

    async def writing() -> Stored:
        return await shelf.amended(await shelf.here(), cluster, change)

    return anyio.run(writing)


def _say(stored: Stored, text: str, output: Output) -> None:
    if output is Output.TEXT:
        typer.secho(text, fg=typer.colors.GREEN)
        return
    record = stored.record
    standing = record.pause.model_dump(mode="json") if record is not None and record.pause is not None else None
    print(json.dumps({"cluster": stored.cluster, "pause": standing, "text": text}, indent=2))
