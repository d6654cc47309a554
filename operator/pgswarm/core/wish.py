"""What a person asks for beside the document: once, of one term, and with an answer.

A document says how things shall be; a *wish* says what shall happen now: another primary, a failover before the
time-out, or the acceptance of a loss that nobody but a person may accept. It is written into the record by
compare-and-set, so any operator may fulfil it, and none that dies takes it along. It is spoken in one term and until
one moment: a new term or that moment ends it, whatever came of it, so no wish is ever fulfilled that its speaker has
forgotten. What came of it stays in the record as its *answer*, until the next one is answered.

Who fulfils it: `switchover`, `loss`, `restarting` and `reseeding`; `plan` asks them. The operator has one
wish of its own, that a primary which has to go hands over first (`handover`): it goes the same way.

A *pause* is no wish, because it has no end of its own: it is a state that a person puts the cluster into (`pausing`).
Nor is *maintenance*, into which a person puts a node, or a *fence*, behind which a person puts a member (`fencing`).
"""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field

from pgswarm.core.base import Value


class Restart(Value):
    """One member that shall be restarted: what tells its former process from the next."""

    boot: str = Field(default="", description="the process of its agent that shall end")
    force: int = Field(description="Swarm's counter of forced updates, once that was asked for")


class Wish(Value):
    """One thing that a person (or a program of theirs) asked for."""

    id: str = Field(description="random: by it the one who asked knows the answer")
    kind: Literal["switchover", "failover", "accept-loss", "restart", "reseed"]
    term: int = Field(ge=1, description="the term it was spoken in; in another it means nothing")
    to: str | None = Field(
        default=None, description="the member that shall be primary (None: the best), or be reseeded"
    )
    dead: tuple[str, ...] = Field(default=(), description="members that the person gives up (accept-loss)")
    restarts: dict[str, Restart] = Field(default={}, description="members that are still to be restarted (restart)")
    data: str = Field(default="", description="the incarnation that shall be replaced (reseed)")
    fewer_copies: bool = Field(default=False, description="also if nobody can be counted in its place (reseed)")
    by: str = Field(default="somebody", description="who asked, for people")
    until: float = Field(description="seconds since the epoch; ignored from then on")

    def __str__(self) -> str:
        """In a person's words: the beginning of every reason that has to do with it."""
        match self.kind:
            case "switchover" | "failover":
                return f"{self.kind} to {self.to}" if self.to else self.kind
            case "accept-loss":
                return f"failover that accepts loss ({', '.join(self.dead) or 'nobody'} given up)"
            case "restart":
                return f"restart of {', '.join(self.restarts)}"
            case "reseed":
                return f"reseed of {self.to}"

    def answered(self, text: str, *, done: bool) -> Answered:
        return Answered(id=self.id, kind=self.kind, done=done, text=text, until=self.until)

    def is_met_by(self, before: str, after: str) -> bool:
        """Has a new term given what was asked for? `before` and `after` are its and the former primary's members."""
        if self.kind == "restart":
            return set(self.restarts) == {before}  # it was the last, and has handed over to be restarted
        if self.kind == "reseed":
            return False
        if self.to is not None:
            return after == self.to
        return after != before or self.kind == "accept-loss"


class Answered(Value):
    """What came of the last wish that is over."""

    id: str
    kind: str
    done: bool
    text: str = Field(description="what happened, or why it was refused")
    until: float = Field(default=0.0, description="until when it was wished: seconds since the epoch")


class Pause(Value):
    """A person's word that nothing shall be changed for a while; what that means is `pausing`."""

    by: str = Field(default="somebody", description="who asked, for people")
    why: str = Field(default="", description="for people")
    since: float = Field(description="seconds since the epoch, for people")
    until: float | None = Field(default=None, description="seconds since the epoch; None: until it is resumed")

    def __str__(self) -> str:
        return f"paused by {self.by}" + (f" ({self.why})" if self.why else "")


class Maintenance(Value):
    """A person's word that a node is about to be worked on: nobody there is primary, and who is away is not missed.

    `handover` makes another member primary first; `switchover` chooses nobody there while there is another; `status`
    takes an absence there for what was to be expected. Safety does not depend on it: claim, sync and ballots go by what
    is there, as always.
    """

    node_id: str
    node_name: str
    by: str = Field(default="somebody", description="who asked, for people")
    since: float = Field(description="seconds since the epoch, for people")

    def __str__(self) -> str:
        return f"{self.node_name} is under maintenance, says {self.by}"


class Fence(Value):
    """A person's word that PostgreSQL of a member is stopped and stays so; what that means is `fencing`."""

    member: str
    by: str = Field(default="somebody", description="who asked, for people")
    why: str = Field(default="", description="for people")
    since: float = Field(description="seconds since the epoch, for people")
    fewer_copies: bool = Field(default=False, description="also where nobody can be counted in its place")
    no_primary: bool = Field(default=False, description="also where nobody can follow it: then nobody serves")

    def __str__(self) -> str:
        return f"{self.member} is fenced by {self.by}" + (f" ({self.why})" if self.why else "")


class Appointment(Value):
    """A switchover that a person wants at a time to come; what that means is `appointments`."""

    id: str = Field(description="random: by it the one who asked knows the answer")
    to: str | None = Field(default=None, description="the member that shall be primary; None: the best")
    instead_of: str = Field(description="who was primary when it was asked for")
    at: float = Field(description="seconds since the epoch")
    window: float = Field(description="seconds after that within which it may be begun")
    by: str = Field(default="somebody", description="who asked, for people")

    def __str__(self) -> str:
        moment = datetime.datetime.fromtimestamp(self.at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        to = f" to {self.to}" if self.to else ""
        return f"switchover{to} at {moment}, or within {self.window / 60:.0f} min after, asked for by {self.by}"

    def answered(self, text: str) -> Answered:
        """What came of it, if nothing did."""
        return Answered(id=self.id, kind="switchover", done=False, text=text, until=self.at + self.window)


class Deletion(Value):
    """A person's word that the cluster is being taken down: every operator stands still for it."""

    by: str = Field(default="somebody", description="who asked, for people")
    since: float = Field(description="seconds since the epoch, for people")

    def __str__(self) -> str:
        return f"being deleted by {self.by}"
