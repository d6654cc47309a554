"""The ladder: what comes first, what rides along, and that nothing is done from what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.reports import Problem, Progress, Role, RouterReport, Serving
from pgswarm.core.sightings import Sighting
from pgswarm.core.steps import (
    AskPromise,
    EnsureNetwork,
    EnsureSecret,
    EnsureService,
    Failed,
    Plan,
    ReadRecord,
    SendOrder,
    SendRouterOrder,
    Step,
    StoreDocument,
    WriteRecord,
    startable,
    title,
)
from pgswarm.core.swarmview import Service, SwarmView, Task
from pgswarm.core.telling import REFUSED_PAUSE
from pgswarm.core.world import FoundDocument, Told, Unknown, Wanted, World
from tests.core.builders import (
    NOW,
    SWARM,
    document,
    empty,
    heard,
    primary,
    promiser,
    record,
    standby,
    stopped,
    world,
)

OF = record("abc", 2, sync="bc")


def healthy(**changes: Any) -> World:
    return world(OF, primary(OF, "bc"), standby(OF, "b"), standby(OF, "c"), **changes)


def kinds(seen: World) -> list[type[Step]]:
    return [type(step) for step in plan(seen, NOW).steps]


def after(seen: World, at: float = NOW) -> World:
    """The same world once every order of its plan was told and accepted."""
    told = {
        step.member: Told(digest=step.digest, accepted=True, reason="", at=at)
        for step in plan(seen, NOW).steps
        if isinstance(step, SendOrder)
    }
    return replace(seen, told={**seen.told, **told})


def test_at_rest_nothing_is_planned_and_nothing_is_waited_for() -> None:
    assert plan(after(healthy()), NOW).at_rest


def test_everyone_who_can_be_talked_to_is_told_once_and_again_after_a_restart() -> None:
    fresh = world(OF, primary(OF, "bc", heeded=(1, 4)), standby(OF, "b", heeded=(1, 4)), standby(OF, "c"))
    assert {step.member for step in plan(fresh, NOW).steps if isinstance(step, SendOrder)} >= {"a", "b"}
    told = after(fresh)
    heeding = replace(told, members=healthy().members)
    assert plan(heeding, NOW).at_rest
    again = replace(heeding, members={**heeding.members, "c": heard(stopped(OF, "c", boot="other"))})
    assert [step.member for step in plan(again, NOW).steps if isinstance(step, SendOrder)] == ["c"]


def test_an_order_that_was_refused_is_sent_again_only_after_a_pause() -> None:
    of = record("ab", 2, sync="b", members="ab")
    seen = after(world(of, primary(of, "b"), standby(of, "b", heeded=None)))
    told = seen.told["b"]
    refused = {**seen.told, "b": replace(told, accepted=False, reason="not mine")}
    waiting = plan(replace(seen, told=refused), NOW)
    assert not waiting.steps
    assert "b refuses: not mine" in waiting.waits
    later = {**refused, "b": replace(refused["b"], at=NOW - REFUSED_PAUSE - 0.1)}
    assert [type(step) for step in plan(replace(seen, told=later), NOW).steps] == [SendOrder]


def test_a_member_bound_to_a_newer_term_is_not_ordered_but_raised_over() -> None:
    seen = world(OF, primary(OF, "c"), promiser(OF, "b", 2), standby(OF, "c"))
    steps = plan(seen, NOW).steps
    assert isinstance(steps[0], WriteRecord)
    assert steps[0].record.term == 2
    assert not any(isinstance(step, SendOrder) and step.member == "b" for step in steps)


def test_a_lost_primary_comes_before_everything_else() -> None:
    seen = world(OF, heard(primary(OF), ago=1.0, closed=1.0), standby(OF, "b"), standby(OF, "c"))
    assert kinds(seen)[:2] == [AskPromise, AskPromise]


def test_a_document_that_cannot_be_stored_does_not_hold_up_a_failover() -> None:
    found = FoundDocument(document=document("abc", durability="required"), edited_at=9.0, source="main.yml")
    lost = world(OF, heard(primary(OF), ago=1.0, closed=1.0), promiser(OF, "b", 2), promiser(OF, "c", 2), found=found)
    assert kinds(lost)[0] is WriteRecord
    assert StoreDocument not in kinds(lost), "both are writes of the record: one at a time"
    assert StoreDocument in kinds(healthy(found=found))


@pytest.mark.parametrize(("edited", "stored_at", "takes"), [(9.0, 5.0, True), (5.0, 5.0, False), (4.0, 5.0, False)])
def test_the_newest_edit_wins(edited: float, stored_at: float, takes: bool) -> None:
    found = FoundDocument(document=document("ab"), edited_at=edited, source="main.yml")
    assert (StoreDocument in kinds(healthy(found=found, stored_edited_at=stored_at))) == takes


def test_a_file_that_was_touched_and_says_the_same_is_no_edit() -> None:
    found = FoundDocument(document=document("abc"), edited_at=9.0, source="main.yml")
    assert StoreDocument not in kinds(healthy(found=found))


def test_an_operator_that_does_not_lead_stores_its_document_and_does_nothing_else() -> None:
    found = FoundDocument(document=document("ab"), edited_at=9.0, source="main.yml")
    lost = world(OF, heard(primary(OF), ago=1.0, closed=1.0), standby(OF, "b"), standby(OF, "c"), leader="other")
    assert plan(lost, NOW) == Plan()
    assert kinds(replace(lost, found=found)) == [StoreDocument]


def test_without_a_document_nothing_is_done() -> None:
    assert plan(healthy(document=None), NOW) == Plan()


def test_a_record_that_cannot_be_read_plans_no_failover_no_order_and_no_restart() -> None:
    differs = Wanted(name="main_b", spec={}, member="b", exists=True, differences=("image",))
    seen = world(Unknown(why="no leader"), standby(OF, "b"), document=document("ab"), wanted={"b": differs})
    said = plan(seen, NOW)
    assert not said.steps
    assert "the record cannot be read: no leader" in said.waits


def test_an_operator_that_does_not_know_how_long_it_has_been_awake_holds_no_ballot() -> None:
    seen = world(OF, standby(OF, "b"), standby(OF, "c"), awake_since=0.0)
    assert AskPromise not in kinds(seen)


# somebody knows better


def test_an_agent_that_has_seen_a_newer_record_makes_us_read_again_before_anything_is_decided() -> None:
    seen = world(OF, standby(OF, "b", accepted=(2, 9), promised=2), standby(OF, "c"), record_read_at=NOW - 1.0)
    assert kinds(seen) == [ReadRecord]


def test_if_the_record_stays_older_than_what_an_agent_has_seen_a_person_decides() -> None:
    newer = heard(standby(OF, "b", accepted=(2, 9), promised=2), ago=0.5)
    said = plan(world(OF, newer, standby(OF, "c"), newer_since=NOW - 60.0), NOW)
    assert not said.steps
    assert "restored from a backup" in said.waits[0]
    lately = plan(world(OF, newer, standby(OF, "c"), newer_since=NOW - 5.0), NOW)
    assert "may be stale" in lately.waits[0], "a person is called only if it lasts"


def test_a_stale_read_is_repeated_even_when_the_witness_has_fallen_silent() -> None:
    witness = heard(primary(OF, accepted=(1, 9)), ago=20.0, closed=20.0)
    seen = world(OF, witness, standby(OF, "b"), standby(OF, "c"), record_read_at=NOW - 3.0, newer_since=NOW - 40.0)
    said = plan(seen, NOW)
    assert [type(step) for step in said.steps] == [ReadRecord]
    assert "restored from a backup" in said.waits[0]


# a primary that cannot be replaced


def test_a_hung_primary_without_a_successor_is_freed_of_the_standby_that_it_waits_for() -> None:
    of = record("ab", 2, sync="b", members="ab")
    quarantined = primary(of, serving=Serving.NONE)
    seen = world(of, quarantined, heard(standby(of, "b"), ago=60.0, closed=60.0), not_serving_since=NOW - 60.0)
    said = plan(seen, NOW)
    assert isinstance(said.steps[0], WriteRecord)
    assert said.steps[0].record.claim.r == 1


def test_a_primary_that_came_back_without_a_successor_is_ordered_again_and_promises_are_raised_over() -> None:
    of = record("abc", 2, sync="bc")
    seen = world(of, stopped(of), promiser(of, "b", 2))
    new = plan(seen, NOW)
    assert isinstance(new.steps[0], WriteRecord)
    assert (new.steps[0].record.term, new.steps[0].record.primary) == (2, "a/1")
    raised = new.steps[0].record
    assert any(isinstance(s, SendOrder) and s.member == "a" for s in plan(replace(seen, record=raised), NOW).steps)


# routers


def router(*, said_ago: float = 1.0, **changes: Any) -> Sighting[RouterReport]:
    report = RouterReport(cluster="main", router="r1", boot="boot", sequence=1, **changes)
    return Sighting(address="x", report=report, heard_at=NOW, said_at=NOW - said_ago, connected=True, why="")


def test_a_router_is_told_who_is_primary_until_it_heeds_this_revision() -> None:
    assert SendRouterOrder in kinds(after(healthy(routers={"r1": router()})))
    assert plan(after(healthy(routers={"r1": router(heeded=(1, 5))})), NOW).at_rest


def vouched(primary_heard_ago: float, **said: Any) -> int:
    """What a router that sends writers nowhere is told of the primary."""
    one = router(**{"haproxy": "running", **said})
    seen = world(OF, heard(primary(OF, "b"), ago=primary_heard_ago), standby(OF, "b"), standby(OF, "c"))
    orders = [s for s in plan(replace(seen, routers={"r1": one}), NOW).steps if isinstance(s, SendRouterOrder)]
    return orders[0].message.vouched if orders else 0


def test_a_router_that_is_alone_in_not_hearing_the_primary_is_told_so() -> None:
    assert vouched(0.3)
    assert not vouched(0.3, primary=OF.primary, address="10.0.0.1")


def test_a_router_that_is_a_moment_behind_in_a_failover_is_left_in_peace() -> None:
    assert not vouched(0.3, said_ago=0.1)


def test_nobody_vouches_for_a_primary_that_he_has_not_heard_just_now() -> None:
    assert not vouched(2.0)


def test_problems_and_progress_of_agents_are_waited_for_in_their_words() -> None:
    seen = world(
        OF,
        primary(OF, "b"),
        standby(OF, "b", problem=Problem(code="disk-full", text="the disk is full")),
        standby(OF, "c", role=Role.FENCED, upstream=None, serving=Serving.NONE, progress=Progress(what="clone")),
        routers={"r1": router(problem=Problem(code="x", text="no haproxy"))},
    )
    waits = plan(seen, NOW).waits
    assert "b: the disk is full" in waits
    assert "c: clone under way" in waits
    assert "router r1: no haproxy" in waits


# upkeep


def wanted(member: str, **changes: Any) -> Wanted:
    return Wanted(**{"name": f"main_{member}", "spec": {}, "member": member, "exists": True, **changes})


def services(*those: Wanted, of: Record = OF, seen: World | None = None, **changes: Any) -> tuple[list[str], str]:
    base = seen or after(healthy())
    said = plan(replace(base, wanted={one.name: one for one in those}, **changes), NOW)
    return [s.name for s in said.steps if isinstance(s, EnsureService)], "; ".join(said.waits)


CHANGED = {"differences": ("image",)}


def test_what_is_missing_is_made() -> None:
    bare = plan(healthy(swarm=SwarmView()), NOW)
    assert {title(s) for s in bare.steps if isinstance(s, EnsureNetwork)} == {
        "create network pgswarm-control",
        "create network webnet",
    }
    assert len([s for s in bare.steps if isinstance(s, EnsureSecret)]) == 2
    assert "docker secret create" in " ".join(bare.waits)
    assert services(wanted("b", exists=False))[0] == ["main_b"]


def test_a_swarm_that_cannot_be_observed_changes_nothing() -> None:
    names, waits = services(wanted("b", exists=False), swarm=Unknown(why="time-out"))
    assert names == []
    assert "Swarm cannot be observed: time-out" in waits


def test_members_are_changed_one_at_a_time_and_the_primary_last() -> None:
    names, waits = services(wanted("a", **CHANGED), wanted("b", **CHANGED), wanted("c", **CHANGED))
    assert names == ["main_b"]
    assert "waiting until b is through" in waits
    assert "the primary's is put back last" in waits
    assert services(wanted("a", **CHANGED), wanted("b"), wanted("c"))[0] == ["main_a"]


def test_while_one_member_is_away_no_other_is_touched_but_it_may_be_changed_itself() -> None:
    away = replace(after(healthy()), members={**healthy().members, "c": heard(standby(OF, "c"), ago=2.0, closed=2.0)})
    names, waits = services(wanted("b", **CHANGED), wanted("c", **CHANGED), seen=away)
    assert names == ["main_c"]
    assert "waiting until c is back" in waits


def test_a_member_that_swarm_is_about_to_restart_counts_as_away_already() -> None:
    updating = Service(id="b", version=1, name="main_b", update_state="updating")
    view = SWARM.model_copy(update={"services": (updating,)})
    names, waits = services(wanted("b"), wanted("c", **CHANGED), swarm=view)
    assert names == []
    assert "the update of b is through" in waits


def running(*members: str, **state: Any) -> SwarmView:
    """A Swarm in which these members' tasks run."""
    those = tuple(Service(id=m, version=1, name=f"main_{m}", **state) for m in members)
    tasks = tuple(Task(id=f"t{m}", service_id=m, state="running", desired="running") for m in members)
    return SWARM.model_copy(update={"services": those, "tasks": tasks})


