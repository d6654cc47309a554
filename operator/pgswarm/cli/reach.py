"""`logs` and `psql`: what the parts of a cluster write, and a session with its database, from any manager."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import FAILED
from pgswarm.cli.person import seconds
from pgswarm.errors import Refused

if TYPE_CHECKING:
    from pgswarm.ports.service_logs import Line

Cluster = Annotated[str | None, typer.Option("--cluster", help="Which cluster; needed if there are several.")]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(logs)
    app.command()(psql)


def logs(
    who: Annotated[
        str | None, typer.Argument(help="A member, router or operator; members and routers if none.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option("--tail", min=0, help="The last lines of each of them.")] = 50,
    since: Annotated[str, typer.Option("--since", help="Only what is younger than 90s, 15m, 2h, 1d.")] = "",
    cluster: Cluster = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print what members, routers or the operator have written, all in one, by their times.

    Swarm fetches it from every node, so any manager will do, and no other shell is needed. A node that is down gives
    nothing. With -o json each line is one object: at, who, node, text. Clocks of nodes that differ mix the order.

        pgswarm logs pg-1 -f          one member, as it goes on
        pgswarm logs --since 10m      what all of them said in the last ten minutes
        pgswarm logs operator         the decisions
    """
    import anyio
    from loguru import logger

    from pgswarm.loop import hearing
    from pgswarm.ports.swarm import DockerSwarm

    logger.disable("pgswarm")
    begin = time.time() - seconds(since) if since else 0.0

    async def hearing_all() -> tuple[str, ...]:
        swarm = DockerSwarm()
        await swarm.info()
        view = await swarm.view()
        speakers = hearing.speakers(view, cluster, who)
        width = max(map(len, speakers))
        nodes = {node.id: node.name for node in view.nodes}

        def tell(line: Line) -> None:
            node = nodes.get(line.node_id, line.node_id)
            if output is Output.JSON:
                text = json.dumps({"at": line.at, "who": line.who, "node": node, "text": line.text})
            else:
                text = f"{line.who:<{width}} | {line.text}"
            print(text, flush=follow)

        return await hearing.hear(swarm, speakers, tell, tail=tail, since=begin, follow=follow)

    failures = anyio.run(hearing_all)
    for text in failures:
        typer.secho(f"pgswarm: {text}", err=True, fg=typer.colors.RED)
    if failures:
        raise typer.Exit(FAILED)


def psql(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGS…]", help="Words for psql itself.")] = None,
    replica: Annotated[bool, typer.Option("--replica", help="A standby, for reading.")] = False,
    cluster: Cluster = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the command.")] = False,
) -> None:
    """Open a psql on the primary, or on a standby; what follows -- is psql's own.

    On the member's node it runs in the member's container, as the superuser, and needs no password. On another manager
    it goes through the router as the owner, like an application, and psql asks for the password. Which of the two it
    is, is said first. It needs the `docker` command of this manager.

        pgswarm psql -- -c 'select now()'
        pgswarm psql --replica < report.sql
    """
    import shutil

    import anyio
    from loguru import logger

    from pgswarm.loop import session, shelf
    from pgswarm.ports.swarm import DockerSwarm

    logger.disable("pgswarm")

    async def finding() -> tuple[list[str], str]:
        swarm = DockerSwarm()
        here = await swarm.info()
        stored = await shelf.one(await shelf.here(), cluster)
        return session.words(
            await swarm.view(),
            here.node_id,
            stored,
            replica=replica,
            arguments=arguments or (),
            terminal=sys.stdin.isatty() and sys.stdout.isatty(),
        )

    words, where = anyio.run(finding)
    typer.secho(f"psql: {where}", err=True, dim=True)
    if dry_run:
        import shlex

        print(shlex.join(words))
        return
    if shutil.which(words[0]) is None:
        raise Refused("the `docker` command is not here, and it holds the terminal: run this in a manager's own shell")
    os.execvp(words[0], words)
