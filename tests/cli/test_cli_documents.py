"""`pgswarm validate` and `pgswarm schema`, run as a person runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pgswarm.ports import documents

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "crds" / "examples").glob("*.yaml"))


def pgswarm(*words: str | Path, deadline: float = 20.0) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from pgswarm.cli import main; main()"]
    return subprocess.run([*program, *map(str, words)], capture_output=True, text=True, timeout=deadline, check=False)


def test_a_valid_document_is_said_to_be_valid(tmp_path: Path) -> None:
    ran = pgswarm("validate", EXAMPLES[0])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("is valid\n")


def test_a_wrong_document_is_exit_2_and_every_mistake_a_line_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("kind: PostgresCluster\nspec: {durability: never}\n")
    ran = pgswarm("validate", path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == [
        f"{path}:1:1: apiVersion: is missing; known: pgswarm/v1",
        f"{path}:1:1: metadata: is missing; it has no default",
        f"{path}:2:20: spec.durability: must be 'preferred', 'required' or 'async', not 'never'",
    ]


def test_programs_get_the_same_as_json(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("[]")
    ran = pgswarm("validate", path, EXAMPLES[0], "-o", "json")
    answer = json.loads(ran.stdout)
    assert ran.returncode == 2
    assert not answer["valid"]
    assert [one["name"] for one in answer["clusters"]] == ["main"]
    assert [(one["line"], one["column"], one["path"]) for one in answer["errors"]] == [(1, 1, "")]


@pytest.mark.parametrize("words", [["validate"], ["validate", "--nonsense"], ["nonsense"], ["reconcile"]])
def test_wrong_words_are_exit_2_without_a_traceback(words: list[str]) -> None:
    ran = pgswarm(*words)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def test_a_folder_without_documents_is_bad_input(tmp_path: Path) -> None:
    ran = pgswarm("validate", tmp_path)
    assert ran.returncode == 2
    assert ran.stderr == f"pgswarm: no documents in {tmp_path}: they end in .yaml or .yml\n"


def test_what_is_not_there_is_bad_input(tmp_path: Path) -> None:
    ran = pgswarm("validate", tmp_path / "nowhere", EXAMPLES[0])
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"pgswarm: {tmp_path}/nowhere: there is no such file or folder\n"


def test_the_published_schema_is_the_one_that_the_models_give() -> None:
    ran = pgswarm("schema")
    published = (ROOT / "crds" / "postgrescluster.schema.json").read_text()
    assert ran.stdout == published, "run `make crds`"


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_every_example_is_valid_and_names_its_schema_for_editors(path: Path) -> None:
    assert not documents.read(path).errors
    assert path.read_text().startswith("# yaml-language-server: $schema=../postgrescluster.schema.json\n")


def test_the_examples_can_stand_beside_each_other() -> None:
    assert len(documents.read(ROOT / "crds" / "examples").clusters) == len(EXAMPLES) == 3
