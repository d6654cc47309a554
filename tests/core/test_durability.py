"""Moving claim and sync: one move a revision, nothing claimed before it is proved, nobody waited for in vain."""

from __future__ import annotations

from typing import Any

import pytest

from pgswarm.core.claim import Claim, Sync
from pgswarm.core.durability import ABSENCE, CALLED, NOBODY, moves
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Data, InForce, MemberReport, Role, Serving, Walsender
from pgswarm.core.sightings import Sighting
from pgswarm.core.steps import Plan, WriteRecord
from pgswarm.core.streams import standbys
from pgswarm.core.world import World
from tests.core.builders import END, NOW, document, empty, heard, names, primary, record, report, standby, world

REQUIRED = document("ab", durability="required")


def moved(of: Record, seen: World) -> Record:
    plan = moves(seen, of, NOW)
    (step,) = plan.steps
    assert isinstance(step, WriteRecord)
    assert step.record.revision == of.revision + 1
    return step.record


def said(of: Record, seen: World) -> Plan:
    plan = moves(seen, of, NOW)
    assert not plan.steps
    return plan


def gone(of: Record, member: str) -> Sighting[MemberReport]:
    return heard(standby(of, member), ago=1.0, closed=1.0)


ALONE = record("a", 1, sync="")
WAITING = record("a", 1, sync="b")
PAIR = record("ab", 2, sync="b")
THREE = record("abc", 2, sync="bc")
LEAVING = record("abc", 2, sync="c")


def test_a_standby_that_streams_is_waited_for_before_it_is_claimed() -> None:
    new = moved(ALONE, world(ALONE, primary(ALONE, "b"), standby(ALONE, "b")))
    assert (new.claim, new.sync) == (ALONE.claim, Sync(k=1, names=("b/1",)))
    assert "b streams" in new.reason


def test_a_standby_is_claimed_once_everything_is_proved() -> None:
    new = moved(WAITING, world(WAITING, primary(WAITING, "b"), standby(WAITING, "b")))
    assert (new.claim, new.sync) == (Claim(members=names("ab"), r=2), WAITING.sync)


STALE = (1, 4)


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        ({"heeded": STALE, "accepted": (1, 5)}, {}, "has not acknowledged revision 5"),
        ({"in_force": None}, {}, "not yet in force"),
        ({"in_force": InForce(term=1, revision=4, since=END)}, {}, "not yet in force"),
        ({"in_force": InForce(term=1, revision=5, since=END + 1)}, {}, "no standby has flushed"),
        ({"walsenders": ()}, {}, "no standby has flushed"),
        ({"walsenders": (Walsender(name="b-1-0", state="streaming", flush=END),)}, {}, "no standby has flushed"),
        ({}, {"accepted": STALE, "heeded": STALE}, "b has not durably accepted"),
    ],
)
def test_nothing_is_claimed_before_it_is_proved(own: dict[str, Any], other: dict[str, Any], why: str) -> None:
    plan = said(WAITING, world(WAITING, primary(WAITING, "b", **own), standby(WAITING, "b", **other)))
    assert why in " ".join(plan.waits)


def test_a_standby_that_left_before_it_was_counted_is_waited_for_no_more() -> None:
    new = moved(WAITING, world(WAITING, primary(WAITING), gone(WAITING, "b")))
    assert (new.claim, new.sync) == (ALONE.claim, Sync())
    assert "b was waited for" in new.reason


def test_a_standby_that_left_is_replaced_by_one_that_streams() -> None:
    seen = world(WAITING, primary(WAITING, "c"), gone(WAITING, "b"), standby(WAITING, "c"))
    assert moved(WAITING, seen).sync == Sync(k=1, names=("c/1",))


def test_a_third_that_streams_is_counted_in_one_write() -> None:
    new = moved(PAIR, world(PAIR, primary(PAIR, "bc"), standby(PAIR, "b"), standby(PAIR, "c")))
    assert new.claim == Claim(members=names("abc"), r=2)
    assert new.sync == Sync(k=1, names=names("bc"))


