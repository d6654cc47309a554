"""The rules of the house, for every file of it: what a reviewer would otherwise have to look for."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=20, check=False).stdout
    names = [name for name in listed.decode().split("\0") if name]
    if not names:  # not a checkout: an archive of one
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not {".venv", ".git"} & set(path.parts)]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


TRACKED = _tracked()
MODULES = [path for path in TRACKED if path.suffix == ".py"]
OURS = [path for path in MODULES if path.is_relative_to(ROOT / "operator")]
TEXTS = [path for path in TRACKED if path.suffix not in {".png", ".gz", ".lock"} and path.name != "LICENSE"]

UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
MACHINE = re.compile("|".join(("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/[a-z]", r"/tmp/(?:bash|prom)" + "[a-z_]*")))
INDEXES = re.compile("|".join(("py" + r"pi\.org", "python" + "hosted", "--extra-" + "index", "artifact" + "ory")))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{_name(path)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{_name(path)} has no docstring"


@pytest.mark.parametrize("path", OURS, ids=_name)
def test_no_module_is_longer_than_can_be_read_at_once(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_nothing_is_left_for_later() -> None:
    assert not _lines_with(UNFINISHED, TEXTS)


def test_nothing_hopes_by_sleeping() -> None:
    assert not _lines_with(re.compile(r"\btime\.sleep\("), OURS)


def test_nothing_depends_on_this_machine_or_on_an_index_of_packages() -> None:
    assert not _lines_with(MACHINE, TEXTS)
    assert not _lines_with(INDEXES, [path for path in TRACKED if path.name != "LICENSE"])


def test_the_folder_operator_is_no_package_because_the_standard_library_has_one_of_that_name() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_verbs_import_what_does_the_work_only_when_called() -> None:
    light = {
        "__future__",
        "collections",
        "dataclasses",
        "enum",
        "json",
        "os",
        "pathlib",
        "sys",
        "threading",
        "time",
        "traceback",
    }
    allowed = light | {"typing", "typer"}
    for path in OURS:
        if path.parent.name != "cli" or path.name == "show.py":
            continue
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module]
            for name in names:
                is_ours = name.startswith(("pgswarm.cli", "pgswarm.errors", "pgswarm.settings"))
                assert is_ours or name.split(".")[0] in allowed, f"{_name(path)} imports {name} at its top"
