"""What a person asks for, on real parts: a switchover under a writing client, and loss that is accepted by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from house import CLUSTER, Whole, incarnation, no_longer, stayed, why_primary

from pgswarm.drill.guests import Guests
from pgswarm.drill.ledger import Gap, Ledger
from pgswarm.drill.stage import Broken, Container, wait_for

pytestmark = pytest.mark.lab

ROUNDS = 5


def test_a_switchover_is_a_short_pause_in_which_no_new_connection_fails(whole: Whole) -> None:
    held = {name: incarnation(whole, name) for name in (whole.primary(), *whole.standbys())}
    gaps: list[Gap] = []
    # Held for long is not turned away: on a starved machine a guest waits rather than give up.
    patient = replace(whole.target, connect_timeout=60)
    with whole.writing() as writing, Guests(patient) as guests:
        for _ in range(ROUNDS):
            before, to = whole.primary(), whole.standbys()[0]
            said = whole.stage.pgswarm("switchover", "--to", to, "--timeout", "30", deadline=60)
            gaps.append(writing.goes_on())
            assert f"switchover to {to}: {before} has promised" in " ".join(said.split())
            assert whole.another_primary_than(before) == to
            whole.stage.wait_healthy(CLUSTER, members=3)
            writing.goes_on()
        refused = guests.refused
    gaps.sort(key=lambda gap: gap.seconds)
    print(f"switchover, the shortest first: {', '.join(f'{gap.seconds * 1000:.0f}' for gap in gaps)} ms")
    assert guests.greeted > 50
    assert not refused, refused[:5]
    assert {name: incarnation(whole, name) for name in held} == held, "nobody was rewound or made anew"
    no_longer(gaps[ROUNDS // 2], 2)


def test_a_switchover_that_cannot_be_had_is_refused_and_nothing_happens(whole: Whole) -> None:
    before = whole.primary()
    with whole.writing() as writing:
        for words in (["--to", before], ["--to", "nobody"]):
            with pytest.raises(Broken, match=r"is primary already|there is no member nobody"):
                whole.stage.pgswarm("switchover", *words)
        assert writing.goes_on().failed == 0
    stayed(whole, before)


def test_loss_is_accepted_by_name_when_two_of_three_members_are_gone(whole: Whole) -> None:
    primary, (dead, last) = whole.primary(), whole.standbys()
    with Ledger(whole.target) as ledger:
        ledger.wait_for_writes(50)
    gone = [whole.stage.container(whole.service(name)) for name in (primary, dead)]
    for one in gone:
        whole.stage.docker("pause", one.id, node=one.node)
    try:
        wait_for(lambda: True if _waits_for(whole, dead) else None, "no failover without a person", 60)
        with pytest.raises(Broken, match="not named dead"):
            whole.stage.pgswarm("failover", "--accept-data-loss", "--dead", primary, "--yes", deadline=100)
        shown = whole.stage.pgswarm("failover", "--accept-data-loss", "--dry-run")
        for name in (primary, dead):
            assert f"cannot be asked: {name}" in " ".join(shown.split())
        words = ["--dead", primary, "--dead", dead, "--yes"]
        said = whole.stage.pgswarm("failover", "--accept-data-loss", *words, deadline=100)
        assert "loss accepted by" in said
        assert whole.another_primary_than(primary) == last
        assert not ledger.missing(), "the last one had streamed everything; nothing was lost in fact"
    finally:
        for one in gone:
            whole.stage.docker("unpause", one.id, node=one.node)
    status = whole.stage.wait_healthy(CLUSTER, members=3, deadline=240)
    assert status["primary"] == last
    assert "loss accepted by" in status["answer"]
    assert "given up: " in status["answer"]


def _waits_for(whole: Whole, member: str) -> bool:
    return any("no failover" in text and member in text for text in whole.status()["waits"])


def _given_up(whole: Whole, primary: Container) -> str:
    """What a primary that was told to stop says if nobody took over in the time that it has for that."""
    try:
        log = whole.stage.docker_all("logs", primary.id, node=primary.node)
    except Broken:  # Swarm keeps only the newest few containers of a service
        return ""
    return next((line for line in log.splitlines() if "no successor after" in line), "")


@pytest.mark.parametrize("how", ["stop", "update", "drain"])
def test_a_primary_that_is_told_to_stop_is_handed_over(whole: Whole, how: str) -> None:
    before = whole.primary()
    found = whole.stage.container(whole.service(before))
    node = whole.stage.nodes[found.node - 1]
    other = next(number for number in (1, 2, 3) if number != found.node)
    words = {
        "stop": ("stop", found.id),
        "update": ("service", "update", "--detach", "--force", whole.service(before)),
        "drain": ("node", "update", "--availability", "drain", node),
    }[how]
    try:
        with whole.writing() as writing:
            whole.stage.docker(*words, node=found.node if how == "stop" else other)
            after = whole.another_primary_than(before, node=other)
            gap = writing.goes_on()
            print(f"{how}: {gap.seconds:.3f} s, {before} to {after}")
        why = why_primary(whole, after, node=other)  # not by the one who decided: it may have been drained as well
        words = (f"{before} was told to stop and has promised", f"switchover to {after}: {before} ")
        if not any(word in why for word in words):
            given_up = _given_up(whole, found)
            if given_up:
                raise Broken(f"not within the time of a hand-over: a decision of an operator; {given_up}; {why}")
            pytest.fail(f"one that is found lost has promised nothing: {why}")
    finally:
        if how == "drain":
            whole.stage.docker("node", "update", "--availability", "active", node, node=other)
    whole.stage.wait_healthy(CLUSTER, members=3)
