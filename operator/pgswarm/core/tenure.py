"""Who may grant: one operator of the house at a time, for a time that ends on its own clock.

Operators rank themselves and need no lease (decision 0005), but a grant is a promise about time, so whoever gives one
must know until when nobody else can decide against it. That is the *tenure*: one small object in Swarm's store for
the whole house, changed by compare-and-set, written only while a cluster with `durability: async` exists.

A tenure counts for its holder from *before* its last write was begun, and for everybody else from *after* a write
that replaced it succeeded; and no grant outlasts the tenure in which it was given. So whoever has replaced a tenure
and then waited as long as it says knows that no grant of an earlier holder is left. A renewal that succeeds replaces
what its writer wrote itself, so nobody granted in between. The holder who leaves passes it on, saying how long its
last grants still count; then the next one waits only for that.

Before this: `core/leadership` ranks operators. After it: `core/granting` gives and `core/lapse` waits; `loop/tenure`
does what is decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pydantic import Field

from pgswarm.core.base import Value
from pgswarm.core.grant import DRIFT, MARGIN
from pgswarm.core.leadership import Candidate

LENGTH = 15.0
"""Seconds that a tenure lasts: a grant (10) and more than one renewal, so that full grants can always be given."""

RENEW = 4.0
"""Seconds between two renewals: one write to Swarm's store each, for all clusters together."""


class Tenure(Value):
    """As it stands in Swarm's store."""

    number: int = Field(ge=1, description="grows with every change of hands")
    holder: str = Field(description="an operator's name; empty: passed on, for anybody to take")
    token: str = Field(description="of the process that wrote it: a name may come back after a restart")
    beat: int = Field(default=0, description="grows with every renewal, so that no content is written twice")
    wait: float = Field(ge=0, description="seconds after which whoever replaced this knows that its grants are over")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a tenure is worth to the operator that took it; times are its own clock's."""

    number: int
    until: float  # no grant may count for longer
    over: float  # from then on no grant of an earlier holder is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Replace what is there, or begin."""

    tenure: Tenure
    wait: float  # seconds from the success of the write until `Standing.over`


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    tenure: Tenure


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOn:
    """Grant nothing more, then say so."""

    tenure: Tenure


Move = Take | Renew | PassOn


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that the next move is decided from."""

    me: str
    token: str
    found: Tenure | None  # as last read; None: there is none
    standing: Standing | None
    candidates: tuple[Candidate, ...]
    nodes: tuple[str, ...]  # where the primaries of async clusters are, one entry each
    granted_until: float  # the end of the last grant that this operator gave
    grantor: int  # the highest number in any record


def acting(candidates: Iterable[Candidate], nodes: Collection[str], holder: str) -> str | None:
    """The operator that acts for all async clusters: the holder while it can, else whoever should be it."""
    known = list(candidates)
    if any(one.name == holder and one.able for one in known):
        return holder
    return _best(known, nodes, holder)


def next_move(scene: Scene, now: float) -> Move | None:
    """What this operator does about the tenure now."""
    found, standing = scene.found, scene.standing
    holder = found.holder if found else ""
    if found is not None and standing is not None and (found.number, found.token) == (standing.number, scene.token):
        if not scene.nodes or _best(scene.candidates, scene.nodes, scene.me) != scene.me:
            return PassOn(tenure=_passed_on(scene, found, standing, now))
        if now >= standing.until - LENGTH + RENEW:
            return Renew(tenure=found.model_copy(update={"beat": found.beat + 1}))
        return None
    if not scene.nodes or acting(scene.candidates, scene.nodes, holder) != scene.me:
        return None
    number = max(found.number if found else 0, scene.grantor) + 1
    taken = Tenure(number=number, holder=scene.me, token=scene.token, wait=LENGTH)
    return Take(tenure=taken, wait=found.wait if found else LENGTH)


def taken(take: Take, *, begun: float, succeeded: float) -> Standing:
    """The standing of who has taken it: worth less to itself than to everybody else."""
    over = succeeded + take.wait * (1 + DRIFT) + MARGIN
    return Standing(number=take.tenure.number, until=begun + LENGTH, over=over)


def _passed_on(scene: Scene, found: Tenure, standing: Standing, now: float) -> Tenure:
    left = max(0.0, scene.granted_until - now, standing.over - now)
    changes = {"holder": "", "token": "", "beat": found.beat + 1, "wait": round(left + MARGIN, 3)}
    return found.model_copy(update=changes)


def _best(candidates: Iterable[Candidate], nodes: Collection[str], holder: str) -> str | None:
    """Able, with the fewest primaries on its own node, so that one loss is not two; else who has it already."""
    primaries = Counter(nodes)
    ranked = sorted(candidates, key=lambda one: (not one.able, primaries[one.node_id], one.name != holder, one.name))
    return ranked[0].name if ranked else None
