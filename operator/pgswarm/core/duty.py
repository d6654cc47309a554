"""What one agent is to do next: `duty(facts, now) -> action`, pure.

The agent asks after every change of what it knows; the answer is one action, done as one job that a newer order or
promise may cancel, and then it asks again. Nothing is remembered between two questions but the durable memory and
the facts, so an action that was cut short at any point is simply decided anew.

The shape of the law (PROTOCOL, an agent's law): a member whose promise is newer than its order belongs to nobody; it
is *fenced* until the end of its log is known. A member that has an order first comes to that same state, unless it
is already what the order says, and only from there - in recovery, nothing received, position known - it is led on:
follow as it is, rewind, clone or promote. A primary that goes on in its own term and timeline is the one exception.
Without an operator's word since the agent began nobody reigns, unless `resumption` says that it may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import assert_never

from pgswarm.core import resumption
from pgswarm.core.actions import LARGE as LARGE
from pgswarm.core.actions import Action as Action
from pgswarm.core.actions import Adopt as Adopt
from pgswarm.core.actions import Assume as Assume
from pgswarm.core.actions import Begin as Begin
from pgswarm.core.actions import Clone as Clone
from pgswarm.core.actions import Create as Create
from pgswarm.core.actions import Follow as Follow
from pgswarm.core.actions import Jettison as Jettison
from pgswarm.core.actions import Promote as Promote
from pgswarm.core.actions import Rest as Rest
from pgswarm.core.actions import Restart as Restart
from pgswarm.core.actions import Resume as Resume
from pgswarm.core.actions import Rewind as Rewind
from pgswarm.core.actions import Settle as Settle
from pgswarm.core.actions import Start as Start
from pgswarm.core.actions import Stop as Stop
from pgswarm.core.actions import Upstream as Upstream
from pgswarm.core.actions import growing
from pgswarm.core.actions import pause_after as pause_after
from pgswarm.core.ballast import full, room_first
from pgswarm.core.disk import Room
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, Postgres, Problem, Role
from pgswarm.core.wal import Position, lies_on, show_lsn

RESTART_FIRST, RESTART_LAST = 0.2, 5.0
"""Seconds before a crashed postgres is started again: doubled from the first to the last."""

SUCCESSION = 2.0
"""Seconds for which a crashed primary leaves its standbys the time to be elected before it starts again."""

FOLLOW_TRIES = 3
"""Times that a standby which lies on the line may fail to stream before its data is made anew."""

STREAMLESS = 10.0
"""Seconds without a stream after which a standby gives the attempts up until the primary's agent says that it is there:
PostgreSQL tries five times a second, for ever, with two log lines each time."""


class Trouble(Enum):
    """Why a standby that should stream does not."""

    NONE = auto()
    WAL_GONE = auto()  # the primary no longer has the log that is needed
    DIVERGED = auto()  # the primary says that this log is not on its line


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the agent knows of itself at this moment."""

    memory: Memory
    heeded: bool = False  # an operator has sent the order in force since this boot
    resumed: bool = False  # no operator has, but its reign was resumed by its own word (law 5)
    heard: Mapping[str, resumption.Heard] = field(default_factory=dict)  # what the others said when asked last
    began_at: float = 0.0  # when this agent began
    postgres: Postgres = Postgres.STOPPED
    began: Begin | None = None  # how the postgres that is there was started
    role: Role = Role.NONE
    position: Position | None = None
    settled: bool = False
    closed: bool = False  # it was primary and was shut down: the end of its log may be known without a start
    begun: bool = False  # the timeline of the last reign exists on disk
    upstream: Upstream | None = None  # what primary_conninfo says now
    address: str | None = None  # where the ordered primary is
    trouble: Trouble = Trouble.NONE
    follow_failures: int = 0
    streamed_at: float | None = None  # when a stream was seen last, or was begun; None: not by this agent
    restart: str = ""  # why the postgres that runs is to be started anew; empty if it is not
    crashes: int = 0  # in a row, without a quiet minute between
    ended_at: float = 0.0  # when postgres ended last
    room: Room = Room.AMPLE  # on the volume
    ballast: bool = False  # there is some to be given up


