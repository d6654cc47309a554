"""`notify`: a word of one's own to the webhooks, mostly to see whether they hear."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from pgswarm.cli import elsewhere
from pgswarm.cli.agents import Secret, options
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import FAILED
from pgswarm.errors import Refused


class Kind(StrEnum):
    """What a person may say; everything else the operators say themselves."""

    TEST = "test"
    DRILL_STARTED = "drill-started"
    DRILL_ENDED = "drill-ended"


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(notify)


def notify(
    kind: Annotated[Kind, typer.Argument(help="test, drill-started or drill-ended.")],
    text: Annotated[str, typer.Argument(help="One line for whoever is told.")] = "a test: nothing has happened",
    cluster: Annotated[str, typer.Option("--cluster", help="The cluster that it is about.")] = "",
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Tell the webhooks something now, and say what they answer. Exit code 1 if one of them did not take it.

    Failovers, degraded claims and disks that fill up are told by the operator that acts, by itself; where to is the
    Swarm secret pgswarm-webhook: see docs/operations.md, *Being told*.

        pgswarm notify test
        pgswarm notify drill-started "we pull the plug of worker01 at ten" --cluster main
    """
    if elsewhere.is_needed(secret_file):
        words = ["notify", kind.value, text, *(["--cluster", cluster] if cluster else []), "-o", output.value]
        raise typer.Exit(elsewhere.carry(words))
    import anyio

    from pgswarm.loop.options import read_secret
    from pgswarm.ports.calls import Line
    from pgswarm.wire import OPERATOR_PORT

    secret = read_secret(options(None, secret_file, None, None).secret_file)
    body = json.dumps({"kind": kind.value, "text": text, "cluster": cluster}).encode()

    async def saying() -> bytes:
        line = Line("127.0.0.1", OPERATOR_PORT, secret, caller="person")
        return (await line.call("POST", "/notice", body, deadline=15.0)).body

    answer = json.loads(anyio.run(saying))
    if not answer["webhooks"]:
        raise Refused("there is no webhook: create the Swarm secret pgswarm-webhook (docs/operations.md, Being told)")
    if output is Output.JSON:
        print(json.dumps(answer, indent=2))
    else:
        for name, said in answer["webhooks"].items():
            print(f"{name}: {said}")
    if any(said != "delivered" for said in answer["webhooks"].values()):
        raise typer.Exit(FAILED)
