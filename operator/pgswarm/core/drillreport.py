"""What a drill has shown: from what a writing client said, when it was struck and what the record became. Pure.

The outage is the longest time in which no writer had an acknowledgement, from the blow on; it is what an application
with several connections sees. The client runs on another node than whoever strikes, and clocks of nodes differ: each
of its lines carries its own time, none can have arrived before it was sent, and so the quickest of many lines says how
the clocks stand to each other, to within the few milliseconds that one took. The outage itself is counted by the
client's clock alone.

Before it: loop/drilling hears and strikes. After it: cli/drill prints it, render/drillpage draws it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from pgswarm.core.base import Message
from pgswarm.core.drilling import Announcement, Kind, Promise

SLACK = 0.25
"""Seconds before the blow from which a pause may count as its effect: clocks are known no better, nor is the blow."""

STEP = 0.1
"""Seconds of one bar in the picture."""

NEAR = 2.0
"""Seconds around the outage of which every single write is kept for the picture."""

WORDS = 5
"""Different failures that are quoted."""


class Said(Message):
    """One line of the writing client."""

    drill: Literal["ready", "wrote", "end", "failed"]
    at: float = Field(description="seconds since the epoch, by the client's clock")
    acks: tuple[tuple[float, float], ...] = Field(default=(), description="when, and after how many seconds")
    failures: tuple[tuple[float, str], ...] = ()
    missing: int | None = Field(default=None, description="acknowledged writes that are not there; None: not known")
    text: str = ""


class Mark(Message):
    """One event of the drill, seconds from the blow."""

    at: float
    kind: Literal["struck", "record", "first", "active", "whole"]
    text: str


class Report(Message):
    """What one drill has shown."""

    cluster: str
    kind: Kind
    struck_at: float = Field(description="seconds since the epoch")
    primary: str
    successor: str = ""
    node: str
    promise: Promise
    kept: bool = Field(description="the promise was kept")
    outage: float = Field(description="seconds without an acknowledged write, the longest")
    outage_began: float = Field(description="seconds from the blow")
    acknowledged: int
    failed: int = Field(description="attempts to connect or to write that failed, from the blow on")
    missing: int | None = Field(description="acknowledged writes that are not there; None: not known")
    whole_after: float | None = Field(default=None, description="seconds until everything was at rest; None: not seen")
    verdict: str
    failures: tuple[str, ...] = Field(default=(), description="the most frequent words of failed attempts")
    marks: tuple[Mark, ...] = ()
    began: float = Field(default=0.0, description="where the picture begins, in seconds from the blow")
    writes: tuple[int, ...] = Field(default=(), description="acknowledged writes in each tenth of a second")
    slowest: tuple[int, ...] = Field(default=(), description="the slowest of them, in milliseconds")
    broken: tuple[int, ...] = Field(default=(), description="failed attempts in each tenth of a second")
    near: tuple[tuple[float, float], ...] = Field(
        default=(), description="each write around the outage: seconds from the blow, milliseconds that it took"
    )
    left: tuple[str, ...] = Field(default=(), description="what could not be put back, and the command that does")


@dataclass(kw_only=True)
class Tape:
    """Everything that the client has said, by its own clock."""

    acks: list[tuple[float, float]] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    ahead: float = float("inf")  # of the client's clock, that of the listener is; as the quickest line has it
    ended_at: float | None = None
    missing: int | None = None
    text: str = ""

    def take(self, said: Said, arrived: float) -> None:
        """One more line, which arrived at this time of the listener's clock."""
        self.ahead = min(self.ahead, arrived - said.at)
        self.acks.extend(said.acks)
        self.failures.extend(said.failures)
        if said.drill in ("end", "failed"):
            self.ended_at, self.missing, self.text = said.at, said.missing, said.text


