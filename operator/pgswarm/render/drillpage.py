"""The report of a drill as one page: numbers, and the timeline as two pictures drawn in SVG.

The page needs nothing but itself: no script, no font, no network; it may be mailed and kept. Light and dark follow the
reader's system. Above are the seconds around the blow with every single write as a dot, below the whole drill in
tenths of a second. Colours mean the same in both: blue are acknowledged writes, red is the pause and what failed.

Before it: `core/drillreport`. Pure.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from html import escape

from pgswarm.core.drillreport import NEAR, STEP, Mark, Report

WIDTH, LEFT, RIGHT = 960, 56, 16
"""Of a picture, and what is beside its field."""

ROW = 15
"""Between two lines of text above a field."""

LETTER = 6.5
"""Of a letter, at most on the average: what would not fit to the right of its mark is written to the left."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5d6b7e; --paper: #ffffff; --line: #d8dee7; --write: #2b6cd4;
  --pause: #d33a3a; --band: #d33a3a24; --good: #1c7d3f; --panel: #f6f8fb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf2; --dim: #93a1b5; --paper: #10151c; --line: #2c3644;
  --write: #6aa5ff; --pause: #ff6b6b; --band: #ff6b6b2e; --good: #56c980; --panel: #171e28; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 1000px; padding: 20px; }
h1 { font-size: 22px; margin: 0 0 2px; } h2 { font-size: 15px; margin: 22px 0 6px; } p { margin: 4px 0; }
.dim { color: var(--dim); } .kept { color: var(--good); font-weight: 600; } .broken { color: var(--pause);
  font-weight: 600; }
.numbers { display: flex; flex-wrap: wrap; gap: 10px; margin: 14px 0; }
.numbers div { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; flex: 1 1 150px;
  padding: 8px 14px; }
.numbers b { display: block; font-size: 24px; font-weight: 600; }
figure { margin: 0; overflow-x: auto; } svg { display: block; height: auto; max-width: 100%; min-width: 640px; }
svg text { fill: var(--dim); font: 11px system-ui, sans-serif; } svg .mark { fill: var(--ink);
  paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
svg .grid { stroke: var(--line); } svg .write { fill: var(--write); } svg .fail { stroke: var(--pause);
  stroke-width: 1.5; }
svg .band { fill: var(--band); } svg .at { stroke: var(--ink); stroke-dasharray: 3 3; } svg .struck {
  stroke: var(--pause); stroke-width: 2; } svg .long { fill: var(--pause); font-weight: 600; font-size: 13px; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line); padding: 4px 8px 4px 0;
  vertical-align: top; } td:first-child { font-variant-numeric: tabular-nums; white-space: nowrap; width: 90px; }
"""


def page(report: Report) -> str:
    """The whole page."""
    at = datetime.datetime.fromtimestamp(report.struck_at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    title = f"Drill: {report.kind} of {report.primary}"
    missing = "?" if report.missing is None else f"{report.missing}"
    numbers = (
        (
            f"{report.outage:.2f} s",
            f"without an acknowledged write; promised: at most\u00a0{report.promise.seconds:g}\u00a0s",
        ),
        (missing, f"of {report.acknowledged} acknowledged writes missing"),
        (f"{report.failed}", "attempts failed"),
        ("?" if report.whole_after is None else f"{report.whole_after:.0f} s", "until all was at rest again"),
    )
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">cluster {escape(report.cluster)}, on {escape(report.node)}, {at}; then '
        f"{escape(report.successor or 'nobody')} was primary</p>",
        f'<p class="{"kept" if report.kept else "broken"}">{escape(report.verdict)}</p>',
        '<div class="numbers">' + "".join(f"<div><b>{escape(n)}</b>{escape(t)}</div>" for n, t in numbers) + "</div>",
        "<h2>The pause: every write, and how long it took</h2>",
        f"<figure>{_near(report)}</figure>",
        "<h2>The whole drill: acknowledged writes in each tenth of a second</h2>",
        f"<figure>{_whole(report)}</figure>",
        "<h2>What happened</h2>",
        "<table>" + "".join(_row(f"{mark.at:+.2f} s", mark.text) for mark in report.marks) + "</table>",
    ]
    if report.failures:
        rows = "".join(f"<p>{escape(text)}</p>" for text in report.failures)
        parts += ["<h2>What failed attempts said, the most frequent first</h2>", rows]
    if report.left:
        parts += ["<h2>Left behind</h2>", *(f'<p class="broken">{escape(text)}</p>' for text in report.left)]
    parts.append(
        '<p class="dim">Seconds count from the blow. Marks of the record are seen up to a tenth of a second late, and '
        "clocks of two nodes are known to some hundredths; the pause is by the writing client's clock alone.</p>"
        "</body></html>\n"
    )
    return "\n".join(parts)


class _Field:
    """Where a picture's times and values are on it."""

    def __init__(self, since: float, until: float, top: int, height: int, most: float) -> None:
        self.since, self.until = since, max(until, since + STEP)
        self.top, self.height, self.most = top, height, max(most, 1.0)

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def x(self, at: float) -> float:
        share = (at - self.since) / (self.until - self.since)
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(self.bottom - min(1.0, value / self.most) * self.height, 1)

    def shows(self, at: float) -> bool:
        return self.since <= at <= self.until


