"""`validate` and `schema`: what a document may say, before anything acts on it.

Neither needs Docker, a network or root: they are for an editor, a reviewer and a pipeline.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pgswarm.cli.failures import BAD_INPUT, BadInput


class Output(StrEnum):
    """How a verb answers."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]
Places = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files, or folders of *.yaml and *.yml.")]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(validate)
    app.command()(schema)


def validate(files: Places, output: OutputOption = Output.TEXT) -> None:
    """Check documents: every mistake at once, with file, line, path and what is accepted. Exit 0 or 2."""
    from pgswarm.core.spec import warnings
    from pgswarm.ports import documents

    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise BadInput(f"{', '.join(missing)}: there is no such file or folder")
    found = documents.read(*files)
    errors = documents.errors_in_lines(found.errors)
    if not found.clusters and not errors:
        raise BadInput(f"no documents in {', '.join(map(str, files))}: they end in .yaml or .yml")
    if output is Output.JSON:
        answer = {
            "valid": not found.errors,
            "clusters": [
                {
                    "name": one.cluster.name,
                    "source": one.source,
                    "line": one.line,
                    "warnings": warnings(one.cluster),
                }
                for one in found.clusters
            ],
            "errors": [
                {"source": one.source, "line": one.line, "column": one.column, "path": one.path, "text": one.text}
                for one in found.errors
            ],
        }
        print(json.dumps(answer, indent=2))
    else:
        for one in found.clusters:
            print(f"{one.source}:{one.line}: cluster {one.cluster.name} is valid")
            for text in warnings(one.cluster):
                typer.secho(f"{one.source}:{one.line}: cluster {one.cluster.name}: {text}", err=True, fg="yellow")
        for line in errors:
            typer.secho(line, err=True, fg=typer.colors.RED)
    if found.errors:
        raise typer.Exit(BAD_INPUT)


def schema() -> None:
    """Print the JSON Schema of documents, for editors: crds/postgrescluster.schema.json is this."""
    from pgswarm.core.spec import PostgresCluster

    described = PostgresCluster.model_json_schema(by_alias=True)
    print(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **described}, indent=2))
