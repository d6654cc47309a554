"""`apply`, `diff`, `get` and `rollback`: the document in force, in Swarm's own store.

All four work in any manager's shell and need neither an operator nor a file on that manager: Swarm's store is the same
everywhere. `apply` checks a file as `validate` does and stores nothing of it if anything is wrong. A watched folder
stays possible beside it; the newest edit wins (`core/editions`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import BadInput
from pgswarm.cli.history import read
from pgswarm.cli.person import who

if TYPE_CHECKING:
    from pgswarm.core.spec import PostgresCluster
    from pgswarm.core.stored import Stored
    from pgswarm.loop.applying import Difference
    from pgswarm.ports.documents import Found

T = TypeVar("T")
Files = Annotated[
    list[Path], typer.Option("--file", "-f", metavar="FILE", help="File or folder of documents; may be repeated.")
]
Name = Annotated[str | None, typer.Argument(metavar="[CLUSTER]", help="Which cluster; needed if there are several.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]
By = Annotated[str, typer.Option("--by", hidden=True)]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(apply)
    app.command()(diff)
    app.command()(get)
    app.command()(rollback)


def apply(files: Files, dry_run: DryRun = False, output: OutputOption = Output.TEXT, by: By = "") -> None:
    """Make the documents in FILE those in force, for the operators on all managers.

    They are checked first, alone, together and beside those in force: with one mistake nothing is stored. What
    changes is shown. The operator begins at once; `pgswarm status` shows how far it is, `pgswarm rollback` goes back.

    What wins: the newest edit. A watched folder stays possible; a file in it is taken over when what it says has
    changed, not when it was only written again. A cluster that is not in FILE is left as it is.

    Exit code 0: in force (or nothing to change). 1: not stored, with the reason. 2: mistakes, with file, line, path.
    """
    _tell(_put(_read(files), f"applied by {by or who()}", dry_run=dry_run), output, dry_run=dry_run)


def diff(
    files: Files,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Leave with 1 if there is a difference.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what the documents in FILE would change; changes nothing.

    It compares what documents mean: a default that is written out is no difference, nor is the order of members.
    """
    differences = _put(_read(files), "", dry_run=True)
    _tell(differences, output, dry_run=True)
    if exit_code and any(one.changes for one in differences):
        raise typer.Exit(1)


def get(
    cluster: Annotated[str | None, typer.Argument(help="One cluster; all of them if not given.")] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="yaml|json", help="How to print it.")] = "yaml",
) -> None:
    """Print the document in force, as it was written: to be edited and applied again.

    pgswarm get main > main.yaml; $EDITOR main.yaml; pgswarm apply -f main.yaml
    """
    if output not in ("yaml", "json"):
        raise BadInput(f"-o {output}: say yaml or json")
    stored = [one for one in _all(cluster) if one.document is not None]
    documents = [one.document for one in stored if one.document is not None]
    if output == "json":
        data = [one.model_dump(mode="json", by_alias=True, exclude_unset=True) for one in documents]
        print(json.dumps(data[0] if cluster is not None and data else data, indent=2))
        return
    from pgswarm.cli.show import moment
    from pgswarm.ports.documents_write import as_yaml

    parts = [
        f"# {one.cluster}: {one.source or 'source not kept'}, {moment(one.edited_at)}\n{as_yaml(document)}"
        for one, document in zip(stored, documents, strict=True)
    ]
    print("---\n".join(parts), end="")


def rollback(
    cluster: Name = None,
    to: Annotated[int | None, typer.Option("--to", min=1, help="The edition; see `history --documents`.")] = None,
    dry_run: DryRun = False,
    output: OutputOption = Output.TEXT,
    by: By = "",
) -> None:
    """Make an earlier document the one in force again: the one before, or the edition that is named.

    The last ten are kept: `pgswarm history --documents`. Going back is an edit like any other: what it changes is
    shown, and it can be rolled back itself. Data is not rolled back, and nothing is deleted by it.
    """
    from pgswarm.loop import applying

    edition = applying.to_go_back_to(read(cluster), to)
    source = f"edition {edition.number} again, by {by or who()}"
    if output is Output.TEXT:
        print(f"edition {edition.number}, {edition.source}")
    _tell(_put_again(edition.document, source, dry_run=dry_run), output, dry_run=dry_run)


def _put(found: Sequence[Found], source: str, *, dry_run: bool) -> Sequence[Difference]:
    """Check the documents beside those in force, then make each the one in force, or only compare."""
    from pgswarm.loop import applying, shelf

    async def putting() -> Sequence[Difference]:
        records = await shelf.here()
        if lines := applying.hindrances(found, await records.by_cluster()):
            raise BadInput("\n".join(lines))
        documents = [one.cluster for one in found]
        if dry_run:
            return await applying.compared(records, documents)
        return [await applying.applied(records, one, source) for one in documents]

    return _run(putting)


def _put_again(document: PostgresCluster, source: str, *, dry_run: bool) -> Sequence[Difference]:
    from pgswarm.loop import applying, shelf

    async def putting() -> Sequence[Difference]:
        records = await shelf.here()
        if dry_run:
            return await applying.compared(records, [document])
        return [await applying.applied(records, document, source)]

    return _run(putting)


def _all(cluster: str | None) -> Sequence[Stored]:
    """What the store holds of this cluster, or of every one that can be read."""
    from pgswarm.loop import shelf

    async def reading() -> Sequence[Stored]:
        records = await shelf.here()
        return [await shelf.one(records, cluster)] if cluster is not None else await records.list()

    return _run(reading)


def _run(asking: Callable[[], Awaitable[Sequence[T]]]) -> Sequence[T]:
    import anyio
    from loguru import logger

    logger.disable("pgswarm")
    return anyio.run(asking)


def _read(files: Sequence[Path]) -> Sequence[Found]:
    """The documents in these files, or every mistake in them."""
    from pgswarm.ports import documents

    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise BadInput(f"{', '.join(missing)}: there is no such file or folder")
    found = documents.read(*files)
    if found.errors:
        raise BadInput("\n".join((*documents.errors_in_lines(found.errors), "nothing is stored")))
    if not found.clusters:
        raise BadInput(f"no documents in {', '.join(map(str, files))}: they end in .yaml or .yml")
    return found.clusters


def _tell(differences: Sequence[Difference], output: Output, *, dry_run: bool) -> None:
    """What was or would be changed, cluster by cluster."""
    if output is Output.JSON:
        rows = [
            {
                "cluster": one.cluster,
                "new": one.is_new,
                "stored": not dry_run and bool(one.is_new or one.changes),
                "changes": [change.model_dump() for change in one.changes],
                "warnings": list(one.warnings),
            }
            for one in differences
        ]
        print(json.dumps(rows, indent=2))
        return
    for one in differences:
        if one.is_new:
            print(f"{one.cluster}: {'would be' if dry_run else 'is'} a new cluster")
        elif not one.changes:
            print(f"{one.cluster}: no difference; it is in force")
        else:
            print(f"{one.cluster}: {'would be' if dry_run else 'is'} in force with")
            for change in one.changes:
                print(f"  {change}")
        for text in one.warnings:
            print(f"  but {text}")
