"""Volumes that fill, on the lab: each member on a small file system of its own, a client that writes all the while.

The volumes are made by hand before the cluster is, as somebody would who keeps PostgreSQL on a partition of its own:
local volumes that are bound to a place where a file system of 800 MB is mounted. What fills them is somebody else's
file, and, for the slot, PostgreSQL itself. Nothing is restarted or wished for in any of these: freed space heals it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from house import CLUSTER, MEMBERS, Whole, no_longer

from pgswarm import settings
from pgswarm.drill.stage import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

PLACE = "/srv/pgswarm-small"
SIZE = 800
SPARE = 30
"""Megabytes that are left where a disk is to be full, and PostgreSQL not to end of it at once."""

TOO_LITTLE = 72
"""Megabytes in which no clone fits."""


@pytest.fixture(scope="module")
def small(installed: Whole) -> Iterator[Whole]:
    """The cluster on small volumes, made anew; and the usual one for whoever comes after."""
    stage = installed.stage
    installed.repair()
    installed.remove()
    for member in MEMBERS:
        node = installed.node_of(member)
        _on(installed, member, f"mkdir -p {PLACE}; mount -t tmpfs -o size={SIZE}m,mode=0777 tmpfs {PLACE}")
        stage.docker(
            "volume", "create", "--label", f"{settings.LABEL_CLUSTER}={CLUSTER}", "--opt", "type=none",
            "--opt", "o=bind", "--opt", f"device={PLACE}", f"{CLUSTER}_{member}", node=node,
        )  # fmt: skip
    installed.password = stage.owner_password()
    yield installed
    installed.repair()
    for member in MEMBERS:
        _free(installed, member)
    installed.remove()
    for member in MEMBERS:
        _on(installed, member, f"umount -l {PLACE}")
    installed.password = stage.owner_password()


@pytest.fixture
def roomy(small: Whole) -> Iterator[Whole]:
    """Three counted members at rest, each with room."""
    small.heal()
    wait_for(lambda: all(_disk(small, member) < 60 for member in MEMBERS) or None, "room on every volume", 60)
    yield small
    for member in MEMBERS:
        _free(small, member)


def test_a_primary_whose_disk_fills_hands_over_once_and_stays_where_it_is(roomy: Whole) -> None:
    before = roomy.primary()
    with roomy.writing() as writing:
        _fill(roomy, before, leave=70)
        after = roomy.another_primary_than(before)
        gap = writing.goes_on()
        no_longer(gap, 10)
        wait_for(lambda: "disk" in _member(roomy.status(), before)["warning"] or None, "a warning of its disk", 60)
        _fill(roomy, after, leave=80)
        wait_for(lambda: _member(roomy.status(), after)["warning"] or None, "a warning", 60)
        third = next(one for one in MEMBERS if one not in (before, after))
        wait_for(lambda: roomy.primary() == third or None, "the third, which has room, to follow", 60)
        writing.goes_on()
        _free(roomy, before)
        _free(roomy, after)
        roomy.wait_healthy()
        assert roomy.primary() == third


def test_a_standby_whose_disk_is_full_is_done_without_and_comes_back(roomy: Whole) -> None:
    standby = roomy.standbys()[0]
    with roomy.writing() as writing:
        _fill(roomy, standby, leave=5)
        wait_for(lambda: "disk full" in _problem(roomy, standby) or None, "the standby says that its disk is full", 60)
        wait_for(lambda: not _member(roomy.status(), standby)["counted"] or None, "it to be done without", 60)
        gap = writing.goes_on()
        no_longer(gap, 10)
        _free(roomy, standby)
        roomy.wait_healthy()


def test_where_all_disks_are_full_reading_goes_on_and_nobody_follows_in_a_circle(roomy: Whole) -> None:
    primary, term = roomy.primary(), roomy.status()["term"]
    with roomy.writing() as writing:
        for member in (*roomy.standbys(), primary):
            _fill(roomy, member, leave=SPARE)
        wait_for(lambda: "read-only" in _problem(roomy, primary) or None, "the primary says that it only reads", 60)
        with psycopg.connect(roomy.target.conninfo(), connect_timeout=10, autocommit=True) as reader:
            assert reader.execute("SELECT count(*) > 0 FROM pgswarm_ledger").fetchone() == (True,)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                reader.execute("CREATE TABLE more()")
        status = roomy.status()
        assert (status["primary"], status["term"]) == (primary, term)
        _free(roomy, primary)
        # Else it would hand over to who is seen to have room first.
        wait_for(lambda: "read-only" not in _problem(roomy, primary) or None, "the primary sees that it has room", 60)
        for member in MEMBERS:
            _free(roomy, member)
        writing.goes_on()
        status = roomy.wait_healthy()
    assert (status["primary"], status["term"]) == (primary, term)


def test_the_slot_of_an_absent_member_goes_and_a_clone_that_does_not_fit_waits(roomy: Whole) -> None:
    primary = roomy.primary()
    absent = next(one for one in roomy.standbys() if roomy.node_of(one) != 1)  # node 1 is asked for the status
    node = roomy.node_of(absent)
    with roomy.writing() as writing:
        roomy.stage.lab("cut", str(node))
        writing.goes_on()
        for _ in range(6):
            roomy.sql(
                "SELECT count(pg_logical_emit_message(true, '', repeat('x', 10000000))) FROM generate_series(1, 2)"
            )
            roomy.sql("CHECKPOINT")
        held = wait_for(lambda: _held(roomy, primary, absent), f"log kept for {absent}", 60)
        assert "MB log kept for" in held
        for member in MEMBERS:  # whoever has room would be handed over to
            _fill(roomy, member, leave=120)
        wait_for(lambda: not _held(roomy, primary, absent) or None, "its slot to be dropped", 60)
        assert roomy.primary() == primary
        roomy.sql(
            "CHECKPOINT"
        )  # only that removes the log; what is still there could be streamed, until the disk is full
        writing.goes_on()
        _fill(roomy, absent, leave=TOO_LITTLE)
        roomy.stage.lab("heal", str(node))
        problem = wait_for(
            lambda: _clone_waits(roomy, absent), "its clone to wait", 120, lambda: roomy.stage.picture(CLUSTER)
        )
        # Whether the ballast was made again before decides which: that so much is missing, or that it is full as it is.
        assert "are missing" in problem or "nothing is received until there is room" in problem, problem
        for member in MEMBERS:
            _free(roomy, member)
        roomy.wait_healthy()


def _on(whole: Whole, member: str, script: str) -> str:
    """A line of shell on a member's node."""
    return whole.stage.lab("exec", str(whole.node_of(member)), "--", "sh", "-c", script)


