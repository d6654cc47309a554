"""`doctor`: the checklist after a deployment, and the page of troubles, as a program."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli import elsewhere
from pgswarm.cli.agents import Secret, options
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import FAILED, BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgswarm.core.findings import Finding

COLOURS = {"good": typer.colors.GREEN, "note": typer.colors.BLUE, "warn": typer.colors.YELLOW, "bad": typer.colors.RED}


def declare(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(doctor)


def doctor(
    cluster: Annotated[str | None, typer.Argument(help="One cluster; all of them if not given.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is not good.")] = False,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check the Swarm and the clusters, before something goes wrong: what, why it matters, what mends it.

    Swarm's quorum and heartbeat, engines, clocks, networks and MTU, names, secrets, operators; and for each cluster
    placement, replication, slots, volumes, routers, and the way of an application from end to end: a session through
    every router, to writers and readers. Nothing is changed.

    good: checked. note: worth knowing. warn: mend it some day, or it could not be seen. bad: mend it now.

    Exit code 0: nothing is bad (with --strict: nothing to warn of either). 1: something is. 2: wrong words.
    """
    if elsewhere.is_needed(secret_file):
        words = [cluster] if cluster else []
        words += [word for word, said in (("--strict", strict), ("--quiet", quiet)) if said]
        raise typer.Exit(elsewhere.carry(["doctor", *words, "-o", output.value]))
    folder = os.environ.get("PGSWARM_DOCUMENTS")  # in the operator's container, where a manager's shell has us carried
    found = _found(cluster, options(Path(folder) if folder else None, secret_file, None, None))
    is_met = cluster is None or any(one.where == cluster for one in found)
    if not is_met and not any(one.level == "bad" for one in found):  # an engine that is silent lists nobody
        raise BadInput(f"there is no cluster {cluster!r} in this Swarm")
    shown = [one for one in found if not quiet or one.level != "good"]
    if output is Output.JSON:
        print(json.dumps([one.model_dump() for one in shown], indent=2))
    else:
        _print(shown)
    if not is_met:
        typer.echo(f"cluster {cluster!r} was not met: there is none of that name, or what is bad hides it", err=True)
    if any(one.level == "bad" or (strict and one.level == "warn") for one in found):
        raise typer.Exit(FAILED)


def _found(cluster: str | None, chosen: object) -> tuple[Finding, ...]:
    import anyio
    from loguru import logger

    from pgswarm.loop import checking
    from pgswarm.loop.options import Options

    logger.disable("pgswarm")
    assert isinstance(chosen, Options)

    async def looking() -> tuple[Finding, ...]:
        return await checking.findings(chosen, cluster)

    return anyio.run(looking)


def _print(found: Sequence[Finding]) -> None:
    where = None
    for one in found:
        if one.where != where:
            where = one.where
            print(f"\ncluster {where}" if where else "the Swarm")
        typer.secho(f"  {one.level:<4}", fg=COLOURS[one.level], nl=False)
        print(f"  {one.check:<17} {one.what}")
        if one.level != "good":
            print(f"  {'':<23} because {one.why}")
            print(f"  {'':<23} mend: {one.mend}")
    counted = {level: sum(1 for one in found if one.level == level) for level in COLOURS}
    print("\n" + ", ".join(f"{number} {level}" for level, number in counted.items() if number))
