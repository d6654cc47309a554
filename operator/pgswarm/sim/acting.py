"""How each action of `duty` is done on a PostgreSQL that is played: the transcript of `member/act` and its helpers.

The durable word always comes first: `building` before the first byte changes, the reign before the promotion. A job
may be cut short at any yield, by a newer word or by a crash; what it leaves is then decided upon anew.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, assert_never

from pgswarm.core import adoptable, claim, duty
from pgswarm.core.memory import Memory
from pgswarm.core.orders import Order
from pgswarm.core.reports import Data, MemberReport, Progress, Role
from pgswarm.core.reports import Postgres as State
from pgswarm.errors import Again, Refused
from pgswarm.member.act import LAST_STOP as LAST_STOP
from pgswarm.member.act import with_reign
from pgswarm.member.postmaster import FAST_STOP
from pgswarm.sim import aside, leave, reigning
from pgswarm.sim.clock import Job, Signal
from pgswarm.sim.disk import needs_room
from pgswarm.sim.postgres import Postgres
from pgswarm.sim.streaming import GHOST, NOBODY
from pgswarm.sim.telling import VERSION
from pgswarm.sim.volume import common

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent

CONFIRM = 1.0
"""Seconds for the ordered primary's agent to say that it is that."""

STILL = 0.01
"""Seconds between two looks at a replay that may still advance."""


def takes_lock(agent: Agent) -> bool:
    """Hold the volume's lock: one container at a time (law 8)."""
    if agent.volume.holder is None:
        agent.volume.holder = agent.container
    return agent.volume.holder is agent.container


def make_durable(agent: Agent, memory: Memory) -> None:
    """From here on a crash finds this memory."""
    agent.volume.memory = memory


def perform(agent: Agent, action: duty.Action) -> Job:
    """Do it. Raises Again or Refused if it cannot be done now."""
    match action:
        case duty.Create():
            yield from _create(agent, action.order)
        case duty.Adopt():
            yield from _adopt(agent, action.order)
        case duty.Start():
            yield from _start(agent, action.begin)
        case duty.Stop():
            was_primary = agent.postgres.began is duty.Begin.PRIMARY or agent.ascended
            yield from agent.postgres.stop(FAST_STOP)
            agent.closed = was_primary
        case duty.Restart():
            agent.tuning.stops()
            agent.site.story(agent.name, f"PostgreSQL is {action.reason}", key=True)
            yield from agent.postgres.stop(FAST_STOP)
        case duty.Settle():
            yield from _settle(agent)
        case duty.Follow():
            yield from _follow(agent, action.upstream)
        case duty.Rewind():
            yield from _rewind(agent, action.upstream)
        case duty.Clone():
            yield from _clone(agent, action.upstream)
        case duty.Promote():
            yield from _promote(agent, action.order)
        case duty.Assume():
            yield from agent.remember(reigned=action.term)
        case duty.Resume():
            agent.resumed = action.order.key
            agent.site.count("resumed without an operator")
        case duty.Jettison():
            agent.volume.jettison()
            agent.disk.look()
        case duty.Rest():
            return
        case _ as never:
            assert_never(never)


def _create(agent: Agent, order: Order) -> Job:
    volume = agent.volume
    yield from agent.remember(
        data=Data.BUILDING,
        incarnation=order.incarnation,
        system_id="",
        reigned=0,
        timeline=0,
        begun=False,
        follows=None,
    )
    yield agent.site.draw(0.2, 0.8)
    needs_room(agent, "initdb")
    agent.site.ledger.wiped(agent, "initdb")
    system = f"{agent.site.rng.getrandbits(48)}"
    volume.lose_data()
    volume.system_id = system
    yield from agent.remember(
        data=Data.READY, system_id=system, reigned=order.term, timeline=order.timeline, begun=True
    )


