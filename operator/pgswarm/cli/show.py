"""Status, plan and their likes on a terminal of 80 columns.

One rule of drawing: the table holds what is compared between members (node, role, state, lag, position); sentences
stand below it, each on lines of its own, so that a reason is never cut.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgswarm.cli import figures
from pgswarm.core.chronicle import REIGNS, Event
from pgswarm.core.status import MemberStatus, RouterStatus, Status, StepStatus

if TYPE_CHECKING:
    from pgswarm.loop.worker import Outcome

GOOD = "green"
BAD = "red"
WAITING = "yellow"
NUMBERS = frozenset({"lag", "behind", "sessions", "free disk"})
LAST = 3
"""Events that a status shows; `pgswarm history` shows them all."""


def console(width: int | None = None) -> Console:
    """Where people read; colours only on a terminal."""
    return Console(width=width, highlight=False, soft_wrap=False)


def statuses(many: Iterable[Status], *, wide: bool = False) -> Group:
    """All clusters, one below the other."""
    drawn: list[RenderableType] = []
    for one in many:
        drawn += [Text(), status(one, wide=wide)] if drawn else [status(one, wide=wide)]
    return Group(*drawn) if drawn else Group(Text("no clusters"))


def status(one: Status, *, wide: bool = False) -> Group:
    """One cluster."""
    colour = (
        WAITING
        if one.paused and "serves;" in one.summary
        else GOOD
        if one.healthy
        else WAITING
        if "serves" in one.summary
        else BAD
    )
    head = Text.assemble((one.cluster, "bold"), "  ", (one.summary, colour))
    lines: list[RenderableType] = [head]
    if one.term is not None:
        lines.append(_fact("record", f"term {one.term}, revision {one.revision}, primary {one.primary}"))
        lines.append(_fact("claim", one.durability))
    if one.last_change:
        lines.append(_fact("last", one.last_change))
    if one.wish:
        lines.append(_fact("wish", one.wish))
    if one.planned:
        lines.append(_fact("planned", one.planned))
    if one.answer and one.answer != one.last_change:
        lines.append(_fact("answer", one.answer))
    lines += [_fact("node", text) for text in one.maintenance]
    lines += [_fact("fence", text) for text in one.fences]
    if one.document:
        lines.append(_fact("document", one.document))
    if one.leader:
        lines.append(_fact("operator", one.leader))
    if one.members:
        lines += [Text(), _members(one, wide=wide)]
    if one.routers:
        lines += [Text(), _routers(one.routers)]
    lines += _under_way(one.members)
    problems = _problems(one)
    lines += _sentences("problems", BAD, problems)
    filling = [member for member in one.members if member.warning and not member.problem]
    colour = BAD if any(member.disk_free < 0.05 * member.disk_total for member in filling) else WAITING
    lines += _sentences("disks", colour, [member.warning for member in filling])
    aside = [f"{member.name}: {text}" for member in one.members for text in member.kept]
    lines += _sentences("kept aside", WAITING, aside)
    lines += _sentences("volumes left behind", WAITING, one.volumes)
    lines += _sentences("in no document any more", WAITING, one.orphaned)
    lines += _sentences("documents", BAD, one.errors)
    lines += _sentences("lost by failovers", BAD, one.losses)
    lines += _sentences("waits", WAITING, [text for text in one.waits if text not in problems])
    if one.steps:
        lines += [Text(), *steps(one.steps)]
    if one.events:
        lines += [Text(), Text("last events", style="bold"), *(_event(event) for event in one.events[-LAST:])]
    return Group(*lines)


def explanations(many: Iterable[Status]) -> Group:
    """Why each cluster is as it is."""
    drawn: list[RenderableType] = []
    for one in many:
        why = one.explanation
        drawn += [Text()] if drawn else []
        drawn.append(Text.assemble((one.cluster, "bold"), "  ", one.summary))
        facts = (
            ("copies", why.claim),
            ("commits", why.commits),
            ("failover", why.failover),
            ("if lost", why.if_lost),
            ("wish", one.wish),
            ("answer", one.answer),
        )
        drawn += [_fact(name, text) for name, text in facts if text]
        drawn += [Text(), Text("why not this one?", style="bold")] if why.candidates else []
        for candidate in why.candidates:
            colour = GOOD if candidate.can else WAITING
            drawn.append(Padding(Text.assemble((candidate.member, colour)), (0, 0, 0, 2)))
            drawn.append(_indented(candidate.why, 4))
        drawn += _sentences("documents", BAD, one.errors)
        drawn += _sentences("waits", WAITING, one.waits)
        drawn += [Text(), *steps(one.steps)] if one.steps else []
    return Group(*drawn) if drawn else Group(Text("no clusters"))


def events(many: Iterable[Event]) -> Group:
    """What happened, the oldest first: one line of what, and below it why."""
    lines: list[RenderableType] = []
    for one in many:
        colour = BAD if one.lost or one.kind == "refused" else ""
        lines.append(Text.assemble((moment(one.at), "dim"), "  ", (_happened(one), colour)))
        lines += [_indented(one.text, 4)] if one.text else []
        lines += [_indented(one.lost, 4, BAD)] if one.lost else []
    return Group(*lines) if lines else Group(Text("nothing has happened yet"))


def moment(at: float | None) -> str:
    """A time as people read it; UTC, for managers may stand in different places."""
    if at is None:
        return "(time not kept)     "
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def outcomes(many: Iterable[Outcome]) -> Group:
    """What was done, and what came of it."""
    lines: list[RenderableType] = []
    for one in many:
        lines.append(Text.assemble((f"{one.title}: ", "bold"), (one.text, GOOD if one.worked else BAD)))
        lines.append(_indented(one.reason, 4, "dim"))
    return Group(*lines) if lines else Group(Text("nothing to do"))


def steps(many: Iterable[StepStatus]) -> list[RenderableType]:
    """What is planned: each step, and below it why."""
    lines: list[RenderableType] = [Text("steps", style="bold")]
    for step in many:
        lines.append(_indented(step.step, 2))
        lines.append(_indented(step.reason, 4, "dim"))
        if step.state:
            lines.append(_indented(step.state, 4, BAD))
    return lines


def _members(one: Status, *, wide: bool) -> Table:
    more = ("position", "version", "free disk") if wide else ()
    table = _table("member", "node", "role", "state", "counts", "lag", "behind", *more)
    for member, stem in _topology(one):
        cells: list[RenderableType] = [
            f"{stem}{member.name}",
            member.node,
            Text(member.role, style=_colour(member)),
            member.state,
            "yes" if member.counted else "no",
            figures.span(member.lag) if member.lag is not None else "",
            figures.size(member.behind) if member.behind is not None else "",
        ]
        if wide:
            share = figures.percent(member.disk_free, member.disk_total)
            disk = f"{figures.size(member.disk_free)} ({share})" if share else ""
            cells += [member.position, member.version, disk]
        table.add_row(*cells)
    return table


def _topology(one: Status) -> list[tuple[MemberStatus, str]]:
    """Each member with what stands before its name: who streams stands below whom it streams from."""
    names = {member.name for member in one.members}
    below: dict[str, list[MemberStatus]] = {}
    for member in one.members:
        below.setdefault(member.follows if member.follows in names else "", []).append(member)
    drawn: list[tuple[MemberStatus, str]] = []

    def draw(member: MemberStatus, depth: int) -> None:
        if any(member is done for done, _ in drawn):
            return
        drawn.append((member, "*" if member.name == one.primary else f"{'  ' * (depth - 1)} └ " if depth else " "))
        for follower in below.get(member.name, ()):
            draw(follower, depth + 1)

    first = sorted(below.get("", ()), key=lambda member: member.name != one.primary)
    for member in (*first, *one.members):  # the second time: who would follow in a circle is drawn all the same
        draw(member, 0)
    return drawn


def _under_way(members: Iterable[MemberStatus]) -> list[RenderableType]:
    """Clones and their likes: how far, how fast, how long."""
    lines: list[RenderableType] = []
    for member in members:
        if member.work is not None:
            head = f"{member.name}: {member.work.what}"
            tail = figures.work(member.work.done, member.work.total, member.work.rate)
            lines.append(_indented(f"{head}  {tail}".rstrip(), 2, WAITING))
    return [Text(), Text("under way", style="bold"), *lines] if lines else []


def _event(one: Event) -> RenderableType:
    """One line of what happened and when; `pgswarm history` says why."""
    colour = BAD if one.lost or one.kind == "refused" else ""
    return _indented(f"{moment(one.at)}  {_happened(one)}", 2, colour)


def _happened(one: Event) -> str:
    return f"term {one.term:<3} {one.kind}" + (f": {one.primary}" if one.kind in REIGNS else "")


def _colour(member: MemberStatus) -> str:
    if member.problem:
        return BAD
    return GOOD if member.state in ("serving", "streaming") else WAITING


def _routers(many: tuple[RouterStatus, ...]) -> Table:
    table = _table("router", "haproxy", "writers to", "readers to", "sessions")
    for router in many:
        colour = BAD if router.problem else GOOD if router.primary else WAITING
        table.add_row(
            f" {router.name}",
            Text(router.state, style=colour),
            router.primary or "(held)",
            ", ".join(router.readers) or "-",
            str(router.sessions),
        )
    return table


def _problems(one: Status) -> list[str]:
    return [
        *(_named(member.name, member.problem) for member in one.members if member.problem),
        *(_named(f"router {router.name}", router.problem) for router in one.routers if router.problem),
        *(
            f"{member.name}: waits for a restart of PostgreSQL: {', '.join(member.pending_restart)}"
            for member in one.members
            if member.pending_restart
        ),
    ]


def _named(name: str, problem: str) -> str:
    """A problem with whose it is, unless it says so itself."""
    return problem if problem.startswith(f"{name} ") else f"{name}: {problem}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0), collapse_padding=True)
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in NUMBERS else "left")
    return table


def _fact(name: str, text: str) -> Table:
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=9, style="dim")
    line.add_column(overflow="fold")
    line.add_row(f" {name}", Text(text))
    return line


def _sentences(title: str, colour: str, texts: Iterable[str]) -> list[RenderableType]:
    lines: list[RenderableType] = [_indented(text, 2, colour) for text in texts]
    return [Text(), Text(title, style="bold"), *lines] if lines else []


def _indented(text: str, by: int, style: str = "") -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, by), expand=False)
