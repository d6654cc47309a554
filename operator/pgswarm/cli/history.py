"""`history`: who became primary when and why, from what Swarm's store holds.

Read from any manager, also while no operator lives: the store is Swarm's own. Reigns from before times were noted are
listed all the same, for the record's lineage names them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli.documents import Output, OutputOption

if TYPE_CHECKING:
    from pgswarm.core.stored import Stored

Cluster = Annotated[str | None, typer.Argument(help="Which cluster; needed if there are several.")]
Last = Annotated[int, typer.Option("--last", min=1, help="Only so many events, the newest.")]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(history)


def history(cluster: Cluster = None, last: Last = 100, output: OutputOption = Output.TEXT) -> None:
    """Tell who became primary when and why, the oldest first; what failovers lost, and what was refused.

    Times are UTC, by the clock of the operator that decided. "term raised" is a ballot that was not needed: the same
    primary went on. A "refused" is a wish of a person that was not fulfilled, with the reason.

    It is read from Swarm's store, on any manager, with or without an operator. A hundred events are kept.
    """
    from pgswarm.core.chronicle import history as told

    stored = read(cluster)
    events = told(stored.record, stored.chronicle)[-last:]
    if output is Output.JSON:
        print(json.dumps([one.model_dump(mode="json") for one in events], indent=2))
        return
    from pgswarm.cli import show

    show.console().print(show.events(events))


def read(cluster: str | None) -> Stored:
    """What the store holds of this cluster, or of the only one."""
    import anyio
    from loguru import logger

    from pgswarm.loop import shelf

    logger.disable("pgswarm")

    async def reading() -> Stored:
        return await shelf.one(await shelf.here(), cluster)

    return anyio.run(reading)
