"""The writing client of a drill: what it says of itself."""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType

import pytest

from pgswarm.core.drillreport import Said
from pgswarm.drill import writer
from pgswarm.drill.ledger import Gap, Target

NOBODY = Target(hosts=("127.0.0.1",), port=1, database="d", user="u", password="")


class Slow:
    """A ledger whose last writes come back at some time."""

    failures: tuple[tuple[float, str], ...] = ()
    told_to_stop = 0.0

    def __init__(self, *_: object, **__: object) -> None:
        Slow.told_to_stop = 0.0

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def wait_for_writes(self, count: int, deadline: float) -> None:
        return None

    def moments(self, first: int) -> list[tuple[float, float]]:
        return []

    def gap(self, since: float) -> Gap:
        return Gap(seconds=0.0, began=since, acknowledged=0, failed=0)

    def stop(self) -> None:
        Slow.told_to_stop = time.time()

    def missing(self) -> list[tuple[int, int]]:
        return []


def test_the_end_is_when_it_stops_writing_and_not_when_the_last_write_has_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writer, "Ledger", Slow)
    monkeypatch.setattr(writer, "EVERY", 0.0)
    assert writer._written(NOBODY, "writes", 0.0, threading.Event()) == 0
    said = [Said.model_validate(json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    assert (said[0].drill, said[-1].drill) == ("ready", "end")
    assert 0.0 < said[-1].at <= Slow.told_to_stop