def duty(facts: Facts, now: float) -> Action:
    """The next thing to do."""
    memory = facts.memory
    match memory.told_data:
        case Data.FOREIGN:
            return _leave_alone(facts)
        case Data.NONE | Data.BUILDING:
            return _obtain_data(facts)
        case Data.READY:
            order = memory.bound
            if memory.order is not None and memory.order.fenced:
                return _stay_down(facts)
            if order is None:
                return _be_fenced(facts, now)
            if facts.postgres is Postgres.STOPPING:
                return Rest(reason="PostgreSQL is stopping")
            if order.reseed is not None and order.reseed == memory.incarnation and facts.heeded:
                return _be_made_anew(facts, order)
            action = (_be_standby if order.role == "standby" else _be_primary)(facts, order, now)
            if isinstance(action, Rest) and facts.restart and facts.postgres is Postgres.RUNNING:
                return Restart(reason=facts.restart)  # it is what it shall be, so it will be so again
            return action
        case _ as never:
            assert_never(never)


def still_serves(action: Action, memory: Memory) -> bool:
    """Is this, begun under an earlier revision, just what the order in force asks for too?

    A clone takes hours, and claims move meanwhile on account of other members: it goes on. So does a rewind, which if
    cut short ends in a clone. Everything else is short and is decided anew; so is all that a newer promise forbids.
    """
    match action:
        case Clone(upstream=upstream) | Rewind(upstream=upstream):
            order = memory.bound
            return (
                order is not None
                and order.role == "standby"
                and (order.primary, order.term) == (upstream.primary, upstream.term)
                and not order.counted
                and not order.fenced
            )
        case _:
            return False


def restart_at(facts: Facts, *, patience: float) -> float:
    """When a postgres that ended may be started again; `patience` is the pause after the first crash."""
    if facts.postgres is not Postgres.CRASHED or facts.crashes == 0:
        return 0.0
    pause = patience if facts.crashes == 1 else growing(RESTART_FIRST, RESTART_LAST, facts.crashes)
    return facts.ended_at + max(patience, pause)


def _leave_alone(facts: Facts) -> Action:
    memory = facts.memory
    if facts.postgres in (Postgres.RUNNING, Postgres.STARTING):
        return Stop(reason="this is another system's data")
    if memory.data is Data.FOREIGN and memory.bound is not None and memory.bound.adopt:
        return _adopt(facts, memory.bound)
    wanted = memory.order.system_id if memory.order else ""
    holds = f"system {memory.system_id}" if memory.system_id else "data that pgswarm did not make"
    text = (
        f"the volume holds {holds}, the cluster is system {wanted or '(not created)'}; nothing is touched: "
        "give this member another volume, or move that data away if nobody needs it"
    )
    return Rest(reason=text, problem=Problem(code="foreign-data", text=text))


def _stay_down(facts: Facts) -> Action:
    """A person's fence (core/fencing): PostgreSQL stays stopped, with an operator or without, promised or not."""
    why = "fenced by a person's word"
    if facts.postgres in (Postgres.RUNNING, Postgres.STARTING):
        return Stop(reason=why)
    if facts.postgres is Postgres.STOPPED and facts.closed and not facts.settled:
        return Settle(reason=f"{why}: shut down")
    return Rest(reason=f"{why}: `pgswarm unfence` lets it go on")


def _obtain_data(facts: Facts) -> Action:
    memory = facts.memory
    order = memory.bound
    if memory.order is not None and memory.order.fenced:
        return Rest(reason="no data here, and fenced by a person's word")
    if order is not None and order.adopt:
        return _adopt(facts, order)
    if memory.adopting:
        text = (
            f"the data in folder {memory.adopting} of the volume was about to be taken over, and no order says so any "
            "more; nothing is touched: a person must look"
        )
        return Rest(reason=text, problem=Problem(code="half-adopted", text=text))
    if order is None:
        return Rest(reason="no data here, and no order that holds")
    if not facts.heeded:
        return Rest(reason="no data here; waiting for an operator's word")
    if order.role == "primary":
        if order.create:
            return Create(order=order, reason=f"create {order.primary}, the first primary")
        return Rest(reason=f"the order is for {order.incarnation}, which is not here")
    if order.counted:
        return _needs_reseed(order, "there is no complete data directory here")
    if facts.address is None:
        return Rest(reason=f"no address of {order.primary} to clone from")
    upstream = Upstream(primary=order.primary, term=order.term, address=facts.address)
    return Clone(upstream=upstream, reason=f"no complete data directory: clone {order.primary}")


def _adopt(facts: Facts, order: Order) -> Action:
    if not facts.heeded:
        return Rest(reason="data are to be adopted here; waiting for an operator's word")
    return Adopt(order=order, reason=f"take over system {order.system_id} as {order.primary}")


