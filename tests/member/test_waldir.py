"""Timelines in a log directory, without PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from pgswarm.member import waldir

SIZE = 16 << 20
HISTORY_2 = "1\t0/3000060\tno recovery target specified\n"
HISTORY_3 = HISTORY_2 + "\n2\t0/5000000\tno recovery target specified\n"


def wal(path: Path, *segments: tuple[int, int], **histories: str) -> Path:
    for timeline, lsn in segments:
        (path / waldir.segment(timeline, lsn, SIZE)).touch()
    for name, text in histories.items():
        (path / f"0000000{name[1:]}.history").write_text(text)
    return path


def test_a_segment_has_postgresqls_name() -> None:
    assert waldir.segment(1, 0x3000060, SIZE) == "000000010000000000000003"
    assert waldir.segment(0x1A, 0x1_FF00_0000, SIZE) == "0000001A00000001000000FF"


def test_without_a_newer_history_the_log_is_on_the_timeline_of_the_control_file(tmp_path: Path) -> None:
    assert waldir.timeline_at(wal(tmp_path, (1, 0x3000000)), 1, 0x3000050, SIZE) == 1


def test_log_past_a_fork_is_on_the_newer_timeline_once_some_of_it_has_come(tmp_path: Path) -> None:
    folder = wal(tmp_path, (1, 0x3000000), (2, 0x3000000), _2=HISTORY_2)
    assert waldir.timeline_at(folder, 1, 0x3000060, SIZE) == 2
    assert waldir.timeline_at(folder, 1, 0x300005F, SIZE) == 1


def test_a_history_alone_moves_nobody(tmp_path: Path) -> None:
    folder = wal(tmp_path, (1, 0x3000000), _2=HISTORY_2)
    assert waldir.timeline_at(folder, 1, 0x3000060, SIZE) == 1


def test_a_descendant_of_a_descendant_is_followed(tmp_path: Path) -> None:
    folder = wal(tmp_path, (2, 0x4000000), (3, 0x5000000), _2=HISTORY_2, _3=HISTORY_3)
    assert waldir.timeline_at(folder, 1, 0x4FFFFFF, SIZE) == 2
    assert waldir.timeline_at(folder, 1, 0x5000000, SIZE) == 3


def test_a_planted_history_is_nobodys_descendant(tmp_path: Path) -> None:
    folder = wal(tmp_path, (1, 0x3000000))
    assert waldir.plant(folder, 4) == (2, 3)
    assert waldir.timeline_at(folder, 1, 0x3000060, SIZE) == 1
    assert not waldir.knows(folder, 2)
    found = waldir.history(folder, 3)
    assert found is not None
    assert found.ends == ()


def test_planting_leaves_real_histories_as_they_are(tmp_path: Path) -> None:
    folder = wal(tmp_path, _2=HISTORY_2)
    assert waldir.plant(folder, 4) == (3,)
    assert (folder / "00000002.history").read_text() == HISTORY_2
    assert waldir.knows(folder, 2)


def test_before_a_start_in_recovery_planted_files_at_the_end_are_taken_away(tmp_path: Path) -> None:
    folder = wal(tmp_path, _2=HISTORY_2)
    waldir.plant(folder, 5)
    waldir.tidy(folder, 1, None)
    assert sorted(path.name for path in folder.iterdir()) == ["00000002.history"]


def test_planted_files_below_a_real_one_stay(tmp_path: Path) -> None:
    folder = wal(tmp_path, _3=HISTORY_3)
    waldir.plant(folder, 3)
    waldir.tidy(folder, 1, None)
    assert sorted(path.name for path in folder.iterdir()) == ["00000002.history", "00000003.history"]


def test_the_history_of_a_promotion_that_was_cut_short_goes(tmp_path: Path) -> None:
    folder = wal(tmp_path, _2=HISTORY_2)
    waldir.tidy(folder, 1, 2)
    assert list(folder.iterdir()) == []


def test_the_end_of_a_record_counts_padding_and_the_headers_of_the_pages_it_runs_over() -> None:
    assert waldir.end_of_record(0x3000028, 114, SIZE) == 0x3000028 + 120
    assert waldir.end_of_record(0x3001FE0, 32, SIZE) == 0x3002000
    assert waldir.end_of_record(0x3001FE0, 40, SIZE) == 0x3002000 + 24 + 8
    assert waldir.end_of_record(0x3FFFFE0, 40, SIZE) == 0x4000000 + 40 + 8
    assert waldir.end_of_record(0x3001FF8, 8192 - 24 + 16, SIZE) == 0x3004000 + 24 + 8