def _near(report: Report) -> str:
    """Each write around the outage as a dot at the moment of its acknowledgement."""
    began, ended = report.outage_began, report.outage_began + report.outage
    field = _Field(
        min(began, 0.0) - NEAR, max(ended, 0.0) + NEAR, 0, 200, max((took for _, took in report.near), default=1)
    )
    marks = [mark for mark in report.marks if field.shows(mark.at)]
    field.top = ROW * (len(marks) + 1) + 6
    dots = "".join(f'<circle class="write" cx="{field.x(at)}" cy="{field.y(took)}" r="2"/>' for at, took in report.near)
    return _picture(report, field, marks, dots, "ms")


def _whole(report: Report) -> str:
    """The whole drill as bars."""
    until = max(report.began + len(report.writes) * STEP, *(mark.at for mark in report.marks), 1.0)
    field = _Field(report.began, until, 0, 120, max(report.writes, default=1))
    field.top = ROW * (len(report.marks) + 1) + 6
    return _picture(report, field, report.marks, "".join(_bars(report.writes, report.began, field)), "writes")


def _bars(values: Sequence[int], began: float, field: _Field) -> Iterator[str]:
    for row, value in enumerate(values):
        if value:
            left, right = field.x(began + row * STEP), field.x(began + (row + 1) * STEP)
            width = max(0.5, round(right - left - 0.3, 1))
            yield (
                f'<rect class="write" x="{left}" y="{field.y(value)}" width="{width}" '
                f'height="{round(field.bottom - field.y(value), 1)}"/>'
            )


def _picture(report: Report, field: _Field, marks: Sequence[Mark], drawn: str, unit: str) -> str:
    """The field with its axes, the pause, what failed, and each mark with its words on a line of its own."""
    height = field.bottom + 34
    began, ended = field.x(report.outage_began), field.x(report.outage_began + report.outage)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="the pause took {report.outage:.2f} seconds">',
        f'<rect class="band" x="{began}" y="{field.top}" width="{max(1.0, round(ended - began, 1))}" '
        f'height="{field.height}"/>',
        *_axes(field, unit),
        drawn,
        *_failed(report, field),
        *_marks(marks, field),
    ]
    if ended - began > 60:
        middle = round((began + ended) / 2, 1)
        parts.append(
            f'<text class="long" x="{middle}" y="{field.top + field.height // 2}" text-anchor="middle">'
            f"{report.outage:.2f} s</text>"
        )
    return "".join([*parts, "</svg>"])


def _axes(field: _Field, unit: str) -> Iterator[str]:
    for part in (0.0, 0.5, 1.0):
        y = field.y(field.most * part)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        words = f"{field.most * part:.0f} {unit if part == 1 else ''}"
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{words}</text>'
    span = field.until - field.since
    step = next((one for one in (0.5, 1, 2, 5, 10, 20, 60) if span / one <= 12), 120)
    tick = int(field.since / step) * step
    while tick <= field.until:
        if field.shows(tick):
            yield f'<text x="{field.x(tick)}" y="{field.bottom + 28}" text-anchor="middle">{tick:+g} s</text>'
        tick += step


def _failed(report: Report, field: _Field) -> Iterator[str]:
    """A tick under the axis for each tenth of a second in which an attempt failed."""
    for row, count in enumerate(report.broken):
        at = report.began + (row + 0.5) * STEP
        if count and field.shows(at):
            x = field.x(at)
            yield (
                f'<line class="fail" x1="{x}" x2="{x}" y1="{field.bottom + 3}" y2="{field.bottom + 13}">'
                f"<title>{count} failed</title></line>"
            )


def _marks(marks: Sequence[Mark], field: _Field) -> Iterator[str]:
    for row, mark in enumerate(marks):
        x, y = field.x(mark.at), ROW * (row + 1)
        kind = "struck" if mark.kind == "struck" else "at"
        yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="{y - 9}" y2="{field.bottom}"/>'
    for row, mark in enumerate(marks):  # after all lines: words are drawn over them
        x, words = field.x(mark.at), f"{mark.text} ({mark.at:+.2f} s)"
        left = x + LETTER * len(words) > WIDTH
        place = f'x="{x - 5}" text-anchor="end"' if left else f'x="{x + 5}"'
        yield f'<text class="mark" y="{ROW * (row + 1)}" {place}>{escape(words)}</text>'


def _row(left: str, right: str) -> str:
    return f"<tr><td>{escape(left)}</td><td>{escape(right)}</td></tr>"
