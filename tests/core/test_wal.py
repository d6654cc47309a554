"""Positions and the lineage, against explicit histories: every byte is written down with the timeline that wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgswarm.core.wal import Position, Reign, leaves_at, lies_on, next_timeline, parse_lsn, progress, show_lsn

History = list[int]
"""The timeline that wrote each byte."""


@st.composite
def lines(draw: st.DrawFn) -> tuple[list[Reign], dict[int, History]]:
    """A lineage and, for each of its timelines, everything that was ever written on it."""
    lineage = [Reign(term=1, incarnation="a/1", timeline=1, fork=0)]
    whole: dict[int, History] = {1: [1] * draw(st.integers(0, 8))}
    line = whole[1]
    for term in range(2, draw(st.integers(1, 6)) + 1):
        if draw(st.booleans()):
            lineage.append(lineage[-1].model_copy(update={"term": term}))  # raised: the same timeline
            continue
        fork = draw(st.integers(0, len(line)))
        timeline = lineage[-1].timeline + draw(st.integers(1, 2))
        lineage.append(Reign(term=term, incarnation="a/1", timeline=timeline, fork=fork))
        line = [*line[:fork], *([timeline] * draw(st.integers(0, 5)))]
        whole[timeline] = line
    return lineage, whole


@given(lines(), st.data())
def test_a_log_lies_on_the_line_exactly_if_it_is_a_beginning_of_what_the_line_has(
    made: tuple[list[Reign], dict[int, History]], data: st.DataObject
) -> None:
    lineage, whole = made
    timeline = data.draw(st.sampled_from(sorted(whole)))
    lsn = data.draw(st.integers(0, len(whole[timeline])))
    mine, line = whole[timeline][:lsn], whole[lineage[-1].timeline]
    if lies_on(Position(timeline=timeline, lsn=lsn), lineage):
        assert line[: len(mine)] == mine
    else:
        # Off the line by the lineage's word: the line left this timeline before that byte.
        assert any(reign.timeline != timeline and reign.fork < lsn for reign in lineage)
        assert timeline != lineage[-1].timeline


@given(lines(), st.data())
def test_of_two_logs_on_the_line_the_further_one_has_all_of_the_other(
    made: tuple[list[Reign], dict[int, History]], data: st.DataObject
) -> None:
    lineage, whole = made
    drawn = []
    for _ in range(2):
        timeline = data.draw(st.sampled_from(sorted(whole)))
        begins = next(reign.fork for reign in lineage if reign.timeline == timeline)
        # Nobody is on a timeline before its fork: that is where it switches to it.
        drawn.append(Position(timeline=timeline, lsn=data.draw(st.integers(begins, len(whole[timeline])))))
    behind, ahead = sorted(drawn, key=lambda position: progress(position, lineage))
    if lies_on(behind, lineage):
        assert lies_on(ahead, lineage)
        assert whole[ahead.timeline][: ahead.lsn][: behind.lsn] == whole[behind.timeline][: behind.lsn]


@given(lines(), st.data())
def test_a_log_leaves_the_line_with_the_first_byte_that_the_line_does_not_have(
    made: tuple[list[Reign], dict[int, History]], data: st.DataObject
) -> None:
    lineage, whole = made
    timeline = data.draw(st.sampled_from(sorted(whole)))
    begins = next(reign.fork for reign in lineage if reign.timeline == timeline)
    lsn = data.draw(st.integers(begins, len(whole[timeline])))
    mine, line = whole[timeline][:lsn], whole[lineage[-1].timeline]
    ends = [(one, mine.index(one) + mine.count(one)) for one in sorted(set(mine)) if one != timeline]
    position = Position(timeline=timeline, lsn=lsn)
    left = leaves_at(position, ends, lineage)
    assert (left is None) == lies_on(position, lineage)
    if left is not None:
        common = next((at for at, both in enumerate(zip(mine, line, strict=False)) if both[0] != both[1]), None)
        assert left.lsn == (min(len(mine), len(line)) if common is None else common)


def test_a_log_of_a_timeline_that_the_line_never_had_leaves_it_where_its_own_history_says() -> None:
    lineage = [
        Reign(term=1, incarnation="a/1", timeline=1, fork=0),
        Reign(term=3, incarnation="b/1", timeline=3, fork=80),
    ]
    assert leaves_at(Position(timeline=2, lsn=90), [(1, 50)], lineage) == Position(timeline=1, lsn=50)
    assert leaves_at(Position(timeline=2, lsn=90), [(1, 85)], lineage) == Position(timeline=1, lsn=80)
    assert leaves_at(Position(timeline=2, lsn=90), [], lineage) == Position(timeline=2, lsn=0)


def test_a_log_of_a_timeline_that_the_line_never_had_is_off_the_line() -> None:
    lineage = [Reign(term=1, incarnation="a/1", timeline=1, fork=0)]
    assert not lies_on(Position(timeline=2, lsn=0), lineage)
    assert progress(Position(timeline=2, lsn=900), lineage) < progress(Position(timeline=1, lsn=0), lineage)


def test_a_log_up_to_the_very_fork_can_follow_and_one_byte_more_cannot() -> None:
    lineage = [
        Reign(term=1, incarnation="a/1", timeline=1, fork=0),
        Reign(term=2, incarnation="b/1", timeline=2, fork=100),
    ]
    assert lies_on(Position(timeline=1, lsn=100), lineage)
    assert not lies_on(Position(timeline=1, lsn=101), lineage)


def test_a_later_fork_below_an_earlier_one_counts_for_all_timelines_before_it() -> None:
    lineage = [
        Reign(term=1, incarnation="a/1", timeline=1, fork=0),
        Reign(term=2, incarnation="b/1", timeline=2, fork=100),
        Reign(term=3, incarnation="c/1", timeline=3, fork=90),
    ]
    assert not lies_on(Position(timeline=1, lsn=95), lineage)
    assert lies_on(Position(timeline=1, lsn=90), lineage)


def test_a_new_timeline_is_above_all_that_anyone_may_have_used() -> None:
    lineage = [
        Reign(term=1, incarnation="a/1", timeline=1, fork=0),
        Reign(term=2, incarnation="b/1", timeline=7, fork=9),
    ]
    assert next_timeline(Position(timeline=1, lsn=9), lineage) == 8
    assert next_timeline(Position(timeline=9, lsn=9), lineage) == 10


@given(st.integers(0, 2**64 - 1))
def test_an_lsn_is_read_as_it_is_written(lsn: int) -> None:
    assert parse_lsn(show_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "12", "x/y", "1/"])
def test_what_is_no_lsn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"LSN|invalid literal"):
        parse_lsn(text)
