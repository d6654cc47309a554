"""The log: one line for each thing, for people or for programs, and the same words in both."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from pgswarm import logs

SCRIPT = """
import sys
from loguru import logger
from pgswarm import logs
logs.begin("operator", sys.argv[1])
logger.bind(cluster="main").info("main: {} \\u00fc", "write the record")
logs.pass_on("postgres", b"LOG:  a\\nLOG: half", [b"LOG:  a"])
try:
    raise KeyError("x")
except KeyError as exc:
    logger.opt(exception=exc).error("it failed")
"""


def written(form: str, **env: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, timeout=20, check=True, env=env
    )
    return done.stderr.splitlines()


def test_for_programs_each_line_is_an_object() -> None:
    said, postgres, failed = (json.loads(line) for line in written("json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.pop("at"))
    assert said == {"level": "info", "process": "operator", "cluster": "main", "text": "main: write the record ü"}
    assert (postgres["process"], postgres["text"]) == ("postgres", "LOG:  a")
    assert failed["level"] == "error"
    assert "KeyError: 'x'" in failed["error"]


def test_for_people_it_is_text_and_what_postgresql_writes_is_passed_on_as_it_is() -> None:
    first, postgres, *_ = written("text", PGSWARM_LOG_FORMAT="json")
    assert first.endswith("INFO    operator main: write the record ü")
    assert postgres == "LOG:  a"
    assert json.loads(written("", PGSWARM_LOG_FORMAT="json")[0])["process"] == "operator"


@pytest.mark.parametrize(
    ("words", "form"),
    [([], ""), (["--log-format", "json"], "json"), (["--log-format=text"], "text"), (["--help"], None)],
)
def test_an_agent_understands_these_words_without_the_command_line(words: list[str], form: str | None) -> None:
    assert logs.chosen(words) == form
