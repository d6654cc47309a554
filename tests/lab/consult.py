"""`pgswarm doctor` asked as a person asks it, and what it prescribes done as a person does it.

A `Sign` is what a finding is known by: its check, its level, and words that only this one has. What the lab's tests
provoke stands in them as literals, so that `tests/core/test_doctor_on_lab.py` can see, without any lab, that every
finding that core can make is provoked here by a real cause, or stands in `NOT_HERE` with the reason why it cannot be.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from house import Whole

from pgswarm.drill.stage import TOP, Broken, Container, LabStage, wait_for

Found = dict[str, Any]

NOT_HERE: tuple[tuple[str, str, str, str], ...] = (
    ("swarm-quorum", "note", "an even number", "four managers, and the lab is made with three nodes or made anew"),
    ("engine-version", "bad", "has Docker", "there is one engine on this machine, and it is not that old"),
    ("engine-version", "note", "hard to find", "there is one engine on this machine, the same on every node"),
    ("clocks", "warn", "off this manager's", "all nodes share the clock of one kernel"),
    ("replication", "bad", "does not stream", "within a second or two the agent says why, and that is found instead"),
    ("secrets", "bad", "no Swarm secret", "Swarm keeps a secret that a service uses, and without one no doctor begins"),
    ("documents", "warn", "has read them", "it takes a doctor beside no operator while none answers: seen by no shell"),
    ("routers-agree", "bad", "sends writers to", "a router gives up an old primary at the first word of a newer term"),
    ("application-path", "bad", "to a standby", "the same: a router closes its gate before its primary is demoted"),
)
"""Findings that no honest cause on this lab makes last: check, level, words, and why. Their unit tests provoke them."""


@dataclass(frozen=True, slots=True)
class Sign:
    """By what a finding is known; `of` is a name that belongs to this site."""

    check: str
    level: str
    words: str
    of: str = ""

    def is_of(self, one: Found) -> bool:
        said = f"{one['what']} {one['why']}"
        return (one["check"], one["level"]) == (self.check, self.level) and self.words in said and self.of in said


def findings(whole: Whole, cluster: str = "", *, node: int = 1) -> list[Found]:
    """Everything that is found, from a manager's shell. Its exit code and its words are in order, or this fails."""
    began = time.monotonic()
    done = _as_a_person(whole, ["doctor", *([cluster] if cluster else []), "-o", "json"], node)
    if not done.stdout:
        raise Broken(f"pgswarm doctor: exit {done.returncode}: {done.stderr}")
    found: list[Found] = json.loads(done.stdout)
    print(f"doctor on node {node}: {time.monotonic() - began:.1f} s, {len(found)} findings")
    assert done.returncode == any(one["level"] == "bad" for one in found), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert all(one["why"] and one["mend"] for one in found if one["level"] != "good"), found
    return found


def expect(whole: Whole, *signs: Sign, cluster: str = "", node: int = 1, deadline: float = 60) -> list[Found]:
    """Wait until all of them are found at once; the findings, in the order of the signs."""
    seen: list[Found] = []

    def look() -> list[Found] | None:
        seen[:] = findings(whole, cluster, node=node)
        each = [next((one for one in seen if sign.is_of(one)), None) for sign in signs]
        return [one for one in each if one is not None] if None not in each else None

    def picture() -> str:
        missing = [sign for sign in signs if not any(sign.is_of(one) for one in seen)]
        return f"not found: {missing}\n" + _listed(seen)

    return wait_for(look, f"doctor finds {', '.join(sign.check for sign in signs)}", deadline, picture)


def expect_none(whole: Whole, *signs: Sign, cluster: str = "", node: int = 1, deadline: float = 120) -> list[Found]:
    """Wait until none of them is found any more; everything that is found then."""
    seen: list[Found] = []

    def look() -> list[Found] | None:
        seen[:] = findings(whole, cluster, node=node)
        return seen if not any(sign.is_of(one) for sign in signs for one in seen) else None

    return wait_for(
        look, f"{', '.join(sign.check for sign in signs)} to be good again", deadline, lambda: _listed(seen)
    )


def do(whole: Whole, one: Found, given: Mapping[str, str] | None = None, *, node: int = 1) -> str:
    """The first command of what mends it, typed as it stands, but for the words that are `given` for a person's own."""
    command = re.findall(r"`([^`]*)`", one["mend"])[0]
    words = [(given or {}).get(word, word) for word in shlex.split(command)]
    print(f"mending {one['check']}: {shlex.join(words)}")
    if words[0] == "docker":
        return whole.stage.docker(*words[1:], node=node)
    assert words[0] == "pgswarm", command
    return say(whole, *words[1:], node=node)


def say(whole: Whole, *words: str, node: int = 1) -> str:
    """`pgswarm …` in the shell of a manager; what it prints. Raises Broken."""
    done = _as_a_person(whole, list(words), node)
    if done.returncode:
        raise Broken(f"pgswarm {shlex.join(words)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def sql(whole: Whole, member: str, text: str, database: str = "postgres") -> str:
    """As superuser, on a member, whatever is in the text."""
    return whole.sql(re.sub(r'([\\"$`])', r"\\\1", text), database, member)


def on(whole: Whole, node: int, script: str) -> str:
    """A line of shell on a node, beside its containers."""
    return whole.stage.lab("exec", str(node), "--", "sh", "-c", script)


def router(whole: Whole, node: int, service: str = "main_postgres-ha") -> Container:
    """The router's container on a node."""
    wanted = f"label=com.docker.swarm.service.name={service}"

    def look() -> Container | None:
        found = whole.stage.docker("ps", "-q", "--filter", wanted, node=node).split()
        return Container(node=node, id=found[0]) if found else None

    return wait_for(look, f"a router on node {node}", 60)


def _as_a_person(whole: Whole, words: list[str], node: int) -> subprocess.CompletedProcess[str]:
    """The command on this machine, with nothing but the socket of a manager."""
    try:
        return subprocess.run(
            [str(TOP / ".venv/bin/pgswarm"), *words],
            env={**os.environ, **_socket(whole.stage, node)},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise Broken(f"not within {expired.timeout:g} s: the end of pgswarm {shlex.join(words)}") from None


@functools.cache
def _socket(stage: LabStage, node: int) -> dict[str, str]:
    return stage.socket(node)


def _listed(found: list[Found]) -> str:
    rows = [f"{one['level']:<4} {one['where']} {one['check']}: {one['what']}" for one in found]
    return "\n".join(rows)
