"""The command line: one file for each family of verbs, and one way in which all of them fail.

`pgswarm` is the entry of every container as well as a person's shell, so it starts quickly: a family declares its
verbs and their options, and imports what does the work only when one is called. An agent's process thus never loads
Docker's client, and a person's `--help` loads nothing at all.

Exit codes: 0 done, 1 failed, 2 bad input. A failure is one line that says what to do; a traceback is for bugs, and
only with `--debug`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from pgswarm.cli import (
    agents,
    apply,
    begin,
    cluster,
    delete,
    doctor,
    documents,
    drill,
    failures,
    fence,
    history,
    maintenance,
    manual,
    notify,
    pause,
    reach,
    top,
    wishes,
)

app = typer.Typer(
    name="pgswarm",
    help="PostgreSQL kept highly available on plain Docker Swarm, as a document says.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
begin.declare(app)
documents.declare(app)
apply.declare(app)
cluster.declare(app)
wishes.declare(app)
pause.declare(app)
maintenance.declare(app)
fence.declare(app)
delete.declare(app)
history.declare(app)
reach.declare(app)
top.declare(app)
notify.declare(app)
doctor.declare(app)
drill.declare(app)
agents.declare(app)
manual.declare(app)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected failure.")] = False,
) -> None:
    """PostgreSQL kept highly available on plain Docker Swarm, as a document says."""
    failures.show_tracebacks = debug


def main() -> None:
    """Entry point of `pgswarm`."""
    try:
        failures.ending_in_one_line(app)
    except SystemExit as end:
        failures.wait_for_no_thread(end.code)
        raise
    failures.wait_for_no_thread(0)