def _adopt(agent: Agent, order: Order) -> Job:
    volume = agent.volume
    if not agent.memory.adopting:
        found = volume.found
        if found is None or found.system_id != order.system_id or adoptable.timeline(found) != order.timeline:
            raise Refused(f"not taken over: here is {found}")
        if refused := adoptable.objections(
            found, major=VERSION.partition(".")[0], accept_standby=order.timeline > found.timeline
        ):
            raise Refused(f"not taken over: {'; '.join(refused)}")
        yield from agent.remember(data=Data.BUILDING, incarnation=order.primary, adopting=found.folder, system_id="",
                                  reigned=0, timeline=0, begun=False, follows=None)  # fmt: skip
    agent.progress = Progress(what="adopt")
    agent.publish()
    yield agent.site.draw(0.5, 1.5)
    volume.recovering = False
    begun = order.timeline == volume.position.timeline
    yield from agent.remember(data=Data.READY, system_id=order.system_id, reigned=order.term, timeline=order.timeline,
                              begun=begun, adopting="")  # fmt: skip
    agent.site.story(agent.name, f"has taken over system {order.system_id}: {order.primary}", key=True)


def _start(agent: Agent, begin: duty.Begin) -> Job:
    memory, order, volume = agent.memory, agent.order, agent.volume
    begun = agent.is_begun()
    if begun and not memory.begun:
        yield from agent.remember(begun=True)
    agent.upstream, agent.settled, agent.ascended, agent.throne, agent.seen_at = None, False, False, None, None
    agent.closed = False
    upstream = None
    if begin is duty.Begin.FOLLOWING:
        upstream = yield from _upstream_as_before(agent)
        begin = begin if upstream is not None else duty.Begin.FENCED
    yield agent.site.draw(0.01, 0.03)
    memory = agent.memory
    if volume.system_id != memory.system_id:
        raise Refused(f"the data is system {volume.system_id}, this member's was {memory.system_id}")
    agent.tuning.started(recovering=begin is not duty.Begin.PRIMARY)
    agent.disk.starts()
    if begin is duty.Begin.PRIMARY:
        agent.postgres.start(begin, GHOST if order and order.sync.k else NOBODY, doors=False)
        agent.throne = reigning.Throne(starts=agent.postgres.starts, opened=False)
        return
    if memory.timeline and not begun:
        volume.histories.discard(memory.timeline)  # its promotion was begun and not completed
    volume.histories -= volume.planted
    volume.planted.clear()
    agent.postgres.start(begin, NOBODY, doors=True)
    if upstream is not None and memory.incarnation is not None:
        agent.postgres.upstream = (upstream.address, claim.application_name(memory.incarnation, upstream.term))
        agent.upstream, agent.followed_at = upstream, agent.process.now


def _upstream_as_before(agent: Agent) -> Generator[Any, Any, duty.Upstream | None]:
    """Where the primary is that this standby followed, if it is there; else nothing may be received yet."""
    order = agent.order
    member = claim.member_of(order.primary) if order is not None else ""
    address = agent.neighbours.address(member, agent.memory.circumstances.contacts)
    if order is None or address is None:
        return None
    upstream = duty.Upstream(primary=order.primary, term=order.term, address=address)
    try:
        yield from _confirm(agent, upstream)
    except Again:
        return None
    return upstream


def _settle(agent: Agent) -> Job:
    postgres = agent.postgres
    if postgres.state in (State.STOPPED, State.CRASHED):
        yield agent.site.draw(0.01, 0.03)
        agent.closed, agent.settled = False, agent.volume.closed
        if agent.settled:
            agent.position = agent.volume.position
            agent.site.story(agent.name, f"shut down in order: its log ends at {agent.position}")
        return
    if postgres.trouble is duty.Trouble.DIVERGED and agent.upstream is not None:
        agent.follow_failures += 1
        yield from agent.remember(follows=None)
    agent.upstream = None
    stop_receiving(postgres)
    agent.publish()
    yield agent.site.draw(0.001, 0.005)
    while not has_ended(postgres):
        yield STILL
    agent.position = postgres.volume.position.model_copy(update={"lsn": postgres.replayed})
    agent.settled = True
    postgres.trouble = duty.Trouble.NONE
    agent.site.story(agent.name, f"its log ends at {agent.position}")


