"""A volume that fills, played: the transcript of `member/disk`, and of what PostgreSQL makes of it.

Seen on a real one (tests/member/test_disk): a commit that needs a new segment of the log ends the whole of PostgreSQL,
and so does a start; a walreceiver ends alone and is begun again, but a replay that must extend a table ends the
standby. The agent's own memory can always be written, for which it has its reserve. What is given up of the ballast is
just enough for a start; after that only transactions that do not write get anywhere.

How full a volume is, is said by whoever breaks things (`faults.fill_disk`), as one of the steps of `core/disk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgswarm.core import disk
from pgswarm.core.disk import Room
from pgswarm.core.reports import Role
from pgswarm.errors import Refused
from pgswarm.member.disk import PATIENCE

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent
    from pgswarm.sim.postgres import Postgres
    from pgswarm.sim.streaming import Sender

STANDBY_ENDS = 0.3
"""How often the replay is the first that finds no room."""


class Disk:
    """What one agent knows of its volume, and has told PostgreSQL."""

    def __init__(self, agent: Agent) -> None:
        self.room = Room.AMPLE
        self._agent = agent
        self._since = 0.0

    def look(self) -> None:
        """Look at the volume, and tell PostgreSQL whether it may be written to."""
        agent, volume = self._agent, self._agent.volume
        if volume.room is not self.room:
            self.room, self._since = volume.room, agent.process.now
            agent.wake()
        postgres = agent.postgres
        refuses = not disk.lets_write(self.room, refused=postgres.read_only)
        if self.room is Room.FULL and not postgres.read_only and agent.process.now - self._since < PATIENCE:
            refuses = False
        if refuses != postgres.read_only:
            postgres.read_only = refuses
            if agent.role is Role.PRIMARY:
                agent.site.story(agent.name, f"transactions are {'read-only' if refuses else 'as before'}", key=True)

    def starts(self) -> None:
        """PostgreSQL is told from its first moment on."""
        postgres = self._agent.postgres
        postgres.read_only = not disk.lets_write(self._agent.volume.room, refused=postgres.read_only)


def needs_room(agent: Agent, what: str) -> None:
    """Raise Refused if something as large as a data directory does not fit."""
    if agent.volume.room.want >= Room.FULL.want:
        raise Refused(f"disk full before {what} was begun")


def lets_commit(postgres: Postgres, number: int) -> bool:
    """May this be written? A client is refused; a commit that cannot be written ends PostgreSQL."""
    room = postgres.volume.room
    if number > 0 and postgres.read_only:
        return False
    if room is Room.SPENT and number > 0:
        postgres.crash("its disk is full")
        return False
    return True


def receives(sender: Sender) -> bool:
    """Can the standby write down what arrives? If not, its walreceiver ends, or all of it if replay needs room."""
    standby = sender.standby
    if standby.volume.room is not Room.SPENT:
        return True
    if standby.site.rng.random() < STANDBY_ENDS:
        standby.crash("its disk is full")
    else:
        sender.end()
    return False
