"""Clients that only come and go: each connects, asks one question and leaves, again and again, each by one router.

A switch of the primary may end sessions, but nobody who comes shall be turned away. So a connection that
cannot be made is counted, with its words; one that was made and was then ended by the switch is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import psycopg

from pgswarm.drill.ledger import Target

PACE = 0.02
"""Seconds between two visits of one guest."""


class Guests:
    """One guest for each router. Use as a context manager."""

    def __init__(self, target: Target) -> None:
        self.greeted = 0
        self._refused: list[tuple[float, str]] = []
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._come_and_go, args=(replace(target, hosts=(host,)),), daemon=True)
            for host in target.hosts
        ]

    def __enter__(self) -> Guests:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def refused(self) -> Sequence[tuple[float, str]]:
        """When somebody was turned away, and with which words."""
        return tuple(self._refused)

    def _come_and_go(self, target: Target) -> None:
        while not self._ended.wait(PACE):
            try:
                connection = psycopg.connect(target.conninfo(), autocommit=True)
            except psycopg.Error as error:
                self._refused.append((time.monotonic(), f"{target.hosts[0]}: {' '.join(str(error).split())}"))
                continue
            self.greeted += 1
            try:
                with connection:
                    connection.execute("SELECT 1")
            except psycopg.Error:
                continue  # it was let in, and the switch has ended it
