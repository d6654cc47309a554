"""A member's data is made anew by a person's word: only while nobody counts on it, and never the primary's."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core import duty
from pgswarm.core.actions import Clone, Rest
from pgswarm.core.duty import Facts
from pgswarm.core.memory import Memory
from pgswarm.core.orders import order_for
from pgswarm.core.plan import plan
from pgswarm.core.proposal import Proposal, propose
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Data, InForce, Postgres, Role
from pgswarm.core.steps import Plan, WriteRecord
from pgswarm.core.wish import Fence
from pgswarm.core.world import World
from tests.core.builders import END, NOW, document, heard, primary, record, standby, wish, world

DEAD: dict[str, Any] = {"ago": 9.0, "closed": 9.0}
WISH = wish("reseed", "b", data="b/1")


def seen(of: Record, **changes: Any) -> World:
    return world(of, primary(of, "bc"), standby(of, "b"), standby(of, "c"), **changes)


def written(said: Plan) -> list[Record]:
    return [step.record for step in said.steps if isinstance(step, WriteRecord)]


def proposal(of: Record, at: World, member: str = "b", **more: Any) -> Proposal:
    return propose(at, of, "reseed", member, (), NOW, **more)


def test_claim_and_sync_do_without_it_first() -> None:
    of = record("abc", 2, "bc", wish=WISH)
    changed = written(plan(seen(of), NOW))[0]
    assert [name[0] for name in changed.sync.names] == ["c"]
    assert changed.reason == "b is to be made anew: commits wait for c instead"
    assert order_for("main", changed, "b").reseed is None


def test_once_nobody_counts_on_it_it_is_decided_in_one_write_with_the_answer() -> None:
    of = record("ac", 2, "c", wish=WISH)
    decided = written(plan(seen(of), NOW))[0]
    assert decided.reseeds == ("b/1",)
    assert decided.wish is None
    assert decided.answered is not None
    assert decided.answered.done
    assert order_for("main", decided, "b").reseed == "b/1"
    assert order_for("main", decided, "c").reseed is None


def test_it_is_not_decided_before_the_primary_has_heeded_that_nobody_waits_for_it() -> None:
    of = record("ac", 2, "c", wish=WISH)
    old = InForce(term=1, revision=4, since=END)
    for late in (primary(of, "bc", in_force=old), primary(of, "bc", heeded=(1, 4))):
        said = plan(world(of, late, standby(of, "b"), standby(of, "c")), NOW)
        assert written(said) == []
        assert any(text.startswith("reseed of b: ") for text in said.waits)


def test_who_is_to_be_made_anew_is_not_counted_though_it_streams() -> None:
    of = record("ac", 2, "c", reseeds=("b/1",))
    assert written(plan(seen(of), NOW)) == []


def test_the_only_other_copy_is_kept_unless_a_person_insists() -> None:
    of = record("ab", 2, "b", members="ab", wish=WISH)
    at = world(of, primary(of, "b"), standby(of, "b"))
    assert written(plan(at, NOW)) == []
    insisted = record("ab", 2, "b", members="ab", wish=wish("reseed", "b", data="b/1", fewer_copies=True))
    for durability in ("preferred", "required"):
        forced = world(
            insisted, primary(insisted, "b"), standby(insisted, "b"), document=document("ab", durability=durability)
        )
        assert written(plan(forced, NOW))[0].claim.r == 1


@pytest.mark.parametrize("how", ["async", "uncounted", "stands still"])
def test_the_only_other_copy_is_one_too_where_nobody_counts_on_it(how: str) -> None:
    """In `async` nobody ever does; and a standby that has fallen out of the claim may be all that is left."""
    given: dict[str, Any] = {"claim": "a", "r": 1, "sync": "", "grant": Grant.HELD if how == "async" else Grant.NONE}
    asked = document("abc", durability="async" if how == "async" else "preferred")
    for insists in (False, True):
        of = record(**given, members="abc", wish=wish("reseed", "b", data="b/1", fewer_copies=insists))
        at = world(of, primary(of, "" if how == "stands still" else "b"), standby(of, "b"), document=asked)
        said = proposal(of, at, fewer_copies=insists)
        assert "b holds the only other copy" in said.lines[0]
        assert ("--with-fewer-copies" in said.refusal) is not insists
        said_by_plan = plan(at, NOW)
        assert any(one.reseeds for one in written(said_by_plan)) is insists, said_by_plan
    of = record(**given, members="abc", wish=WISH)
    both = world(of, primary(of, "bc"), standby(of, "b"), standby(of, "c"), document=asked)
    assert proposal(of, both).refusal == ""


def test_other_data_by_now_is_an_answer_and_ends_the_entry() -> None:
    of = record("ac", 2, "c", wish=WISH)
    other = standby(of, "b", incarnation="b/2")
    answered = written(plan(world(of, primary(of, "c"), other, standby(of, "c")), NOW))[0].answered
    assert answered is not None
    assert answered.done
    begun = record("ac", 2, "c", reseeds=("b/1",))
    other = standby(begun, "b", incarnation="b/2")
    over = written(plan(world(begun, primary(begun, "c"), other, standby(begun, "c")), NOW))[0]
    assert over.reseeds == ()


def test_a_primary_and_one_that_is_fenced_are_refused() -> None:
    of = record("abc", 2, "bc", wish=wish("reseed", "a", data="a/1"))
    answered = written(plan(seen(of), NOW))[0].answered
    assert answered is not None
    assert "`pgswarm switchover` first" in answered.text
    fenced = record("ac", 2, "c", wish=WISH, fences=(Fence(member="b", since=1.0),))
    answered = written(plan(seen(fenced), NOW))[0].answered
    assert answered is not None
    assert "`pgswarm unfence b` first" in answered.text


def test_nothing_is_decided_while_the_primary_does_not_serve() -> None:
    of = record("ac", 2, "c", wish=WISH)
    assert not any(one.reseeds for one in written(plan(world(of, heard(primary(of), **DEAD), standby(of, "b")), NOW)))


def test_if_it_has_become_primary_or_counts_its_order_does_not_say_so() -> None:
    assert order_for("main", record("ab", 2, "b", reseeds=("b/1",)), "b").reseed is None
    reigns = record("a", 1, "", reseeds=("a/1",))
    assert order_for("main", reigns, "a").reseed is None
    assert written(plan(world(reigns, primary(reigns)), NOW))[0].reseeds == ()


def facts(of: Record, **changes: Any) -> Facts:
    memory = Memory(
        cluster="main",
        member="b",
        promised=1,
        order=order_for("main", of, "b"),
        data=Data.READY,
        incarnation="b/1",
        system_id=of.system_id,
    )
    fields = {"memory": memory, "heeded": True, "address": "10.0.0.1", "postgres": Postgres.RUNNING}
    return Facts(**{**fields, "role": Role.STANDBY, **changes})


def test_its_agent_clones_by_an_operators_word_alone_and_once() -> None:
    of = record("ac", 2, "c", reseeds=("b/1",))
    assert isinstance(duty.duty(facts(of), NOW), Clone)
    assert not isinstance(duty.duty(facts(of, heeded=False), NOW), Clone)
    assert isinstance(duty.duty(facts(of, address=None), NOW), Rest)
    anew = facts(of).memory.model_copy(update={"incarnation": "b/2"})
    assert not isinstance(duty.duty(facts(of, memory=anew), NOW), Clone)


def test_law_4_holds_whatever_an_order_says() -> None:
    of = record("ac", 2, "c", reseeds=("b/1",))
    order = order_for("main", of, "b").model_copy(update={"counted": True})
    action = duty.duty(facts(of, memory=facts(of).memory.model_copy(update={"order": order})), NOW)
    assert isinstance(action, Rest)
    assert action.problem is not None


def test_what_it_would_mean_is_said_first_with_the_room_that_it_needs() -> None:
    of = record("abc", 2, "bc")
    said = proposal(of, seen(of))
    assert said.data == "b/1"
    assert "claim and sync do without it first" in said.lines[0]
    assert "room for both" in said.lines[2]
    assert "switchover" in proposal(of, seen(of), "a").refusal
    assert "no member x" in proposal(of, seen(of), "x").refusal
    pair = record("ab", 2, "b", members="ab")
    at = world(pair, primary(pair, "b"), standby(pair, "b"))
    assert "--with-fewer-copies" in proposal(pair, at).refusal
    assert proposal(pair, at, fewer_copies=True).refusal == ""
