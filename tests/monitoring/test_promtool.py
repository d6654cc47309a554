"""Prometheus' own tool on our rules, expressions, configuration and text."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pgswarm.render import exposition
from tests.monitoring import everything
from tests.monitoring.test_metrics import MONITORING

pytestmark = pytest.mark.promtool


def promtool(*words: str, text: str = "") -> str:
    done = subprocess.run(["promtool", *words], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_alerts_are_well_formed_and_do_what_their_tests_say() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(MONITORING / "alerts.yml"))
    assert "SUCCESS" in promtool("test", "rules", str(MONITORING / "alerts_test.yml"))


def test_every_expression_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    rules = [
        {"record": f"panel:{panel['id']}:{target['refId']}", "expr": target["expr"].replace("$cluster", "main")}
        for panel in panels
        for target in panel.get("targets", ())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_configuration_is_one(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        text = (MONITORING / name).read_text().replace("/etc/prometheus/", "")
        (tmp_path / name).write_text(text)
    promtool("check", "config", str(tmp_path / "prometheus.yml"))
    shutil.rmtree(tmp_path)


def test_what_is_told_passes_its_linter() -> None:
    promtool("check", "metrics", text=exposition.text(everything.all_samples()))
