"""A told history: the vocabulary of scenario files.

A scenario is a function that is given a `Play` and tells what happens, in order:

    def a_partition_heals(play: Play) -> None:
        '''What the incident was, and which sentence of the protocol is at stake.'''
        play.begin(members=2)                       # all is well; the first member reigns
        play.faults.isolate(play.node(play.primary))
        play.until("pg-2 serves", lambda: play.serves("pg-2"), within=20)
        play.faults.heal_all()
        play.wait(2)
        play.rest()                                 # as the document says, and nothing planned

`play.faults` has every fault by name (`sim.faults`), `play.windows` the moments between two lines of the protocol
(`sim.windows`), `play.site` everything there is. `begin` takes the fields of a
`Shape`. Everything takes as long as it usually does, so a story changes only with what it tells. Time passes only in
`wait`, `until`, `never` and `rest`; the ledger watches all the while, so a scenario needs to say only what is special
about it. What happened is `play.story()`: its key lines are compared with the transcript that was reviewed and is
stored beside the scenario (`tests/sim/scenarios`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loguru import logger

from pgswarm.core.record import Record
from pgswarm.core.reports import Serving
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.tenure import Tenure
from pgswarm.core.wish import Answered
from pgswarm.sim import telling, wishes
from pgswarm.sim.agent import Agent
from pgswarm.sim.faults import Faults
from pgswarm.sim.history import Life
from pgswarm.sim.ledger import Violation
from pgswarm.sim.site import Shape, Site
from pgswarm.sim.windows import Windows

LOOK = 0.05
"""Seconds between two looks at what is waited for."""


class Play:
    """One scenario under way."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self._site: Site | None = None

    def begin(self, *, after: float = 2.0, **shape: object) -> None:
        """A site of this shape, and a quiet time."""
        self._site = Site(self.seed, Shape(steady=True, **shape))  # type: ignore[arg-type]
        self.wait(after)

    @property
    def site(self) -> Site:
        if self._site is None:
            raise AssertionError("a scenario begins with play.begin(…)")
        return self._site

    @property
    def faults(self) -> Faults:
        return Faults(self.site)

    @property
    def windows(self) -> Windows:
        return Windows(self.site)

    # Time

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.site.run(seconds)

    def until(self, what: str, true: Callable[[], object], *, within: float = 30.0, look: float = LOOK) -> None:
        """Let time pass until something is true; it is wrong if that takes longer. `look`: how closely to look."""
        end = self.site.now + within
        while not true():
            if self.site.now >= end:
                raise AssertionError(f"not within {within:g} s: {what}\n{self.site.transcript.text()}")
            self.site.run(look)

    def never(self, what: str, true: Callable[[], object], *, during: float) -> None:
        """Let time pass, during which something must not become true."""
        end = self.site.now + during
        while self.site.now < end:
            self.site.run(LOOK)
            self.expect(f"not: {what}", not true())

    def wish(self, kind: wishes.Kind, to: str | None = None, **more: Any) -> None:
        """A person asks for something."""
        self.expect("Swarm can be written", wishes.wish(self.site, kind, to, **more) is not None)

    def edit(self, **spec: object) -> None:
        """A person saves the document with these parts of its spec changed."""
        document = self.site.document
        if document is None:
            raise AssertionError("there is no document to edit")
        edited = document.model_dump(by_alias=True, exclude_unset=True)
        edited["spec"] = {**edited.get("spec", {}), **spec}
        self.site.edit(PostgresCluster.model_validate(edited))

    def instances(self, *members: str) -> None:
        """A person saves the document with these members, pg-1 on n1 and so on, round the nodes."""
        nodes = list(self.site.swarm.machines)
        self.edit(instances=[{"name": one, "node": nodes[(int(one[3:]) - 1) % len(nodes)]} for one in members])

    def places(self, **members: str) -> None:
        """A person saves the document with these members: `n1="pg-1"` is pg-1 on n1."""
        named = sorted((member, node) for node, member in members.items())
        self.edit(instances=[{"name": member, "node": node} for member, node in named])

    def answer(self, *, within: float = 20.0) -> Answered:
        """What came of it, once that is known."""
        self.until("the wish is answered", lambda: self.record.wish is None and self.record.answered, within=within)
        answered = self.record.answered
        if answered is None:
            raise AssertionError("nothing was wished for")
        return answered

    def rest(self) -> None:
        """The faults are over: the cluster comes to rest as the document says, and then plans nothing (L1, L2)."""
        self.faults.calm()
        Life(self.site, "told").rest()

    def expect(self, what: str, true: object) -> None:
        """This is so, now."""
        if not true:
            raise AssertionError(f"{what}\n{self.site.transcript.text()}")

    # What there is

    @property
    def record(self) -> Record:
        record = self.site.record
        if record is None:
            raise AssertionError("there is no record")
        return record

    @property
    def tenure(self) -> Tenure:
        """Which operator may grant."""
        tenure = self.site.swarm.tenures.now
        if tenure is None:
            raise AssertionError("nobody has taken a tenure")
        return tenure

    @property
    def primary(self) -> str:
        """The record's primary."""
        return self.record.primary_member

    @property
    def standbys(self) -> list[str]:
        return [name for name in self.site.volumes if name != self.primary]

    @property
    def acknowledged(self) -> int:
        """Commits that clients were told of, or could see."""
        return len(self.site.ledger.commits)

    def home(self, member: str) -> str:
        """Where a member lives by the record; empty if it is in none."""
        place = self.record.place(member)
        return place.node_name if place is not None else ""

    @property
    def waits(self) -> tuple[str, ...]:
        """What the operators that act say they wait for."""
        houses = [one.house for one in self.site.operators if one.alive and one.house]
        return tuple(text for house in houses for worker in house.workers.values() for text in worker.plan.waits)

    def node(self, member: str) -> str:
        """Where its newest container lives."""
        return next(slot.node for slot in reversed(self.site.swarm.slots) if slot.member == member)

    def agent(self, member: str) -> Agent:
        container = self.site.container(member)
        if container is None:
            raise AssertionError(f"no container of {member} lives")
        return container.agent

    def serves(self, member: str) -> bool:
        """Does its agent say that writers may be sent there?"""
        container = self.site.container(member)
        return container is not None and telling.serving(container.agent)[0] is Serving.PRIMARY

    def story(self) -> str:
        """The key lines."""
        return self.site.transcript.story()

    def close(self) -> None:
        if self._site is not None:
            self._site.close()
        self._site = None


def perform(scenario: Callable[[Play], None], seed: int = 1) -> str:
    """Play a scenario to its end; its story. Raises AssertionError, with the story, if it goes otherwise."""
    play = Play(seed)
    logger.disable("pgswarm")
    try:
        scenario(play)
        return play.story()
    except Violation as found:
        raise AssertionError(f"{found}\n{play.site.transcript.text()}") from found
    finally:
        play.close()
        logger.enable("pgswarm")
