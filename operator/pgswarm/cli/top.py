"""`top`: what goes on inside the databases now. Sessions, replication, the costliest statements, cache and disk.

The operator on this node asks the agent of every member, and each agent asks its PostgreSQL, because somebody looks:
nothing of this is gathered while nobody does (`member/activity`). Transactions a second are the difference of two
looks, so the first picture has none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgswarm.cli import elsewhere, figures
from pgswarm.cli.agents import Secret, options
from pgswarm.cli.documents import Output, OutputOption
from pgswarm.cli.failures import BadInput
from pgswarm.errors import Again

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from pgswarm.core.activity import Activity

Looks = Mapping[str, Mapping[str, "Activity | str"]]
"""By cluster and member: what goes on there, or why it is not known."""

STATEMENTS = 8
"""Statements that are shown, each with so many characters at most:"""
TEXT = 140


def declare(app: typer.Typer) -> None:
    """Add the verbs of this family."""
    app.command()(top)


def top(
    cluster: Annotated[str | None, typer.Argument(help="One cluster; all of them if not given.")] = None,
    once: Annotated[bool, typer.Option("--once", help="One look, then end.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.5, help="Seconds between two looks.")] = 2.0,
    secret_file: Secret = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what goes on in the databases: sessions, replication, slow statements, cache, disk. Ctrl-C ends it.

    "in tx" are sessions that are idle in a transaction, "lock" those that wait for one, "sync" commits that wait for a
    standby. "hits" is the share of blocks that were found in shared_buffers since the counters were reset.

    Statements are those of pg_stat_statements on the primary, by the time that all their calls took together; constants
    are $1, $2, … With -o json it is one look, with everything.
    """
    if output is Output.JSON:
        print(json.dumps(_told(cluster, secret_file), indent=2))
        return
    from pgswarm.cli import live, show

    rates = Rates()
    if once:
        show.console().print(drawn(_looks(_told(cluster, secret_file)), rates))
        return
    live.watch(lambda: drawn(_looks(_told(cluster, secret_file)), rates), every)


class Rates:
    """Transactions a second of each member, from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], tuple[float, int]] = {}

    def of(self, seen: Activity, now: float) -> float | None:
        """None at the first look, and where the counters were reset."""
        key = (seen.cluster, seen.member)
        count = sum(one.commits + one.rollbacks for one in seen.databases)
        before, self._before[key] = self._before.get(key), (now, count)
        if before is None or count < before[1] or now <= before[0]:
            return None
        return (count - before[1]) / (now - before[0])


def drawn(looks: Looks, rates: Rates, now: float | None = None) -> Group:
    """The whole picture, in 80 columns."""
    from rich.console import Group
    from rich.text import Text

    at = time.monotonic() if now is None else now
    lines: list[RenderableType] = []
    for cluster, members in looks.items():
        lines += [Text()] if lines else []
        known = [one for one in members.values() if not isinstance(one, str)]
        lines += [Text(cluster, style="bold"), _members(known, rates, at)]
        lines += [Text(f"  {name}: {why}", style="red") for name, why in members.items() if isinstance(why, str)]
        for one in known:
            lines += [Text(), _standbys(one)] if one.standbys else []
        for one in known:
            if one.role == "primary":
                lines += [Text(), *_statements(one)]
    return Group(*lines) if lines else Group(Text("no clusters"))


def _members(known: Sequence[Activity], rates: Rates, now: float) -> Table:
    table = _table("member", "sessions", "active", "idle", "in tx", "lock", "sync", "tx/s", "hits", "data", "free")
    for one in sorted(known, key=lambda one: (one.role != "primary", one.member)):
        seen, rate = one.connections, rates.of(one, now)
        table.add_row(
            f"{'*' if one.role == 'primary' else ' '}{one.member}",
            f"{seen.total}/{seen.limit}",
            str(seen.active),
            str(seen.idle),
            str(seen.idle_in_transaction),
            str(seen.waiting),
            str(seen.unacknowledged),
            f"{rate:.0f}" if rate is not None else "",
            figures.percent(one.hit_ratio, 1) if one.hit_ratio is not None else "",
            figures.size(one.data_bytes),
            figures.percent(one.disk_free, one.disk_total),
        )
    return table


def _standbys(one: Activity) -> Table:
    table = _table(f"from {one.member}", "state", "waited for", "to flush", "to replay", "flushed", "replayed")
    for standby in one.standbys:
        table.add_row(
            f" {standby.name}",
            standby.state,
            "yes" if standby.sync in ("sync", "quorum") else "no",
            figures.size(standby.flushed),
            figures.size(standby.replayed),
            _lag(standby.flush_lag),
            _lag(standby.replay_lag),
        )
    return table


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else figures.span(seconds)


def _statements(one: Activity) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    head = Text(f"costliest statements on {one.member}", style="bold")
    if one.statements_why:
        return [head, Padding(Text(one.statements_why, style="yellow"), (0, 0, 0, 2))]
    if not one.statements:
        return [head, Text("  none yet", style="dim")]
    lines: list[RenderableType] = [head]
    for statement in one.statements[:STATEMENTS]:
        hits = f", {statement.hit_ratio:.0%} hits" if statement.hit_ratio is not None else ""
        lines.append(
            Text(
                f"  {figures.span(statement.total)} in {statement.calls} calls of {statement.mean * 1000:.1f} ms, "
                f"{statement.rows} rows{hits}, {statement.database}"
            )
        )
        text = statement.text if len(statement.text) <= TEXT else statement.text[: TEXT - 1] + "…"
        lines.append(Padding(Text(text, style="dim"), (0, 0, 0, 4)))
    return lines


def _table(*columns: str) -> Table:
    from rich.table import Table

    words = {columns[0], "state", "waited for"}
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0), collapse_padding=True)
    for name in columns:
        table.add_column(name, overflow="fold", justify="left" if name in words else "right")
    return table


def _looks(told: Mapping[str, Any]) -> Looks:
    from pgswarm.core.activity import Activity

    return {
        cluster: {
            member: Activity.model_validate(one["activity"]) if "activity" in one else str(one["why"])
            for member, one in members.items()
        }
        for cluster, members in told.items()
    }


def _told(cluster: str | None, secret_file: Path | None) -> dict[str, Any]:
    """What the operator of this node has gathered. Raises Failure."""
    if elsewhere.is_needed(secret_file):
        carried: dict[str, Any] = json.loads(elsewhere.carried(["top", *([cluster] if cluster else []), "-o", "json"]))
        return carried
    import anyio

    from pgswarm.loop import ask
    from pgswarm.loop.options import read_secret

    secret = read_secret(options(None, secret_file, None, None).secret_file)
    told = anyio.run(ask.activity, secret)
    if told is None:
        raise Again("no operator answers on this node: `docker service ps pgswarm_operator`")
    if cluster is not None and cluster not in told:
        raise BadInput(f"there is no cluster {cluster!r} in this Swarm; there is: {', '.join(told) or 'none'}")
    return {name: one for name, one in told.items() if cluster in (None, name)}
