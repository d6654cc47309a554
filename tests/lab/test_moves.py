"""Members are added, moved, removed, and made anew where their node is gone for good; a client writes all the while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from house import CLUSTER, Whole, no_longer

from pgswarm.drill.stage import Broken, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

FELT = 5.0
"""Seconds without an acknowledged write at most, on a busy machine, where a switchover is all that is felt."""


def document(whole: Whole, more: str = "", /, **where: int | None) -> str:
    """`pg_d=2` is a member pg-d on node2; None leaves its node open."""
    rows = []
    for name, node in where.items():
        named = f", node: {whole.stage.nodes[node - 1]}" if node else ""
        rows.append(f"    - {{name: {name.replace('_', '-')}{named}}}")
    head, _, rest = whole.document(members=("pg-a",), more=more).partition("  instances:\n")
    return f"{head}  instances:\n" + "\n".join(rows) + "\n" + rest.partition("\n")[2]


def homes(status: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["node"] for one in status["members"]}


def settled(whole: Whole, deadline: float = 240, **where: int) -> dict[str, Any]:
    """All of these are counted, at these nodes, and nothing is left to do."""
    wanted = {name.replace("_", "-"): whole.stage.nodes[node - 1] for name, node in where.items()}

    def look() -> dict[str, Any] | None:
        status = whole.status()
        counted = all(one["counted"] for one in status["members"])
        return status if status["healthy"] and counted and homes(status) == wanted else None

    return wait_for(look, f"{wanted} at rest", deadline, lambda: whole.stage.picture(CLUSTER))


def _stays(whole: Whole) -> str | None:
    return next((text for text in whole.status()["waits"] if "Add another instance first" in text), None)


def volume(whole: Whole, name: str, node: int) -> bool:
    return name in whole.stage.docker("volume", "ls", "-q", node=node).split()


@contextmanager
def put_back(whole: Whole) -> Iterator[None]:
    """Whatever happens, the nodes are whole and the members where all other tests expect them."""
    try:
        yield
    finally:
        whole.repair()
        whole.stage.write_document(whole.document())
        settled(whole, 300, pg_a=1, pg_b=2, pg_c=3)


def test_members_are_added_moved_and_removed_and_who_writes_hardly_notices(whole: Whole) -> None:
    with put_back(whole), whole.writing() as writing:
        primary = whole.primary()
        whole.stage.write_document(document(whole, pg_a=1, pg_b=2, pg_c=3, pg_d=2))
        settled(whole, pg_a=1, pg_b=2, pg_c=3, pg_d=2)
        added = writing.goes_on()

        standby = next(name for name in ("pg-c", "pg-b") if name != primary)
        there = {"pg_a": 1, "pg_b": 2, "pg_c": 3, standby.replace("-", "_"): 1}
        whole.stage.write_document(document(whole, **there))  # pg-d leaves, another moves
        status = settled(whole, **there)
        moved = writing.goes_on()
        assert any(f"main_{standby} on" in text and "has moved to" in text for text in status["volumes"])
        assert volume(whole, f"main_{standby}", whole.node_of(standby)), "its old volume is kept"
        assert any("main_pg-d on node2: pg-d has left it" in text for text in status["volumes"])

        own = there[primary.replace("-", "_")]
        there[primary.replace("-", "_")] = own % 3 + 1
        whole.stage.write_document(document(whole, **there))
        status = settled(whole, **there)
        handed_over = writing.goes_on()
        assert status["primary"] != primary

        two = {"pg_a": there["pg_a"], "pg_b": there["pg_b"]}
        whole.stage.write_document(document(whole, **two))
        settled(whole, **two)
        whole.stage.write_document(document(whole, pg_a=there["pg_a"], pg_b=there["pg_b"] % 3 + 1))
        said = wait_for(lambda: _stays(whole), "why the only other copy stays", 90)
        assert "there would be one copy only" in said
        print(f"longest pause: added {added}, moved {moved}, primary moved {handed_over}")
        for gap in (added, moved, handed_over):
            no_longer(gap, FELT)


def test_a_node_that_is_gone_for_good_gets_its_members_made_elsewhere(whole: Whole) -> None:
    """One that is cut off for longer than replaceAfter, whose old container lives on; and one that leaves the Swarm."""
    if whole.primary() != "pg-a":
        whole.switch_over("pg-a")
    with put_back(whole), whole.writing() as writing:
        whole.stage.write_document(document(whole, "  replaceAfter: 10s\n", pg_a=1, pg_b=None, pg_c=None))
        settled(whole, pg_a=1, pg_b=2, pg_c=3)
        old = whole.stage.container(whole.service("pg-c"))
        writing.goes_on()
        whole.stage.lab("cut", "3")
        at = _counted_away_from(whole, "pg-c", "node3")
        assert whole.is_running(old), "nobody could end it there"
        print(f"cut off: {writing.goes_on()}")
        whole.stage.lab("heal", "3")
        wait_for(lambda: None if whole.is_running(old) else True, "Swarm ends the old container", 150)
        assert homes(whole.status())["pg-c"] == at
        assert volume(whole, "main_pg-c", 3), "its old volume is kept"

        writing.goes_on()
        whole.stage.docker("swarm", "leave", "--force", node=2)
        wait_for(lambda: _taken_out(whole, "node2"), "node2 is taken out of the Swarm", 120)
        _counted_away_from(whole, "pg-b", "node2")
        print(f"node removed: {writing.goes_on()}")


def _counted_away_from(whole: Whole, member: str, node: str) -> str:
    """Where a member is counted, once that is elsewhere."""

    def look() -> str | None:
        one = next(one for one in whole.status()["members"] if one["name"] == member)
        return str(one["node"]) if one["counted"] and one["node"] != node else None

    return wait_for(look, f"{member} counted elsewhere than on {node}", 150, lambda: whole.stage.picture(CLUSTER))


def _taken_out(whole: Whole, node: str) -> bool | None:
    """As a person does it: demote, then remove; refused until Swarm has noticed that the node is down."""
    listed = whole.stage.docker("node", "ls", "--format", "{{.Hostname}}").split()
    if node not in listed:
        return True
    try:
        whole.stage.docker("node", "demote", node)
        whole.stage.docker("node", "rm", "--force", node)
    except Broken:
        return None
    return True
