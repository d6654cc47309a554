"""`maintenance`: a node is about to be worked on, so nobody there shall be primary, and who is away is not missed."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.person import who

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgswarm.loop.nodes import Concerned


class Switch(StrEnum):
    """Begun or over."""

    ON = "on"
    OFF = "off"


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(maintenance)


def maintenance(
    node: Annotated[str, typer.Argument(help="Name or id of a node that carries members.")],
    switch: Annotated[Switch, typer.Argument(help="on: work begins; off: it is over.")],
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=600, help="Seconds for primaries to move.")] = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it means.")] = False,
    output: OutputOption = Output.TEXT,
    by: Annotated[str, typer.Option("--by", hidden=True)] = "",
) -> None:
    """Prepare a node for work on it, or say that the work is over; for all clusters with members there.

    on: where a member of the node is primary, another is made primary first, by a switchover; from then on nobody there
    becomes primary while there is another. Then the node may be stopped: its members are not missed (status stays
    good, with the word maintenance), though commits rest on fewer copies meanwhile: `pgswarm explain` says on how many.

    off: its members are as all others. Nothing moves back by itself.

    It stands in the record until it is said to be over. Clusters that come to the node later are not concerned.

    Exit code 0: done, nobody there is primary. 1: not (yet) so, with the reason. 2: the words are wrong.
    """
    import anyio
    from loguru import logger

    from pgswarm.loop import nodes, shelf

    logger.disable("pgswarm")
    on, by = switch is Switch.ON, by or who()

    async def preparing() -> dict[str, str]:
        records = await shelf.here()
        place, clusters = await nodes.concerned(records, node)
        if output is Output.TEXT:
            _show(clusters, on=on)
        if dry_run:
            return {one.cluster: one.record.primary_member for one in clusters}
        await nodes.put(records, clusters, place, by, on=on)
        return dict(await nodes.moved(records, clusters, place, timeout if on else None))

    primaries = anyio.run(preparing)
    if output is Output.JSON:
        print(
            json.dumps({"node": node, "maintenance": switch.value, "dryRun": dry_run, "primaries": primaries}, indent=2)
        )
    elif not dry_run:
        text = ", ".join(f"{primary} of {cluster}" for cluster, primary in sorted(primaries.items()))
        said = "is ready for work; primary is" if on else "is as all others; primary is"
        typer.secho(f"{node} {said} {text}", fg=typer.colors.GREEN)


def _show(clusters: Sequence[Concerned], *, on: bool) -> None:
    for one in clusters:
        for line in one.lines(on=on):
            print(f"  {line}")