def _fill(whole: Whole, member: str, *, leave: int) -> None:
    """Somebody else's file takes all but so many megabytes of a member's volume."""
    free = f"$(df -m --output=avail {PLACE} | tail -1)"
    own = f"$(stat -c %s {PLACE}/foreign 2>/dev/null || echo 0)"
    size = f"$(( {own} / 1048576 + {free} - {leave} ))"
    _on(whole, member, f"n={size}; [ $n -gt 0 ] && fallocate -l ${{n}}M {PLACE}/foreign")


def _free(whole: Whole, member: str) -> None:
    _on(whole, member, f"rm -f {PLACE}/foreign")


def _member(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in status["members"] if one["name"] == name)


def _problem(whole: Whole, member: str) -> str:
    return str(_member(whole.status(), member)["problem"])


def _clone_waits(whole: Whole, member: str) -> str | None:
    _fill(whole, member, leave=TOO_LITTLE)  # it frees its own old log as it goes, and then a clone might fit
    said = _problem(whole, member)
    return said if "disk full" in said else None


def _disk(whole: Whole, member: str) -> int:
    return int(str(_member(whole.status(), member)["disk"]).partition(" ")[0] or 100)


def _held(whole: Whole, primary: str, absent: str) -> str | None:
    disk = str(_member(whole.status(), primary)["disk"])
    return disk if f"log kept for {absent}" in disk else None
