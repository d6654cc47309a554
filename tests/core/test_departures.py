"""A member that the document no longer names: let go, left, stopped and removed, each in its turn; and named again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgswarm.core import bootstrap, durability, handover, retirement
from pgswarm.core.claim import Claim, Sync
from pgswarm.core.departures import departures
from pgswarm.core.plan import plan
from pgswarm.core.record import DEPARTED_KEPT, Grant, Record
from pgswarm.core.relocation import REMOVED_AFTER
from pgswarm.core.reports import InForce, Postgres, Role
from pgswarm.core.status import status_of
from pgswarm.core.steps import NOTHING, EnsureService, Plan, RemoveService, Step, WriteRecord, title
from pgswarm.core.swarmview import Node, Service, SwarmView, Task
from pgswarm.core.wish import Answered, Pause
from pgswarm.core.world import Unknown, Wanted, World
from tests.core.builders import (
    END,
    NOW,
    SWARM,
    WALL,
    document,
    heard,
    names,
    places,
    primary,
    record,
    standby,
    wish,
    world,
)

THREE = record("abc", 2, sync="bc")
PAIR = record("ab", 2, sync="b", members="ab")


def whole(of: Record, instances: str, **changes: Any) -> World:
    """Everybody in the record is well; the document names `instances`."""
    others = [member for member in of.members if member != of.primary_member]
    said = (primary(of, "".join(others)), *(standby(of, member) for member in others))
    return world(of, *said, **{"document": document(instances), **changes})


def written(plan: Plan) -> Record:
    (step,) = plan.steps
    assert isinstance(step, WriteRecord)
    return step.record


def left(of: Record, *members: str) -> Record:
    """These have left; all of the others have heeded it."""
    gone = tuple(place for place in of.places if place.member in members)
    return of.amended("left", places=tuple(one for one in of.places if one not in gone), departed=gone)


# who leaves, and in which order


def test_nobody_leaves_a_cluster_whose_document_names_everybody() -> None:
    assert departures(whole(THREE, "abc"), THREE, NOW) == ()


def test_whom_nobody_counts_on_leaves_first_and_the_primary_last() -> None:
    of = record("ab", 2, sync="b")
    assert [one.member for one in departures(whole(of, "d"), of, NOW)] == ["c", "b", "a"]


@pytest.mark.parametrize("changes", [{"document": None}, {"stored": False}])
def test_without_a_document_in_the_store_nobody_leaves(changes: dict[str, Any]) -> None:
    assert departures(whole(THREE, "a", **changes), THREE, NOW) == ()


def test_in_a_pause_nobody_leaves() -> None:
    of = record("ab", 2, sync="b", pause=Pause(by="ann", since=WALL))
    assert departures(whole(of, "ab"), of, NOW) == ()


# claim and sync do without it


def test_who_is_to_leave_is_waited_for_no_more_and_then_no_more_claimed() -> None:
    new = written(durability.moves(whole(THREE, "ab"), THREE, NOW))
    assert (new.claim, new.sync) == (THREE.claim, Sync(k=1, names=names("b")))
    assert "c is to leave" in new.reason
    last = written(durability.moves(whole(new, "ab"), new, NOW))
    assert last.claim == Claim(members=names("ab"), r=2)
    assert durability.moves(whole(last, "ab"), last, NOW) is NOTHING


def test_where_the_document_wants_one_copy_the_primary_goes_on_alone() -> None:
    new = written(durability.moves(whole(PAIR, "a"), PAIR, NOW))
    assert (new.claim, new.sync) == (Claim(members=names("a"), r=1), Sync())
    assert new.reason == "b is to leave: a goes on alone"


def test_who_is_to_leave_is_never_counted_anew() -> None:
    alone = record("a", 1, sync="", members="ab")
    assert durability.moves(whole(alone, "a"), alone, NOW) is NOTHING


@pytest.mark.parametrize("other", ["not in the record yet", "not counted yet", "silent"])
def test_who_is_to_leave_stays_until_another_is_counted(other: str) -> None:
    of = (
        PAIR if other == "not in the record yet" else record("ab", 2, sync="b") if other == "not counted yet" else THREE
    )
    seen = whole(of, "ac")
    if other != "not in the record yet":
        seen = world(of, primary(of, "b"), standby(of, "b"), heard(standby(of, "c"), ago=9.0), document=document("ac"))
    assert durability.let_go(seen, of, NOW) is None
    assert "c must be counted first" in retirement.ended(seen, of, NOW).waits[0]


def test_who_stays_is_counted_before_who_is_to_leave() -> None:
    alone = record("a", 1, sync="")
    new = written(durability.moves(whole(alone, "ac"), alone, NOW))
    assert new.sync == Sync(k=1, names=names("c"))


def test_under_a_grant_nobody_is_counted_and_a_stream_is_enough() -> None:
    of = record("a", 1, sync="", grant=Grant.HELD)
    asked = document("ac", durability="async")
    assert written(retirement.ended(whole(of, "ac", document=asked), of, NOW)).members == ("a", "c")
    silent = world(of, primary(of, "b"), standby(of, "b"), document=asked)
    assert "c must be counted first" in retirement.ended(silent, of, NOW).waits[0]


# it leaves the record


def test_who_is_counted_on_by_nobody_leaves_the_record_which_remembers_its_volume() -> None:
    of = record("ab", 2, sync="b")
    new = written(retirement.ended(whole(of, "ab"), of, NOW))
    assert (new.members, new.departed) == (("a", "b"), (of.places[2],))
    assert "main_c on node-c is kept" in new.reason


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"heeded": (1, 4), "accepted": (1, 5)}, "a has not acknowledged revision 5"),
        ({"in_force": InForce(term=1, revision=4, since=END)}, "not yet in force on a"),
        ({"in_force": None}, "not yet in force on a"),
    ],
)
def test_while_commits_may_still_wait_for_it_it_does_not_leave(own: dict[str, Any], why: str) -> None:
    of = record("ab", 2, sync="b")
    seen = world(of, primary(of, "bc", **own), standby(of, "b"), standby(of, "c"), document=document("ab"))
    plan = retirement.ended(seen, of, NOW)
    assert not plan.steps
    assert why in plan.waits[0]


def test_nobody_leaves_a_cluster_whose_primary_is_not_there() -> None:
    of = record("ab", 2, sync="b")
    seen = world(of, heard(primary(of, "bc"), ago=9.0), standby(of, "b"), standby(of, "c"), document=document("ab"))
    assert retirement.ended(seen, of, NOW) is NOTHING


def test_the_record_remembers_a_bounded_number_of_volumes() -> None:
    old = tuple(replaced for n in range(DEPARTED_KEPT) for replaced in _named(f"x{n}"))
    of = record("ab", 2, sync="b", departed=old)
    new = written(retirement.ended(whole(of, "ab"), of, NOW))
    assert len(new.departed) == DEPARTED_KEPT
    assert new.departed[-1].member == "c"


def _named(member: str) -> Any:
    return [place.model_copy(update={"member": member}) for place in places("x")]


# its service goes


def service(member: str = "c", replicas: int = 1, *, cluster: str = "main", of: str = "") -> Service:
    labels = {"pgswarm.cluster": cluster, "pgswarm.kind": "member", "pgswarm.member": of or member}
    return Service(id=f"s-{member}", version=3, name=f"main_{member}", labels=labels, replicas=replicas)


def seen_in(*services: Service, state: str = "", node: str = "ready") -> SwarmView:
    nodes = (Node(id="id-c", name="node-c", role="worker", state=node),)
    tasks = (Task(id="t", service_id="s-c", node_id="id-c", state=state, desired="shutdown"),) if state else ()
    return SWARM.model_copy(update={"services": services, "nodes": nodes, "tasks": tasks})


GONE = left(record("ab", 2, sync="b"), "c")


@pytest.mark.parametrize(
    ("view", "does", "waits"),
    [
        (seen_in(service()), "scale to zero service main_c", ""),
        (seen_in(service(replicas=0)), "remove service main_c", ""),
        (seen_in(service(replicas=0), state="shutdown"), "remove service main_c", ""),
        (seen_in(service(replicas=0), state="running"), "", "when its container on node-c has ended"),
        (seen_in(service(replicas=0), state="running", node="unknown"), "", "on node-c has ended"),
        (seen_in(service(cluster="other")), "", ""),
        (seen_in(service(of="z")), "", "service main_c is of a member that neither"),
        (seen_in(), "", ""),
    ],
)
def test_its_service_is_stopped_then_removed_and_nobody_elses_is(view: SwarmView, does: str, waits: str) -> None:
    plan = retirement.services(whole(GONE, "ab"), GONE, view)
    assert [title(step) for step in plan.steps] == [does] * bool(does)
    assert waits in " ".join(plan.waits)


@pytest.mark.parametrize("listed", ["down", ""])
def test_a_container_on_a_node_that_is_lost_counts_as_ended_once_that_has_been_so_for_a_while(listed: str) -> None:
    """One listing may be old, or of a node that is just starting again."""
    view = seen_in(service(replicas=0), state="running", node=listed or "down")
    view = view if listed else view.model_copy(update={"nodes": ()})
    for seconds, ended in ((None, False), (0.0, False), (REMOVED_AFTER - 1.0, False), (REMOVED_AFTER, True)):
        seen = whole(GONE, "ab", away={} if seconds is None else {"id-c": seconds})
        plan = retirement.services(seen, GONE, view)
        assert [title(step) for step in plan.steps] == ["remove service main_c"] * ended
        assert bool(plan.waits) is not ended


def test_a_service_is_removed_because_the_record_says_so_never_because_a_member_is_missing_in_it() -> None:
    lost = record("ab", 2, sync="b", members="ab")  # no record says that c has left
    view = seen_in(service(), service("z"))
    assert not _removals(plan(whole(lost, "ab", swarm=view), NOW))
    assert _removals(plan(whole(GONE, "ab", swarm=view), NOW)) == ["main_c"]


@pytest.mark.parametrize("changes", [{"swarm": Unknown(why="x")}, {"record": Unknown(why="x")}, {"leader": "other"}])
def test_what_is_not_known_removes_nothing(changes: dict[str, Any]) -> None:
    seen = replace(whole(GONE, "ab", swarm=seen_in(service())), **changes)
    assert not _removals(plan(seen, NOW))


def test_a_member_that_the_record_does_not_know_yet_gets_no_service() -> None:
    of = record("ab", 2, sync="b", members="ab")
    wanted = {f"main_{m}": Wanted(name=f"main_{m}", spec={}, member=m, exists=False) for m in "bc"}
    made = plan(whole(of, "abc", wanted=wanted, places=places("abc")), NOW).steps
    assert [step.name for step in made if isinstance(step, EnsureService)] == ["main_b"]


def test_a_member_that_is_named_again_keeps_its_service() -> None:
    back = GONE.amended("back", places=places("abc"))
    assert not retirement.services(whole(back, "abc"), back, seen_in(service())).steps


def _removals(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps if isinstance(step, RemoveService)]


# it is named again


NODES = SWARM.model_copy(
    update={
        "nodes": tuple(Node(id=f"id-{name}", name=f"node-{name}", role="manager", state="ready") for name in "abcd"),
    }
)


def test_a_member_that_is_named_again_comes_back_to_its_volume() -> None:
    found, problems = bootstrap.places(document("abc"), GONE, NODES)
    assert (found[-1], problems) == (THREE.places[2], ())
    seen = whole(GONE, "abc", places=found)
    new = written(bootstrap.completed(seen, GONE, NOW))
    assert (new.members, new.departed) == (("a", "b", "c"), ())


def test_a_member_whose_node_has_left_the_swarm_begins_elsewhere() -> None:
    fewer = NODES.model_copy(update={"nodes": NODES.nodes[:2]})
    found, _ = bootstrap.places(document("abc"), GONE, fewer)
    assert found[-1].node_name in ("node-a", "node-b")


def test_a_rename_is_refused_with_directions() -> None:
    renamed = document("ab").model_copy(
        update={
            "spec": document("ab").spec.model_validate(
                {"instances": [{"name": "a"}, {"name": "z", "node": "node-b", "volume": "main_b"}]}
            )
        }
    )
    found, problems = bootstrap.places(renamed, PAIR, NODES)
    assert [place.member for place in found] == ["a", "b"]
    assert "holds the data of b" in problems[0]
    assert "cannot be renamed" in problems[0]
    assert "then b leaves" in problems[0]


def test_where_a_listing_failed_a_member_that_has_just_left_is_not_added_again() -> None:
    seen = whole(GONE, "ab", places=places("abc"))  # worked out before it left
    assert bootstrap.completed(seen, GONE, NOW) is NOTHING


# the primary


def wished(of: Record, seen: World) -> Record:
    new = written(handover.begun(seen, of, NOW))
    assert new.wish is not None
    return new


def test_a_primary_that_is_to_leave_hands_over_to_who_stays() -> None:
    new = wished(THREE, whole(THREE, "c"))
    assert new.wish is not None
    assert (new.wish.kind, new.wish.to, new.wish.term) == ("switchover", "c", 1)
    assert new.reason == "a is to leave (the document no longer names it): c is to be primary"


DRAINED = NODES.model_copy(
    update={"nodes": (NODES.nodes[0].model_copy(update={"availability": "drain"}), *NODES.nodes[1:])}
)


def test_a_primary_whose_node_is_drained_hands_over() -> None:
    new = wished(THREE, whole(THREE, "abc", swarm=DRAINED))
    assert new.reason == "a is on node-a, which is drained: b is to be primary"


@pytest.mark.parametrize("swarm", [NODES, Unknown(why="x"), SWARM])
def test_a_primary_that_may_stay_stays(swarm: Any) -> None:
    assert handover.begun(whole(THREE, "abc", swarm=swarm), THREE, NOW) is NOTHING


def test_nobody_follows_who_is_on_a_drained_node_himself() -> None:
    nodes = tuple(one.model_copy(update={"availability": "drain"}) for one in NODES.nodes[:2])
    view = NODES.model_copy(update={"nodes": (*nodes, *NODES.nodes[2:])})
    assert "c is to be primary" in wished(THREE, whole(THREE, "abc", swarm=view)).reason


def test_where_nobody_can_follow_it_is_said_and_nothing_is_written() -> None:
    alone = record("a", 1, sync="", members="ab")
    seen = world(alone, primary(alone), heard(standby(alone, "b"), ago=9.0), document=document("ab"), swarm=DRAINED)
    plan = handover.begun(seen, alone, NOW)
    assert not plan.steps
    assert "nobody can follow: b has been silent" in plan.waits[0]


def test_a_persons_wish_comes_first() -> None:
    of = record("abc", 2, sync="bc", wish=wish("switchover", "c"))
    assert handover.begun(whole(of, "abc", swarm=DRAINED), of, NOW) is NOTHING


@pytest.mark.parametrize(
    ("ident", "done", "until", "again"),
    [
        ("way-1-4", False, WALL + 5.0, False),
        ("way-1-4", False, WALL - 1.0, True),
        ("way-1-4", True, WALL + 5.0, True),
        ("w1", False, WALL + 5.0, True),
    ],
)
def test_a_hand_over_that_came_to_nothing_is_not_repeated_at_once(
    ident: str, done: bool, until: float, again: bool
) -> None:
    before = Answered(id=ident, kind="switchover", done=done, text="c lacked a record", until=until)
    of = record("abc", 2, sync="bc", answered=before)
    plan = handover.begun(whole(of, "abc", swarm=DRAINED), of, NOW)
    assert bool(plan.steps) == again
    assert again or "tried again in 5 s (c lacked a record)" in plan.waits[0]


def test_a_primary_that_is_lost_is_succeeded_and_not_asked_to_hand_over() -> None:
    said = primary(THREE, "", postgres=Postgres.CRASHED, role=Role.NONE, serving="none", in_force=None)
    seen = world(THREE, said, standby(THREE, "b"), standby(THREE, "c"), document=document("bc"))
    found: tuple[Step, ...] = plan(seen, NOW).steps
    assert not any(isinstance(step, WriteRecord) and step.record.wish for step in found)


# what people see


def test_the_status_says_where_a_volume_was_left() -> None:
    said = status_of(whole(GONE, "ab"), NOTHING, NOW)
    assert [one.name for one in said.members] == ["a", "b"]
    assert said.volumes[0].startswith("main_c on node-c: c has left it")
