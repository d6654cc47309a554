"""Diverged log kept aside, without PostgreSQL: what is copied, how much at most, and what a crash leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgswarm.core.reports import Kept
from pgswarm.core.wal import Position, Reign
from pgswarm.member import aside, waldir
from pgswarm.member.config import Config, from_environment

SIZE = 1 << 20
LINE = [
    Reign(term=1, incarnation="a/1", timeline=1, fork=0),
    Reign(term=2, incarnation="b/1", timeline=2, fork=5 * SIZE + 7),
]
OFF = Position(timeline=1, lsn=7 * SIZE + 9)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    names = {"PGSWARM_CLUSTER": "main", "PGSWARM_MEMBER": "a", "PGSWARM_BINDIR": "/usr/bin"}
    made = replace(from_environment(names), volume=tmp_path)
    made.wal.mkdir(parents=True)
    for number in range(10):
        (made.wal / waldir.segment(1, number * SIZE, SIZE)).write_bytes(bytes(SIZE))
    return made


def keep(
    config: Config, until: Position = OFF, held: str = "a/0000000a", line_end: Position | None = None
) -> Kept | None:
    return aside.keep(config, held, 1, until, LINE, line_end, SIZE)


def names(config: Config, kept: Kept) -> list[str]:
    return sorted(path.name for path in (config.volume / kept.folder).iterdir())


def test_the_log_from_the_fork_to_its_end_is_copied_and_described(config: Config) -> None:
    kept = keep(config)
    assert kept is not None
    segments = [waldir.segment(1, number * SIZE, SIZE) for number in (5, 6, 7)]
    assert names(config, kept) == [*segments, "about.txt", "facts.json"]
    assert (kept.segments, kept.missing, kept.size) == (3, 0, 2 * SIZE + 2)
    about = (config.volume / kept.folder / "about.txt").read_text()
    for said in ("member       a\n", "a/0000000a", "last in term 1", str(kept.size), "pg_waldump"):
        assert said in about
    assert aside.kept(config) == (kept,)


def test_log_that_lies_on_the_line_is_not_kept(config: Config) -> None:
    assert keep(config, Position(timeline=1, lsn=5 * SIZE + 7)) is None
    assert aside.kept(config) == ()


def test_log_beyond_the_primarys_own_end_is_kept_though_the_timeline_is_the_same(config: Config) -> None:
    until = Position(timeline=1, lsn=5 * SIZE)
    kept = keep(config, until, line_end=Position(timeline=1, lsn=3 * SIZE))
    assert kept is not None
    assert kept.since == Position(timeline=1, lsn=3 * SIZE)


def test_a_second_attempt_keeps_nothing_twice(config: Config) -> None:
    first = keep(config)
    assert keep(config) == first
    assert len(aside.kept(config)) == 1


def test_a_copy_that_was_cut_short_is_begun_anew(config: Config) -> None:
    half = config.aside / "0000000a-1-0-700009.part"
    half.mkdir(parents=True)
    (half / "rest").touch()
    kept = keep(config)
    assert kept is not None
    assert not half.exists()
    assert "rest" not in names(config, kept)


def test_the_oldest_piece_goes_when_there_are_too_many(config: Config) -> None:
    pieces = [keep(config, held=f"a/0000000{number}") for number in range(aside.MOST_PIECES + 1)]
    left = {one.incarnation for one in aside.kept(config)}
    assert len(left) == aside.MOST_PIECES
    assert pieces[-1] is not None
    assert pieces[-1].incarnation in left
    assert "a/00000000" not in left


def test_what_does_not_fit_is_counted_as_missing_and_the_beginning_is_kept(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "MOST_BYTES", 2 * SIZE + 1)
    kept = keep(config)
    assert kept is not None
    assert (kept.segments, kept.missing) == (2, 1)
    assert names(config, kept)[0] == waldir.segment(1, 5 * SIZE, SIZE)
