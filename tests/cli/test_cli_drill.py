"""`pgswarm drill`: it tells what there is, and breaks nothing that nobody consented to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pgswarm.cli import app, elsewhere
from pgswarm.core.drilling import DRILLS, Announcement, Promise
from pgswarm.core.drillreport import Report, Said, Tape, judged

PROMISE = Promise(seconds=1.0, lossless=True, text="…")
KNOWN = Announcement(cluster="main", kind="postgres", primary="a", node="n", promise=PROMISE, lines=("it is struck",))


def report(missing: int = 0) -> Report:
    tape = Tape()
    tape.take(Said(drill="ready", at=0.0, acks=tuple((at / 100, 0.001) for at in range(-100, 300))), 0.0)
    tape.take(Said(drill="end", at=3.0, missing=missing), 3.0)
    return judged(KNOWN, tape, 0.0, [], successor="b")


class There:
    """The operator's container: what it was asked, and what it answers."""

    def __init__(self, announcement: Announcement, shown: Report) -> None:
        self.asked: list[list[str]] = []
        self._announcement, self._shown = announcement, shown

    def heard(
        self, words: list[str], documents: Path | None = None, seconds: float = 0, grace: float = 0
    ) -> tuple[int, str]:
        self.asked.append(words)
        if "--dry-run" in words:
            return int(bool(self._announcement.refusal)), self._announcement.model_dump_json()
        return int(not self._shown.kept), self._shown.model_dump_json()


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> There:
    return _placed(monkeypatch, There(KNOWN, report()))


def _placed(monkeypatch: pytest.MonkeyPatch, made: There) -> There:
    monkeypatch.setattr(elsewhere, "is_needed", lambda secret_file: True)
    monkeypatch.setattr(elsewhere, "heard", made.heard)
    return made


def test_the_list_says_what_each_breaks_and_needs_no_swarm() -> None:
    said = CliRunner().invoke(app, ["drill", "--list"])
    assert said.exit_code == 0
    assert all(kind in said.output for kind in DRILLS)
    rows = json.loads(CliRunner().invoke(app, ["drill", "--list", "-o", "json"]).output)
    assert [row["kind"] for row in rows] == list(DRILLS)


def test_without_a_terminal_and_without_a_yes_nothing_is_even_looked_at(there: There) -> None:
    said = CliRunner().invoke(app, ["drill", "postgres"])
    assert "--yes" in str(said.exception)
    assert not there.asked


def test_an_unknown_drill_is_told_with_those_there_are(there: There) -> None:
    said = CliRunner().invoke(app, ["drill", "earthquake", "--yes"])
    assert "node-drain" in str(said.exception)
    assert not there.asked


def test_a_kept_promise_is_told_with_its_numbers_and_a_page(there: There, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    said = CliRunner().invoke(app, ["drill", "postgres", "--yes", "--by", "ann", "--html", str(page)])
    assert said.exit_code == 0, said.output
    assert "0 of 400 acknowledged" in said.output
    assert "<svg" in page.read_text()
    look, strike = there.asked
    assert "--dry-run" in look
    assert strike[:2] == ["drill", "postgres"]
    assert "--html" not in strike, "the page is written where the person is"
    assert "--yes" in strike


def test_a_page_that_could_not_be_written_is_known_before_anything_is_broken(there: There, tmp_path: Path) -> None:
    page = tmp_path / "nowhere" / "report.html"
    said = CliRunner().invoke(app, ["drill", "postgres", "--yes", "--html", str(page)])
    assert "cannot be written" in str(said.exception)
    assert not there.asked


def test_a_broken_promise_is_exit_code_1_and_the_report_is_given_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _placed(monkeypatch, There(KNOWN, report(missing=2)))
    said = CliRunner().invoke(app, ["drill", "postgres", "--yes", "-o", "json"])
    assert said.exit_code == 1
    assert json.loads(said.stdout)["missing"] == 2


def test_what_is_refused_is_not_struck_and_says_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = KNOWN.model_copy(update={"refusal": "nobody could follow a", "mend": "pgswarm status"})
    made = _placed(monkeypatch, There(refused, report()))
    said = CliRunner().invoke(app, ["drill", "postgres", "--yes"])
    assert said.exit_code == 1
    assert "nobody could follow a" in said.output
    assert "mend: pgswarm status" in said.output
    assert len(made.asked) == 1
    said = CliRunner().invoke(app, ["drill", "postgres", "--yes", "-o", "json"])
    assert (said.exit_code, json.loads(said.stdout)["refusal"]) == (1, "nobody could follow a")


def test_a_dry_run_only_says_what_would_be(there: There) -> None:
    said = CliRunner().invoke(app, ["drill", "postgres", "--dry-run"])
    assert (said.exit_code, said.output.strip()) == (0, "it is struck")
    assert len(there.asked) == 1
