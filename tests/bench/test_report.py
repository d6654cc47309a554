"""The document says what was measured, what was missed, and what was not measured."""

from __future__ import annotations

from typing import Any

from tests.bench.report import render

MACHINE = {"cores": 2, "cpu": "some", "memory_gib": 8, "kernel": "6", "load": 0.1, "versions": {"PostgreSQL": "17.1"}}


def kept(part: str, figures: Any) -> dict[str, Any]:
    about = {"part": part, "at": "2026-11-22T20:00:00+00:00", "took": 60.0, "quick": False, "commit": "abc"}
    return {part: {**about, "machine": MACHINE, "figures": figures}}


def sample(kind: str, outage: float, **more: Any) -> dict[str, Any]:
    told = {"kind": kind, "outage": outage, "slowest": outage, "failed": 2, "again": 0.1, "missing": 0, "elected": None}
    return {**told, **more}


def row(text: str, begin: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {begin}"))


def test_a_part_that_was_not_measured_is_named_with_the_command_that_does_it() -> None:
    text = render(kept("floor", {"seconds": [0.1]}))
    assert "Not measured yet: `make bench PARTS=clone`." in text
    assert "not measured" in row(text, "switchover, median")


def test_an_aim_is_met_or_missed_by_a_share() -> None:
    outages = [sample("postmaster killed", outage) for outage in (0.2, 0.4, 1.5)]
    text = render(kept("faults", {"samples": outages, "acknowledged": 9, "missing": 0}))
    assert "**missed by 33%**" in row(text, "postmaster killed, median")
    assert "**missed by 50%**" in row(text, "postmaster killed, worst")
    text = render(kept("load", {"rounds": {"our router": [99.0]}, "scale": 1, "clients": 1, "span": 1,
                                "ratios": {"router": 0.99, "direct": 1.0, "router_to_bare_primary": 0.8}}))  # fmt: skip
    assert row(text, "pgbench through").endswith("| met |")


def test_every_outage_is_told_as_a_ratio_to_the_floor_of_the_same_run() -> None:
    outages = {"samples": [sample("node cut off", 3.0)], "acknowledged": 9, "missing": 0}
    text = render({**kept("faults", outages), **kept("floor", {"seconds": [0.1, 0.1]})})
    assert "| 30.0 × |" in row(text, "node cut off |")


def test_a_part_that_was_ended_early_and_a_sample_that_broke_are_told() -> None:
    broken = "node frozen: no rest within 300 s"
    early = kept(
        "faults", {"samples": [sample("node cut off", 3.0)], "broken": [broken], "acknowledged": 9, "missing": 0}
    )
    early["faults"]["partial"] = True
    text = render(early)
    assert "**ended early**" in row(text, "faults")
    assert broken in text


def test_swarms_own_election_is_told_apart_from_ours() -> None:
    kind = "node of primary and Swarm's leader loses power"
    text = render(kept("faults", {"samples": [sample(kind, 13.4, elected=13.0)], "acknowledged": 9, "missing": 0}))
    assert "Swarm's own election took 13.0 s" in text
    assert "what came after it, 0.40 s" in text


def test_a_soak_that_broke_says_so() -> None:
    soak = {"seed": 1, "minutes": 2.0, "acknowledged": 5, "missing": 0, "broke": "no rest", "blows": []}
    text = render({"soak": soak})
    assert "**It broke: no rest**" in text


def test_of_a_part_that_was_not_measured_again_stays_what_the_document_says() -> None:
    floor = kept("floor", {"seconds": [0.1]})
    blows = {"samples": [sample("postmaster killed", 0.2)], "acknowledged": 9, "missing": 0}
    before = render({**floor, **kept("faults", blows)})
    after = render({**floor, **kept("load", {"rounds": {"our router": [99.0]}, "scale": 1, "clients": 1, "span": 1,
                                             "ratios": {"router": 0.9, "direct": 1.0, "router_to_bare_primary": 0.8}})},
                   before)  # fmt: skip
    assert row(after, "postmaster killed, median") == row(before, "postmaster killed, median")
    assert row(after, "postmaster killed | 1") == row(before, "postmaster killed | 1")
    assert row(after, "faults |") == row(before, "faults |")
    assert row(after, "load |")
    assert "Not measured yet: `make bench PARTS=clone`." in after
    assert "**missed by 7%**" in row(after, "pgbench through")
    again = render({**floor, **kept("faults", {**blows, "samples": [sample("postmaster killed", 0.4)]})}, before)
    assert "**missed by 33%**" in row(again, "postmaster killed, median"), "what is measured now counts"
    assert render({}, before) == before
