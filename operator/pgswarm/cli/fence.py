"""`fence` and `unfence`: PostgreSQL of one member is stopped, and stays so until it is taken back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pgswarm.cli import elsewhere
from pgswarm.cli.agents import Secret, options
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import FAILED
from pgswarm.cli.person import who

if TYPE_CHECKING:
    from pgswarm.core.fencing import Proposed
    from pgswarm.core.stored import Stored

Member = Annotated[str, typer.Argument(help="The member.")]
Cluster = Annotated[str | None, typer.Option("--cluster", help="Which cluster; needed if there are several.")]
By = Annotated[str, typer.Option("--by", hidden=True)]


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(fence)
    app.command()(unfence)


def fence(
    member: Member,
    why: Annotated[str, typer.Option("--why", help="For the others, in status and history.")] = "",
    fewer_copies: Annotated[
        bool, typer.Option("--with-fewer-copies", help="Also if nobody can be counted in its place.")
    ] = False,
    nobody_follows: Annotated[
        bool, typer.Option("--even-if-nobody-can-follow", help="Also a primary that has no successor: nobody serves.")
    ] = False,
    cluster: Cluster = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=100, help="Seconds to wait until it is so.")] = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
    by: By = "",
) -> None:
    """Stop PostgreSQL of a member and keep it stopped, until `unfence`; its agent goes on answering.

    To look at its data, to keep a suspicious disk from being written to, to have one member out of everything for a
    while. Claim and sync do without it first, so no copy that counts is ever stopped; a primary hands over first. A
    fenced member is not counted, not elected, not restarted and not missed (status says "fenced"); it stays stopped
    when its container, its node or every operator starts anew. Its volume is not touched.

    The others keep log for it, up to max_slot_wal_keep_size; if that did not suffice it is cloned anew afterwards.

    Where another cannot be counted in its place, or nobody can follow a primary, it is refused, with the word that
    insists. --timeout ends the waiting, not the fence: what is not so yet is done as soon as it can be.

    Exit code 0: it is stopped. 1: refused, or not so yet, with the reason. 2: the words are wrong.
    """
    by = by or who()
    if elsewhere.is_needed(secret_file):
        words = ["fence", member, "--timeout", str(timeout), "--by", by, "-o", output.value]
        words += ["--why", why] if why else []
        words += ["--cluster", cluster] if cluster else []
        for option, given in (
            ("--with-fewer-copies", fewer_copies),
            ("--even-if-nobody-can-follow", nobody_follows),
            ("--dry-run", dry_run),
        ):
            words += [option] if given else []
        raise typer.Exit(elsewhere.carry(words))

    import anyio
    from loguru import logger

    from pgswarm.loop import fences

    logger.disable("pgswarm")
    chosen = options(None, secret_file, None, None)

    async def looking() -> Proposed:
        return await fences.look(chosen, cluster, member, fewer_copies=fewer_copies, nobody_follows=nobody_follows)

    proposal = anyio.run(looking)
    if output is Output.TEXT:
        for line in proposal.lines:
            print(f"  {line}")
    if proposal.refusal:
        _end(proposal.cluster, member, proposal.lines, f"fence refused: {proposal.refusal}", output, done=False)
    if dry_run:
        if output is Output.JSON:
            _end(proposal.cluster, member, proposal.lines, "nothing is done: --dry-run", output, done=None)
        return

    async def fencing() -> str:
        await fences.put_up(proposal, member, by, why)
        return await fences.stopped(chosen, proposal.cluster, member, timeout)

    _end(proposal.cluster, member, proposal.lines, anyio.run(fencing), output, done=True)


def unfence(member: Member, cluster: Cluster = None, output: OutputOption = Output.TEXT, by: By = "") -> None:
    """Take a fence back: PostgreSQL of the member starts, follows the primary and is counted again.

    Works from any manager, also while no operator lives; the next one begins with it. `pgswarm status` shows how far it
    is.

    Exit code 0: taken back, or there was none. 1: not possible, with the reason. 2: the words are wrong.
    """
    import anyio
    from loguru import logger

    from pgswarm.loop import fences

    logger.disable("pgswarm")
    by = by or who()

    async def taking() -> tuple[Stored, str]:
        return await fences.taken_back(cluster, member, by)

    stored, before = anyio.run(taking)
    text = f"{member} goes on; {before}, until now" if before else f"{member} is not fenced"
    _end(stored.cluster, member, (), text, output, done=True)


def _end(cluster: str, member: str, lines: tuple[str, ...], text: str, output: Output, *, done: bool | None) -> None:
    """Say what came of it (None: nothing was tried), and leave with the code for that."""
    if output is Output.JSON:
        known = {"cluster": cluster, "member": member, "plan": lines, "done": done, "text": text}
        print(json.dumps(known, indent=2))
    elif done:
        typer.secho(text, fg=typer.colors.GREEN)
    else:
        typer.secho(f"pgswarm: {text}", err=True, fg=typer.colors.RED)
    if done is False:
        raise typer.Exit(FAILED)
