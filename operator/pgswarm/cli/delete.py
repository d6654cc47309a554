"""`delete`: a cluster is taken down. Its volumes are kept unless that is said twice."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli import elsewhere
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import BadInput
from pgswarm.cli.person import who

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgswarm.loop.deleting import Looked

GONE = "no good document is there now"
"""How the operator beside a file says that the file no longer names the cluster (`loop/show`)."""


def declare(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(delete)


def delete(
    cluster: Annotated[str, typer.Argument(metavar="NAME", help="The cluster.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for its name.")] = False,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Its data as well, for ever; asked for once more.")
    ] = False,
    yes_volumes: Annotated[bool, typer.Option("--yes-volumes", help="Do not ask once more.")] = False,
    no_file: Annotated[
        bool, typer.Option("--no-file-names-it", help="You have seen to it that no watched file names it.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take back a deletion that is not complete.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    output: OutputOption = Output.TEXT,
    by: Annotated[str, typer.Option("--by", hidden=True)] = "",
) -> None:
    """Take a cluster down: its services, the secrets and the network made for it, its record. Its data stays.

    First nobody writes any more (routers go), then standbys stop, then the primary, whose volume so has everything;
    which one that is, is said. Only what bears the cluster's labels is touched: what merely has one of our names is
    shown and left alone. A cluster that is only taken out of its file goes on as it is: this is the verb that ends it.

    Volumes are kept and listed. --volumes removes those of this node, after asking again, and prints the command for
    each of the others: a manager cannot reach another node's volumes. Cut short at any point it can be repeated and
    goes on; --cancel takes it back while the record is there, and the operators make again what is missing.

    Exit code 0: done. 1: refused or not complete, with the reason. 2: the words are wrong, or it was not confirmed.
    """
    import anyio
    from loguru import logger

    from pgswarm.loop.deleting import Deleter

    logger.disable("pgswarm")
    by, said = by or who(), list[str]()

    def tell(text: str) -> None:
        said.append(text)
        if output is Output.TEXT:
            print(f"  {text}", flush=True)

    async def looking() -> Looked:
        return await Deleter(cluster, tell).look()

    async def cancelling() -> bool:
        return await Deleter(cluster, tell).cancel(by)

    if cancel:
        was = anyio.run(cancelling)
        text = f"{cluster} is not deleted; `pgswarm status` shows what is made again" if was else "nothing was deleted"
        _end(cluster, (), (), text, output)
        return
    looked = anyio.run(looking)
    there = looked.belongings
    if output is Output.TEXT:
        for line in there.lines:
            print(f"  {line}")
    _see_that_no_file_names_it(cluster, looked, no_file=no_file)
    if dry_run:
        _end(cluster, there.lines, (), "nothing is done: --dry-run", output)
        return
    _confirm(cluster, yes=yes, volumes=volumes, yes_volumes=yes_volumes)

    async def deleting() -> Sequence[str]:
        return await Deleter(cluster, tell).run(by, volumes=volumes)

    left = anyio.run(deleting)
    if output is Output.TEXT:
        for line in left:
            print(f"  {line}")
    _end(cluster, there.lines, (*said, *left), f"{cluster} is deleted", output)


def _see_that_no_file_names_it(cluster: str, looked: Looked, *, no_file: bool) -> None:
    """Else the operator beside that file would make it anew, beside the volumes of the old one."""
    stored = looked.stored
    is_marked = stored is not None and stored.record is not None and stored.record.deletion is not None
    if no_file or is_marked or stored is None or not _is_file(stored.source):
        return
    known = _document_of(cluster)
    if GONE not in known:
        raise BadInput(
            f"{stored.source} may still name {cluster}: take it out of that file first. If it is out, run this on that "
            "manager, where the operator sees the file, or say --no-file-names-it"
        )


def _is_file(source: str) -> bool:
    """Did the document come from a watched file (node:/path), and not from `apply` or `rollback`?"""
    return source.partition(":")[2].startswith("/")


def _document_of(cluster: str) -> str:
    """What the operator says of where the document came from; empty if none can be asked."""
    from pgswarm.errors import Failure

    try:
        if elsewhere.is_needed(None):
            code, text = elsewhere.heard(["status", cluster, "-o", "json"])
        else:
            from pgswarm.cli.cluster import document_of

            return document_of(cluster)
        found = json.loads(text) if not code else []
    except (Failure, ValueError):
        return ""
    return str(found[0]["document"]) if found else ""


def _confirm(cluster: str, *, yes: bool, volumes: bool, yes_volumes: bool) -> None:
    asks = [] if yes else [(f"Type the name of the cluster to delete it ({cluster})", cluster)]
    if volumes and not yes_volumes:
        asks.append(("Its volumes go too, and no data is left. Type: delete the data", "delete the data"))
    if asks and not sys.stdin.isatty():
        words = "--yes" if not yes else "--yes-volumes"
        raise BadInput(f"this removes {cluster}: say {words}, or run it where you can be asked")
    for question, answer in asks:
        if typer.prompt(question).strip() != answer:
            raise BadInput("not confirmed: nothing is done")


def _end(cluster: str, lines: tuple[str, ...], done: tuple[str, ...], text: str, output: Output) -> None:
    if output is Output.JSON:
        print(json.dumps({"cluster": cluster, "plan": lines, "done": done, "text": text}, indent=2))
    else:
        typer.secho(text, fg=typer.colors.GREEN)
