"""Every command that README and docs show, and who runs it.

A command in a paper is a promise: who types it sees what the paper says. So each is run by a test, and this is how none
is forgotten. `commands` reads them all from the papers: every line of a fenced block of shell, and what stands in
backquotes and begins with `pgswarm`, `make` or `docker`. `tests/papers/played.py` says of each who runs it, in one of
five lists:

    ALONE     without any Swarm: tests/cli/test_docs_commands.py, in `make check`
    HERE      on an installed cluster, in the order of the page: tests/lab/test_docs.py
    THERE     another test, which is named; its source must hold the verb and the options
    NAMED     a verb of Docker's that is spoken of, without its words: Docker must know it
    BY_HAND   nobody: it takes an hour, or touches the machine of who types it; with the reason

A command that stands in none of them fails `make check`, and so does an entry that no paper shows any more. Where a
comment beside a command has words in double quotes, those are what the reader is to see, and they are looked for.

`docs/reference` is generated, and tested where that is done (tests/cli/test_cli_manual.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAPERS = [ROOT / "README.md", *sorted(one for one in ROOT.glob("docs/**/*.md") if "reference" not in one.parts)]
PROGRAMS = ("pgswarm ", "make ", "docker ")
FENCE = re.compile(r"\s*```(\w*)\s*$")
SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a paper: where it stands, what is typed, and the comment beside it."""

    page: str
    line: int
    text: str
    comment: str = ""
    spoken_of: bool = False
    """It stands within a sentence, not in a block that is to be typed line by line."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"

    @property
    def with_comment(self) -> str:
        return f"{self.text}  # {self.comment}"

    @property
    def quoted(self) -> tuple[str, ...]:
        """What the reader is told to see."""
        return tuple(re.findall(r'"([^"]+)"', self.comment))


def commands() -> list[Command]:
    """All of them, page by page, in the order of each page."""
    return [one for path in PAPERS for one in _of(path)]


def _of(path: Path) -> Iterator[Command]:
    page = str(path.relative_to(ROOT))
    language: str | None = None
    begun: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence:
            assert not begun, f"{page}:{number}: a command that does not end: {begun}"
            language = fence[1] if language is None else None
        elif language is None:
            yield from _spans(page, number, line)
        elif language in ("sh", "bash", "console") or (not language and line.startswith(PROGRAMS)):
            begun.append(line.strip().removeprefix("$ ").removesuffix("\\"))
            whole = " ".join(begun)
            if line.endswith("\\") or (whole.startswith("for ") and not whole.endswith("done")):
                continue
            begun.clear()
            text, comment = _apart(whole)
            if text:
                yield Command(page=page, line=number, text=text, comment=comment)


def _spans(page: str, number: int, line: str) -> Iterator[Command]:
    for span in SPAN.findall(line):
        if span.startswith(PROGRAMS):
            yield Command(page=page, line=number, text=_apart(span)[0], spoken_of=True)


def _apart(line: str) -> tuple[str, str]:
    """The command and its comment; a # within quotes begins none."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1] == " "):
            return " ".join(line[:place].split()), line[place + 1 :].strip()
    return " ".join(line.split()), ""
