"""`durability: async` on real parts: a grant is lent, runs out, and nobody acknowledges beside its successor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from consult import Sign, expect
from house import DATABASE, OWNER, Whole, no_longer

from pgswarm.core.grant import TTL
from pgswarm.core.tenure import LENGTH
from pgswarm.drill.ledger import Ledger
from pgswarm.drill.stage import Container, wait_for

pytestmark = pytest.mark.lab

MORE = "  durability: async\n"


@pytest.fixture
def granted(whole: Whole) -> Whole:
    """Three members, the primary of which writes under a grant, at rest; going there interrupts nobody."""
    with whole.writing() as writing:
        whole.stage.write_document(whole.document(more=MORE))
        at_rest(whole)
        gap = writing.goes_on()
    print(f"from preferred to async: the longest pause was {gap.seconds:.2f} s, {gap.failed} failed")
    assert not gap.failed
    return whole


def at_rest(whole: Whole, deadline: float = 120) -> dict[str, Any]:
    """Under a grant, with everybody streaming."""

    def look() -> dict[str, Any] | None:
        status = whole.status()
        streaming = sum(1 for one in status["members"] if one["state"] == "streaming")
        found = status["durability"].startswith("async") and status["healthy"] and streaming == 2
        return status if found else None

    return wait_for(look, "three members under a grant", deadline, lambda: whole.stage.picture("main"))


@contextmanager
def ledger_of(whole: Whole) -> Iterator[Ledger]:
    """Writers whose losses are looked at, not forbidden."""
    with Ledger(whole.stage.target(whole.password, 5432, DATABASE, OWNER)) as ledger:
        ledger.wait_for_writes(50)
        yield ledger


def losses(whole: Whole, ledger: Ledger) -> int:
    """What is missing; if anything is, the status must say that something was given up."""
    ledger.stop()
    missing, said = len(ledger.missing()), whole.status()["losses"]
    print(f"{missing} of {ledger.acknowledged} acknowledged writes are gone; status: {said}")
    assert said or not missing
    return missing


def test_a_killed_container_is_succeeded_by_swarms_word_and_not_by_waiting(granted: Whole) -> None:
    before = granted.primary()
    with ledger_of(granted) as ledger:
        # Who has just taken the tenure does not know what was granted before: it has to have waited that out.
        ledger.wait_until_steady(span=LENGTH + 2, longest=5.0, deadline=90)
        mark = time.monotonic()
        granted.kill(granted.stage.container(granted.service(before)))
        ledger.wait_for_writes(50, deadline=60)
        gap = ledger.gap(mark)
        print(f"container killed: {gap.seconds:.2f} s without a write; {before}, then {granted.primary()}")
        losses(granted, ledger)
    no_longer(gap, TTL)  # nobody waited for the grant to run out
    at_rest(granted)


def test_a_primary_that_is_cut_off_stops_before_its_successor_begins(granted: Whole) -> None:
    before = off_the_raft_leader(granted)
    node = granted.node_of(before)
    own = granted.stage.container(granted.service(before))
    with ledger_of(granted) as ledger:
        writing_inside(granted, own, granted.stage.hosts[node - 1])
        wait_for(lambda: True if acknowledged(granted, own) else None, "writes on the side that will be cut", 30)
        mark = time.monotonic()
        granted.stage.lab("cut", str(node))
        ledger.wait_for_writes(50, deadline=90)
        gap = ledger.gap(mark)
        resumed = time.time() - (time.monotonic() - (gap.began + gap.seconds))
        said = acknowledged(granted, own)
        last = max(said)
        cut = time.time() - (time.monotonic() - mark)
        print(
            f"cut off: {gap.seconds:.2f} s without a write outside; inside the last was acknowledged "
            f"{last - cut:.2f} s after the cut, {resumed - last:.2f} s before the first of its successor"
        )
        assert last < resumed
        ledger.wait_for_writes(500, deadline=60)
        assert max(acknowledged(granted, own)) == last, "nor does it begin again beside its successor"
        granted.stage.lab("heal", str(node))
        assert at_rest(granted, deadline=300)["primary"] != before
        expect(granted, Sign("kept-log", "note", "of log that are not in", of=before))
        losses(granted, ledger)
    no_longer(gap, TTL + LENGTH + 10)


def test_with_no_operator_the_standbys_consent_keeps_it_writing_and_one_that_is_gone_ends_it(granted: Whole) -> None:
    standby = granted.stage.container(granted.service(granted.standbys()[0]))
    with ledger_of(granted) as ledger:
        granted.stage.docker("service", "rm", "pgswarm_operator")
        wait_for(lambda: None if granted.stage.operators() else True, "no operator container", 60)
        mark = time.monotonic()
        while time.monotonic() - mark < 2.5 * TTL:
            ledger.wait_for_writes(50, deadline=20)
        no_longer(ledger.gap(mark), 3)  # nobody was turned out
        granted.stage.docker("pause", standby.id, node=standby.node)
        paused = time.monotonic()
        try:
            stopped = wait_for(lambda: stands_still(ledger), "writes have stopped", 40)
            print(f"no operator and one standby gone: writes stopped {stopped - paused:.1f} s after")
        finally:
            granted.stage.docker("unpause", standby.id, node=standby.node)
        ledger.wait_for_writes(50, deadline=30)
        granted.stage.install()
        at_rest(granted, deadline=120)
        assert not losses(granted, ledger)


def test_back_to_preferred_interrupts_nobody(granted: Whole) -> None:
    with granted.writing() as writing:
        granted.stage.write_document(granted.document())
        granted.wait_healthy()
        gap = writing.goes_on()
    assert not gap.failed


def off_the_raft_leader(whole: Whole) -> str:
    """The primary, on another node than Swarm's Raft leader: then the record can be written while it is cut off."""
    before, leader = whole.primary(), whole.raft_leader()
    if whole.node_of(before) != leader:
        return before
    to = whole.standbys()[0]
    with ledger_of(whole) as ledger:
        whole.stage.pgswarm("switchover", "--to", to, deadline=90)
        ledger.wait_for_writes(50)
        assert whole.primary() == to
        assert not losses(whole, ledger)
    at_rest(whole)
    return to


def stands_still(ledger: Ledger) -> float | None:
    """Since when there was no write for two seconds, if there was none."""
    now = time.monotonic()
    return now - 2.0 if not ledger.gap(now - 2.0).acknowledged else None


def writing_inside(whole: Whole, own: Container, host: str) -> None:
    """A client beside the primary, through the router of its own node, that notes each acknowledgement."""
    make = f"psql -qAt 'host={host} dbname={DATABASE} user={OWNER}'"
    statement = "INSERT INTO inside DEFAULT VALUES;"
    script = (
        f"{make} -c 'CREATE TABLE IF NOT EXISTS inside (at timestamptz DEFAULT now())'; "
        f"while :; do while :; do echo '{statement}'; echo '\\! date +%s.%N >> /tmp/acknowledged'; sleep 0.02; done "
        f"| {make} -v ON_ERROR_STOP=1; sleep 0.1; done"
    )
    password = f"PGPASSWORD={whole.password}"
    whole.stage.docker("exec", "-d", "-e", password, own.id, "sh", "-c", script, node=own.node)


def acknowledged(whole: Whole, own: Container) -> list[float]:
    """When the client inside had its acknowledgements, by the clock of the machine that all nodes share."""
    text = whole.stage.docker("exec", own.id, "sh", "-c", "cat /tmp/acknowledged || true", node=own.node)
    return [float(line) for line in text.split()]
