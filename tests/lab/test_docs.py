"""The papers are typed, page by page, on an installed cluster: what they show is done, and what they say is seen.

`tests/papers` reads the commands and says which of them are typed here. They are typed in the shell of a manager with
nothing but the socket of its engine, in the order in which they stand, so that what one leaves the next one finds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from house import CLUSTER, Whole
from tests.papers import Command, commands
from tests.papers.played import BY_HAND, HERE, NAMED, Here, found
from tests.papers.run import folder, other, run, run_until, shows

from pgswarm.drill.stage import Broken, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

CTRL_C = (0, 130)
"""How a command ends that goes on until Ctrl-C: by itself, or where the signal has met it in the middle of a look."""
OURS = "docs-"
"""Begins the name of every secret and volume that is made here."""


class Reader:
    """Who reads the papers and types what they show."""

    def __init__(self, whole: Whole, where: Path) -> None:
        self.whole, self.where = whole, folder(where)
        self.wrong: list[str] = []
        self._names: dict[str, str] = {}
        self._seen: set[tuple[str, tuple[str, ...]]] = set()
        (self.where / "main.yaml").write_text(whole.document(parameters=", work_mem: 32MB"))

    def read(self, command: Command) -> None:
        how = HERE.get(found(command))
        seen = (command.text, command.quoted) in self._seen
        if how is None or (seen and (command.spoken_of or not how.again)):
            return
        self._seen.add((command.text, command.quoted))
        began = time.monotonic()
        ran = self._type(command.text, how)
        said = ran.stdout + ran.stderr
        print(f"{time.monotonic() - began:5.1f} s  {command}")
        codes = how.code if isinstance(how.code, tuple) else (how.code,)
        if ran.returncode not in (CTRL_C if how.endless else codes):
            self.wrong.append(f"{command}: exit {ran.returncode}: {said}")
        for words in (*how.says, *(command.quoted if how.quoted else ())):
            if not shows(said, other(words, self._names)):
                self.wrong.append(f"{command}: {words!r} is not in: {said}")
        self._until_it_has_come_about(how)

    def _type(self, text: str, how: Here) -> CompletedProcess[str]:
        names = self._real()
        node = {"manager": 1, "primary": int(names["PRIMARY"]), "standby": int(names["STANDBY"])}[how.at]
        line = other(other(text, how.given), names)
        first = f"{other(other(how.first, how.given), names)} && " if how.first else ""
        environment = {**self.whole.stage.environment, **self.whole.stage.socket(node)}
        if how.endless:

            def enough(said: str) -> bool:
                return all(shows(said, other(words, names)) for words in how.says)

            return run_until(enough, line, self.where, environment)
        return run(f"{first}{line}", self.where, environment)

    def _real(self) -> dict[str, str]:
        """What stands for the names of the papers; asked anew when somebody else may be primary."""
        if not self._names:
            primary, (standby, *_) = self.whole.primary(), self.whole.standbys()
            image = f"{self.whole.stage.environment['PGSWARM_REGISTRY']}pgswarm/member:{_tag()}"
            at, beside = self.whole.node_of(primary), self.whole.node_of(standby)
            named = {
                "pg-1": primary,
                "pg-2": standby,
                " NODE": " " + self.whole.stage.nodes[beside - 1],
                "IMAGE": image,
            }
            self._names = {**named, "PRIMARY": str(at), "STANDBY": str(beside)}
        return self._names

    def _until_it_has_come_about(self, how: Here) -> None:
        if how.work_mem:
            wait_for(lambda: self.whole.sql("SHOW work_mem") == how.work_mem or None, f"work_mem {how.work_mem}", 60)
        if how.healthy:
            self.whole.wait_healthy()
            self._names = {}


def _tag() -> str:
    return os.environ.get("PGSWARM_TAG", "dev")


@contextmanager
def _put_back(whole: Whole) -> Iterator[None]:
    """Wherever it ends, nothing is paused, fenced or planned, and what was made is gone."""
    try:
        yield
    except BaseException:
        standing = [("resume",), ("switchover", "--cancel"), *(("unfence", name) for name in whole.standbys())]
        for words in standing:
            with suppress(Broken):
                whole.stage.pgswarm(*words)
        raise
    finally:
        for kind in ("secret", "volume"):
            names = whole.stage.docker(kind, "ls", "--format", "{{.Name}}").split()
            ours = [name for name in names if name.startswith(OURS)]
            if ours:
                whole.stage.docker(kind, "rm", *ours)
        whole.stage.write_document(whole.document())


def test_who_types_what_the_papers_show_sees_what_they_say(whole: Whole, tmp_path: Path) -> None:
    with _put_back(whole):
        reader = Reader(whole, tmp_path / "here")
        for command in commands():
            reader.read(command)
        assert not reader.wrong, "\n\n".join(reader.wrong)
        whole.sql("DROP TABLE visits", database="cnv_project")
    whole.stage.wait_healthy(CLUSTER, members=3)


def test_docker_knows_each_of_its_verbs_that_the_papers_only_name_with_its_options(whole: Whole) -> None:
    for text in sorted(one for one in (*NAMED, *BY_HAND) if one.startswith("docker ")):
        words = text.split()[1:]
        verbs = words[: next((at for at, word in enumerate(words) if word.startswith("-")), len(words))]
        said = whole.stage.docker(*verbs, "--help")
        assert all(word in said for word in words[len(verbs) :] if word.startswith("--")), text
