"""Faults by chance: a seed gives a history, and the same seed gives the same one again.

`history` lets a cluster be born, troubles it for a while, stops all faults, and then wants it back at rest. A failure
names the seed: `history(N)` is that life once more.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgswarm.core.reports import Data
from pgswarm.core.steps import title
from tests.scenarios.check import Violation
from tests.scenarios.cluster import Cluster

BIRTH = 10.0
TROUBLE = 12.0
REST = 60.0
"""Seconds of virtual time: until the cluster is born, with faults, and at most until it is at rest again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a history came to."""

    elections: int
    commits: int
    acknowledged: int
    rested_after: float | None  # None: not to be had without a person, since counted volumes were lost


def history(
    seed: int, *, size: int | None = None, operators: int | None = None, volumes: bool = True, rest: bool = True
) -> Outcome:
    """One life. Raises Violation for anything that must not be."""
    first = Cluster(seed=seed, size=1)
    size = size or first.rng.choice((1, 2, 2, 3, 3, 3))
    operators = operators or first.rng.choice((1, 1, 2))
    durability = first.rng.choice(("preferred", "preferred", "required")) if size > 1 else "preferred"
    cluster = Cluster(seed=seed, size=size, operators_=operators, durability=durability)
    until(cluster, BIRTH)
    end = cluster.now + TROUBLE
    while cluster.now < end:
        trouble(cluster, volumes=volumes)
        cluster.tick()
    calm(cluster)
    began = cluster.now
    rested = until(cluster, REST)
    outcome = Outcome(
        elections=cluster.check.elections,
        commits=cluster.commits,
        acknowledged=len(cluster.check.ledger),
        rested_after=cluster.now - began if rested else None,
    )
    if not rested and rest and not cluster.check.lost_for_good():
        raise Violation(f"L1: not at rest {REST:.0f} s after the last fault\n{picture(cluster)}")
    if rested and rest:
        stay(cluster)
    return outcome


def until(cluster: Cluster, limit: float) -> bool:
    """Ticks until all is as the document says, at most `limit` seconds."""
    end = cluster.now + limit
    while cluster.now < end:
        if cluster.at_rest:
            return True
        cluster.tick()
    return cluster.at_rest


def stay(cluster: Cluster) -> None:
    """L2: once everybody has heard everything, nothing is planned."""
    cluster.clients = False
    for _ in range(60):  # what was said last is heard, and what was told last is known to be told
        cluster.tick()
    revision = cluster.store.history[-1].revision
    for _ in range(15):
        cluster.tick()
        for operator in cluster.operators:
            if operator.plan.steps:
                steps = "; ".join(title(step) for step in operator.plan.steps)
                raise Violation(f"L2: at rest, and yet: {steps}\n{picture(cluster)}")
    if cluster.store.history[-1].revision != revision or not cluster.at_rest:
        raise Violation(f"L2: it did not stay at rest\n{picture(cluster)}")


def trouble(cluster: Cluster, *, volumes: bool) -> None:
    """Perhaps one fault now."""
    rng, now = cluster.rng, cluster.now
    if rng.random() > 0.08:
        return
    member = rng.choice(list(cluster.members.values()))
    away = rng.choice((0.3, 1.5, 5.0))
    names = [*cluster.members, *(operator.name for operator in cluster.operators)]
    match rng.choices(
        ("crash", "site", "postgres", "cut", "heal", "alone", "store", "operator", "sleep", "volume"),
        (20, 4, 12, 18, 14, 8, 6, 5, 5, 5),
    )[0]:
        case "crash":
            member.crash(now, away)
        case "site":
            for each in cluster.members.values():
                each.crash(now, rng.choice((0.3, 1.5, 3.0)))
        case "postgres":
            member.crash_postgres()
        case "cut" if len(names) > 1:
            cluster.cuts.add(frozenset(rng.sample(names, 2)))
        case "heal":
            cluster.cuts.clear()
        case "alone":
            cluster.cuts |= {frozenset((member.name, name)) for name in names if name != member.name}
        case "store":
            cluster.store.down_until = now + rng.choice((0.5, 3.0))
        case "operator":
            rng.choice(cluster.operators).restart(now)
        case "sleep":
            operator = rng.choice(cluster.operators)
            operator.asleep_until = now + rng.choice((0.5, 2.0, 6.0))
            operator.awake_since = operator.asleep_until
        case "volume" if volumes and member.data is not Data.NONE:
            cluster.check.volume_lost(member)
            member.lose_volume(now, away)


def calm(cluster: Cluster) -> None:
    """No more faults: links are whole, messages arrive, everybody is back soon. One operator acts."""
    cluster.unruly = cluster.store.unruly = False
    cluster.cuts.clear()
    del cluster.operators[1:]


def picture(cluster: Cluster) -> str:
    """For a person who looks into a failing seed."""
    record = cluster.store.record
    lines = [f"seed {cluster.seed}, {cluster.size} members, {cluster.durability}, at {cluster.now:.1f}"]
    if record is not None:
        lines.append(
            f"record: revision {record.revision} term {record.term} primary {record.primary} claim {record.claim} "
            f"sync {record.sync} ({record.reason})"
        )
    lines += [
        f"{m.name}: alive={m.alive} {m.data} {m.ident} {m.role} {m.postgres} tl{m.timeline}@{len(m.log)} "
        f"promised={m.promised} settled={m.settled} heeded={m.heeded} upstream={m.upstream} busy={m.busy_with} "
        f"clients={m.clients} quarantine={m.quarantine} flushed={m.flushed} "
        f"order={m.order.key if m.order else None}"
        for m in cluster.members.values()
    ]
    lines += [f"{o.name}: {[title(s) for s in o.plan.steps]} waits {o.plan.waits}" for o in cluster.operators]
    return "\n".join(lines)