def test_of_two_standbys_the_lost_one_leaves_sync_first_and_the_claim_once_proved() -> None:
    new = moved(THREE, world(THREE, primary(THREE, "c"), gone(THREE, "b"), standby(THREE, "c")))
    assert (new.claim, new.sync) == (THREE.claim, Sync(k=1, names=("c/1",)))
    new = moved(LEAVING, world(LEAVING, primary(LEAVING, "c"), gone(LEAVING, "b"), standby(LEAVING, "c")))
    assert new.claim == Claim(members=names("ac"), r=2)


def test_if_the_last_one_is_lost_while_the_claim_is_moved_one_that_is_back_is_waited_for_again() -> None:
    seen = world(LEAVING, primary(LEAVING, "b"), standby(LEAVING, "b"), gone(LEAVING, "c"))
    new = moved(LEAVING, seen)
    assert (new.claim, new.sync) == (LEAVING.claim, Sync(k=1, names=names("bc")))


@pytest.mark.parametrize("of", [PAIR, THREE, LEAVING])
def test_with_no_standby_left_the_record_says_so_before_the_primary_goes_on_alone(of: Record) -> None:
    seen = world(of, primary(of), gone(of, "b"), gone(of, "c"))
    new = moved(of, seen)
    assert (new.claim, new.sync) == (Claim(members=("a/1",), r=1), Sync())
    assert "goes on alone" in new.reason


def test_a_standby_is_lost_when_it_does_not_stream_for_longer_than_a_reconnect_takes() -> None:
    for since, steps in ((ABSENCE / 2, 0), (ABSENCE * 2, 1)):
        seen = world(PAIR, primary(PAIR), standby(PAIR, "b", upstream=None), absent_since={"b/1": NOW - since})
        assert len(moves(seen, PAIR, NOW).steps) == steps


def test_absence_is_counted_from_the_operators_awakening() -> None:
    seen = world(PAIR, primary(PAIR), standby(PAIR, "b", upstream=None), absent_since={"b/1": NOW - 60.0})
    assert moves(seen, PAIR, NOW).steps
    slept = world(
        PAIR, primary(PAIR), standby(PAIR, "b", upstream=None), absent_since={"b/1": 1.0}, awake_since=NOW - 0.5
    )
    assert not moves(slept, PAIR, NOW).steps


def test_a_standby_that_lost_its_data_is_lost_at_once() -> None:
    for other in (empty(PAIR, "b"), standby(PAIR, "b", incarnation="b/2"), standby(PAIR, "b", system_id="8")):
        assert moved(PAIR, world(PAIR, primary(PAIR), other)).claim.r == 1


def replying(of: Record, *, replied: bool = True) -> MemberReport:
    return primary(of, walsenders=(Walsender(name="b-1-1", state="streaming", flush=END, replied=replied),))


@pytest.mark.parametrize("closed", [None, 10.0])
def test_a_standby_that_another_operator_called_upon_is_not_lost_while_the_primary_hears_it(
    closed: float | None,
) -> None:
    sighting, called_at = heard(standby(PAIR, "b"), ago=10.0, closed=closed), {"b/1": NOW - 5.0}
    assert moves(world(PAIR, replying(PAIR), sighting, called_at=called_at), PAIR, NOW).at_rest
    for own, called in (
        (replying(PAIR, replied=False), called_at),
        (replying(PAIR).model_copy(update={"answers": False, "serving": Serving.NONE}), called_at),
        (replying(PAIR), {}),
        (replying(PAIR), {"b/1": NOW - 11.0}),
    ):
        assert moved(PAIR, world(PAIR, own, sighting, called_at=called)).claim.r == 1


def test_another_operators_call_speaks_for_a_standby_that_nobody_hears_for_a_minute_and_no_longer() -> None:
    sighting = heard(standby(PAIR, "b"), ago=2 * CALLED)
    in_time, too_old = {"b/1": NOW - CALLED}, {"b/1": NOW - CALLED - 1.0}
    assert moves(world(PAIR, replying(PAIR), sighting, called_at=in_time), PAIR, NOW).at_rest
    assert moved(PAIR, world(PAIR, replying(PAIR), sighting, called_at=too_old)).claim.r == 1