def stop_receiving(postgres: Postgres) -> None:
    """No stream can begin after that, and the one that is ends in a moment."""
    postgres.unfollow()


def has_ended(postgres: Postgres) -> bool:
    """Is nothing received any more, and is all replayed that is there (C8)?"""
    if not postgres.answers or not postgres.recovering:
        raise Again("PostgreSQL is not in recovery", after=0.05)
    return postgres.receiver is None and postgres.replayed >= len(postgres.volume.log)


def _follow(agent: Agent, upstream: duty.Upstream) -> Job:
    memory = agent.memory
    if memory.incarnation is None:
        raise Again("no incarnation")
    yield from _confirm(agent, upstream)
    if memory.follows != (upstream.primary, upstream.term):
        yield from agent.remember(follows=(upstream.primary, upstream.term))
    if agent.postgres.state in (State.STOPPED, State.CRASHED):
        return  # its start will do the rest
    agent.settled = False
    agent.postgres.trouble = duty.Trouble.NONE
    agent.upstream, agent.followed_at = upstream, agent.process.now
    agent.postgres.follow(upstream.address, claim.application_name(memory.incarnation, upstream.term))


def _rewind(agent: Agent, upstream: duty.Upstream) -> Job:
    site, volume = agent.site, agent.volume
    yield from _confirm(agent, upstream)
    order = agent.order
    if order is None:
        raise Again("no order holds any more")
    source = _source(agent, upstream)
    until = agent.process.now + 20.0
    while source.volume.shown < order.timeline:  # its first checkpoint on its timeline
        if agent.process.now > until:
            raise Again(f"{upstream.primary} does not show timeline {order.timeline} yet")
        yield 0.1
        source = _source(agent, upstream)
    yield from agent.postgres.stop(LAST_STOP)
    aside.keep(agent, order)
    site.ledger.given_up(agent, "rewind")
    yield from agent.remember(data=Data.BUILDING, incarnation=_fresh(agent), reigned=0, timeline=0, begun=False,
                              follows=None)  # fmt: skip
    agent.settled, agent.position = False, None
    agent.progress = Progress(what="rewind")
    agent.publish()
    source = _source(agent, upstream)  # pg_rewind speaks to it before it touches anything
    at = common(volume.log, source.volume.log)
    site.ledger.wiped(agent, f"rewind to {at} of {len(volume.log)}")
    volume.log = volume.log[:at]
    yield site.draw(0.1, 1.0)
    source = _source(agent, upstream)
    if source.volume.kept_from > at:
        raise Again("pg_rewind could not do it (see the log): the data is made anew", after=0.0)
    volume.copy_from(source.volume, len(source.volume.log))
    yield from agent.remember(data=Data.READY, follows=(upstream.primary, upstream.term))
    site.story(agent.name, f"rewound to {upstream.primary}: {agent.memory.incarnation}", key=True)


def _clone(agent: Agent, upstream: duty.Upstream) -> Job:
    site, volume = agent.site, agent.volume
    yield from _confirm(agent, upstream)
    order = agent.order
    if order is None:
        raise Again("no order holds any more")
    needs_room(agent, "a clone")
    yield from agent.postgres.stop(LAST_STOP)
    if agent.memory.data is Data.READY:
        aside.keep(agent, order)
        site.ledger.given_up(agent, "clone")
    yield from agent.remember(data=Data.BUILDING, incarnation=_fresh(agent), system_id="", reigned=0, timeline=0,
                              begun=False, follows=None)  # fmt: skip
    agent.settled, agent.position, agent.upstream = False, None, None
    agent.progress = Progress(what="clone")
    agent.publish()
    left = site.draw(0.3, 1.5, rare=4.0)
    while left > 0:
        yield min(0.3, left)
        left -= 0.3
        source = _source(agent, upstream)
    needs_room(agent, "a clone")
    if order.system_id and source.volume.system_id != order.system_id:
        raise Refused(f"{upstream.primary} is another system; nothing is used")
    site.ledger.wiped(agent, "clone")
    volume.copy_from(source.volume, len(source.volume.log))
    yield from agent.remember(data=Data.READY, system_id=volume.system_id, follows=(upstream.primary, upstream.term))
    agent.follow_failures = 0
    site.story(agent.name, f"cloned {upstream.primary}: {agent.memory.incarnation}", key=True)