def _be_fenced(facts: Facts, now: float) -> Action:
    memory = facts.memory
    owed = memory.promised > (memory.order.term if memory.order else 0)
    why = f"promised term {memory.promised}" if owed else "no order yet"
    match facts.postgres:
        case Postgres.STOPPING:
            return Rest(reason="PostgreSQL is stopping")
        case Postgres.STOPPED | Postgres.CRASHED:
            if not owed:
                return Rest(reason="no order yet")
            if facts.settled:
                return Rest(reason=f"{why}: shut down, the log ends at {facts.position}")
            if facts.closed:
                return Settle(reason=f"{why}: shut down")
            at = restart_at(facts, patience=0.0)
            pause = Rest(reason=f"{why}: pause after a crash", until=at)
            return pause if at > now else room_first(facts.room, has_ballast=facts.ballast) or _start_fenced(why)
        case Postgres.STARTING:
            if facts.began is Begin.PRIMARY:
                return Stop(reason=why)
            return Rest(reason=f"{why}: PostgreSQL is starting")
        case Postgres.RUNNING:
            if facts.role is Role.PRIMARY:
                return Stop(reason=why)
            return Rest(reason=f"{why}: fenced") if facts.settled else Settle(reason=why)
        case _ as never:
            assert_never(never)


def _be_standby(facts: Facts, order: Order, now: float) -> Action:
    wanted = (order.primary, order.term)
    match facts.postgres:
        case Postgres.STOPPED | Postgres.CRASHED:
            at = restart_at(facts, patience=RESTART_FIRST)
            if at > now:
                return Rest(reason="standby ended: pause before it is started again", until=at)
            if facts.room is Room.SPENT:
                return full("PostgreSQL is not started, as a standby, until there is room")
            if facts.memory.follows == wanted and facts.address is not None:
                return Start(begin=Begin.FOLLOWING, reason=f"follow {order.primary} as before")
            if facts.closed:
                return Settle(
                    reason=f"{order.primary} is primary of term {order.term}: the end of the log is to be known"
                )
            known = facts.position if facts.settled else None
            if known is not None and facts.address is not None and lies_on(known, order.lineage):
                upstream = Upstream(primary=order.primary, term=order.term, address=facts.address)
                return Follow(upstream=upstream, reason=f"{known} lies on the line of term {order.term}")
            return _start_fenced(f"to follow {order.primary}, the end of the log must be known first")
        case Postgres.STARTING:
            if facts.began is Begin.PRIMARY:
                return Stop(reason=f"{order.primary} is primary of term {order.term}")
            return Rest(reason="PostgreSQL is starting")
        case Postgres.RUNNING:
            if facts.role is Role.PRIMARY:
                return Stop(reason=f"{order.primary} is primary of term {order.term}")
            return _follow(facts, order, now)
        case Postgres.STOPPING:
            return Rest(reason="PostgreSQL is stopping")
        case _ as never:
            assert_never(never)


def _follow(facts: Facts, order: Order, now: float) -> Action:
    told = facts.upstream
    if told is not None and facts.room is Room.SPENT:
        return Settle(reason="the volume is full: nothing is received until there is room")
    address = facts.address or (told.address if told else "")
    upstream = Upstream(primary=order.primary, term=order.term, address=address)
    if told is not None and (told.primary, told.term) == (upstream.primary, upstream.term):
        if facts.trouble is Trouble.WAL_GONE:
            return _make_anew(facts, order, upstream, why="the primary no longer has the log that is needed here")
        if facts.trouble is Trouble.DIVERGED:
            return Settle(reason=f"{order.primary} says that the log here is not on its line")
        if told.address != upstream.address:
            return Follow(upstream=upstream, reason=f"{order.primary} is at {upstream.address} now")
        if facts.streamed_at is None:
            return Rest(reason=f"follow {order.primary}")
        if now >= facts.streamed_at + STREAMLESS:
            return Settle(reason=f"no stream from {order.primary} for {STREAMLESS:.0f} s: its agent is asked first")
        return Rest(reason=f"follow {order.primary}", until=facts.streamed_at + STREAMLESS)
    if not facts.settled or facts.position is None:
        return Settle(reason=f"{order.primary} is primary of term {order.term}: the end of the log here must be known")
    if facts.room.want >= Room.FULL.want:
        return full("nothing is received until there is room")
    if not upstream.address:
        return Rest(reason=f"no address of {order.primary} to follow")
    if lies_on(facts.position, order.lineage):
        if facts.follow_failures >= FOLLOW_TRIES:
            return _make_anew(facts, order, upstream, why=f"{order.primary} refused to stream to it")
        return Follow(upstream=upstream, reason=f"{facts.position} lies on the line of term {order.term}")
    reason = f"{facts.position} is not on the line of term {order.term}"
    if order.counted:
        return _needs_reseed(order, reason)
    if not facts.heeded:
        return Rest(reason=f"{reason}; waiting for an operator's word")
    return Rewind(upstream=upstream, reason=reason)


