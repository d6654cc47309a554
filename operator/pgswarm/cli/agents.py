"""`member`, `router`, `operator`: the long-running processes. Each is the entry of a container, not for a shell.

The agents read their names and ports from the environment that the service sets (PGSWARM_CLUSTER, PGSWARM_MEMBER, …:
see `member/config` and `router/main`); passwords and the control secret come from files and never from words or
environment. What does the work is imported only here and only for the process that is asked for: an agent never loads
Docker's client.
"""

from __future__ import annotations

import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer


class LogForm(StrEnum):
    """How an operator or agent writes its log; `logs` says the same."""

    TEXT = "text"
    JSON = "json"


if TYPE_CHECKING:
    from pgswarm.loop.options import Options

Folder = Annotated[Path | None, typer.Option(envvar="PGSWARM_DOCUMENTS", help="Folder of documents that is watched.")]
Secret = Annotated[Path | None, typer.Option(envvar="PGSWARM_SECRET_FILE", help="File that holds the control secret.")]
MemberImage = Annotated[str | None, typer.Option(envvar="PGSWARM_MEMBER_IMAGE", help="Image of members by default.")]
RouterImage = Annotated[str | None, typer.Option(envvar="PGSWARM_ROUTER_IMAGE", help="Image of routers by default.")]

LogFormat = Annotated[
    LogForm | None, typer.Option(envvar="PGSWARM_LOG_FORMAT", help="text for people, json for programs.")
]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(operator)
    app.command()(member)
    app.command()(router)


def operator(
    documents: Folder = None,
    secret_file: Secret = None,
    member_image: MemberImage = None,
    router_image: RouterImage = None,
    log_format: LogFormat = None,
    metrics_secret: Annotated[
        str,
        typer.Option(
            envvar="PGSWARM_METRICS_SECRET", help="Swarm secret whose content a scrape of metrics must bring."
        ),
    ] = "",
) -> None:
    """Run the operator: in a service on the managers, with the engine's socket.

    Members and routers that it makes log in the same format, and want the same token for their metrics.
    """
    import anyio

    from pgswarm.loop import run

    chosen = options(documents, secret_file, member_image, router_image)
    log_format = log_format or LogForm.TEXT
    chosen = replace(
        chosen,
        metrics_secret=metrics_secret,
        log_format="" if log_format is LogForm.TEXT else log_format.value,
    )
    anyio.run(run.run, chosen)


def options(
    documents: Path | None, secret_file: Path | None, member_image: str | None, router_image: str | None
) -> Options:
    """The operator's options; what is not given keeps the default that is written there."""
    from pgswarm.loop.options import Options

    chosen = Options(documents=documents)
    member_image = member_image or os.environ.get("PGSWARM_MEMBER_IMAGE")
    router_image = router_image or os.environ.get("PGSWARM_ROUTER_IMAGE")
    if secret_file is not None:
        chosen = replace(chosen, secret_file=secret_file)
    if member_image is not None:
        chosen = replace(chosen, member_image=member_image)
    if router_image is not None:
        chosen = replace(chosen, router_image=router_image)
    return chosen


def member(log_format: LogFormat = None) -> None:
    """Run the agent beside PostgreSQL: the entry of a member's container."""
    from pgswarm.member import main

    raise typer.Exit(main.main(log_format.value if log_format else ""))


def router(log_format: LogFormat = None) -> None:
    """Run the agent beside HAProxy: the entry of a router's container."""
    from pgswarm.router import main

    raise typer.Exit(main.main(log_format.value if log_format else ""))
