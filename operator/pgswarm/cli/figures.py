"""Figures for people: sizes, spans, shares and bars, short enough for a column.

Sizes count as PostgreSQL's own do (1 kB is 1024 bytes), so that a figure here and one in the document or in psql are
the same figure.
"""

from __future__ import annotations

FULL, EMPTY = "━", "─"
BAR = 20
"""Characters of a bar."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: float) -> str:
    """A number of bytes in three digits or so."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 10 else f"{value:.1f} {_UNITS[unit]}"


def span(seconds: float) -> str:
    """A time as people say it: its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def percent(part: float, whole: float) -> str:
    """A share, or nothing where there is no whole."""
    return f"{100 * part / whole:.0f} %" if whole > 0 else ""


def bar(part: float, whole: float, width: int = BAR) -> str:
    """A share as a line; empty where there is no whole."""
    if whole <= 0:
        return ""
    filled = max(0, min(width, round(width * part / whole)))
    return FULL * filled + EMPTY * (width - filled)


def work(done: int, total: int, rate: float) -> str:
    """How far long work is, how fast it goes, and how long it will take if it goes on like this."""
    parts = []
    if total:
        parts += [f"{bar(done, total)} {percent(done, total)}", f"{size(done)} of {size(total)}"]
    elif done:
        parts.append(size(done))
    if rate > 0:
        parts.append(f"{size(rate)}/s")
        if total > done:
            parts.append(f"{span((total - done) / rate)} left")
    return "  ".join(parts)
