"""`init`: a first document, from a few questions and from what the Swarm looks like.

Every question has a flag, and every flag a default, so that a script and a person get the same document. Where a
Swarm answers, its nodes are offered; where none does, the document says how many members there shall be, and no more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import BadInput
from pgswarm.errors import Failure

if TYPE_CHECKING:
    from pgswarm.core.swarmview import Node
    from pgswarm.render.starter import Answers

SWARM_PATIENCE = 5.0
"""Seconds for Docker to say which nodes there are; without an answer nothing is offered."""

MOST = 3
"""Members that are proposed: two copies survive the loss of one."""


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(init)


def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to write it; to the screen if none.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The cluster's name (main).")] = None,
    database: Annotated[str | None, typer.Option("--database", help="The applications' database (app).")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="The role that owns it (as the database).")] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", metavar="NODE", help="One member on this node; may be repeated.")
    ] = None,
    instances: Annotated[
        int | None, typer.Option("--instances", min=1, max=9, help="So many members, placed by the operator.")
    ] = None,
    durability: Annotated[str | None, typer.Option("--durability", help="preferred, required or async.")] = None,
    network: Annotated[
        str | None, typer.Option("--network", help="The applications' overlay network (webnet).")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65534, help="Writers; readers: the next (5432).")
    ] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="shared_buffers (256MB).")] = None,
    publish: Annotated[
        bool | None, typer.Option("--publish/--no-publish", help="Ports on the routers' nodes too (yes).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what no flag says is chosen.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over FILE if it exists.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write a first document, with a comment beside everything that one is likely to change.

    In a terminal it asks what no flag says; elsewhere, or with --yes, it takes the defaults. On a manager the nodes of
    the Swarm are offered, one member on each of up to three. What is written is valid and in force nowhere yet:

        pgswarm init main.yaml && pgswarm apply -f main.yaml

    Exit code 0: written. 2: an answer cannot be, or FILE exists.
    """
    if instances is not None and node:
        raise BadInput("say --instances (nodes are chosen) or --node for each member, not both")
    if file is not None and file.exists() and not force:
        raise BadInput(f"{file} exists already; another name, or --force to write over it")
    if file is not None and not file.parent.is_dir():
        raise BadInput(f"there is no folder {file.parent}")
    asking = not yes and sys.stdin.isatty() and sys.stderr.isatty() and output is Output.TEXT
    nodes, why = _nodes()
    if why and not node and instances is None:
        typer.secho(f"pgswarm: no Swarm answers here ({why}), so nodes are left to the operator", err=True, dim=True)

    def ask(question: str, given: str | None, default: str) -> str:
        if given is not None or not asking:
            return given if given is not None else default
        return str(typer.prompt(question, default=default, err=True)).strip()

    cluster = ask("Name of the cluster", name, "main")
    base = ask("Database of the applications", database, "app")
    role = ask("Role that owns it", owner, base)
    places = _places(node, instances, nodes, ask)
    count = instances or len(places) or 2
    waits = ask("Durability: preferred, required or async", durability, "preferred")
    answers = _checked(
        cluster=cluster,
        database=base,
        owner=role,
        nodes=places,
        instances=count,
        durability=waits,
        network=ask("Overlay network of the applications", network, "webnet"),
        port=int(ask("Port for writers", None if port is None else str(port), "5432")),
        memory=ask("Memory for PostgreSQL's shared buffers", memory, "256MB"),
        publish=True if publish is None else publish,
    )
    _write(answers, file, nodes, output)


def _nodes() -> tuple[tuple[Node, ...], str]:
    """The Swarm's nodes that take tasks, managers last of equal names; or why they are not known."""
    import anyio
    from loguru import logger

    from pgswarm.ports.swarm import DockerSwarm

    logger.disable("pgswarm")

    async def looking() -> tuple[Node, ...]:
        swarm = DockerSwarm()
        with anyio.fail_after(SWARM_PATIENCE):
            await swarm.info()
            return (await swarm.view()).nodes

    try:
        return tuple(one for one in anyio.run(looking) if one.takes_tasks), ""
    except TimeoutError:
        return (), f"Docker did not answer within {SWARM_PATIENCE:g} s"
    except Failure as failure:
        return (), failure.reason


def _places(
    named: list[str] | None, instances: int | None, nodes: tuple[Node, ...], ask: Callable[[str, str | None, str], str]
) -> tuple[str, ...]:
    """The nodes that get a member each; none if the operator shall choose."""
    if instances is not None:
        return ()
    known = sorted(one.name for one in nodes)
    if named:
        said = list(named)
    elif known:
        text = ask(f"Nodes with a member each, of {', '.join(known)}", None, ",".join(known[:MOST]))
        said = [one.strip() for one in text.split(",") if one.strip()]
    else:
        return ()
    strange = [one for one in said if known and one not in known]
    if strange:
        raise BadInput(f"{', '.join(strange)}: no node of this Swarm that takes tasks; there is: {', '.join(known)}")
    return tuple(said)


def _checked(**given: object) -> Answers:
    """The answers, if a document can be made of them. BadInput with every mistake."""
    from pgswarm.ports import documents
    from pgswarm.render.starter import Answers, document

    answers = Answers(**given)  # type: ignore[arg-type]  # what is wrong with them the document's own check says
    errors = documents.parse(document(answers), "the answers").errors
    if errors:
        raise BadInput("; ".join(f"{one.path}: {one.text}" for one in errors))
    return answers


def _write(answers: Answers, file: Path | None, nodes: tuple[Node, ...], output: Output) -> None:
    from pgswarm.render.starter import document

    text = document(answers)
    if file is not None:
        file.write_text(text)
    if output is Output.JSON:
        print(json.dumps({"cluster": answers.cluster, "file": str(file) if file else None, "document": text}, indent=2))
        return
    if file is None:
        print(text, end="")
        return
    typer.secho(f"{file}: cluster {answers.cluster}; next: pgswarm apply -f {file}", fg=typer.colors.GREEN)
    members = len(answers.nodes) or answers.instances
    if members == 1:
        typer.secho("one member has no successor: the loss of its node is an outage until it is back", fg="yellow")
    elif nodes and len({*answers.nodes}) < len(answers.nodes):
        typer.secho("two members on one node are lost together", fg="yellow")
