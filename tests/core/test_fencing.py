"""A fenced member: let go first, stopped by its order alone, never elected, and not missed."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core import chronicle, durability, duty, fencing, rollout
from pgswarm.core.actions import Rest, Settle, Stop
from pgswarm.core.duty import Facts
from pgswarm.core.explain import explained
from pgswarm.core.memory import Memory
from pgswarm.core.orders import order_for
from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, Postgres, Role
from pgswarm.core.status import status_of
from pgswarm.core.steps import AskPromise, Plan, WriteRecord
from pgswarm.core.wish import Fence, Pause
from pgswarm.core.world import World
from tests.core.builders import NOW, WALL, document, heard, primary, promiser, record, standby, stopped, wish, world

DEAD: dict[str, Any] = {"ago": 9.0, "closed": 9.0}


def behind(member: str, **words: Any) -> Fence:
    return Fence(member=member, by="ann", why="a noisy disk", since=1.0, **words)


def three(*fenced: str, claim: str = "abc", sync: str = "bc", **changes: Any) -> Record:
    return record(claim, 2, sync, fences=tuple(behind(member) for member in fenced), **changes)


def well(of: Record) -> World:
    return world(of, primary(of, "bc"), standby(of, "b"), standby(of, "c"))


def written(said: Plan) -> list[Record]:
    return [step.record for step in said.steps if isinstance(step, WriteRecord)]


def test_claim_and_sync_do_without_it_before_its_order_says_that_it_is_fenced() -> None:
    of = three("b")
    assert not order_for("main", of, "b").fenced
    changed = written(plan(well(of), NOW))[0]
    assert [name[0] for name in changed.sync.names] == ["c"]
    assert changed.reason == "b is to be fenced: commits wait for c instead"
    assert not order_for("main", changed, "b").fenced, "the claim names it still"
    assert order_for("main", three("b", claim="ac", sync="c"), "b").fenced


def test_it_is_not_counted_again_while_it_streams_still() -> None:
    of = three("b", claim="ac", sync="c")
    assert written(plan(well(of), NOW)) == []


def test_the_only_other_copy_stays_counted_and_the_reason_is_said() -> None:
    of = record("ab", 2, "b", members="ab", fences=(behind("b"),))
    said = plan(world(of, primary(of, "b"), standby(of, "b")), NOW)
    assert written(said) == []
    assert any("counts still: it is the only copy beside that of a" in text for text in said.waits)


@pytest.mark.parametrize(("durability", "sync"), [("preferred", 0), ("required", 1)])
def test_with_fewer_copies_it_is_let_go_all_the_same(durability: str, sync: int) -> None:
    of = record("ab", 2, "b", members="ab", fences=(behind("b", fewer_copies=True),))
    seen = world(of, primary(of, "b"), standby(of, "b"), document=document("ab", durability=durability))
    changed = written(plan(seen, NOW))[0]
    assert (changed.claim.members, changed.claim.r, changed.sync.k) == (("a/1",), 1, sync)
    assert order_for("main", changed, "b").fenced


def test_in_a_pause_nobody_is_let_go() -> None:
    of = three("b", pause=Pause(since=1.0))
    assert written(plan(well(of), NOW)) == []


def test_a_primary_hands_over_first() -> None:
    of = three("a")
    wished = written(plan(well(of), NOW))[0]
    assert wished.wish is not None
    assert wished.wish.kind == "switchover"
    assert not order_for("main", wished, "a").fenced


def test_a_switchover_chooses_nobody_who_is_fenced_and_none_can_be_wished() -> None:
    of = three("b", claim="ac", sync="c", wish=wish("switchover", "b"))
    answered = written(plan(well(of), NOW))[0].answered
    assert answered is not None
    assert "b is fenced by ann (a noisy disk); `pgswarm unfence b` first" in answered.text


def test_among_equals_who_is_to_be_fenced_is_not_elected() -> None:
    of = three("b")
    lost = world(of, heard(primary(of), **DEAD), promiser(of, "b", 2), promiser(of, "c", 2))
    assert written(plan(lost, NOW))[0].primary == "c/1"


def test_if_it_is_furthest_nobody_is_elected_and_the_reason_is_said() -> None:
    of = three("b")
    lost = world(of, heard(primary(of), **DEAD), promiser(of, "b", 2, lsn=510), promiser(of, "c", 2))
    said = plan(lost, NOW)
    assert written(said) == []
    assert any("`pgswarm unfence b` lets it follow" in text for text in said.waits)


def test_nobody_is_asked_for_a_promise_that_could_elect_only_who_is_fenced() -> None:
    of = record("ab", 2, "b", members="ab", fences=(behind("b"),))
    said = plan(world(of, heard(primary(of), **DEAD), standby(of, "b")), NOW)
    assert not any(isinstance(step, AskPromise) for step in said.steps)


def test_the_old_primary_goes_on_if_its_hand_over_came_to_nothing() -> None:
    of = three("a")
    said = plan(world(of, promiser(of, "a", 2), heard(standby(of, "b"), **DEAD), heard(standby(of, "c"), **DEAD)), NOW)
    assert written(said)[0].primary == "a/1"


def test_a_person_who_accepts_loss_has_to_name_who_is_fenced_and_counts() -> None:
    of = record("ab", 2, "b", members="abc", fences=(behind("b"),), wish=wish("accept-loss", dead=("a",)))
    answered = written(plan(world(of, heard(primary(of), **DEAD), standby(of, "b"), standby(of, "c")), NOW))[0].answered
    assert answered is not None
    assert "not named dead: b (it is fenced" in answered.text


def down(of: Record, member: str = "b", **changes: Any) -> Any:
    return stopped(of, member, **changes).model_copy(update={"heeded": (of.term, of.revision)})


def test_it_is_shown_as_fenced_and_not_missed_there_or_away() -> None:
    of = three("b", claim="ac", sync="c")
    for said in (down(of), heard(down(of), **DEAD)):
        seen = world(of, primary(of, "c"), said, standby(of, "c"))
        planned = plan(seen, NOW)
        shown = status_of(seen, planned, NOW)
        assert planned.waits == ()
        assert next(one for one in shown.members if one.name == "b").state == "fenced"
        assert shown.fences == ("b is fenced by ann (a noisy disk)",)
        assert not any(one.problem for one in shown.members)
    explanation = explained(seen, of, planned, NOW)
    assert not next(one for one in explanation.candidates if one.member == "b").can


def test_new_settings_do_not_wait_for_who_is_fenced() -> None:
    of = three("b", claim="ac", sync="c")
    old = down(of, settings_digest="old")
    others = [primary(of, "c", settings_digest="old", tried="new"), standby(of, "c", settings_digest="new")]
    assert rollout.may_adopt(world(of, *others, old), of, "new", NOW)


def facts(of: Record, member: str, **changes: Any) -> Facts:
    memory = Memory(
        cluster="main",
        member=member,
        promised=of.term,
        order=order_for("main", of, member),
        data=Data.READY,
        incarnation=f"{member}/1",
        system_id=of.system_id,
    )
    return Facts(**{"memory": memory, "heeded": True, **changes})


def test_its_agent_stops_postgres_and_keeps_it_stopped_with_an_operator_or_without() -> None:
    of = three("b", claim="ac", sync="c")
    running = facts(of, "b", postgres=Postgres.RUNNING, role=Role.STANDBY, address="10.0.0.1")
    assert isinstance(duty.duty(running, NOW), Stop)
    for heeded in (True, False):
        assert isinstance(duty.duty(facts(of, "b", heeded=heeded, address="10.0.0.1"), NOW), Rest)


def test_who_has_promised_a_newer_term_stays_stopped_too() -> None:
    of = three("b", claim="ac", sync="c")
    asked = facts(of, "b")
    assert isinstance(duty.duty(Facts(memory=asked.memory.model_copy(update={"promised": 2})), NOW), Rest)


def test_a_fence_ends_a_clone_that_is_under_way() -> None:
    of = three("b", claim="ac", sync="c")
    memory = facts(of, "b").memory.model_copy(update={"data": Data.BUILDING})
    clone = duty.Clone(upstream=duty.Upstream(primary="a/1", term=1, address="10.0.0.1"), reason="no data")
    assert not duty.still_serves(clone, memory)
    assert isinstance(duty.duty(Facts(memory=memory, heeded=True, address="10.0.0.1"), NOW), Rest)


def test_a_primary_that_nobody_can_follow_is_stopped_if_a_person_insists_and_says_where_its_log_ends() -> None:
    of = record("a", 1, "", members="ab", fences=(behind("a", no_primary=True),))
    assert order_for("main", of, "a").fenced
    running = facts(of, "a", postgres=Postgres.RUNNING, role=Role.PRIMARY, begun=True)
    assert isinstance(duty.duty(running, NOW), Stop)
    assert isinstance(duty.duty(facts(of, "a", postgres=Postgres.STOPPED, closed=True), NOW), Settle)
    said = plan(world(of, down(of, "a"), heard(standby(of, "b"), **DEAD)), NOW)
    assert written(said) == []
    assert any(text.startswith("no failover: a is fenced by ann") for text in said.waits)


def looked(of: Record, seen: World, member: str, **words: bool) -> fencing.Proposed:
    insisted = {"fewer_copies": False, "nobody_follows": False, **words}
    return fencing.proposed(seen, of, member, NOW, **insisted)


def test_what_it_would_mean_is_said_before_it_is_done() -> None:
    of = three()
    assert "claim and sync do without it first" in looked(of, well(of), "b").lines[0]
    assert "b or c takes over first" in looked(of, well(of), "a").lines[0]
    assert looked(of, well(of), "x").refusal == "there is no member x; there is: a, b, c"
    assert "already" in looked(three("b"), well(three("b")), "b").refusal
    assert "resume" in looked(three(pause=Pause(since=1.0)), well(of), "b").refusal


def test_what_the_claim_needs_is_refused_unless_a_person_insists() -> None:
    of = record("ab", 2, "b", members="ab")
    seen = world(of, primary(of, "b"), standby(of, "b"))
    for member in ("a", "b"):
        assert "--with-fewer-copies" in looked(of, seen, member).refusal
        insisted = looked(of, seen, member, fewer_copies=True)
        assert (insisted.refusal, insisted.fewer_copies, insisted.no_primary) == ("", True, False)


def test_a_primary_that_nobody_can_follow_is_refused_unless_a_person_insists() -> None:
    of = record("a", 1, "", members="ab")
    seen = world(of, primary(of), heard(standby(of, "b"), **DEAD))
    assert "--even-if-nobody-can-follow" in looked(of, seen, "a").refusal
    insisted = looked(of, seen, "a", nobody_follows=True)
    assert (insisted.refusal, insisted.no_primary) == ("", True)
    assert any("NOBODY SERVES" in line for line in insisted.lines)


def test_history_tells_of_fences() -> None:
    before = three()
    after = before.amended(str(behind("b")), fences=(behind("b"),))
    assert chronicle.events(chronicle.continued("", before, after, WALL))[0].kind == "fence"


def test_who_is_to_leave_and_is_no_copy_is_not_held_back_by_a_fence() -> None:
    of = record("a", 1, "", members="abc", fences=(behind("b"),))
    seen = world(of, primary(of), down(of), document=document("ab"))
    assert durability.held_back(seen, of, "c", NOW) == ""
    streams = world(of, primary(of, "c"), down(of), standby(of, "c"), document=document("ab"))
    assert durability.held_back(streams, of, "c", NOW) == "it is the only copy beside that of a"


def test_who_is_fenced_and_still_runs_is_asked_before_loss_is_accepted_and_is_not_elected() -> None:
    """It streams, so with the old primary it would go on acknowledging commits in the old term."""
    of = record("ab", 2, "b", members="abc", fences=(behind("b"),), wish=wish("accept-loss", dead=("a", "b")))
    gone = heard(primary(of), **DEAD)
    first = plan(world(of, gone, standby(of, "b"), standby(of, "c")), NOW)
    assert {step.member for step in first.steps if isinstance(step, AskPromise)} == {"b", "c"}
    only_c = plan(world(of, gone, standby(of, "b"), promiser(of, "c", 2)), NOW)
    assert {step.member for step in only_c.steps if isinstance(step, AskPromise)} == {"b"}
    both = plan(world(of, gone, promiser(of, "b", 2, 900), promiser(of, "c", 2)), NOW)
    assert written(both)[0].primary == "c/1"
