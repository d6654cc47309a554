"""The rules, each undone by itself. `test_mutants` wants every one of them caught; `python -m tests.sim.mutants` hunts
them all and says how many histories it took.

To add one: a function that puts something else in the place of a rule (`patch.put(where, "name", instead)`), and a
line in `MUTANTS` with the sentence of the protocol that it leaves out. Where a rule shows only under certain troubles,
name their theme (`sim.faults.THEMES`): it is then found in tens of histories instead of hundreds.
"""

from __future__ import annotations

import sys
from typing import Any

from loguru import logger

from pgswarm.core import ballot, bootstrap, durability, letters, orders, telling, wal
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.memory import Memory
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, MemberReport
from pgswarm.core.steps import NOTHING, Plan
from pgswarm.core.world import World
from pgswarm.sim import acting, reigning
from pgswarm.sim.agent import Agent
from pgswarm.sim.mutants import Mutant, Patch, hunt
from pgswarm.sim.swarm import Swarm

# Safety


def quorum_one_too_small(patch: Patch) -> None:
    patch.put(Claim, "quorum", property(lambda self: max(1, len(self.members) - self.r)))


def claim_not_narrowed(patch: Patch) -> None:
    amended = Record.amended

    def kept(self: Record, reason: str, **changes: object) -> Record:
        new = amended(self, reason, **changes)
        if new.term > self.term and new.primary != self.primary and self.claim.r > 1:
            return new.model_copy(update={"claim": self.claim})
        return new

    patch.put(Record, "amended", kept)
    patch.put(Sync, "implies", lambda self, claim, primary: True)


def _overlooked(patch: Patch, *words: str) -> None:
    """What `_unproved` says with these words is not heard."""
    real = durability._unproved

    def blind(*given: Any) -> str | None:
        why = real(*given)
        return None if why and any(word in why for word in words) else why

    patch.put(durability, "_unproved", blind)


def flush_not_waited_for(patch: Patch) -> None:
    _overlooked(patch, "flushed")


def in_force_not_waited_for(patch: Patch) -> None:
    _overlooked(patch, "in force", "flushed", "acknowledged")


def writes_not_compared(patch: Patch) -> None:
    patch.put(Swarm, "agrees", staticmethod(lambda there, version: there is not None or version is None))


def promises_taken_unsettled(patch: Patch) -> None:
    def hasty(report: MemberReport, term: int) -> bool:
        return report.data is Data.READY and report.promised >= term and report.position is not None

    patch.put(ballot, "has_promised", hasty)


def receiver_not_stopped(patch: Patch) -> None:
    patch.put(acting, "has_ended", lambda postgres: True)


def the_nearest_wins(patch: Patch) -> None:
    real = wal.progress
    patch.put(ballot, "progress", lambda position, lineage: tuple(-part for part in real(position, lineage)))


def moody_orders(patch: Patch) -> None:
    said = iter(range(10**9))

    def moody(cluster: str, record: Record, member: str) -> orders.Order:
        return orders.order_for(cluster, record, member).model_copy(update={"system_id": str(next(said))})

    patch.put(telling, "to_member", letters.to_member.__wrapped__)  # written anew each time
    patch.put(letters, "order_for", moody)


def promise_not_fsynced(patch: Patch) -> None:
    """A crash finds the memory as it was when the container began."""
    real = acting.make_durable

    def lazy(agent: Agent, new: Memory) -> None:
        kept = agent.volume.memory.promised if new.incarnation == agent.volume.memory.incarnation else new.promised
        order = agent.volume.memory.order if new.incarnation == agent.volume.memory.incarnation else new.order
        real(agent, new.model_copy(update={"promised": kept, "order": order}))

    patch.put(acting, "make_durable", lazy)


def crash_shows_everything(patch: Patch) -> None:
    def at_once(agent: Agent) -> Any:
        return
        yield

    patch.put(reigning, "commit_once", at_once)


def not_armed(patch: Patch) -> None:
    def blind(agent: Agent) -> Any:
        return
        yield

    patch.put(reigning, "see_a_commit_wait", blind)
    patch.put(reigning, "commit_once", blind)


def lock_not_held(patch: Patch) -> None:
    def take(agent: Agent) -> bool:
        agent.volume.holder = agent.container
        return True

    patch.put(acting, "takes_lock", take)


# Rest


def no_raise(patch: Patch) -> None:
    patch.put(ballot, "raised", lambda world, record, now: NOTHING)


def the_lost_never_dropped(patch: Patch) -> None:
    patch.put(durability, "_is_lost", lambda *given: False)


def restless_record(patch: Patch) -> None:
    """Once a second only: a write in every pass is found as well, and costs a minute of the processor."""
    real, wrote = bootstrap.completed, 0.0

    def again(world: World, record: Record, now: float) -> Plan:
        nonlocal wrote
        said = real(world, record, now)
        if said.steps or abs(world.wall - wrote) < 1.0:
            return said.and_then(Plan(again=1.0))
        wrote = world.wall
        return durability._write(record, "again")

    patch.put(bootstrap, "completed", again)


def _m(
    undo: Any, rule: str, theme: str | None = None, *, shows: tuple[str, ...] = ("S", "C", "law", "the record")
) -> Mutant:
    return Mutant(name=undo.__name__, rule=rule, undo=undo, theme=theme, shows=shows)


REST = ("L",)

MUTANTS: tuple[Mutant, ...] = (
    _m(quorum_one_too_small, "a quorum is |M| - r + 1 promises", "partitions"),
    _m(claim_not_narrowed, "a winner is claimed alone", "partitions"),
    _m(flush_not_waited_for, "C1: enough of sync's members have flushed what was before", "volumes"),
    _m(in_force_not_waited_for, "C7: the setting is in force before it is counted on", "arming"),
    _m(writes_not_compared, "every write is a compare-and-set", "store"),
    _m(promises_taken_unsettled, "C8: not yet known means not yet answered", "laggards"),
    _m(receiver_not_stopped, "C8: the end of the log is told after the receiver has stopped", "laggards"),
    _m(the_nearest_wins, "the winner is the furthest promiser", "laggards"),
    _m(moody_orders, "S7: an order is a function of the record"),
    _m(promise_not_fsynced, "C2: durable before it is answered", "crashes"),
    _m(crash_shows_everything, "C11: no client before sync covers the last record", "crashes"),
    _m(not_armed, "C12: a commit is seen to wait before it is counted on", "arming"),
    _m(lock_not_held, "law 8: one container on one volume", "partitions"),
    _m(no_raise, "an abandoned ballot is followed by a raise", "operators", shows=REST),
    _m(the_lost_never_dropped, "a standby that is lost is dropped", "volumes", shows=REST),
    _m(restless_record, "L2: at rest nothing is written", shows=REST),
)


def main(most: int = 600) -> int:
    """Hunt them all."""
    logger.remove()
    survived = 0
    for mutant in MUTANTS:
        found = hunt(mutant, range(most))
        survived += found is None
        how = f"after {found.lived:4d} histories (seed {found.seed}): {found.violation}" if found else "SURVIVED"
        print(f"{mutant.name:26} {how[:150]}", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 600))
