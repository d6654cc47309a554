"""Every finding that core can make is provoked on the lab by a real cause, or is in the list of those that cannot be.

The lab's tests say what they provoke by `Sign`s with literal words; they are read here without running any of them, and
compared with what `test_checkup` provokes as facts. So a finding that nobody provokes on a real site shows at once.
"""

from __future__ import annotations

import ast
from pathlib import Path

from pgswarm.core import checkup
from pgswarm.core.findings import Finding
from tests.core.test_checkup import PROVOKED

LAB = Path(__file__).parents[1] / "lab"

Words = tuple[str, str, str]


def test_every_finding_is_provoked_on_the_lab_or_it_is_said_why_it_cannot_be() -> None:
    signs, reasons = _signs(), _reasons()
    made = [[one for one in checkup.checkup(given) if _is_of((check, level, text), one)]
            for check, level, text, given in PROVOKED]  # fmt: skip
    lost = [
        row[:3]
        for row, found in zip(PROVOKED, made, strict=True)
        if not any(_is_of(words, one) for words in (*signs, *reasons) for one in found)
    ]
    assert lost == []


def test_what_the_lab_provokes_is_what_core_says() -> None:
    said = [one for *_, given in PROVOKED for one in checkup.checkup(given)]
    assert [words for words in (*_signs(), *_reasons()) if not any(_is_of(words, one) for one in said)] == []


def test_what_is_provoked_on_the_lab_is_not_said_to_be_impossible() -> None:
    said = [one for *_, given in PROVOKED for one in checkup.checkup(given)]
    both = [
        (sign, reason)
        for sign in _signs()
        for reason in _reasons()
        if any(_is_of(sign, one) and _is_of(reason, one) for one in said)
    ]
    assert both == []


def _is_of(words: Words, one: Finding) -> bool:
    check, level, text = words
    return (one.check, one.level) == (check, level) and (text in one.what or text in one.why)


def _signs() -> list[Words]:
    """What the lab's tests look for."""
    found = []
    for path in sorted(LAB.glob("test_*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Sign":
                check, level, text = (ast.literal_eval(one) for one in call.args)
                found.append((check, level, text))
    assert found
    return found


def _reasons() -> list[Words]:
    tree = ast.parse((LAB / "consult.py").read_text())
    rows = next(
        ast.literal_eval(one.value)
        for one in tree.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.target.id == "NOT_HERE"
        if one.value is not None
    )
    assert all(reason for *_, reason in rows)
    return [(check, level, text) for check, level, text, _ in rows]
