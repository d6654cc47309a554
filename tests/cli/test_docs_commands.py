"""Every command that the papers show is run by somebody, and here those are run that need no Swarm."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from tests.papers import ROOT, commands
from tests.papers.played import ALONE, BY_HAND, HERE, NAMED, THERE, Alone, There, found, missing
from tests.papers.run import folder, other, run, shows

LISTS = (ALONE, HERE, THERE, NAMED, BY_HAND)
NO_SWARM = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "SHELL": "/bin/bash"}


def test_every_command_of_the_papers_is_run_by_somebody() -> None:
    lost = [missing(one) for one in commands() if not any(found(one) in many for many in LISTS)]
    assert not lost, "\n".join(lost)


def test_the_lists_hold_nothing_twice_and_nothing_that_no_paper_shows() -> None:
    keys = [key for many in LISTS for key in many]
    assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)
    assert not set(keys) - {found(one) for one in commands()}


@pytest.mark.parametrize("text", ALONE)
def test_what_needs_no_swarm_does_what_its_page_says(text: str, tmp_path: Path) -> None:
    how: Alone = ALONE[text]
    where = folder(tmp_path)
    if how.first:
        assert run(how.first, where, NO_SWARM).returncode == 0
    ran = run(f"{other(text, how.given)}\ncode=$?; {how.then} || exit 99; exit $code", where, NO_SWARM)
    assert ran.returncode == how.code, ran.stdout + ran.stderr
    for words in how.says:
        assert shows(ran.stdout + ran.stderr, words), ran.stdout + ran.stderr


@pytest.mark.parametrize("text", THERE)
def test_the_test_that_is_named_runs_it(text: str) -> None:
    how: There = THERE[text]
    source = _source(how.test) + (_source(how.through) if how.through else "")
    words = how.words if how.words is not None else _telling(text)
    assert words
    for word in words:
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", source), (
            f"{how.test} does nothing with {word}: {text}"
        )


def test_what_a_page_quotes_is_found_whoever_says_it_and_whenever() -> None:
    said = "main  pg-1 serves; paused by root@vm (new switch)\n planned  switchover at 2027-05-06 07:08:09Z, in time"
    assert shows(said, "pg-1 serves; paused by ann@manager1 (new switch)")
    assert shows(said, "planned switchover at 2026-01-02 03:00:00Z, …")
    assert not shows(said, "paused by ann@manager1 (noisy disk)")


@pytest.mark.parametrize("text", [one for one in BY_HAND if one.startswith("make ")])
def test_what_is_left_to_people_is_at_least_a_target(text: str) -> None:
    made = subprocess.run(
        [*text.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert made.returncode == 0, made.stderr
    assert all(word.partition("=")[2] in made.stdout for word in text.split() if "=" in word)


def _telling(text: str) -> list[str]:
    """The verb, what it is about, and every option."""
    words = text.split()[1:]
    verb, *rest = words
    kinds = [word for word in rest[:1] if verb in ("drill", "notify") and not word.startswith("-")]
    return [verb, *kinds, *(word for word in rest if word.startswith("-")), *(w for w in rest if w in ("on", "off"))]


@cache
def _source(named: str) -> str:
    """Of a function, or of a whole file."""
    file, _, name = named.partition("::")
    text = (ROOT / file).read_text()
    if not name:
        return text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return ast.get_source_segment(text, node) or ""
    raise AssertionError(f"there is no {named}")
