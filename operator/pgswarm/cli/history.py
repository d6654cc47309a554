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


def history(
    cluster: Cluster = None,
    last: Last = 100,
    documents: Annotated[
        bool, typer.Option("--documents", help="The documents that were in force, for `rollback --to`.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Tell who became primary when and why, the oldest first; what failovers lost, and what was refused.

    Times are UTC, by the clock of the operator that decided. "term raised" is a ballot that was not needed: the same
    primary went on. A "refused" is a wish of a person that was not fulfilled, with the reason.

    It is read from Swarm's store, on any manager, with or without an operator. A hundred events are kept.

    With --documents: the last ten documents that were in force, where each came from, and what it changed.
    """
    from pgswarm.core.chronicle import history as told

    stored = read(cluster)
    if documents:
        _documents(stored, last, output)
        return
    events = told(stored.record, stored.chronicle)[-last:]
    if output is Output.JSON:
        print(json.dumps([one.model_dump(mode="json") for one in events], indent=2))
        return
    from pgswarm.cli import show

    show.console().print(show.events(events))


def _documents(stored: Stored, last: int, output: Output) -> None:
    """The editions of the document, each with what it changed."""
    from pgswarm.core.editions import differences, editions

    kept = editions(stored.editions) or ((stored.edition,) if stored.edition else ())
    before = (None, *(one.document for one in kept))
    rows = [(one, differences(old, one.document) if old else ()) for old, one in zip(before, kept, strict=False)][
        -last:
    ]
    if output is Output.JSON:
        answer = [
            {
                **one.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "changes": [c.model_dump() for c in changes],
            }
            for one, changes in rows
        ]
        print(json.dumps(answer, indent=2))
        return
    from pgswarm.cli import show

    for one, changes in rows:
        force = "  (in force)" if one is kept[-1] else ""
        print(f"{one.number:>4}  {show.moment(one.edited_at)}  {one.source}{force}")
        for change in changes:
            print(f"        {change}")


def read(cluster: str | None) -> Stored:
    """What the store holds of this cluster, or of the only one."""
    import anyio
    from loguru import logger

    from pgswarm.loop import shelf

    logger.disable("pgswarm")

    async def reading() -> Stored:
        return await shelf.one(await shelf.here(), cluster)

    return anyio.run(reading)
