"""Log that is on nobody's line, kept before it is rewound or cloned away: the transcript of `member/aside`.

Where it leaves the line is decided by the real `core.wal.leaves_at`. Kept is a piece of log; the ledger asks for the
commits in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgswarm.core import claim
from pgswarm.core.disk import Room
from pgswarm.core.orders import Order
from pgswarm.core.wal import leaves_at
from pgswarm.errors import Refused
from pgswarm.member.aside import MOST_PIECES

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent
    from pgswarm.sim.volume import Log


def keep(agent: Agent, order: Order) -> None:
    """What of this log is off the line stays on the volume; complete before the data is touched."""
    memory, until, volume = agent.memory, agent.position, agent.volume
    if until is None or memory.incarnation is None:
        return
    heard = agent.neighbours.heard.get(claim.member_of(order.primary))
    line_end = heard.report.position if heard is not None and heard.report.incarnation == order.primary else None
    since = leaves_at(until, _ends(volume.log[: until.lsn]), order.lineage)
    if since is None and line_end is not None and line_end.timeline == until.timeline and line_end.lsn < until.lsn:
        since = line_end
    if since is None:
        return
    if volume.room is Room.SPENT:
        raise Refused("disk full: what is off the line cannot be kept aside")
    piece = volume.log[since.lsn : until.lsn]
    if piece not in volume.kept:
        volume.kept = [*volume.kept, piece][-MOST_PIECES:]
        agent.site.count("kept aside")
        told = any(number in agent.site.ledger.losses.lost for _, number in piece)
        agent.site.story(agent.name, f"keeps aside what it has beyond {since}", key=told)


def _ends(log: Log) -> list[tuple[int, int]]:
    """Each earlier timeline of this log and where it ended."""
    return [(log[at - 1][0], at) for at in range(1, len(log)) if log[at][0] != log[at - 1][0]]
