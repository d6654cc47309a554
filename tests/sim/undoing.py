"""How each rule is undone: a function for each, which puts another in its place. The list is in `mutants`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pgswarm.core import (
    adoptable,
    ballot,
    bootstrap,
    claim,
    durability,
    duty,
    leadership,
    letters,
    memory,
    orders,
    pausing,
    resumption,
    routing,
    switchover,
    telling,
    turns,
    wal,
)
from pgswarm.core import plan as plan_
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.memory import Memory
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, MemberReport
from pgswarm.core.steps import NOTHING, AskPromise, Plan
from pgswarm.core.world import World
from pgswarm.loop import observe
from pgswarm.sim import acting, answering, founding, reigning
from pgswarm.sim.ledger import Ledger
from pgswarm.sim.mutants import Patch
from pgswarm.sim.swarm import Swarm
from pgswarm.sim.tuning import Tuning


def nothing(*given: Any, **named: Any) -> Iterator[Any]:
    """A job that is done at once."""
    return iter(())


# Claim and sync


def sync_leads_the_claim(patch: Patch) -> None:
    real = durability._write

    def sync_only(record: Record, reason: str, **changes: Any) -> Any:
        if "claim" in changes and changes["claim"].r < record.claim.r:
            changes = {"sync": changes["sync"]}
        return real(record, reason, **changes)

    patch.put(durability, "_write", sync_only)
    patch.put(Sync, "implies", lambda self, claim, primary: True)


def memory_is_not_durable(patch: Patch) -> None:
    def forgets(agent: Any, new: Memory) -> None:
        if new.data is agent.volume.memory.data:
            new = new.model_copy(update={"promised": agent.volume.memory.promised})
        agent.volume.memory = new

    patch.put(acting, "make_durable", forgets)


def _unproved_but(patch: Patch, *words: str) -> None:
    real = durability._unproved

    def blind(*given: Any) -> str | None:
        why = real(*given)
        return None if why and any(word in why for word in words) else why

    patch.put(durability, "_unproved", blind)


def counted_before_it_knows(patch: Patch) -> None:
    _unproved_but(patch, "durably accepted")


def flush_is_not_waited_for(patch: Patch) -> None:
    _unproved_but(patch, "flushed")


def in_force_is_not_waited_for(patch: Patch) -> None:
    _unproved_but(patch, "in force", "flushed", "acknowledged")


def an_incarnation_that_outlives_its_data(patch: Patch) -> None:
    patch.put(acting, "_fresh", lambda agent: agent.memory.incarnation or claim.incarnation(agent.name, "0000000f"))


def two_names_at_once(patch: Patch) -> None:
    real = durability._from_two

    def hasty(world: Any, record: Record, primary: Any, streaming: Any, lost: Any, now: float) -> Any:
        gone = [name for name in record.sync.names if name in lost]
        kept = tuple(name for name in record.sync.names if name not in lost)
        if gone and kept:
            return durability._write(record, "all at once", sync=Sync(k=1, names=kept))
        return real(world, record, primary, streaming, lost, now)

    patch.put(durability, "_from_two", hasty)


def walsenders_are_not_asked(patch: Patch) -> None:
    patch.put(reigning, "taken_up", nothing)


def receiver_goes_on(patch: Patch) -> None:
    patch.put(acting, "stop_receiving", lambda postgres: None)
    patch.put(acting, "has_ended", lambda postgres: True)


def promises_count_before_they_are_settled(patch: Patch) -> None:
    def hasty(report: MemberReport, term: int) -> bool:
        return report.data is Data.READY and report.promised >= term and report.position is not None

    patch.put(ballot, "has_promised", hasty)
    patch.put(acting, "stop_receiving", lambda postgres: None)


def back_into_its_own_term(patch: Patch) -> None:
    patch.put(Memory, "bound", property(lambda self: self.order))


def nobody_is_quarantined(patch: Patch) -> None:
    patch.put(reigning, "commit_once", nothing)


def no_commit_is_seen_to_wait(patch: Patch) -> None:
    patch.put(reigning, "see_a_commit_wait", nothing)


def the_ledger_forbids_late_words(patch: Patch) -> None:
    real = Ledger.acknowledged

    def strict(self: Ledger, postgres: Any, lsn: int, number: int) -> None:
        term = postgres.container.agent.memory.reigned
        if any(later > term for later in self.winners):
            self.fail(f"S2, as it was before C13: {number} is acknowledged in term {term}")
        real(self, postgres, lsn, number)

    patch.put(Ledger, "acknowledged", strict)


# The ballot


def quorum_one_too_small(patch: Patch) -> None:
    patch.put(Claim, "quorum", property(lambda self: max(1, len(self.members) - self.r)))


def anybody_makes_a_quorum(patch: Patch) -> None:
    def all_of_them(world: World, record: Record, now: float) -> dict[str, MemberReport]:
        present = [world.present(member, now) for member in record.members]
        return {one.incarnation: one for one in present if one is not None and one.incarnation is not None}

    patch.put(ballot, "_claimed", all_of_them)


def claim_is_not_narrowed(patch: Patch) -> None:
    real = Record.amended

    def kept(self: Record, reason: str, **changes: Any) -> Record:
        new = real(self, reason, **changes)
        if new.term > self.term and new.primary != self.primary and self.claim.r > 1:
            return new.model_copy(update={"claim": self.claim})
        return new

    patch.put(Record, "amended", kept)
    patch.put(Sync, "implies", lambda self, claim, primary: True)


def the_nearest_is_taken(patch: Patch) -> None:
    real = wal.progress
    patch.put(ballot, "progress", lambda position, lineage: tuple(-part for part in real(position, lineage)))


def the_first_of_the_document_is_taken(patch: Patch) -> None:
    patch.put(ballot, "progress", lambda position, lineage: (0, 0))


def no_raise(patch: Patch) -> None:
    patch.put(ballot, "raised", lambda world, record, now: NOTHING)


def a_promise_is_forgotten(patch: Patch) -> None:
    patch.put(
        answering, "accept", lambda memory_, order: memory.accept(memory_.model_copy(update={"promised": 0}), order)
    )
    patch.put(Memory, "bound", property(lambda self: self.order))


def older_orders_are_obeyed(patch: Patch) -> None:
    def obedient(held: Memory, order: orders.Order) -> memory.Verdict:
        return memory.accept(held.model_copy(update={"order": None, "promised": 0}), order)

    patch.put(answering, "accept", obedient)
    patch.put(
        answering,
        "accepted",
        lambda held, order, circumstances: held.model_copy(
            update={"order": order, "circumstances": circumstances, "promised": order.term}
        ),
    )


def orders_for_another_incarnation(patch: Patch) -> None:
    patch.put(memory, "_incarnation_fits", lambda held, order: memory.Verdict(ok=True, reason="whatever"))


def only_the_term_is_compared(patch: Patch) -> None:
    real = Swarm.put

    def loose(self: Swarm, wanted: Any, version: int | None) -> Any:
        there = self.store.get(wanted.cluster)
        seen = next(
            (one[wanted.cluster] for one in self.past if wanted.cluster in one
             and one[wanted.cluster].version_index == version), None,
        )  # fmt: skip
        if there and seen and there.record and seen.record and there.record.term == seen.record.term:
            version = there.version_index
        return real(self, wanted, version)

    patch.put(Swarm, "put", loose)


def nothing_is_compared(patch: Patch) -> None:
    patch.put(Swarm, "agrees", staticmethod(lambda there, version: True))


def orders_depend_on_more(patch: Patch) -> None:
    said = iter(range(10**9))
    real = orders.order_for

    def moody(cluster: str, record: Record, member: str) -> orders.Order:
        return real(cluster, record, member).model_copy(update={"system_id": str(next(said))})

    patch.put(telling, "to_member", letters.to_member.__wrapped__)  # written anew each time
    patch.put(letters, "order_for", moody)


def a_restored_record_is_believed(patch: Patch) -> None:
    patch.put(plan_, "_newer", lambda world, record, now: NOTHING)


# Timelines


def a_timeline_that_was_used(patch: Patch) -> None:
    def next_(position: wal.Position, lineage: wal.Lineage) -> int:
        return position.timeline + 1

    patch.put(ballot, "next_timeline", next_)


def numbers_instead_of_the_lineage(patch: Patch) -> None:
    def by_number(position: wal.Position, lineage: wal.Lineage) -> bool:
        return position.timeline <= lineage[-1].timeline

    patch.put(duty, "lies_on", by_number)
    patch.put(ballot, "lies_on", by_number)


# Data


def re_seeded_though_counted(patch: Patch) -> None:
    real = orders.order_for

    def uncounted(cluster: str, record: Record, member: str) -> orders.Order:
        return real(cluster, record, member).model_copy(update={"counted": False})

    patch.put(telling, "to_member", letters.to_member.__wrapped__)  # written anew each time
    patch.put(letters, "order_for", uncounted)
    patch.put(founding, "order_for", uncounted)


def no_lock(patch: Patch) -> None:
    def takes(agent: Any) -> bool:
        agent.volume.holder = agent.container
        return True

    patch.put(acting, "takes_lock", takes)


def no_clone_when_the_log_is_gone(patch: Patch) -> None:
    patch.put(duty, "_make_anew", lambda facts, order, upstream, why: duty.Rest(reason=why))


# Routers, operators, observation


def sessions_are_never_cut(patch: Patch) -> None:
    patch.put(routing, "_cut", lambda view, write, now: (False, ""))


def the_lost_are_never_dropped(patch: Patch) -> None:
    patch.put(durability, "_is_lost", lambda *given: False)


def written_though_nothing_changes(patch: Patch) -> None:
    written = [0.0]

    def restless(world: World, record: Record, now: float) -> Plan:
        if abs(now - written[0]) < 0.7:
            return NOTHING
        written[0] = now
        return durability._write(record, "again")

    patch.put(bootstrap, "completed", restless)


def who_leaves_is_let_go_at_once(patch: Patch) -> None:
    patch.put(durability, "held_back", lambda *given: "")


def required_lets_go_alone(patch: Patch) -> None:
    patch.put(durability, "alone", lambda document: Sync())
    patch.put(ballot, "alone", lambda document: Sync())


def silence_counts_at_once(patch: Patch) -> None:
    patch.put(World, "detection", property(lambda self: 0.3))


def who_decided_does_not_say_so(patch: Patch) -> None:
    patch.put(plan_, "_own_word", lambda world, now: NOTHING)


def the_deaf_act(patch: Patch) -> None:
    patch.put(leadership, "is_deaf", lambda *given: False)


def operators_duel(patch: Patch) -> None:
    patch.put(observe, "_is_raised", lambda before, now: False)


def a_pause_is_forgotten(patch: Patch) -> None:
    patch.put(pausing, "in_force", lambda world: None)


def a_pause_holds_what_has_begun(patch: Patch) -> None:
    patch.put(pausing, "has_begun", lambda world, record, now: False)


def resumed_without_asking(patch: Patch) -> None:
    patch.put(
        resumption, "may_resume", lambda memory_, order, heard, waited, now: memory.Verdict(ok=True, reason="why not")
    )


def the_candidate_is_chosen_too_early(patch: Patch) -> None:
    def hasty(world: World, record: Record, now: float) -> Any:
        wish, own = switchover.wished(world, record, now), world.present(record.primary_member, now)
        if wish is None or own is None or own.promised <= record.term:
            return None
        for candidate, report in switchover._candidates(world, record, wish, own.promised, now):
            if ballot.has_promised(report, own.promised):
                return candidate
            member = claim.member_of(candidate)
            return Plan(steps=(AskPromise(member=member, term=own.promised, reason="at once"),))
        return None

    patch.put(switchover, "decided", hasty)


def a_standby_is_taken_for_the_truth(patch: Patch) -> None:
    patch.put(adoptable, "_objections", lambda found, major, accept_standby: iter(()))


def what_is_found_is_adopted(patch: Patch) -> None:
    as_it_is = bootstrap.first_record

    def greedy(world: World, now: float) -> Plan:
        document = world.document
        if document is None:
            return NOTHING
        first = document.spec.bootstrap.model_copy(update={"adopt": document.instances()[0].name})
        spec = document.spec.model_copy(update={"bootstrap": first})
        return as_it_is(replace(world, document=document.model_copy(update={"spec": spec})), now)

    patch.put(bootstrap, "first_record", greedy)


# Taking turns


def nobody_is_waited_for_in_a_roll(patch: Patch) -> None:
    patch.put(turns, "others_are_back", lambda world, record, member, now: "")


def a_lowered_value_is_handed_over(patch: Patch) -> None:
    patch.put(Tuning, "lowered", property(lambda self: ()))


def a_standby_starts_with_less_than_its_log_asks_for(patch: Patch) -> None:
    patch.put(Tuning, "_floored", lambda self, recovering: self._parameters())


def a_restart_counts_as_a_loss(patch: Patch) -> None:
    patch.put(Tuning, "is_restarting", property(lambda self: False))


def the_only_standby_goes_without_a_word(patch: Patch) -> None:
    patch.put(turns, "let_go", lambda world, record, now: None)


def the_primary_is_changed_where_it_is(patch: Patch) -> None:
    real = turns._turn_of

    def in_place(*given: Any) -> Any:
        turn = real(*given)
        return turn and replace(turn, in_place=True)

    patch.put(turns, "_turn_of", in_place)
