"""`switchover`, `failover`, `restart` and `reseed`: what a person asks for beside the document.

All show first what would be done, with the same eyes and rules as the operator's; then the wish is written into the
cluster's record, the operator that acts fulfils it, and the answer is waited for. Only what loses data asks back, or
wants `--yes`. All work from any manager's shell (`elsewhere`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli import appointment, elsewhere
from pgswarm.cli.agents import Secret, options
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import FAILED, BadInput
from pgswarm.cli.person import who

if TYPE_CHECKING:
    from pgswarm.core.proposal import Kind, Proposal

Cluster = Annotated[str | None, typer.Option("--cluster", help="Which cluster; needed if there are several.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, max=100, help="Seconds in which it may be begun.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
By = Annotated[str, typer.Option("--by", hidden=True)]
Json = Annotated[bool, typer.Option("--json", hidden=True)]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(switchover)
    app.command()(failover)
    app.command()(restart)
    app.command()(reseed)


def switchover(
    to: Annotated[
        str | None, typer.Option("--to", help="The member that shall be primary; the best if not given.")
    ] = None,
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="Then, not now: 2026-01-02T03:04:05Z, or +30m.")] = "",
    within: Annotated[
        str, typer.Option("--within", help="With --at: how long after that it may still be begun.")
    ] = "10m",
    cancel: Annotated[bool, typer.Option("--cancel", help="Take back what --at has planned.")] = False,
    cluster: Cluster = None,
    timeout: Timeout = 60,
    dry_run: DryRun = False,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
    by: By = "",
) -> None:
    """Make another member primary while all is well: a pause of some tenths of a second, nothing lost.

    The primary checkpoints, new connections are held by the routers, it hands over and follows the new one. Open
    sessions end and should connect again. If the other one is not exactly as far, the old primary goes on.

    With --at it is kept in the cluster's record until then, shown by `pgswarm status`, and begun by whichever operator
    acts at that time; within ten minutes after it, or it is not done, and status says why. --cancel takes it back.

    Exit code 0: done. 1: refused or not done, with the reason. 2: the words are wrong.
    """
    by = by or who()
    if cancel and (at or to):
        raise BadInput("--cancel takes back what was planned: leave --at and --to away")
    if cancel:
        appointment.cancel(cluster, by, output)
        return
    if at:
        appointment.appoint(to, at, within, cluster, by, output, dry_run=dry_run)
        return
    if elsewhere.is_needed(secret_file):
        words = ["switchover", *_given("--to", to), *_given("--cluster", cluster), "--timeout", str(timeout)]
        words += ["--by", by, "-o", output.value, *(["--dry-run"] if dry_run else [])]
        raise typer.Exit(elsewhere.carry(words))
    _do("switchover", to, (), cluster, timeout, secret_file, by, dry_run=dry_run, output=output)


def failover(
    to: Annotated[str | None, typer.Option("--to", help="Whom to prefer among members that are equally far.")] = None,
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="Go on without members that hold what nobody else may have.")
    ] = False,
    dead: Annotated[
        list[str] | None, typer.Option("--dead", help="A member that you give up for lost; may be repeated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask back.")] = False,
    cluster: Cluster = None,
    timeout: Timeout = 60,
    dry_run: DryRun = False,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Seek another primary now, without waiting until the present one counts as lost.

    Without options it is the ordinary ballot: nothing acknowledged is lost, and where that cannot be made sure it is
    refused, with those whose word is missing. For a primary that is well, use switchover.

    With --accept-data-loss it goes on without members that cannot be reached, although they may hold commits that
    nobody else has. First everybody who can be reached is asked; you name the others dead (they are proposed), the
    furthest of the rest is primary. What the dead still have is put aside if they ever come back. Think twice: a
    member whose node can be brought back loses nothing.

    Exit code 0: done. 1: refused or not done, with the reason. 2: the words are wrong.
    """
    named = tuple(dead or ())
    if named and not accept_data_loss:
        raise BadInput("--dead means nothing without --accept-data-loss")
    if to and accept_data_loss:
        raise BadInput("with --accept-data-loss the furthest member is primary: leave --to away")
    kind: Kind = "accept-loss" if accept_data_loss else "failover"
    by = by or who()
    if not elsewhere.is_needed(secret_file):
        _do(
            kind, to, named, cluster, timeout, secret_file, by, dry_run=dry_run, yes=yes, as_json=as_json, output=output
        )
        return
    if output is Output.JSON and accept_data_loss and not (yes or dry_run):
        raise BadInput("-o json asks nobody: say --yes as well, and name each member with --dead")
    words = ["failover", *_given("--to", to), *_given("--cluster", cluster), "--timeout", str(timeout), "--by", by]
    words += ["-o", output.value]
    for name in named:
        words += ["--dead", name]
    if not accept_data_loss:
        raise typer.Exit(elsewhere.carry([*words, *(["--dry-run"] if dry_run else [])]))
    words.append("--accept-data-loss")
    if yes or dry_run:
        raise typer.Exit(elsewhere.carry([*words, "--yes", *(["--dry-run"] if dry_run else [])]))
    # Only this shell can ask its person, and the wish shall name exactly those whom the person has seen.
    code, said = elsewhere.heard([*words, "--dry-run", "--json"])
    if code:
        raise typer.Exit(code)
    shown = json.loads(said)
    _show(shown["lines"])
    _confirm(shown["dead"])
    for name in shown["dead"]:
        words += [] if name in named else ["--dead", name]
    raise typer.Exit(elsewhere.carry([*words, "--cluster", shown["cluster"], "--yes"]))