def test_an_operator_that_hears_nobody_any_more_restarts_nobody() -> None:
    deaf = {name: heard(one.report, ago=60.0) for name, one in healthy().members.items() if one.report}
    cut_off = replace(after(healthy()), members=deaf)
    names, waits = services(wanted("b", **CHANGED), wanted("c", **CHANGED), seen=cut_off, swarm=running("b", "c"))
    assert names == []
    assert "perhaps only this operator is cut off" in waits
    assert services(wanted("b", **CHANGED), wanted("c"), seen=cut_off, swarm=running("c"))[0] == ["main_b"]


def test_a_member_that_is_not_heard_is_not_restarted_while_another_is_being_updated() -> None:
    seen = replace(after(healthy()), members={**healthy().members, "b": heard(standby(OF, "b"), ago=1.0, closed=1.0)})
    names, waits = services(
        wanted("b", **CHANGED), wanted("c"), seen=seen, swarm=running("b", "c", update_state="updating")
    )
    assert names == []
    assert "the update of c is through" in waits


def test_where_the_record_cannot_be_read_nothing_missing_is_made() -> None:
    unread = world(Unknown(why="no leader"), document=document("ab"), swarm=SwarmView())
    missing = replace(unread, wanted={"b": wanted("b", exists=False)})
    assert plan(missing, NOW).steps == ()


