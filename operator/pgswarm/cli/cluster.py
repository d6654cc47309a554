"""`plan`, `reconcile`, `status` and `explain`: one look at the clusters of this Swarm, from a manager.

`status` and `explain` ask the operator beside us, for it alone knows what failed. Without one, and for the other verbs
always, they look with the operator's own eyes (`loop/once`): the same observation, the same plan, the same words. None
of them changes anything but `reconcile --once`: it does what `plan` shows, once, and says what came of each step. All
are safe beside running operators, because whatever two of them do at once is the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli import elsewhere
from pgswarm.cli.agents import MemberImage, RouterImage, Secret, options
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import BadInput

if TYPE_CHECKING:
    from pgswarm.core.status import Status
    from pgswarm.loop.once import Passes

Documents = Annotated[
    Path | None,
    typer.Argument(envvar="PGSWARM_DOCUMENTS", help="File or folder of documents; those in force if not given."),
]

Cluster = Annotated[str | None, typer.Argument(help="One cluster; all of them if not given.")]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(status)
    app.command()(explain)
    app.command()(plan)
    app.command()(reconcile)


class View(StrEnum):
    """How `status` answers."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"


def status(
    cluster: Cluster = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.5, help="Seconds between two looks.")] = 1.0,
    secret_file: Secret = None,
    output: Annotated[
        View, typer.Option("--output", "-o", help="text for 80 columns, wide for more, json for programs.")
    ] = View.TEXT,
) -> None:
    """Show every cluster: who is primary, what it survives, what is waited for and why.

    A standby stands below the member that it follows. "lag" is how many seconds its data is behind the primary's,
    "behind" how many bytes of log it has still to replay. The mark * is the primary's.

        pgswarm status --watch           redrawn in place while you try a switchover
        pgswarm status -o wide           with positions, versions and disks
        pgswarm status --watch -o json   one line of JSON at each look
    """
    if not watch:
        _print_statuses(_seen(cluster, secret_file), output)
        return
    from pgswarm.cli import live

    if output is not View.JSON:
        from pgswarm.cli import show

        live.watch(lambda: show.statuses(_seen(cluster, secret_file), wide=output is View.WIDE), every)
        return
    while True:
        try:
            print(json.dumps([one.model_dump(mode="json") for one in _seen(cluster, secret_file)]), flush=True)
            live.pause(every)
        except KeyboardInterrupt:
            return


def _seen(cluster: str | None, secret_file: Path | None) -> list[Status]:
    """What is known, asked here or in the operator's container."""
    if not elsewhere.is_needed(secret_file):
        return _known(cluster, secret_file)
    from pgswarm.core.status import Status

    output = elsewhere.carried(["status", *([cluster] if cluster else []), "-o", "json"])
    return [Status.model_validate(one) for one in json.loads(output)]


