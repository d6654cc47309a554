"""Questions to another member's agent: what are you, and are you the primary that I was told to follow?

A stale address may by now belong to somebody else, and an old primary may still be reachable under its own for half a
minute after a partition heals. So before anything is received, the agent there must say that it holds the ordered
incarnation and serves in the ordered term.
"""

from __future__ import annotations

from pydantic import ValidationError

from pgswarm import wire
from pgswarm.core.duty import Upstream
from pgswarm.core.reports import MemberReport, Role
from pgswarm.errors import Again, Failure
from pgswarm.ports.calls import Line

PATIENCE = 1.0


async def confirm(upstream: Upstream, *, member: str, cluster: str, port: int, secret: str) -> MemberReport:
    """The report of the ordered primary, ready for `member`. Raises Again if it is not that, or not to be had."""
    said = await report(upstream.address, port, secret)
    who = f"{upstream.primary} at {upstream.address}"
    if said.cluster != cluster or said.incarnation != upstream.primary:
        raise Again(f"{who} is not that: {said.incarnation} of {said.cluster} answers there", after=0.5)
    if said.accepted is None or said.accepted[0] < upstream.term:
        raise Again(f"{who} has not accepted term {upstream.term} yet", after=0.1)
    if said.role is not Role.PRIMARY or said.reigned < upstream.term:
        raise Again(f"{who} is not primary yet", after=0.1)
    if member not in said.slots:
        # PostgreSQL would ask for its slot five times a second, and log each refusal on both sides.
        raise Again(f"{who} keeps no replication slot for {member} yet", after=0.1)
    return said


async def report(address: str, port: int, secret: str) -> MemberReport:
    """What the agent there says of itself now. Raises Again if no member's agent answers."""
    try:
        answered = await Line(address, port, secret, caller="member").call("GET", "/report", deadline=PATIENCE)
        found = wire.decode_line(answered.body)
    except Failure as exc:
        raise Again(f"the agent at {address} does not answer: {exc.reason}", after=0.5) from exc
    except ValidationError as exc:
        raise Again(f"what answers at {address} is no member's agent", after=0.5) from exc
    if not isinstance(found, MemberReport):
        raise Again(f"what answers at {address} is no member's agent", after=0.5)
    return found
