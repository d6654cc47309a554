"""What a drill has shown: the pause as the client counts it, what is missing, and whether the promise was kept."""

from __future__ import annotations

import pytest

from pgswarm.core.drilling import Announcement, Promise
from pgswarm.core.drillreport import Report, Said, Tape, in_words, judged

BLOW = 1000.0
"""By the listener's clock."""
AHEAD = 7.0
"""Seconds by which the listener's clock is ahead of the client's."""

KNOWN = Announcement(
    cluster="main", kind="postgres", primary="a", node="node-a", promise=Promise(seconds=1.0, lossless=True, text="…")
)


def tape(*pauses: tuple[float, float], until: float = 5.0, missing: int | None = 0, is_felt: bool = True) -> Tape:
    """A client that writes every hundredth of a second but in these pauses; times from the blow."""
    made, at, begin = Tape(), -2.0, BLOW - AHEAD
    acks = []
    while at < until:
        if not any(since < at < till for since, till in pauses):
            acks.append((begin + at, 0.005))
        at = round(at + 0.01, 3)
    made.take(Said(drill="ready", at=begin, acks=tuple(acks)), BLOW + 0.9)
    failures = ((begin - 1, "early"), *([(begin + 0.1, "cut")] if is_felt else []))
    made.take(Said(drill="wrote", at=begin + 1, failures=failures), BLOW + 1.02)
    made.take(Said(drill="end", at=begin + until, missing=missing), BLOW + until)
    return made


def report(said: Tape, **changes: object) -> Report:
    return judged(KNOWN, said, BLOW, [(BLOW + 0.2, "record", "term 2: b is primary")], successor="b", **changes)  # type: ignore[arg-type]


def test_the_pause_after_the_blow_is_the_outage_wherever_the_clocks_stand() -> None:
    said = report(tape((0.05, 0.4)))
    assert said.outage == pytest.approx(0.35, abs=0.011)
    assert said.outage_began == pytest.approx(0.05, abs=0.011)
    assert (said.kept, said.missing, said.failed) == (True, 0, 1), "what failed before the blow is not its effect"
    assert [mark.kind for mark in said.marks] == ["struck", "record", "first"]
    assert said.verdict.startswith("the promise was kept: writers paused for 0.3")


def test_a_pause_before_the_blow_is_not_its_effect() -> None:
    assert report(tape((-1.5, -0.5))).outage < 0.05


def test_a_pause_that_is_too_long_breaks_the_promise() -> None:
    said = report(tape((0.0, 1.5)))
    assert not said.kept
    assert "1.50 s, and 1 s were promised" in said.verdict


def test_writes_that_do_not_come_back_are_told_as_that() -> None:
    said = report(tape((0.1, 9.0)))
    assert not said.kept
    assert "had not come back" in said.verdict
    assert said.outage == pytest.approx(4.9, abs=0.02)


@pytest.mark.parametrize(("missing", "words"), [(3, "3 acknowledged writes are missing"), (None, "could not be seen")])
def test_a_missing_write_breaks_the_promise_and_so_does_not_knowing(missing: int | None, words: str) -> None:
    said = report(tape(missing=missing))
    assert not said.kept
    assert words in said.verdict


def test_where_loss_was_announced_it_is_told_and_breaks_nothing() -> None:
    known = KNOWN.model_copy(update={"promise": Promise(seconds=1.0, lossless=False, text="…")})
    said = judged(known, tape(missing=3), BLOW, [], successor="b")
    assert said.kept
    assert "3 acknowledged writes are missing, as said" in said.verdict


def test_a_blow_that_nobody_felt_is_no_proof() -> None:
    said = judged(KNOWN, tape(is_felt=False), BLOW, [])
    assert not said.kept
    assert "nobody has felt it" in said.verdict


def test_a_primary_that_was_started_anew_in_its_term_follows_itself() -> None:
    said = judged(KNOWN, tape((0.0, 0.5)), BLOW, [])
    assert (said.kept, said.successor) == (True, "a")


def test_a_client_that_said_nothing_proves_nothing() -> None:
    said = judged(KNOWN, Tape(), BLOW, [], successor="b")
    assert not said.kept
    assert in_words(said)


def test_the_picture_has_each_tenth_of_a_second_and_each_write_near_the_pause() -> None:
    said = report(tape((0.05, 0.4), until=10.0), whole_at=BLOW + 3.2)
    assert sum(said.writes) == said.acknowledged
    assert said.broken.count(1) == 2
    assert said.whole_after == 3.2
    assert 0 < len(said.near) < said.acknowledged
    assert Report.model_validate_json(said.model_dump_json()) == said
    assert any("0 of" in line for line in in_words(said))
