"""What `run` raises of its own; every other error of PostgreSQL or of the function comes through as it is.

The first two are the two answers to "was it written?" that are not yes: *no*, and *nobody can know*. Both are psycopg's
`OperationalError`, so code that catches that already catches them. The cause (`__cause__`) is the last error met.
"""

from __future__ import annotations

import psycopg


class Unavailable(psycopg.OperationalError):
    """The deadline has passed and nothing was committed: to try again later is safe."""

    def __init__(self, text: str, attempts: int) -> None:
        super().__init__(text)
        self.attempts = attempts


class OutcomeUnknown(psycopg.OperationalError):
    """COMMIT was sent and its answer never came: the transaction is whole or not there at all, and this client cannot
    know.

    Look before doing it again. `idempotent=True` or `landed=…` lets `run` do that.
    """

    def __init__(self, text: str, attempts: int) -> None:
        super().__init__(text)
        self.attempts = attempts


class TransactionEnded(psycopg.ProgrammingError):
    """The function has ended its transaction itself (COMMIT, ROLLBACK in its SQL), so nothing can be said of its
    outcome.
    """
