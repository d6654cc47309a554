"""Metrics: every name is told, in Prometheus' format, by its conventions, and the papers know it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pgswarm.core import metrics
from pgswarm.core.metrics import Metric, Sample
from pgswarm.core.metrics_cluster import CATALOGUE
from pgswarm.render import exposition
from tests.monitoring import everything, reference

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "stack" / "monitoring"
NAME = re.compile(r"\b(?:pgswarm|process|haproxy)_[a-z_]+\b")
HAPROXY = {"haproxy_frontend_connections_total"}
"""Names that HAProxy 3.0's own exporter tells; the lab's test looks for them there."""


def told(samples: list[Sample]) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """What another parser reads in our text."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(exposition.text(samples)):
        for sample in family.samples:
            key = tuple(sorted(sample.labels.items()))
            assert key not in found.setdefault(sample.name, {}), f"{sample.name} {key} is told twice"
            found[sample.name][key] = sample.value
    return found


def value(samples: list[Sample], name: str, **labels: str) -> float:
    return told(samples)[name][tuple(sorted(labels.items()))]


def test_every_name_of_the_catalogue_is_told_and_no_other() -> None:
    assert set(told(everything.all_samples())) == {one.name for one in CATALOGUE}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda one: one.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.name.startswith(("pgswarm_", "process_"))
    assert not re.search(r"_(ms|milliseconds|kb|mb|percent|ratio_percent)(_|$)", metric.name)
    assert metric.help.endswith(".")
    assert len(set(metric.labels)) == len(metric.labels)


def test_a_name_stands_once_in_the_catalogue() -> None:
    assert len({one.name for one in CATALOGUE}) == len(CATALOGUE)


def test_a_primary_tells_its_role_and_how_far_its_standbys_are() -> None:
    seen = metrics.of_member(everything.PRIMARY, starts=3, activity=everything.ACTIVITY)
    who = {"cluster": "main", "member": "a"}
    assert value(seen, "pgswarm_member_role", **who, role="primary") == 1
    assert value(seen, "pgswarm_member_role", **who, role="standby") == 0
    assert value(seen, "pgswarm_member_standby_lag_bytes", **who, standby="b", stage="flush") == 0
    assert value(seen, "pgswarm_member_standby_lag_bytes", **who, standby="b", stage="replay") == 128
    assert value(seen, "pgswarm_member_kept_bytes", **who) == 64
    assert value(seen, "pgswarm_postgres_connections", **who, state="unacknowledged") == 1
    assert value(seen, "pgswarm_postgres_blocks_total", **who, database="app", how="hit") == 97
    assert "pgswarm_member_streaming" not in told(seen)


def test_what_is_not_known_is_not_told_as_nought() -> None:
    silent = everything.STANDBY.model_copy(
        update={"lag": None, "position": None, "accepted": None, "disk_total": 0, "problem": None, "progress": None}
    )
    seen = told(metrics.of_member(silent, starts=0, activity=None))
    for name in ("replay_lag_seconds", "wal_position_bytes", "term", "disk_free_bytes", "problem", "work_done_bytes"):
        assert f"pgswarm_member_{name}" not in seen
    assert not any(name.startswith("pgswarm_postgres_") for name in seen)
    assert seen["pgswarm_member_promised_term"]


def test_a_place_in_the_log_loses_no_digit_and_words_are_quoted() -> None:
    lsn = (1 << 62) + 1
    position = everything.PLACE.model_copy(update={"lsn": lsn})
    report = everything.STANDBY.model_copy(update={"position": position, "member": 'a"b\\c\nd'})
    seen = metrics.of_member(report, starts=1, activity=None)
    line = f'pgswarm_member_wal_position_bytes{{cluster="main",member="a\\"b\\\\c\\nd"}} {lsn}\n'
    assert line in exposition.text(seen)
    assert value(seen, "pgswarm_member_timeline", cluster="main", member='a"b\\c\nd') == 4


def test_the_reference_says_what_is_exported() -> None:
    """`python -m tests.monitoring.reference > docs/reference/metrics.md`"""
    assert (ROOT / "docs" / "reference" / "metrics.md").read_text() == reference.text()


def expressions() -> list[tuple[str, str]]:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    found = [(rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", ())]
    found += [(one["name"], one["expr"]) for one in dashboard["annotations"]["list"]]
    return found


@pytest.mark.parametrize(("title", "expression"), expressions(), ids=lambda one: one[:40])
def test_every_name_in_dashboard_and_alerts_is_exported_with_the_labels_that_are_asked_for(
    title: str, expression: str
) -> None:
    known: dict[str, Any] = {one.name: one for one in CATALOGUE}
    names = set(NAME.findall(expression)) - HAPROXY
    assert names <= set(known), f"{title}: {names - set(known)}"
    for name, selector in re.findall(r"\b((?:pgswarm|process)_[a-z_]+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"([a-z]+)=", selector)) - {"job", "instance"}
        assert asked <= set(known[name].labels), f"{title}: {name} has no label {asked - set(known[name].labels)}"


def test_every_alert_says_what_is_to_be_done() -> None:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


def test_panels_of_the_dashboard_do_not_overlap_and_explain_themselves() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
