"""`pgswarm init` writes a document that is valid as it stands, and `--show-completion` one that a shell understands."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pgswarm.ports import documents

PROGRAM = [sys.executable, "-c", "import sys; sys.argv[0] = 'pgswarm'; from pgswarm.cli import main; main()"]
NO_SWARM = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}


def said(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL, env=NO_SWARM
    )


def test_without_any_word_it_prints_a_document_with_every_default(tmp_path: Path) -> None:
    ran = said("init")
    assert ran.returncode == 0, ran.stderr
    assert "no Swarm answers here" in ran.stderr
    (found,) = documents.parse(ran.stdout, "stdout").clusters
    assert (found.cluster.name, found.cluster.spec.instances) == ("main", 2)


def test_what_is_said_is_in_the_document_and_a_comment_taken_away_changes_no_default(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    words = ["--name", "shop", "--database", "orders", "--node", "manager1", "--node", "worker01", "--port", "6000"]
    ran = said("init", path, *words, "--durability", "required", "--memory", "1GB", "--no-publish")
    assert ran.returncode == 0, ran.stderr
    assert f"pgswarm apply -f {path}" in ran.stdout
    (found,) = documents.read(path).clusters
    spec = found.cluster.spec
    assert [(one.name, one.node) for one in found.cluster.instances()] == [("pg-1", "manager1"), ("pg-2", "worker01")]
    assert (spec.postgres.database, spec.postgres.owner, spec.durability) == ("orders", "orders", "required")
    assert (spec.router.port, spec.router.read_only_port, spec.router.publish) == (6000, 6001, False)
    assert spec.postgres.settings() == {"shared_buffers": "1GB"}
    offered = path.read_text().replace("  # detectionTimeout", "  detectionTimeout")
    assert documents.parse(offered, "offered").clusters[0].cluster.spec.detection_timeout == spec.detection_timeout


def test_a_file_that_exists_is_written_over_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "main.yaml"
    path.write_text("mine\n")
    ran = said("init", path)
    assert (ran.returncode, path.read_text()) == (2, "mine\n")
    assert "--force" in ran.stderr
    assert said("init", path, "--force").returncode == 0
    assert yaml.safe_load(path.read_text())["kind"] == "PostgresCluster"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--durability", "sometimes"], "spec.durability"),
        (["--name", "Main"], "metadata.name"),
        (["--instances", "1", "--durability", "required"], "would let no write through"),
        (["--instances", "2", "--node", "a"], "not both"),
        (["--memory", "1GB\n      fsync: off"], "shared_buffers: must be on one line"),
        (["--node", "a}, {name: b"], "spec.instances[0].node"),
    ],
)
def test_answers_that_cannot_be_are_refused_with_the_field_and_nothing_is_written(
    words: list[str], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "main.yaml"
    ran = said("init", path, *words)
    assert ran.returncode == 2
    assert why in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not path.exists()


def test_programs_get_the_document_as_json(tmp_path: Path) -> None:
    answer = json.loads(said("init", "-o", "json", "--name", "shop").stdout)
    assert (answer["cluster"], answer["file"]) == ("shop", None)
    assert documents.parse(answer["document"], "json").clusters[0].cluster.name == "shop"


def test_in_a_terminal_it_asks_and_takes_a_default_for_an_empty_answer(tmp_path: Path) -> None:
    path = tmp_path / "main.yaml"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "init", str(path)], stdin=theirs, stderr=theirs, stdout=theirs, env=NO_SWARM
    ) as it:
        os.close(theirs)
        os.write(ours, b"shop\norders\n" + b"\n" * 8)
        assert it.wait(timeout=30) == 0
        os.close(ours)
    (found,) = documents.read(path).clusters
    assert (found.cluster.name, found.cluster.spec.postgres.owner) == ("shop", "orders")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_the_verbs(shell: str) -> None:
    script = subprocess.run(
        PROGRAM,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "_PGSWARM_COMPLETE": f"source_{shell}"},
    )
    assert "_PGSWARM_COMPLETE" in script.stdout, script.stderr
    asked = {**os.environ, "_PGSWARM_COMPLETE": "complete_bash", "COMP_WORDS": "pgswarm swi", "COMP_CWORD": "1"}
    told = subprocess.run(PROGRAM, capture_output=True, text=True, timeout=30, check=False, env=asked)
    assert told.stdout.split() == ["switchover"], told.stderr