def restart(
    member: Annotated[str | None, typer.Argument(help="The member; all of them, one by one, if not given.")] = None,
    cluster: Cluster = None,
    timeout: Timeout = 100,
    dry_run: DryRun = False,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
    by: By = "",
) -> None:
    """Restart a member, or all of them: its container with agent and PostgreSQL, its data stays.

    Standbys first, each back in the claim before the next; the primary last, and it hands over before it stops, so that
    writers feel one switchover. Where nobody can follow, it is restarted all the same and writers wait meanwhile. A
    standby that is named is restarted at once, whatever the others do: perhaps that is what mends it.

    It ends with its term: a failover in between ends it, and so does --timeout; whoever was restarted stays so, and
    asking again goes on with all. What waits for a restart is in `pgswarm status`.

    Exit code 0: done. 1: refused or not done, with the reason. 2: the words are wrong.
    """
    by = by or who()
    if elsewhere.is_needed(secret_file):
        words = ["restart", *([member] if member else []), *_given("--cluster", cluster), "--timeout", str(timeout)]
        words += ["--by", by, "-o", output.value, *(["--dry-run"] if dry_run else [])]
        raise typer.Exit(elsewhere.carry(words))
    _do("restart", member, (), cluster, timeout, secret_file, by, dry_run=dry_run, output=output)


def reseed(
    member: Annotated[str, typer.Argument(help="The member.")],
    fewer_copies: Annotated[
        bool, typer.Option("--with-fewer-copies", help="Also if it is the only other copy that counts.")
    ] = False,
    cluster: Cluster = None,
    timeout: Timeout = 60,
    dry_run: DryRun = False,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
    by: By = "",
) -> None:
    """Make a member's data anew, by a clone of the primary. For a broken index, a failed checksum, a doubt.

    Claim and sync do without it first, so no copy that counts is ever replaced; where it is the only other copy, it is
    refused unless --with-fewer-copies insists. Its old data stays on the volume until the new is complete, so there
    must be room for both; it serves nobody meanwhile. Then it streams and is counted again. For a primary, switch over
    first. A member that cannot follow any more is made anew by itself: this is for one that could.

    It is done when it is decided; how far the clone is, is in `pgswarm status` (clone 40 %).

    Exit code 0: it is being made anew. 1: refused or not begun, with the reason. 2: the words are wrong.
    """
    by = by or who()
    if elsewhere.is_needed(secret_file):
        words = ["reseed", member, *_given("--cluster", cluster), "--timeout", str(timeout), "--by", by]
        words += ["-o", output.value, *(["--dry-run"] if dry_run else [])]
        words += ["--with-fewer-copies"] if fewer_copies else []
        raise typer.Exit(elsewhere.carry(words))
    _do(
        "reseed",
        member,
        (),
        cluster,
        timeout,
        secret_file,
        by,
        dry_run=dry_run,
        fewer_copies=fewer_copies,
        output=output,
    )


def _do(
    kind: Kind,
    to: str | None,
    dead: tuple[str, ...],
    cluster: str | None,
    timeout: float,
    secret_file: Path | None,
    by: str,
    *,
    dry_run: bool,
    yes: bool = False,
    as_json: bool = False,
    fewer_copies: bool = False,
    output: Output = Output.TEXT,
) -> None:
    """Here, where the control secret is."""
    import anyio
    from loguru import logger

    from pgswarm.core.wish import Answered
    from pgswarm.loop import wishing

    logger.disable("pgswarm")
    chosen = options(None, secret_file, None, None)

    async def looking() -> Proposal:
        return await wishing.look(chosen, cluster, kind, to, dead, fewer_copies=fewer_copies)

    proposal = anyio.run(looking)
    if as_json:
        print(json.dumps({"cluster": proposal.cluster, "lines": proposal.lines, "dead": proposal.dead}))
    elif output is Output.TEXT:
        _show(proposal.lines)
    if proposal.refusal:
        _end(proposal, output, f"{kind} refused: {proposal.refusal}", done=False)
    if dry_run:
        if output is Output.JSON and not as_json:
            _end(proposal, output, "nothing is done: --dry-run", done=None)
        return
    if kind == "accept-loss" and not yes:
        _confirm(proposal.dead)

    async def speaking() -> Answered:
        return await wishing.speak(chosen, proposal, to, by=by, seconds=timeout)

    answer = anyio.run(speaking)
    _end(proposal, output, answer.text, done=answer.done)


def _end(proposal: Proposal, output: Output, text: str, *, done: bool | None) -> None:
    """Say what came of it (None: nothing was tried), and leave with the code for that."""
    if output is Output.JSON:
        known = {"cluster": proposal.cluster, "kind": proposal.kind, "plan": proposal.lines, "dead": proposal.dead}
        print(json.dumps({**known, "done": done, "text": text}, indent=2))
    elif done:
        typer.secho(text, fg=typer.colors.GREEN)
    else:
        typer.secho(f"pgswarm: {text}", err=True, fg=typer.colors.RED)
    if done is False:
        raise typer.Exit(FAILED)


def _show(lines: list[str] | tuple[str, ...]) -> None:
    for line in lines:
        print(f"  {line}")


def _confirm(dead: list[str] | tuple[str, ...]) -> None:
    names = ", ".join(dead) or "nobody"
    if not sys.stdin.isatty():
        raise BadInput(f"this gives up {names}: say --yes and name each with --dead, or run it where you can be asked")
    typer.confirm(f"Give up {names}, and every commit that nobody else has?", abort=True)


def _given(option: str, value: str | None) -> list[str]:
    return [option, value] if value else []
