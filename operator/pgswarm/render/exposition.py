"""Prometheus' text format, version 0.0.4: samples in, text out. Pure.

A client library would keep registries, locks and collectors, cost each agent three megabytes and forty milliseconds of
its start, and still need this mapping from reports to numbers (decision 0025). What it would be trusted for is the
format, and that is two dozen lines; its own parser and promtool read them back in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgswarm.core.metrics import Metric, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(samples: Iterable[Sample]) -> str:
    """All samples, those of one name together and in the order in which the names came first."""
    families: dict[Metric, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.metric, []).append(sample)
    lines: list[str] = []
    for metric, told in families.items():
        lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [_line(sample) for sample in told]
    return "\n".join([*lines, ""])


def _line(sample: Sample) -> str:
    pairs = zip(sample.metric.labels, sample.labels, strict=True)
    labels = ",".join(f'{name}="{_quoted(value)}"' for name, value in pairs)
    return (
        f"{sample.metric.name}{{{labels}}} {_number(sample.value)}"
        if labels
        else (f"{sample.metric.name} {_number(sample.value)}")
    )


def _number(value: float) -> str:
    """Whole numbers whole, however large: an LSN must not lose its last digits."""
    return str(int(value)) if isinstance(value, int) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
