"""Why a cluster is as it is: the sentences are those of the rules that decide."""

from __future__ import annotations

from typing import Any

from pgswarm.core.claim import Sync, application_name
from pgswarm.core.durability import NOBODY
from pgswarm.core.explain import Explanation, explained
from pgswarm.core.plan import plan
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, Problem, Progress, Walsender
from pgswarm.core.steps import WriteRecord
from pgswarm.core.wal import Position
from pgswarm.core.world import World
from tests.core.builders import NOW, empty, heard, primary, promiser, record, standby, wish, world

THREE = record("abc", 2, sync="bc")
PAIR = record("ab", 2, sync="b", members="ab")
DEAD: dict[str, Any] = {"ago": 9.0, "closed": 9.0}


def caught_up(of: Record, streaming: str) -> Any:
    """The primary, of whose standbys everyone has replayed everything."""
    rows = tuple(
        Walsender(name=application_name(f"{m}/1", of.term), state="streaming", flush=500, replay=500) for m in streaming
    )
    return primary(of, walsenders=rows)


def why(seen: World) -> Explanation:
    assert isinstance(seen.record, Record)
    return explained(seen, seen.record, plan(seen, NOW), NOW)


def of(said: Explanation, member: str) -> tuple[bool, str]:
    found = next(one for one in said.candidates if one.member == member)
    return found.can, found.why


def test_of_a_healthy_cluster_it_says_where_commits_are_and_that_no_failover_is_needed() -> None:
    said = why(world(THREE, caught_up(THREE, "bc"), standby(THREE, "b"), standby(THREE, "c")))
    assert said.claim == "every acknowledged commit is on at least 2 of a, b, c"
    assert said.commits == "a commit waits until it is on the disk of 1 of b, c"
    assert said.failover == "none is needed: a is serving"
    assert said.if_lost == "2 of b, c would have to promise, and the furthest of them would follow a"
    assert of(said, "a") == (True, "it is primary of term 1: a is serving")
    assert of(said, "b") == (True, "it could be: `pgswarm switchover --to b`")


def test_what_would_be_missing_is_said_while_there_is_still_time() -> None:
    said = why(world(THREE, caught_up(THREE, "b"), standby(THREE, "b"), heard(standby(THREE, "c"), **DEAD)))
    assert said.if_lost.startswith(
        "there would be no failover, and a would have to come back; missing: c (c closed its"
    )
    alone = why(world(record("a", 1, "", members="ab"), caught_up(record("a", 1, "", members="ab"), "")))
    assert alone.if_lost.endswith("a alone is claimed")
    assert alone.commits == "a commit waits for nobody: no standby can be waited for now"


def test_a_required_standby_that_nobody_has_is_what_commits_wait_for() -> None:
    lone = record("a", 1, "", members="ab").model_copy(update={"sync": Sync(k=1, names=(NOBODY,))})
    said = why(world(lone, caught_up(lone, "")))
    assert said.commits == "commits wait: no standby is there, and durability is required"


def test_why_there_is_no_failover_is_told_in_the_words_of_the_ballot() -> None:
    seen = world(PAIR, heard(primary(PAIR), **DEAD), heard(standby(PAIR, "b"), **DEAD))
    said = why(seen)
    assert said.failover == next(text for text in plan(seen, NOW).waits if text.startswith("no failover"))
    assert "missing: a (a closed its connection" in said.failover
    assert of(said, "b")[0] is False


def test_a_failover_that_is_under_way_says_why_and_how_far_it_is() -> None:
    asked = why(world(PAIR, heard(primary(PAIR), **DEAD), standby(PAIR, "b")))
    assert asked.failover.startswith("under way: a closed its connection")
    assert of(asked, "b") == (True, "it can be asked for its promise")
    decided = world(PAIR, heard(primary(PAIR), **DEAD), promiser(PAIR, "b", 2))
    assert any(isinstance(step, WriteRecord) for step in plan(decided, NOW).steps)
    assert of(why(decided), "b") == (True, "it has promised term 2 and has 0/1F4 on timeline 1")


def test_a_primary_that_another_operator_hears_is_not_replaced_yet() -> None:
    said = why(world(PAIR, heard(primary(PAIR), ago=9.0), standby(PAIR, "b"), vouched_at=NOW - 1.0))
    assert said.failover.startswith("not yet: a has been silent for 9.0 s; another operator has raised the term")


def test_each_member_that_cannot_be_primary_says_what_hinders_it() -> None:
    cloning = standby(THREE, "b", progress=Progress(what="clone", done=1, total=2))
    broken = standby(THREE, "c", problem=Problem(code="disk", text="its volume is full"))
    said = why(world(THREE, caught_up(THREE, ""), cloning, broken))
    assert of(said, "b") == (False, "clone is under way")
    assert of(said, "c") == (False, "its volume is full")
    bare = why(world(THREE, caught_up(THREE, "b"), standby(THREE, "b"), empty(THREE, "c")))
    assert of(bare, "c") == (False, "it has no data directory yet (none)")
    silent = why(world(THREE, caught_up(THREE, "b"), standby(THREE, "b")))
    assert of(silent, "c") == (False, "c has not been heard yet")


def test_a_member_that_does_not_stream_or_has_much_to_replay_says_so() -> None:
    idle = why(world(THREE, caught_up(THREE, "b"), standby(THREE, "b"), standby(THREE, "c", upstream=None)))
    assert of(idle, "c") == (False, "c does not stream from a")
    slow = primary(
        PAIR,
        position=Position(timeline=1, lsn=1 << 30),
        walsenders=(Walsender(name=application_name("b/1", 1), state="streaming", flush=1 << 30, replay=500),),
    )
    assert "MB to replay" in of(why(world(PAIR, slow, standby(PAIR, "b"))), "b")[1]


def test_a_log_that_is_off_the_line_and_a_member_that_is_not_counted_are_told_apart() -> None:
    off = promiser(THREE, "b", 2, position=Position(timeline=9, lsn=900))
    said = why(world(THREE, heard(primary(THREE), **DEAD), off, promiser(THREE, "c", 2)))
    assert "not in the cluster's history" in of(said, "b")[1]
    two = record("ab", 2, "b")
    uncounted = why(world(two, heard(primary(two), **DEAD), standby(two, "b"), standby(two, "c")))
    assert "it is not counted" in of(uncounted, "c")[1]


def test_data_of_another_system_is_no_candidate() -> None:
    foreign = standby(THREE, "b", system_id="other")
    said = why(world(THREE, caught_up(THREE, ""), foreign, standby(THREE, "c")))
    assert of(said, "b") == (False, "its data is of another system (other); it is cloned anew")
    assert foreign.data is Data.READY


def test_a_failover_that_a_person_asked_for_is_explained_by_the_plan_alone() -> None:
    forced = THREE.amended("ann wishes", wish=wish("failover"))
    said = why(world(forced, caught_up(forced, "bc"), standby(forced, "b"), standby(forced, "c")))
    assert said.failover == "none is needed: a is serving"
