"""`pgswarm doctor` of a cluster that was not met: is it not there, or could nobody be asked?"""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pgswarm.cli import app, doctor
from pgswarm.cli.failures import BadInput
from pgswarm.core.findings import Finding


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgswarm.cli.elsewhere.is_needed", lambda *given: False)


def _finds(monkeypatch: pytest.MonkeyPatch, *found: Finding) -> None:
    monkeypatch.setattr(doctor, "_found", lambda cluster, chosen: found)


def test_a_name_that_no_sound_swarm_knows_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    _finds(monkeypatch, Finding(where="", check="quorum", level="good", what="three managers"))
    said = CliRunner().invoke(app, ["doctor", "mian"])
    assert isinstance(said.exception, BadInput)
    assert "there is no cluster 'mian'" in str(said.exception)


def test_where_nobody_could_be_asked_no_name_is_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    _finds(monkeypatch, Finding(where="", check="engine", level="bad", what="silent", why="-", mend="-"))
    said = CliRunner().invoke(app, ["doctor", "main"])
    assert said.exit_code == 1
    assert "silent" in said.output
    assert "cluster 'main' was not met" in said.output
