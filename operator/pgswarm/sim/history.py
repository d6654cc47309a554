"""One seed, one history: a site, some trouble, and what must be true all the while and at the end.

The seed draws the shape of the site, a theme for its troubles and their times. While they last, and after, the ledger
checks the invariants of safety (S1-S7). When the faults stop, the cluster must come to rest as the document says within
`REST` (L1), unless counted data is lost that only a person can give up; and at rest nothing is planned and nothing is
written (L2).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from loguru import logger

from pgswarm.core.grant import DRIFT
from pgswarm.core.steps import Plan, SendGrant, title
from pgswarm.sim.edits import Edits
from pgswarm.sim.faults import THEMES, Faults
from pgswarm.sim.hands import Hands
from pgswarm.sim.ledger import Violation
from pgswarm.sim.site import Shape, Site

TROUBLE = (6.0, 18.0)
"""Seconds of virtual time with faults."""

TROUBLE_OF_GRANTS = (8.0, 40.0)
"""The same in `async`, where everything waits for a grant to run out."""

REST = 90.0
"""Seconds within which everything must be as the document says, once the faults have stopped."""

PATIENCE = 45.0
"""Seconds of these after which a person does what the operators say they wait for: takes a fence back."""

STAY = 3.0
"""Seconds at rest within which nothing may be planned."""

ECHO = 30.0
"""Seconds after the last fault for which it may still be heard: kernels keep messages for 20 s, and calls hang for 5. A
cluster that came to rest earlier may be moved once more by such a late word, and must come to rest again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a history came to."""

    seed: int
    violation: str  # empty: all was well
    seconds: float  # of virtual time
    rested_after: float | None  # None: not to be had without a person
    commits: int
    longest: float  # seconds between two acknowledgements of one client
    seen: Counter[str]
    theme: str
    shape: Shape
    transcript: str = ""


def shape_of(seed: int) -> tuple[Shape, str]:
    """The site and the theme of a seed."""
    rng = random.Random(f"shape {seed}")
    members = rng.choice((1, 2, 2, 2, 3, 3, 3, 3, 4, 5))
    durability = rng.choice(("preferred", "preferred", "preferred", "required", "required", "async"))
    if members == 1 and durability == "required":
        durability = "preferred"
    grants = durability == "async"
    shape = Shape(
        members=members,
        operators=rng.choice((1, 1, 1, 1, 2, 2, 3)),
        nodes=5 if members > 3 else 3,
        managers=rng.choice((1, 3, 3, 3)),
        durability=durability,
        detection=rng.choice(("3s", "3s", "1s")),
        clients=rng.choice((1, 2)),
        pace=rng.choice((0.1, 0.3, 0.6)),
        born=rng.random() > 0.12,
        drift=rng.choice((0.0, 0.002, DRIFT / 2.01) if grants else (0.0, 0.0, 0.02, 0.1)),
        lag=rng.choice(("16MB", "16MB", "12B", "2B")),
    )
    return shape, rng.choice(list(THEMES))


def history(seed: int, *, rest: bool = True, theme: str | None = None, keep: bool = False) -> Outcome:
    """Live one. Never raises: what was found wrong is in the outcome."""
    shape, drawn = shape_of(seed)
    life = Life(Site(seed, shape), theme or drawn)
    violation = ""
    logger.disable("pgswarm")
    try:
        life.trouble()
        if rest:
            life.rest()
    except Violation as found:
        violation = str(found)
    except Exception as broken:  # whatever it is, it must not end a run of a hundred thousand
        violation = f"bug: {type(broken).__name__}: {broken}"
    finally:
        site = life.site
        try:
            site.close()
        except RuntimeError as broken:  # a task that would not end when it was told to
            violation = violation or f"bug at the end: {broken}"
        logger.enable("pgswarm")
    return Outcome(
        seed=seed,
        violation=violation,
        seconds=site.now,
        rested_after=life.rested_after,
        commits=len(site.ledger.commits),
        longest=max(client.longest for client in site.clients),
        seen=site.seen,
        theme=life.theme,
        shape=shape,
        transcript=site.transcript.text() if violation or keep else "",
    )


class Life:
    """The course of one history."""

    def __init__(self, site: Site, theme: str) -> None:
        self.site, self.theme = site, theme
        self.faults, self.edits, self.hands = Faults(site), Edits(site), Hands(site)
        self.rested_after: float | None = None

    def trouble(self) -> None:
        """A quiet beginning, then faults at random moments."""
        site = self.site
        site.swarm.down_after = site.rng.choice((2.0, 5.0, 9.0))
        site.run(1.0 if site.shape.born else 4.0)
        site.unruly = site.network.unruly = True
        least, most = TROUBLE_OF_GRANTS if site.shape.durability == "async" else TROUBLE
        left = least + (most - least) * site.rng.random()
        pace = site.rng.choice((0.6, 1.5, 3.0))
        while left > 0:
            pause = min(left, site.rng.expovariate(1.0 / pace))
            site.run(pause)
            left -= pause
            self.faults.draw(self.theme)
            self.edits.maybe()
            self.hands.maybe()
        self.faults.calm()

    def rest(self) -> None:
        """L1 and L2."""
        site, began = self.site, self.site.now
        site.run(site.swarm.stop_lag + 1.0)  # what Swarm was about to stop is stopped
        while True:
            while (unrest := site.unrest()) and site.now - began < REST:
                site.run(0.5)
                self.faults.thaw_all()  # a fault that was to end later has nothing left to end
                if site.now - began > PATIENCE:
                    self.hands.relent(self._waits())
            if unrest:
                if site.ledger.lost_for_good:
                    site.count("lost for good")
                    return
                raise Violation(f"L1: not at rest {REST:.0f} s after the last fault: {unrest}\n{self._picture()}")
            rested_after = site.now - began
            settles = self._settles()
            if not (moved := self._moved()):
                self.rested_after = rested_after
                return
            if site.now - began > (ECHO if settles else REST):
                raise Violation(f"L2: at rest, and yet {moved}\n{self._picture()}")

    def _settles(self) -> bool:
        """Once everybody has heard everything, does it stay at rest? What was waited for may begin only then."""
        site = self.site
        for client in site.clients:
            client.idle = True
        for _ in range(10):
            site.run(1.0)
            if not self._planned() and not site.unrest(settled=0.0) and not self._needs_restart():
                return True  # with nothing planned it may still wait for an answer
        return False

    def _needs_restart(self) -> bool:
        """Does a member's PostgreSQL wait for its turn to be started anew? Between two turns nothing is planned."""
        containers = map(self.site.container, self.site.wanted)
        return any(one is not None and one.agent.tuning.pending for one in containers)

    def _moved(self) -> str:
        """What is still done; empty if the cluster stays as it is."""
        site, record = self.site, self.site.record
        for _ in range(int(STAY)):
            site.run(1.0)
            if planned := self._planned():
                return f"there is a plan: {planned}"
        if site.record != record:
            return f"the record went from {record} to {site.record}"
        return site.unrest(settled=0.0)  # a tenure that wanders changes the record

    def _plans(self) -> Iterator[Plan]:
        for operator in self.site.operators:
            if operator.alive and operator.house:
                yield from (worker.plan for worker in operator.house.workers.values())

    def _waits(self) -> tuple[str, ...]:
        return tuple(text for plan in self._plans() for text in plan.waits)

    def _planned(self) -> str:
        return "; ".join(
            title(step)
            for plan in self._plans()
            for step in plan.steps
            if not isinstance(step, SendGrant)  # given every few seconds, for ever
        )

    def _picture(self) -> str:
        """What a person wants to see first."""
        lines = []
        for operator in self.site.operators:
            for worker in operator.house.workers.values() if operator.alive and operator.house else ():
                lines.append(f"{operator.name}: plans {self._planned() or 'nothing'}; waits: {worker.plan.waits}")
                lines += [f"  {key}: {failed.reason}" for key, failed in worker.failed.items()]
        for member in self.site.volumes:
            container = self.site.container(member)
            lines.append(f"{member}: {container.agent.report.model_dump(exclude_defaults=True) if container else None}")
        return "\n".join(lines)
