"""What a person is shown before a wish is spoken: the same rules that will fulfil it, in words."""

from __future__ import annotations

from typing import Any

from pgswarm.core.proposal import Kind, Proposal, propose
from pgswarm.core.record import Record
from pgswarm.core.world import World
from tests.core.builders import NOW, heard, primary, promiser, record, standby, world

THREE = record("abc", 2, sync="bc")
DEAD = {"ago": 9.0, "closed": 9.0}


def shown(seen: World, kind: Kind, *, of: Record = THREE, to: str | None = None, **more: Any) -> Proposal:
    return propose(seen, of, kind, to, more.pop("dead", ()), NOW, **more)


def well() -> World:
    return world(THREE, primary(THREE, "bc"), standby(THREE, "b"), standby(THREE, "c"))


def test_a_switchover_says_who_takes_over_and_that_nothing_is_lost() -> None:
    said = shown(well(), "switchover")
    assert not said.refusal
    assert said.lines[0] == "a (node-a) is primary of term 1"
    assert said.lines[1].startswith("b (node-b) takes over; it has")
    assert shown(well(), "switchover", to="c").lines[1].startswith("c (node-c) takes over")


def test_what_cannot_be_is_refused_before_it_is_wished() -> None:
    assert shown(well(), "switchover", to="a").refusal == "a is primary already"
    assert shown(well(), "switchover", to="x").refusal == "there is no member x; there is: a, b, c"
    assert "there is no member y" in shown(well(), "accept-loss", dead=("y",)).refusal
    gone = world(THREE, heard(primary(THREE), **DEAD), standby(THREE, "b"), standby(THREE, "c"))
    assert "pgswarm failover" in shown(gone, "switchover").refusal


def test_a_failover_says_whose_promises_it_needs() -> None:
    said = shown(well(), "failover")
    assert "2 of a, b, c must promise" in said.lines[1]
    assert "can be asked: b, c" in said.lines[1]
    lone = world(THREE, primary(THREE), standby(THREE, "b"))
    assert "too few others" in shown(lone, "failover").refusal


def test_accepting_loss_proposes_those_who_cannot_be_asked_with_the_last_that_is_known_of_them() -> None:
    seen = world(THREE, heard(primary(THREE), **DEAD), promiser(THREE, "c", 1, settled=False, promised=1))
    said = shown(seen, "accept-loss", known={"b": "0/5000 tl 1"})
    assert said.dead == ("a", "b")
    text = "\n".join(said.lines)
    assert "cannot be asked: a (a closed its connection" in text
    assert "the operator last heard it at 0/5000 tl 1" in text
    assert "can be asked: c at" in text
    assert "lost to the cluster, for good" in text
    assert shown(seen, "accept-loss", dead=("a",)).dead == ("a",)


def test_where_nothing_needs_to_be_lost_it_says_so() -> None:
    assert "nothing needs to be lost" in shown(well(), "accept-loss").refusal
    enough = world(THREE, heard(primary(THREE), **DEAD), standby(THREE, "b"), standby(THREE, "c"))
    assert "those who can be asked suffice: nothing needs to be lost" in shown(enough, "accept-loss").lines
