"""The reference is what the program says, and every link and command in the papers leads somewhere."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from pgswarm.cli import app, manual

ROOT = Path(__file__).parents[2]
PAPERS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("operator/**/*.md"), *ROOT.glob("stack/**/*.md")]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("part", ["document", "commands"])
def test_the_reference_is_as_the_program_says(part: str) -> None:
    lines = manual.documents() if part == "document" else manual.commands(app)
    kept = (ROOT / "docs" / "reference" / f"{part}.md").read_text()
    assert "\n".join(lines) + "\n" == kept, "`make reference` makes it anew"


@pytest.mark.parametrize("path", PAPERS, ids=_name)
def test_every_link_to_a_file_or_heading_leads_there(path: Path) -> None:
    text = FENCE.sub("", path.read_text())
    for target in LINK.findall(text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, heading = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{_name(path)} links to {target}"
        if heading and there.suffix == ".md":
            assert heading in _headings(there), f"{_name(path)} links to {target}"


@pytest.mark.parametrize("path", PAPERS, ids=_name)
def test_every_command_of_ours_in_the_papers_has_words_that_the_program_knows(path: Path) -> None:
    for line in _commands(path):
        words = shlex.split(line, comments=True)
        verb = _verbs().get(words[1] if len(words) > 1 else "")
        if len(words) < 2 or words[1].startswith("-"):
            continue
        assert verb is not None, f"{_name(path)}: {line}: there is no such verb"
        known = {"-h", "--help", *(name for one in verb.params for name in (*one.opts, *one.secondary_opts))}
        for word in words[2:]:
            if word in ("--", "|", ">", "<", "&&", "||", ";"):
                break
            option = word.partition("=")[0]
            if option.startswith("-") and option != "-":
                assert option in known, f"{_name(path)}: {line}: {option} is no option of {words[1]}"


@pytest.mark.parametrize("path", PAPERS, ids=_name)
def test_every_make_target_in_the_papers_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = path.read_text()
    lines = [line for language, body in FENCE.findall(text) if language == "sh" for line in body.splitlines()]
    lines += re.findall(r"`(make [^`\n]+)`", FENCE.sub("", text))
    for target in (found[1] for line in lines if (found := re.match(r"make ([a-z][a-z0-9-]*)", line.strip()))):
        assert target in targets, f"{_name(path)}: make {target}"


def _commands(path: Path) -> list[str]:
    """Lines of shell blocks and spans of code that call `pgswarm`, one call each."""
    text = path.read_text()
    blocks = [body for language, body in FENCE.findall(text) if language in ("sh", "bash", "console")]
    lines = [line.strip().removeprefix("$ ") for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    lines += [span for span in re.findall(r"`(pgswarm [^`\n]+)`", FENCE.sub("", text)) if "…" not in span]
    calls = [part.strip() for line in lines for part in re.split(r"&&|\|\||;", line)]
    return [call for call in calls if call.startswith("pgswarm ") and not re.match(r"pgswarm [A-Z]", call)]


@cache
def _verbs() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    return dict(root.commands)


@cache
def _headings(path: Path) -> set[str]:
    """The anchors that a Markdown viewer makes of the headings."""
    text = FENCE.sub("", path.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