def judged(
    announcement: Announcement,
    tape: Tape,
    struck_at: float,
    marks: Iterable[tuple[float, Literal["record", "active", "whole"], str]],
    *,
    successor: str = "",
    whole_at: float | None = None,
    left: Sequence[str] = (),
) -> Report:
    """The report. Times of the strike and of the marks are the listener's clock's."""
    blow = struck_at - (tape.ahead if tape.ahead != float("inf") else 0.0)
    acks = sorted((at - blow, took) for at, took in tape.acks)
    failures = sorted((at - blow, text) for at, text in tape.failures)
    end = (tape.ended_at or max([at for at, _ in tape.acks], default=blow)) - blow
    began, outage, back = _longest([at for at, _ in acks], end)
    outage = round(outage, 3)
    failed = [text for at, text in failures if at >= -SLACK]
    known = [Mark(at=0.0, kind="struck", text=f"{announcement.kind}: {announcement.primary} on {announcement.node}")]
    known += [Mark(at=round(at - struck_at, 3), kind=kind, text=text) for at, kind, text in marks]
    if back is not None:
        known.append(Mark(at=round(back, 3), kind="first", text="first write after the pause"))
    if not successor and failed:
        successor = announcement.primary  # its PostgreSQL was started anew, and its reign goes on
    verdict, kept = _verdict(announcement.promise, outage, tape.missing, successor, has_writes=back is not None)
    first = acks[0][0] if acks else 0.0
    rows = range(max(0, int((end - first) / STEP) + 1))
    return Report(
        cluster=announcement.cluster,
        kind=announcement.kind,
        struck_at=round(struck_at, 3),
        primary=announcement.primary,
        successor=successor,
        node=announcement.node,
        promise=announcement.promise,
        kept=kept,
        outage=outage,
        outage_began=round(began, 3),
        acknowledged=len(acks),
        failed=len(failed),
        missing=tape.missing,
        whole_after=None if whole_at is None else round(whole_at - struck_at, 1),
        verdict=verdict,
        failures=tuple(text for text, _ in Counter(failed).most_common(WORDS)),
        marks=tuple(sorted(known, key=lambda mark: mark.at)),
        began=round(first, 3),
        writes=_counted([at for at, _ in acks], first, rows),
        slowest=_slowest(acks, first, rows),
        broken=_counted([at for at, _ in failures], first, rows),
        near=tuple((round(at, 3), round(took * 1000, 1)) for at, took in acks if _is_near(at, began, outage)),
        left=tuple(left),
    )


def in_words(report: Report) -> tuple[str, ...]:
    """The report in lines, for people."""
    missing = "not known" if report.missing is None else str(report.missing)
    whole = "not seen yet" if report.whole_after is None else f"after {report.whole_after:.0f} s"
    after = f", {report.outage_began:+.2f} s from the blow" if report.outage else ""
    return (
        f"outage            {report.outage:.2f} s without an acknowledged write{after} "
        f"(promised: at most {report.promise.seconds:g} s)",
        f"failed attempts   {report.failed}" + (f": {report.failures[0]}" if report.failures else ""),
        f"missing writes    {missing} of {report.acknowledged} acknowledged",
        f"primary           {report.primary}, then {report.successor or '?'}",
        f"at rest again     {whole}",
        *(f"left behind       {text}" for text in report.left),
    )


def _longest(acks: Sequence[float], end: float) -> tuple[float, float, float | None]:
    """When the longest pause after the blow began, how long it was, and the write that ended it; None: none did."""
    before = max((at for at in acks if at < 0.0), default=0.0)
    began, longest, back = before, 0.0, None
    for at in [one for one in acks if one >= 0.0]:
        if at >= -SLACK and at - before > longest:
            began, longest, back = before, at - before, at
        before = at
    if end - before > longest:
        return before, end - before, None
    return began, longest, back


def _verdict(
    promise: Promise, outage: float, missing: int | None, successor: str, *, has_writes: bool
) -> tuple[str, bool]:
    wrong = []
    if not successor:
        wrong.append("nobody has felt it and no new term has begun: what was to be broken was not")
    if not has_writes:
        wrong.append("writes had not come back when the client ended")
    elif outage > promise.seconds:
        wrong.append(f"writers paused for {outage:.2f} s, and {promise.seconds:g} s were promised")
    if missing is None:
        wrong.append("it could not be seen whether acknowledged writes are missing")
    elif missing and promise.lossless:
        wrong.append(f"{missing} acknowledged writes are missing")
    if wrong:
        return f"the promise was broken: {'; '.join(wrong)}", False
    lost = "nothing acknowledged is missing" if not missing else f"{missing} acknowledged writes are missing, as said"
    return f"the promise was kept: writers paused for {outage:.2f} s, {lost}", True


def _counted(times: Sequence[float], first: float, rows: range) -> tuple[int, ...]:
    found = Counter(int((at - first) / STEP) for at in times)
    return tuple(found[row] for row in rows)


def _slowest(acks: Sequence[tuple[float, float]], first: float, rows: range) -> tuple[int, ...]:
    found: dict[int, float] = {}
    for at, took in acks:
        row = int((at - first) / STEP)
        found[row] = max(found.get(row, 0.0), took)
    return tuple(round(found.get(row, 0.0) * 1000) for row in rows)


def _is_near(at: float, began: float, outage: float) -> bool:
    return min(began, 0.0) - NEAR <= at <= max(began + outage, 0.0) + NEAR