def test_a_standby_without_a_stream_is_told_the_addresses_by_an_operator_that_has_told_it_nothing() -> None:
    lone = standby(OF, "b", upstream=None)
    seen = world(OF, primary(OF, "c"), lone, standby(OF, "c"))
    assert [s.member for s in plan(seen, NOW).steps if isinstance(s, SendOrder)] == ["b"]
    assert not [s for s in plan(after(seen), NOW).steps if isinstance(s, SendOrder)], "once"


def test_a_service_of_somebody_else_and_a_task_in_trouble_are_told_and_left_alone() -> None:
    names, waits = services(
        wanted("b", foreign="no label of ours", differences=("x",)), wanted("c", trouble="disk full")
    )
    assert names == []
    assert "main_b is not ours: no label of ours" in waits
    assert "service main_c: disk full" in waits


def test_the_birth_of_a_cluster_goes_on_beside_its_services() -> None:
    routers = Wanted(name="main_postgres-ha", spec={}, member=None, exists=False)
    seen = world(None, empty(None, "a"), document=document("a"), wanted={"r": routers})
    assert kinds(seen) == [WriteRecord, EnsureService]


# steps


def test_two_steps_of_one_key_are_never_in_one_plan() -> None:
    read = ReadRecord(reason="x")
    write = WriteRecord(record=OF, reason="y")
    both = Plan(steps=(read,), again=2.0).and_then(Plan(steps=(write,), waits=("w",), again=1.0))
    assert (both.steps, both.waits, both.again) == ((read,), ("w",), 1.0)


def test_a_step_waits_for_its_own_key_and_its_own_pause_only() -> None:
    ask = AskPromise(member="b", term=2, reason="x")
    write = WriteRecord(record=OF, reason="y")
    both = Plan(steps=(ask, write))
    assert startable(both, frozenset({"record"}), {}, NOW) == (ask,)
    failed = {"promise b": Failed(reason="x", times=1, retry_at=NOW + 1.0, lasting=False)}
    assert startable(both, frozenset(), failed, NOW) == (write,)
    assert startable(both, frozenset(), failed, NOW + 1.0) == (ask, write)


def test_every_step_has_a_title_in_plain_words() -> None:
    assert title(AskPromise(member="b", term=2, reason="x")) == "ask b to promise term 2"
    assert "primary a/1" in title(WriteRecord(record=OF, reason="y"))
    sent = [title(s) for s in plan(healthy(routers={"r1": router()}, swarm=SwarmView()), NOW).steps]
    assert "tell router r1 that a/1 is primary of term 1" in sent
    fresh = plan(world(OF, stopped(OF, "b"), primary(OF, "c"), standby(OF, "c")), NOW)
    assert "order b to be standby in term 1 (revision 5)" in [title(step) for step in fresh.steps]
