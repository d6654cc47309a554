"""Where writers and readers go, said as sentences about the world; no process, no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgswarm.core.base import Same
from pgswarm.core.letters import to_router
from pgswarm.core.orders import RouterOrder
from pgswarm.core.reports import Data, MemberReport, Postgres, Serving
from pgswarm.core.routing import (
    CUT_CLOSED,
    CUT_SILENT,
    CUT_TURNED_AWAY,
    HOLD_AFTER,
    VOUCHED,
    RoutePlan,
    Seen,
    Target,
    View,
    hold_after,
    refuses,
    route,
    stands,
)
from pgswarm.core.sightings import Sighting
from pgswarm.router.act import TICK
from pgswarm.wire import HEARTBEAT
from tests.core.builders import document, record

NOW = 1000.0


def heard(name: str, serving: Serving, term: int, *, ago: float = 0.1, address: str = "", **more: object) -> Seen:
    """A member whose stream is open."""
    report = MemberReport(
        cluster="main",
        member=name,
        boot="b",
        sequence=1,
        data=Data.READY,
        incarnation=f"{name}/00000001",
        accepted=(term, 1) if term else None,
        postgres=Postgres.RUNNING,
        serving=serving,
    ).model_copy(update=more)
    return Sighting(address=address or f"10.0.0.{name[-1]}", report=report, heard_at=NOW - ago, connected=True, why="")


def primary(name: str, term: int, **more: object) -> Seen:
    return heard(name, Serving.PRIMARY, term, **more)  # type: ignore[arg-type]


def replica(name: str, term: int, **more: object) -> Seen:
    return heard(name, Serving.REPLICA, term, **more)  # type: ignore[arg-type]


def idle(name: str, term: int, **more: object) -> Seen:
    return heard(name, Serving.NONE, term, **more)  # type: ignore[arg-type]


def closed(seen: Seen, ago: float) -> Seen:
    return replace(seen, connected=False, closed_at=NOW - ago, why="closed the connection")


def order(name: str, term: int, revision: int = 1) -> RouterOrder:
    return RouterOrder(cluster="main", term=term, revision=revision, primary=f"{name}/00000001")


def target(name: str, term: int) -> Target:
    return Target(incarnation=f"{name}/00000001", term=term, address=f"10.0.0.{name[-1]}")


def plan(
    *sightings: Seen,
    ordered: RouterOrder | None = None,
    routed: Target | None = None,
    held_for: float | None = None,
) -> RoutePlan:
    held_since = None if held_for is None else NOW - held_for
    return route(View(order=ordered, routed=routed, held_since=held_since, sightings=sightings), NOW)


def test_the_member_that_serves_gets_the_writers_with_or_without_an_order() -> None:
    assert plan(primary("pg-1", 3), replica("pg-2", 3)).write == target("pg-1", 3)
    assert plan(primary("pg-1", 3), replica("pg-2", 3), ordered=order("pg-1", 3)).write == target("pg-1", 3)


def test_nothing_heard_holds_the_writers_and_cuts_nobody() -> None:
    held = plan()
    assert held.write is None
    assert not held.cut
    assert "none of the 0 members" in held.reason


def cut_off(seen: Seen, vouched_for: float | None, held_for: float = 0.5) -> RoutePlan:
    """A router that holds, and was told so long ago that the ordered primary serves."""
    vouched_at = None if vouched_for is None else NOW - vouched_for
    view = View(
        order=order("pg-1", 3),
        routed=target("pg-1", 3),
        held_since=NOW - held_for,
        vouched_at=vouched_at,
        sightings=(seen, replica("pg-2", 3)),
    )
    return route(view, NOW)


def test_who_alone_does_not_hear_the_primary_turns_its_writers_away() -> None:
    turned = cut_off(primary("pg-1", 3, ago=2.5), 0.1)
    assert turned.turn_away
    assert turned.cut
    assert "only this router is cut off" in turned.reason


def test_nobody_is_turned_away_without_a_word_that_is_fresh_nor_from_a_primary_that_is_heard() -> None:
    silent = primary("pg-1", 3, ago=2.5)
    assert not cut_off(silent, None).turn_away
    assert not cut_off(silent, VOUCHED + 1.0).turn_away
    assert not cut_off(idle("pg-1", 3), 0.1).turn_away, "it says itself that it does not serve: it is about to change"
    assert not cut_off(primary("pg-1", 3), 0.1).turn_away


def test_a_router_that_has_just_begun_is_not_cut_off_before_it_has_listened() -> None:
    assert not cut_off(replica("pg-3", 3), 0.1, held_for=0.5).turn_away
    assert cut_off(replica("pg-3", 3), 0.1, held_for=HOLD_AFTER + 0.1).turn_away


def test_of_two_that_serve_the_higher_term_gets_the_writers() -> None:
    assert plan(primary("pg-1", 3), primary("pg-2", 4)).write == target("pg-2", 4)


def test_a_primary_below_the_ordered_term_is_cut_at_once_and_writers_wait_for_the_ordered_one() -> None:
    held = plan(primary("pg-1", 3), replica("pg-2", 4), ordered=order("pg-2", 4), routed=target("pg-1", 3))
    assert held.write is None
    assert held.cut
    assert "pg-2/00000001 is not serving as primary of term 4 yet" not in held.reason
    assert "term 4 has begun" in held.reason


def test_a_term_routed_to_once_is_a_floor_for_ever() -> None:
    held = plan(primary("pg-1", 3), routed=target("pg-2", 4))
    assert held.write is None


def test_a_newer_term_that_any_member_has_accepted_is_a_floor_though_no_order_was_heard() -> None:
    held = plan(primary("pg-1", 3), idle("pg-2", 4), routed=target("pg-1", 3))
    assert held.write is None
    # Who leads it is not known: it may be pg-1 itself, so its sessions stay.
    assert not held.cut


def test_a_primary_that_serves_above_the_ordered_term_is_followed() -> None:
    assert plan(primary("pg-2", 5), ordered=order("pg-1", 4)).write == target("pg-2", 5)


def test_in_the_ordered_term_only_the_ordered_incarnation_gets_the_writers() -> None:
    held = plan(primary("pg-2", 4), ordered=order("pg-1", 4))
    assert held.write is None
    assert "the primary of that term is pg-1/00000001 (ordered)" in held.reason


def test_a_member_made_anew_is_not_the_primary_that_was_ordered() -> None:
    assert plan(primary("pg-1", 4, incarnation="pg-1/00000002"), ordered=order("pg-1", 4)).write is None


def test_a_term_has_one_primary_also_when_only_routed_to() -> None:
    assert plan(primary("pg-2", 4), routed=target("pg-1", 4)).write is None


def test_a_member_that_has_accepted_nothing_is_no_primary() -> None:
    assert plan(primary("pg-1", 0)).write is None


def test_a_raised_term_holds_until_its_primary_has_followed_and_cuts_nobody() -> None:
    held = plan(primary("pg-1", 3), ordered=order("pg-1", 4), routed=target("pg-1", 3))
    assert held.write is None
    assert not held.cut
    raised = plan(primary("pg-1", 4), ordered=order("pg-1", 4), routed=target("pg-1", 3))
    assert raised.write == target("pg-1", 4)
    assert not raised.cut


def test_a_switch_cuts_the_sessions_to_the_old_primary() -> None:
    switched = plan(replica("pg-1", 4), primary("pg-2", 4), ordered=order("pg-2", 4), routed=target("pg-1", 3))
    assert switched.write == target("pg-2", 4)
    assert switched.cut


def test_a_primary_at_a_new_address_leaves_dead_sessions_behind() -> None:
    moved = plan(primary("pg-1", 3, address="10.0.0.99"), routed=target("pg-1", 3))
    assert moved.write is not None
    assert moved.write.address == "10.0.0.99"
    assert moved.cut


def test_a_primary_made_anew_in_a_newer_term_at_the_same_address_keeps_no_old_session() -> None:
    again = plan(primary("pg-1", 5, incarnation="pg-1/00000002"), routed=target("pg-1", 3))
    assert again.write is not None
    assert again.cut


@pytest.mark.parametrize("state", [Postgres.CRASHED, Postgres.STOPPED, Postgres.STOPPING, Postgres.STARTING])
def test_a_primary_whose_postgres_is_down_holds_writers_at_once_and_its_sessions_end_by_themselves(
    state: Postgres,
) -> None:
    held = plan(idle("pg-1", 3, postgres=state), ordered=order("pg-1", 3), routed=target("pg-1", 3), held_for=9)
    assert held.write is None
    assert not held.cut
    assert f"its postgres is {state}" in held.reason


def test_an_isolated_primary_holds_writers_at_once_and_is_cut_a_moment_later() -> None:
    isolated = idle("pg-1", 3)
    at_once = plan(isolated, routed=target("pg-1", 3))
    just_held = plan(isolated, routed=target("pg-1", 3), held_for=CUT_TURNED_AWAY / 2)
    later = plan(isolated, routed=target("pg-1", 3), held_for=CUT_TURNED_AWAY)
    assert (at_once.write, at_once.cut) == (None, False)
    assert (just_held.write, just_held.cut) == (None, False)
    assert (later.write, later.cut) == (None, True)


def test_a_silent_primary_first_loses_new_connections_and_much_later_its_sessions() -> None:
    routed = target("pg-1", 3)
    short = plan(primary("pg-1", 3, ago=HOLD_AFTER - 0.1), routed=routed)
    longer = plan(primary("pg-1", 3, ago=HOLD_AFTER + 0.1), routed=routed)
    long = plan(primary("pg-1", 3, ago=CUT_SILENT + 0.1), routed=routed)
    assert (short.write, short.cut) == (routed, False)
    assert (longer.write, longer.cut) == (None, False)
    assert (long.write, long.cut) == (None, True)


def test_a_primary_whose_agent_is_gone_gets_no_writer_from_that_moment() -> None:
    routed = target("pg-1", 3)
    at_once = plan(closed(primary("pg-1", 3), 0.0), routed=routed)
    later = plan(closed(primary("pg-1", 3), CUT_CLOSED + 0.1), routed=routed)
    assert (at_once.write, at_once.cut) == (None, False)
    assert (later.write, later.cut) == (None, True)


def test_a_stale_report_of_an_isolated_primary_cuts_nobody() -> None:
    assert not plan(idle("pg-1", 3, ago=HOLD_AFTER + 1), routed=target("pg-1", 3), held_for=9).cut


def test_a_member_seen_at_two_addresses_is_where_it_was_heard_last() -> None:
    old = primary("pg-1", 3, address="10.0.0.50", ago=1.5)
    new = primary("pg-1", 3, address="10.0.0.51", ago=0.1)
    for sightings in [(old, new), (new, old)]:
        found = plan(*sightings)
        assert found.write is not None
        assert found.write.address == "10.0.0.51"


def test_readers_go_to_every_fresh_replica_and_to_nobody_else() -> None:
    readers = plan(
        primary("pg-1", 3),
        replica("pg-2", 3),
        replica("pg-3", 3, ago=HOLD_AFTER + 1),
        closed(replica("pg-4", 3), 0.1),
        idle("pg-5", 3),
    ).readers
    assert [reader.member for reader in readers] == ["pg-2"]


def test_a_replica_of_an_older_reign_serves_readers_only_until_the_new_primary_does() -> None:
    behind = replica("pg-3", 3)
    assert [r.member for r in plan(idle("pg-1", 4), behind, ordered=order("pg-1", 4)).readers] == ["pg-3"]
    assert plan(primary("pg-1", 4), behind, ordered=order("pg-1", 4)).readers == ()


def test_a_replica_that_turns_clients_away_while_it_runs_loses_its_readers() -> None:
    assert plan(primary("pg-1", 3), idle("pg-2", 3)).cut_readers == ("10.0.0.2",)
    assert plan(primary("pg-1", 3), idle("pg-2", 3, postgres=Postgres.STOPPING)).cut_readers == ()


def test_an_order_is_refused_for_the_reason_that_holds() -> None:
    held = order("pg-1", 3, 5)
    assert refuses(order("pg-1", 3, 5), "main", held, None) == ""
    assert refuses(order("pg-1", 3, 6), "main", held, None) == ""
    assert refuses(order("pg-2", 4, 6), "main", held, None) == ""
    assert refuses(order("pg-1", 1, 1), "main", None, None) == ""
    assert "older" in refuses(order("pg-1", 3, 4), "main", held, None)
    assert "contradicts" in refuses(order("pg-2", 3, 5), "main", held, None)
    assert "contradicts" in refuses(order("pg-2", 3, 6), "main", held, None)
    assert "is over" in refuses(order("pg-2", 4, 6), "main", held, target("pg-1", 5))
    assert "not of other" in refuses(order("pg-1", 9).model_copy(update={"cluster": "other"}), "main", held, None)


@pytest.mark.parametrize("detection", [1.0, 2.0, 3.0, 60.0])
def test_writers_are_held_before_the_switch_whatever_the_detection_and_never_between_two_beats(
    detection: float,
) -> None:
    assert HEARTBEAT < hold_after(detection) <= HOLD_AFTER
    assert hold_after(detection) + TICK < detection, "a router looks at the clock so often"
    silent = View(
        order=order("pg-1", 3),
        routed=target("pg-1", 3),
        held_since=None,
        hold_after=hold_after(detection),
        sightings=(primary("pg-1", 3, ago=hold_after(detection) + 0.01),),
    )
    assert route(silent, NOW).write is None
    assert not route(silent, NOW).cut
    assert route(silent, NOW - 0.02).write == target("pg-1", 3)


def test_a_router_is_told_after_which_silence_to_hold_writers() -> None:
    quick = document("ab", detectionTimeout="1s")
    told, digest = to_router("main", Same(record("ab", 2, sync="b", members="ab")), Same(quick), (), 0, "b")
    assert told.hold_after == pytest.approx(0.667, abs=0.001)
    usual = document("ab")
    told, other = to_router("main", Same(record("ab", 2, sync="b", members="ab")), Same(usual), (), 0, "b")
    assert told.hold_after == HOLD_AFTER
    assert digest != other, "so that an edit reaches it"


members = st.sampled_from(["pg-1", "pg-2", "pg-3"])
terms = st.integers(1, 5)
seen = st.builds(
    lambda name, serving, term, ago, gone, postgres: (
        closed(heard(name, serving, term, ago=ago, postgres=postgres), 0.5)
        if gone
        else heard(name, serving, term, ago=ago, postgres=postgres)
    ),
    members,
    st.sampled_from(Serving),
    st.integers(0, 5),
    st.sampled_from([0.0, 1.0, 3.0, 30.0]),
    st.booleans(),
    st.sampled_from(Postgres),
)
views = st.builds(
    View,
    hold_after=st.sampled_from([HOLD_AFTER, 0.7]),
    order=st.none() | st.builds(order, members, terms),
    routed=st.none() | st.builds(target, members, terms),
    held_since=st.none() | st.sampled_from([NOW, NOW - 1]),
    sightings=st.lists(seen, max_size=4).map(tuple),
)


@settings(deadline=None)
@given(views)
def test_in_no_view_whatever_is_a_writer_sent_where_it_may_not_go(view: View) -> None:
    decided = route(view, NOW)
    if decided.write is None:
        return
    vouching = [
        one
        for one in view.sightings
        if one.address == decided.write.address
        and one.report
        and one.report.serving is Serving.PRIMARY
        and one.report.incarnation == decided.write.incarnation
        and one.closed_at is None
        and one.silence(NOW) <= HOLD_AFTER
    ]
    assert vouching, "nobody fresh said so"
    if view.order:
        assert decided.write.term >= view.order.term
        assert decided.write.term > view.order.term or decided.write.incarnation == view.order.primary
    if view.routed:
        assert decided.write.term >= view.routed.term
        assert decided.write.term > view.routed.term or decided.write.incarnation == view.routed.incarnation
        assert decided.cut == (
            (decided.write.incarnation, decided.write.address) != (view.routed.incarnation, view.routed.address)
        )
    assert all(not one.report or (one.report.accepted or (0, 0))[0] <= decided.write.term for one in view.sightings)


@settings(deadline=None)
@given(views)
def test_a_plan_always_says_why_and_depends_on_nothing_but_its_view(view: View) -> None:
    decided = route(view, NOW)
    assert decided.reason
    assert decided == route(view, NOW)


@settings(deadline=None)
@given(views)
def test_nobody_is_ever_made_a_reader_of_a_silent_or_gone_member(view: View) -> None:
    fresh = {one.address for one in view.sightings if one.closed_at is None and one.silence(NOW) <= HOLD_AFTER}
    assert {reader.address for reader in route(view, NOW).readers} <= fresh


@settings(deadline=None, max_examples=300)
@given(views, st.lists(st.sampled_from([None, 0.0, 0.4, 2.5, 9.0]), min_size=4, max_size=4), st.data())
def test_a_plan_that_is_said_to_stand_is_the_one_that_would_be_made(
    before: View, beats: list[float | None], data: st.DataObject
) -> None:
    """Some are heard again in the meantime, with the word they had; one may say something else, or be gone."""
    now, plan = NOW + data.draw(st.sampled_from([0.0, 0.5, 2.5, 12.0])), route(before, NOW)
    later = [
        one if ago is None or one.is_gone else replace(one, heard_at=now - ago)
        for one, ago in zip(before.sightings, beats, strict=False)
    ]
    changes: bool = data.draw(st.booleans())
    if later and changes:
        later[0] = data.draw(seen)
    view = replace(before, sightings=tuple(later), held_since=None)
    if stands(plan, before, NOW, view, now):
        assert route(view, now) == plan


def test_a_plan_stands_while_there_are_only_beats_and_no_longer() -> None:
    was = View(
        order=order("pg-1", 2),
        routed=target("pg-1", 2),
        held_since=None,
        sightings=(primary("pg-1", 2), replica("pg-2", 2)),
    )
    plan = route(was, NOW)
    beaten = replace(was, sightings=tuple(replace(one, heard_at=NOW + 4.9) for one in was.sightings))
    assert stands(plan, was, NOW, beaten, NOW + 5.0)
    assert not stands(plan, was, NOW, was, NOW + 5.0), "both have fallen silent"
    assert not stands(plan, was, NOW, replace(beaten, order=order("pg-1", 3)), NOW + 5.0)
    assert not stands(plan, was, NOW, replace(beaten, sightings=beaten.sightings[:1]), NOW + 5.0)
    moved = (primary("pg-1", 2, address="10.0.0.9"), beaten.sightings[1])
    assert not stands(plan, was, NOW, replace(beaten, sightings=moved), NOW + 5.0)
