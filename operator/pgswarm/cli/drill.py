"""`drill`: something is broken on purpose while a client writes, and what an application saw of it is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli import elsewhere
from pgswarm.cli.agents import Secret, options
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import FAILED, BadInput
from pgswarm.cli.person import who
from pgswarm.errors import Refused

if TYPE_CHECKING:
    from pgswarm.core.drilling import Announcement, Kind
    from pgswarm.core.drillreport import Report

AROUND = 420.0
"""Seconds that a drill may take beyond the client's time: to begin, to come to rest, and to put back."""


BACK = 60.0
"""Seconds to put back what was broken, in a container that is to end."""


def declare(app: typer.Typer) -> None:
    """Add the verb, and the client that it has run in a container."""
    app.command()(drill)
    app.command("drill-writer", hidden=True)(writer)


def drill(
    kind: Annotated[
        str | None, typer.Argument(help="switchover, postgres, container or node-drain.", metavar="[KIND]")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Only say which drills there are.")] = False,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Which cluster; needed if there are several.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=5, max=600, help="How long the client writes; 15, node-drain: 40.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", dir_okay=False, help="Write the report as a page with the timeline drawn.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be broken, and what is promised.")
    ] = False,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
    by: Annotated[str, typer.Option("--by", hidden=True)] = "",
) -> None:
    """Break something for real, while a client writes through the router, and tell what an application saw.

    switchover   another member is made primary by the book
    postgres     the primary's postmaster is killed with SIGKILL
    container    the primary's container is ended at once
    node-drain   the primary's node is drained, and made active again afterwards

    It says first what will break, what applications feel and what is promised, and asks. It refuses if the cluster
    could not survive it, and says what mends that. The client runs beside a standby, connects by the router's name as
    the owner, and keeps a ledger of every acknowledged write; at the end it looks whether all of them are there. Its
    table is in the schema pgswarm_drill, dropped afterwards. Webhooks hear drill-started and drill-ended.

    Ctrl-C puts back what was broken. From a manager's own shell the drill runs in the operator's container and goes on
    to its end without you. Should it be killed, the next drill puts back what it finds: a drained node, a client.

        pgswarm drill --list
        pgswarm drill postgres
        pgswarm drill node-drain --yes --html report.html

    Exit code 0: the promise was kept. 1: broken, refused or not done, with the reason. 2: the words are wrong.
    """
    from pgswarm.core.drilling import DRILLS

    if show:
        _list(output)
        return
    known = next((one for one in DRILLS if one == kind), None)
    if known is None:
        raise BadInput(f"{'say which drill' if kind is None else f'there is no drill {kind!r}'}: {', '.join(DRILLS)}")
    if not (yes or dry_run or sys.stdin.isatty()):
        raise BadInput("this breaks something for real: say --yes, or run it where you can be asked")
    if html is not None and not os.access(html.resolve().parent, os.W_OK):
        raise BadInput(f"{html} cannot be written: is there such a folder?")
    seconds = seconds or DRILLS[known].seconds
    by = by or who()
    is_there = not elsewhere.is_needed(secret_file)
    announcement = _look(known, cluster, secret_file) if is_there else _look_there(known, cluster)
    if output is Output.TEXT:
        for line in announcement.lines:
            print(f"  {line}")
    elif dry_run or announcement.refusal:
        print(announcement.model_dump_json(indent=2))
    if announcement.refusal and output is Output.JSON:
        raise typer.Exit(FAILED)
    if announcement.refusal:
        typer.secho(
            f"pgswarm: drill {known} refused: {announcement.refusal}\n         mend: {announcement.mend}",
            err=True,
            fg=typer.colors.RED,
        )
        raise typer.Exit(FAILED)
    if dry_run:
        return
    if not yes:
        typer.confirm(f"Break it, on {announcement.cluster}, now?", abort=True)
    report = _strike(announcement, seconds, secret_file, by) if is_there else _strike_there(announcement, seconds, by)
    if html is not None:
        from pgswarm.render import drillpage

        html.write_text(drillpage.page(report), encoding="utf-8")
    _tell(report, output, html)
    if not report.kept:
        raise typer.Exit(FAILED)


def writer(
    host: Annotated[str, typer.Option("--host")],
    port: Annotated[int, typer.Option("--port")],
    database: Annotated[str, typer.Option("--database")],
    user: Annotated[str, typer.Option("--user")],
    seconds: Annotated[float, typer.Option("--seconds")],
) -> None:
    """The client of a drill, in a container of its own."""
    from pgswarm.drill import writer as it

    raise typer.Exit(it.run(host, port, database, user, seconds))


def _list(output: Output) -> None:
    from pgswarm.core.drilling import DRILLS, OUTAGE

    if output is Output.JSON:
        rows = [
            {"kind": one.kind, "breaks": one.breaks, "feels": one.feels, "promised": OUTAGE} for one in DRILLS.values()
        ]
        print(json.dumps(rows, indent=2))
        return
    for one in DRILLS.values():
        typer.secho(f"{one.kind:<12}", bold=True, nl=False)
        print(f" breaks    {one.breaks}")
        print(f"{'':<12} feels     {one.feels}")
        print(f"{'':<12} promised  at most {OUTAGE:g} s without an acknowledged write, and none missing")


def _look(kind: Kind, cluster: str | None, secret_file: Path | None) -> Announcement:
    import anyio
    from loguru import logger

    from pgswarm.loop import drilling

    logger.disable("pgswarm")
    chosen = options(None, secret_file, None, None)

    async def looking() -> Announcement:
        return await drilling.look(chosen, cluster, kind)

    return anyio.run(looking)


def _strike(announcement: Announcement, seconds: float, secret_file: Path | None, by: str) -> Report:
    import anyio

    from pgswarm.loop import drilling

    chosen = options(None, secret_file, None, None)

    def tell(text: str) -> None:
        typer.secho(f"  … {text}", err=True, dim=True)

    async def striking() -> Report:
        return await drilling.strike(chosen, announcement, seconds, by, tell)

    return anyio.run(striking)


def _look_there(kind: Kind, cluster: str | None) -> Announcement:
    from pgswarm.core.drilling import Announcement

    words = ["drill", kind, "--dry-run", "-o", "json", *(["--cluster", cluster] if cluster else [])]
    code, said = elsewhere.heard(words)
    if not said.strip():
        raise typer.Exit(code)
    return Announcement.model_validate_json(said)


def _strike_there(announcement: Announcement, seconds: float, by: str) -> Report:
    from pydantic import ValidationError

    from pgswarm.core.drilling import Announcement
    from pgswarm.core.drillreport import Report

    typer.secho(f"  … this takes about {seconds + 25:.0f} s", err=True, dim=True)
    words = ["drill", announcement.kind, "--cluster", announcement.cluster, "--seconds", f"{seconds:g}"]
    code, said = elsewhere.heard([*words, "--yes", "--by", by, "-o", "json"], seconds=seconds + AROUND, grace=BACK)
    try:
        return Report.model_validate_json(said)
    except ValidationError:
        if not said.strip():
            raise typer.Exit(code) from None
        refused = Announcement.model_validate_json(said)
        raise Refused(f"drill {refused.kind} refused: {refused.refusal}; mend: {refused.mend}") from None


def _tell(report: Report, output: Output, html: Path | None) -> None:
    from pgswarm.core.drillreport import in_words

    if output is Output.JSON:
        print(report.model_dump_json(indent=2))
        return
    for line in in_words(report):
        print(line)
    typer.secho(report.verdict, fg=typer.colors.GREEN if report.kept else typer.colors.RED)
    if html is not None:
        print(f"the page is {html}")
