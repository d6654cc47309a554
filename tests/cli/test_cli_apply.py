"""`apply` and its kin refuse what cannot be meant, with file, line and path, before anybody is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def said(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pgswarm.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("verb", ["apply", "diff"])
def test_a_document_with_a_mistake_is_refused_with_its_place_and_nothing_is_stored(verb: str, tmp_path: Path) -> None:
    file = tmp_path / "main.yaml"
    file.write_text("apiVersion: pgswarm/v1\nkind: PostgresCluster\nmetadata: {name: main}\nspec: {instances: many}\n")
    ran = said(verb, "-f", str(file))
    assert ran.returncode == 2
    assert f"{file}:4:" in ran.stderr
    assert "spec.instances" in ran.stderr
    assert "nothing is stored" in ran.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["apply", "-f", "/nowhere/main.yaml"], "there is no such file"),
        (["apply"], "--file"),
        (["get", "-o", "xml"], "say yaml or json"),
        (["rollback", "--to", "0"], "--to"),
        (["maintenance", "node1", "perhaps"], "perhaps"),
        (["logs", "--since", "yesterday"], "no length of time"),
        (["failover", "--accept-data-loss", "-o", "json", "--secret-file", "/nowhere"], "does not exist"),
    ],
)
def test_words_that_cannot_be_meant_are_bad_input(words: list[str], why: str) -> None:
    ran = said(*words)
    assert ran.returncode == 2, ran.stderr
    assert why in ran.stderr


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("apply", "the newest edit"),
        ("rollback", "history --documents"),
        ("diff", "changes nothing"),
        ("get", "applied again"),
        ("history", "who became primary when and why"),
        ("explain", "why there is no failover"),
        ("resume", "End a pause"),
        ("restart", "the primary last"),
        ("maintenance", "Nothing moves back by itself"),
        ("logs", "pgswarm logs pg-1 -f"),
        ("psql", "needs no password"),
    ],
)
def test_the_help_teaches(verb: str, words: str) -> None:
    assert words in " ".join(said(verb, "--help").stdout.split())