def _be_made_anew(facts: Facts, order: Order) -> Action:
    """A person wants it (core/reseeding): the data that is here serves until the primary can be cloned."""
    if order.counted or order.role != "standby":
        return _needs_reseed(order, "a person wants this data made anew")
    if facts.address is None:
        return Rest(reason=f"to be made anew by a person's word; no address of {order.primary} to clone from")
    upstream = Upstream(primary=order.primary, term=order.term, address=facts.address)
    return Clone(upstream=upstream, reason="made anew by a person's word")


def _make_anew(facts: Facts, order: Order, upstream: Upstream, *, why: str) -> Action:
    if order.counted:
        return _needs_reseed(order, why)
    if not facts.heeded:
        return Rest(reason=f"{why}; waiting for an operator's word")
    return Clone(upstream=upstream, reason=why)


def _be_primary(facts: Facts, order: Order, now: float) -> Action:
    memory = facts.memory
    if not facts.heeded and not facts.resumed:
        if facts.postgres in (Postgres.RUNNING, Postgres.STARTING) and facts.began is Begin.PRIMARY:
            return Stop(reason="no operator has confirmed the reign since this agent started")
        waited = now - facts.began_at
        verdict = resumption.may_resume(memory, order, facts.heard, waited, now)
        if verdict.ok:
            return Resume(order=order, reason=verdict.reason)
        until = facts.began_at + resumption.PATIENCE
        reason = f"primary of term {order.term} by the last order: {verdict.reason}"
        return Rest(reason=reason, until=until if until > now else None)
    if memory.incarnation != order.primary:
        return Rest(reason=f"the order is for {order.primary}; here is {memory.incarnation}")
    in_place = facts.begun and memory.timeline == order.timeline
    match facts.postgres:
        case Postgres.STOPPED | Postgres.CRASHED:
            at = restart_at(facts, patience=SUCCESSION if order.sync.k else 0.0)
            if at > now:
                return Rest(reason=f"PostgreSQL crashed {facts.crashes} time(s): pause before a restart", until=at)
            if (without := room_first(facts.room, has_ballast=facts.ballast)) is not None:
                return without
            if in_place:
                return Start(begin=Begin.PRIMARY, reason=f"primary of term {order.term}, on timeline {order.timeline}")
            return _start_fenced(f"to begin term {order.term}")
        case Postgres.STARTING:
            if facts.began is Begin.PRIMARY and not in_place:
                return Stop(reason=f"term {order.term} begins timeline {order.timeline}")
            return Rest(reason="PostgreSQL is starting")
        case Postgres.RUNNING if facts.role is Role.PRIMARY:
            if not in_place:
                return Stop(reason=f"term {order.term} begins timeline {order.timeline}: recovery comes first")
            if memory.reigned < order.term:
                return Assume(term=order.term, reason=f"the term was raised to {order.term}")
            return Rest(reason=f"primary of term {order.term}")
        case Postgres.RUNNING:
            return _ascend(facts, order, in_place=in_place)
        case Postgres.STOPPING:
            return Rest(reason="PostgreSQL is stopping")
        case _ as never:
            assert_never(never)


def _ascend(facts: Facts, order: Order, *, in_place: bool) -> Action:
    """From recovery to the throne."""
    if in_place:
        return Stop(reason=f"timeline {order.timeline} is this member's own and goes on")
    if not facts.settled or facts.position is None:
        return Settle(reason=f"to begin term {order.term}, the end of the log must be known")
    fork = order.lineage[-1].fork
    if facts.position.lsn < fork:
        text = (
            f"term {order.term} was to begin at {show_lsn(fork)}, but the log here ends at {facts.position}: "
            "this volume has lost data; a person must look"
        )
        return Rest(reason=text, problem=Problem(code="log-too-short", text=text))
    promotion = Promote(order=order, reason=f"begin term {order.term} at {facts.position}")
    return room_first(facts.room, has_ballast=facts.ballast) or promotion  # first of all it copies a segment of log


def _start_fenced(why: str) -> Start:
    return Start(begin=Begin.FENCED, reason=why)


def _needs_reseed(order: Order, why: str) -> Rest:
    text = (
        f"{why}, but the record counts on this member ({order.member} is named in claim or sync of term {order.term}): "
        "not re-seeded until the record names it no more"
    )
    return Rest(reason=text, problem=Problem(code="needs-reseed", text=text))
