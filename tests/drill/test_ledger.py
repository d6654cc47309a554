"""What the ledger makes of the times at which writes were acknowledged."""

from __future__ import annotations

import time

from pgswarm.drill.ledger import Ledger, Target

NOBODY = Target(hosts=("127.0.0.1",), port=1, database="d", user="u", password="")


def written(*rows: tuple[float, int]) -> Ledger:
    """A ledger in which each writer has had writes acknowledged so many seconds ago."""
    ledger, now = Ledger(NOBODY, writers=2), time.monotonic()
    for number, (ago, writer) in enumerate(rows):
        ledger._writer.append(writer)
        ledger._number.append(number)
        ledger._times.append(now - ago)
    return ledger


def test_the_outage_is_the_longest_time_without_any_write() -> None:
    gap = written((10.0, 0), (9.0, 1), (4.0, 1), (3.0, 0), (0.0, 0), (0.0, 1)).gap(time.monotonic() - 10.5)
    assert 4.9 < gap.seconds < 5.1
    assert gap.acknowledged == 6


def test_the_slowest_writer_may_have_waited_much_longer_than_all_together() -> None:
    gap = written((10.0, 0), (9.0, 1), (4.0, 1), (3.0, 0), (0.0, 1), (0.0, 0)).gap(time.monotonic() - 10.5)
    assert 6.9 < gap.slowest < 7.1


def test_writes_that_have_not_come_back_count_as_an_outage_until_now() -> None:
    gap = written((10.0, 0), (9.0, 1)).gap(time.monotonic() - 10.5)
    assert 8.9 < gap.seconds < 11
    assert gap.slowest > 9.9


def test_what_was_before_the_fault_does_not_count() -> None:
    gap = written((10.0, 0), (2.0, 1), (1.0, 0), (0.0, 1)).gap(time.monotonic() - 2.5)
    assert gap.seconds < 2
    assert gap.acknowledged == 3
