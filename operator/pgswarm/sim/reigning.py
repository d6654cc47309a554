"""A primary's duties, played: the transcript of `member/reign` and `member/ruling`, step by step.

Arming with a name that nobody bears, a canary that is *seen to wait*, the real names, every walsender having taken them
up, a commit acknowledged under them, then the doors (C7, C11, C12). The functions whose names say what is waited for
(`see_a_commit_wait`, `taken_up`, `commit_once`) are the rules that a mutant leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgswarm.core.orders import Order
from pgswarm.core.reports import InForce
from pgswarm.errors import Again, Failure, Refused
from pgswarm.member.ruling import REFUSED_PAUSE
from pgswarm.sim import leave
from pgswarm.sim.clock import Job, Running, Signal
from pgswarm.sim.streaming import GHOST, NOBODY, Setting

if TYPE_CHECKING:
    from pgswarm.sim.agent import Agent

LOADED_PATIENCE = 5.0


@dataclass(slots=True)
class Throne:
    """What is known of one reign under one start of the postmaster."""

    starts: int
    opened: bool
    armed: bool = False
    in_force: InForce | None = None
    why: str = "not open yet"
    setting: Setting | None = None  # the one that is in force


class Rule:
    """For as long as the same order reigns over the same postgres, its duties are done once."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._key: tuple[object, ...] | None = None
        self._running: Running | None = None

    def follow(self) -> None:
        """Asked at every change: does the same order still reign?"""
        agent = self._agent
        order = agent.reigns()
        key = None if order is None else (agent.postgres.starts, order.key)
        if key == self._key:
            return
        self._key = key
        if self._running is not None:
            self._running.cancel()
            self._running = None
        if order is not None:
            self._running = agent.process.run(_until_done(agent, order), agent.site.ledger.bug)


def _until_done(agent: Agent, order: Order) -> Job:
    throne = agent.throne
    if throne is None or throne.starts != agent.postgres.starts:
        return
    while True:
        try:
            owed = agent.process.run(checkpoint_owed(agent, throne, order), lambda failure: None)
            try:
                yield from leave.until_let(agent, order)
                yield from hold(agent, throne, order)
                agent.publish()
                while not owed.over:
                    yield 0.05
            finally:
                owed.cancel()
        except Refused as exc:
            throne.opened = False
            agent.trouble("reign", exc.reason)
            yield REFUSED_PAUSE
        except Failure as exc:
            yield max(0.1, exc.after if isinstance(exc, Again) else 0.0)
        else:
            agent.trouble("reign", None)
            return


def checkpoint_owed(agent: Agent, throne: Throne, order: Order) -> Job:
    """The first checkpoint of a new timeline, beside the quarantine; not before commits are seen to wait."""
    while agent.checkpoint_owed:
        if not throne.armed and order.sync.k:
            yield 0.02
            continue
        yield agent.site.draw(0.05, 0.5)
        _alive(agent)
        agent.postgres.checkpoint()
        agent.checkpoint_owed = False


def hold(agent: Agent, throne: Throne, order: Order) -> Job:
    """Bring the sync setting of `order` into force and open the doors."""
    postgres, site = agent.postgres, agent.site
    yield site.draw(0.002, 0.006)
    _alive(agent)
    if postgres.timeline != order.timeline:
        raise Refused(f"PostgreSQL writes timeline {postgres.timeline}, term {order.term} is {order.timeline}")
    wanted = Setting.of(order.sync, order.term)
    if throne.opened and throne.setting == wanted:
        throne.in_force = force(agent, order)
        agent.publish()
        return
    throne.in_force = throne.setting = None
    if not wanted.k:
        throne.armed = False
        if postgres.written != NOBODY:
            yield from put(agent, NOBODY)
        throne.in_force, throne.setting = force(agent, order), NOBODY
        yield from let_in(agent, throne)
        return
    if not throne.armed:
        throne.why = "arming: no commit has been seen waiting yet"
        if postgres.written != GHOST:
            yield from put(agent, GHOST)
        yield from see_a_commit_wait(agent)
        throne.armed = True
        site.story(agent.name, "armed: a commit was seen waiting")
    load = yield from put(agent, wanted)
    if throne.opened:
        yield from _say_in_force(agent, load, throne, order, wanted)
        return
    throne.why = f"quarantine: waits for {order.sync} to confirm what the log ends with"
    beside = agent.process.run(_say_in_force(agent, load, throne, order, wanted), lambda failure: None)
    try:
        yield from commit_once(agent)
        yield from let_in(agent, throne)
        while not beside.over:
            yield 0.05
    finally:
        beside.cancel()


def put(agent: Agent, setting: Setting) -> Job:
    """Write the setting and see it loaded; the number of that load."""
    postgres = agent.postgres
    load = postgres.loads + 1
    postgres.reload(setting)
    yield from loaded(agent, load)
    return load


def loaded(agent: Agent, load: int) -> Job:
    """Wait until a new connection shows a configuration read since."""
    postgres = agent.postgres
    until = agent.process.now + LOADED_PATIENCE
    while postgres.loads < load:
        if agent.process.now > until:
            raise Again("PostgreSQL does not read its configuration again")
        yield (postgres.loaded, 0.5)
        _alive(agent)


def see_a_commit_wait(agent: Agent) -> Job:
    """Make canary commits until one of them waits: then the shared flag is up."""
    postgres = agent.postgres
    while not postgres.commit(-1):
        yield (postgres.flagged, 0.5)
        _alive(agent)
    yield agent.site.draw(0.001, 0.005)


def commit_once(agent: Agent) -> Job:
    """One commit under the setting in force; returns when it is acknowledged, however long that takes (C11)."""
    postgres = agent.postgres
    done = Signal()
    if postgres.commit(-1, done.fire):
        starts = postgres.starts
        while not (yield (done, 1.0)):
            _alive(agent)
            if postgres.starts != starts:
                raise Again("a canary commit was cut off")


def _say_in_force(agent: Agent, load: int, throne: Throne, order: Order, wanted: Setting) -> Job:
    yield from taken_up(agent, load)
    throne.in_force, throne.setting = force(agent, order), wanted
    agent.publish()


def taken_up(agent: Agent, load: int) -> Job:
    """Wait until every walsender has taken the setting up: started since, gone, or replied to twice since (C7)."""
    postgres = agent.postgres
    while any(one.adopted < load for one in postgres.senders):
        yield (postgres.adopted, 0.5)
        _alive(agent)
    yield agent.site.draw(0.005, 0.03)


def force(agent: Agent, order: Order) -> InForce:
    """The setting holds, from where the log ends now."""
    since = len(agent.volume.log)
    if order.sync.k:  # something more for the standbys to flush, or an idle cluster would not be seen to have
        agent.postgres.append(-1)
    agent.site.story(agent.name, f"sync {order.sync} in force from {since} (revision {order.revision})")
    return InForce(term=order.term, revision=order.revision, since=since)


def let_in(agent: Agent, throne: Throne) -> Job:
    """Let clients in, if the gate lets."""
    if not throne.opened:
        leave.gate(agent)
        load = agent.postgres.loads + 1
        agent.postgres.reload(doors=True)
        yield from loaded(agent, load)
        throne.opened, throne.why = True, ""
        agent.publish()


def _alive(agent: Agent) -> None:
    if not agent.postgres.answers:
        raise Again("PostgreSQL does not answer", after=0.2)