def explain(
    cluster: Cluster = None,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say why a cluster is as it is: where commits are, why there is no failover, why not another primary.

    Every sentence is the reason of the rule that decides, so what is explained is what will happen. "if lost" says what
    a failover would do now, before one is needed; below it stands for each member whether it could be primary.

    When something happened, and why then: `pgswarm history`.
    """
    if elsewhere.is_needed(secret_file):
        raise typer.Exit(elsewhere.carry(["explain", *([cluster] if cluster else []), "-o", output.value]))
    known = _known(cluster, secret_file)
    if output is Output.JSON:
        parts = {"cluster", "summary", "explanation", "waits", "steps", "errors", "wish", "answer", "last_change"}
        print(json.dumps([one.model_dump(mode="json", include=parts) for one in known], indent=2))
        return
    from pgswarm.cli import show

    show.console().print(show.explanations(known))


def plan(
    documents: Documents = None,
    secret_file: Secret = None,
    member_image: MemberImage = None,
    router_image: RouterImage = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what would be done now, and why; does nothing."""
    if elsewhere.is_needed(secret_file):
        raise typer.Exit(elsewhere.carry(["plan", "-o", output.value], _own(documents)))
    passes = _look(documents, secret_file, member_image, router_image, act=False)
    _answer(_statuses(passes), passes, output)


def reconcile(
    documents: Documents = None,
    once: Annotated[bool, typer.Option("--once", help="One pass, then end.")] = False,
    secret_file: Secret = None,
    member_image: MemberImage = None,
    router_image: RouterImage = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Do what `plan` shows, one time, and say what came of it."""
    if not once:
        raise BadInput("say --once; what goes on for ever is `pgswarm operator`")
    if elsewhere.is_needed(secret_file):
        raise typer.Exit(elsewhere.carry(["reconcile", "--once", "-o", output.value], _own(documents)))
    passes = _look(documents, secret_file, member_image, router_image, act=True)
    _answer(_statuses(passes), passes, output)


def _own(documents: Path | None) -> Path | None:
    """The documents of this machine, as a path that holds elsewhere too."""
    if documents is not None and not documents.exists():
        raise BadInput(f"{documents} does not exist")
    return documents.resolve() if documents is not None else None


def _asked(secret_file: Path | None) -> Sequence[Status] | None:
    """What the operator beside us knows: it alone knows what failed. None if there is none."""
    import anyio

    from pgswarm.loop import ask
    from pgswarm.loop.options import read_secret

    async def asking() -> Sequence[Status] | None:
        return await ask.statuses(read_secret(options(None, secret_file, None, None).secret_file))

    return anyio.run(asking)


def _known(cluster: str | None, secret_file: Path | None) -> list[Status]:
    """One cluster or all of them, in the words of the operator beside us, or as one would see them."""
    asked = _asked(secret_file)
    known = asked if asked is not None else _statuses(_look(None, secret_file, None, None, act=False))
    seen = [one for one in known if cluster in (None, one.cluster)]
    if cluster is not None and not seen:
        names = ", ".join(one.cluster for one in known) or "none"
        raise BadInput(f"there is no cluster {cluster!r} in this Swarm; there is: {names}")
    return seen


def _look(
    documents: Path | None, secret_file: Path | None, member_image: str | None, router_image: str | None, *, act: bool
) -> Passes:
    import anyio
    from loguru import logger

    from pgswarm.loop import once

    logger.disable("pgswarm")  # what is found and done is the answer; a log of it would say everything twice
    chosen = options(documents, secret_file, member_image, router_image)

    async def looking() -> Passes:
        return await once.look(chosen, act=act)

    return anyio.run(looking)


def _statuses(passes: Passes) -> list[Status]:
    from pgswarm.core.status import status_of

    now = time.monotonic()
    return [status_of(one.world, one.plan, now) for one in passes.clusters]


def _print_statuses(statuses: Sequence[Status], output: View) -> None:
    if output is View.JSON:
        print(json.dumps([one.model_dump(mode="json") for one in statuses], indent=2))
        return
    from pgswarm.cli import show

    show.console().print(show.statuses(statuses, wide=output is View.WIDE))


def _answer(statuses: Sequence[Status], passes: Passes, output: Output) -> None:
    """Print it, and leave with the code that the passes deserve."""
    outcomes = [outcome for one in passes.clusters for outcome in one.outcomes]
    if output is Output.JSON:
        answer = {
            "clusters": [one.model_dump(mode="json") for one in statuses],
            "outcomes": [
                {"step": one.title, "reason": one.reason, "worked": one.worked, "result": one.text} for one in outcomes
            ],
            "documentErrors": list(passes.document_errors),
            "swarmError": passes.swarm_error,
        }
        print(json.dumps(answer, indent=2))
    else:
        from pgswarm.cli import show

        show.console().print(show.outcomes(outcomes) if outcomes else show.statuses(statuses))
        for line in (*passes.document_errors, *([passes.swarm_error] if passes.swarm_error else [])):
            typer.secho(line, err=True, fg=typer.colors.RED)
    if passes.exit_code:
        raise typer.Exit(passes.exit_code)


def document_of(cluster: str) -> str:
    """Where the document in force came from, in the words of the operator beside us; empty if none is."""
    asked = _asked(None)
    return next((one.document for one in asked or () if one.cluster == cluster), "")