def _promote(agent: Agent, order: Order) -> Job:
    postgres, volume, site = agent.postgres, agent.volume, agent.site
    let = not order.grant or agent.leave.lets_write()
    if order.sync.k:  # no client may be inside when writing becomes possible
        load = postgres.loads + 1
        postgres.reload(GHOST, doors=False)
        yield from reigning.loaded(agent, load)
        site.cut_sessions(postgres, "a promotion that is to be armed")
    elif not let:
        yield from leave.empty(agent)
    elif order.grant:
        agent.leave.guard(opening=True)
    for timeline in range(2, order.timeline):
        if timeline not in volume.histories:
            volume.histories.add(timeline)
            volume.planted.add(timeline)
    if with_reign(agent.memory, order) != agent.memory:
        yield from agent.remember(reigned=order.term, timeline=order.timeline, begun=False, follows=None)
    if not postgres.answers:
        raise Again("PostgreSQL does not answer", after=0.2)
    agent.ascended, agent.settled, agent.checkpoint_owed = True, False, True
    agent.throne = reigning.Throne(starts=postgres.starts, opened=let and not order.sync.k)
    starts = postgres.starts
    yield site.draw(0.02, 0.15)
    if not postgres.answers or postgres.starts != starts:
        raise Again("PostgreSQL ended in the promotion", after=0.2)
    postgres.promote(order.timeline)
    agent.tuning.promoted()
    site.ledger.promoted(agent)
    site.story(agent.name, f"promoted: timeline {postgres.timeline} of term {order.term}", key=True)
    if agent.throne is not None and agent.throne.opened:
        postgres.doors = False
        postgres.open_doors()
    if postgres.timeline != order.timeline:
        raise Refused(f"the promotion began timeline {postgres.timeline}, not {order.timeline}; not serving")
    agent.look()
    yield from agent.remember(begun=True)


def _confirm(agent: Agent, upstream: duty.Upstream) -> Job:
    """Are you the primary that I was told to follow? (member/ask)"""
    answered = Signal()
    heard: list[MemberReport | Again] = []

    def hear(answer: MemberReport | Again) -> None:
        heard.append(answer)
        answered.fire()

    agent.site.ask_report(agent.node, upstream.address, hear)
    yield (answered, CONFIRM)
    who = f"{upstream.primary} at {upstream.address}"
    report = heard[0] if heard else Again(f"{who} does not answer", after=0.5)
    if isinstance(report, Again):
        raise report
    if report.cluster != agent.memory.cluster or report.incarnation != upstream.primary:
        raise Again(f"{who} is not that: {report.incarnation} of {report.cluster} answers there", after=0.5)
    if report.accepted is None or report.accepted[0] < upstream.term:
        raise Again(f"{who} has not accepted term {upstream.term} yet", after=0.1)
    if report.role is not Role.PRIMARY or report.reigned < upstream.term:
        raise Again(f"{who} is not primary yet", after=0.1)
    if agent.name not in report.slots:
        raise Again(f"{who} keeps no replication slot for {agent.name} yet", after=0.1)


def _source(agent: Agent, upstream: duty.Upstream) -> Postgres:
    """The postgres that data is taken from, as long as it can be reached."""
    source = agent.site.postgres_at(upstream.address, agent.node)
    if source is None or not source.answers:
        raise Again(f"{upstream.primary} at {upstream.address} cannot be reached", after=0.5)
    return source


def _fresh(agent: Agent) -> claim.Incarnation:
    return claim.incarnation(agent.name, f"{agent.site.rng.getrandbits(32):08x}")