def test_what_the_primary_heard_before_the_standby_ended_proves_nothing() -> None:
    sighting = heard(standby(PAIR, "b"), ago=1.0, closed=1.0)
    assert moved(PAIR, world(PAIR, replying(PAIR), sighting, called_at={"b/1": NOW - 0.5})).claim.r == 1


def test_all_as_it_should_be_moves_nothing() -> None:
    everyone = world(THREE, primary(THREE, "bc"), standby(THREE, "b"), standby(THREE, "c"))
    assert moves(everyone, THREE, NOW) == Plan()


@pytest.mark.parametrize(
    "changed",
    [
        {"role": Role.FENCED, "serving": Serving.NONE, "in_force": None, "walsenders": ()},
        {"heeded": None},
        {"incarnation": "a/2"},
        {"system_id": "8"},
    ],
)
def test_nothing_moves_under_a_primary_that_does_not_reign(changed: dict[str, Any]) -> None:
    assert not moves(world(PAIR, primary(PAIR, **changed)), PAIR, NOW).steps
    assert not moves(world(PAIR, standby(PAIR, "b")), PAIR, NOW).steps


@pytest.mark.parametrize(
    "changed",
    [
        {"role": Role.FENCED, "upstream": None, "serving": Serving.NONE},
        {"heeded": None},
        {"promised": 2},
        {"data": Data.BUILDING, "position": None},
        {"system_id": "8"},
    ],
)
def test_a_standby_counts_as_healthy_only_if_it_streams_obeys_and_is_of_this_system(changed: dict[str, Any]) -> None:
    own = primary(ALONE, "b")
    assert standbys(world(ALONE, own, standby(ALONE, "b")), ALONE, own, NOW) == ("b/1",)
    assert standbys(world(ALONE, own, standby(ALONE, "b", **changed)), ALONE, own, NOW) == ()


def test_a_stream_that_only_catches_up_is_not_waited_for_yet() -> None:
    catching: MemberReport = primary(ALONE, walsenders=(Walsender(name="b-1-1", state="catchup", flush=1),))
    assert not moves(world(ALONE, catching, standby(ALONE, "b")), ALONE, NOW).steps


def test_required_makes_a_lonely_primary_wait_for_nobody_there_is() -> None:
    of = record("a", 1, sync="", members="ab")
    new = moved(of, world(of, primary(of), document=REQUIRED))
    assert new.sync == Sync(k=1, names=(NOBODY,))
    assert "writes wait" in said(new, world(new, primary(new), document=REQUIRED)).waits[0]
    assert moved(new, world(new, primary(new, "b"), standby(new, "b"), document=REQUIRED)).sync.names == ("b/1",)


def test_required_edited_into_preferred_lets_writes_through_again() -> None:
    of = record("a", 1, sync="", members="ab").model_copy(update={"sync": Sync(k=1, names=(NOBODY,))})
    assert moved(of, world(of, primary(of))).sync == Sync()


def test_required_keeps_the_claim_while_the_standby_is_away() -> None:
    of = record("ab", 2, sync="b", members="ab")
    plan = said(of, world(of, primary(of), gone(of, "b"), document=REQUIRED))
    assert "writes wait: b gone" in plan.waits[0]


def test_required_lets_a_standby_that_lost_its_data_be_made_anew_and_no_write_through() -> None:
    of = record("ab", 2, sync="b", members="ab")
    new = moved(of, world(of, primary(of), empty(of, "b"), document=REQUIRED))
    assert (new.claim.r, new.sync.names) == (1, (NOBODY,))
    assert not new.counts("b")


def test_under_a_grant_claim_and_sync_are_left_alone() -> None:
    of = record("a", 1, sync="", grant=Grant.HELD)
    seen = world(of, primary(of, "b"), standby(of, "b"), document=document("abc", durability="async"))
    assert moves(seen, of, NOW).at_rest


def test_a_report_that_no_agent_could_make_is_refused_by_the_builders() -> None:
    with pytest.raises(ValueError, match="no member can be so"):
        report("b", data=Data.READY, role=Role.PRIMARY)
