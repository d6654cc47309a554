"""Who may grant, and since when a successor knows that nobody else does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given as any_of
from hypothesis import settings
from hypothesis import strategies as st

from pgswarm.core.grant import DRIFT, MARGIN
from pgswarm.core.leadership import Candidate
from pgswarm.core.tenure import (
    LENGTH,
    RENEW,
    PassOn,
    Renew,
    Scene,
    Standing,
    Take,
    Tenure,
    acting,
    next_move,
    taken,
)

ONE = Candidate(name="op1", node_id="n1", able=True)
TWO = Candidate(name="op2", node_id="n2", able=True)
THREE = Candidate(name="op3", node_id="n3", able=True)
ALL = (ONE, TWO, THREE)
MINE = Tenure(number=4, holder="op2", token="t2", wait=LENGTH)
STANDING = Standing(number=4, until=1015.0, over=0.0)
SCENE = Scene(
    me="op2", token="t2", found=MINE, standing=STANDING, candidates=ALL, nodes=("n1",), granted_until=0.0, grantor=4
)


def test_without_an_async_cluster_nothing_is_written() -> None:
    assert next_move(replace(SCENE, found=None, standing=None, nodes=()), 1000.0) is None


def test_the_first_tenure_is_taken_by_who_is_not_on_the_primarys_node_and_waits_all_the_same() -> None:
    empty = replace(SCENE, found=None, standing=None, grantor=0)
    move = next_move(empty, 1000.0)
    assert isinstance(move, Take)
    assert (move.tenure.number, move.tenure.holder, move.wait) == (1, "op2", LENGTH)
    assert next_move(replace(empty, me="op1", token="t1"), 1000.0) is None


def test_a_number_is_above_any_that_a_record_names_though_the_object_was_lost() -> None:
    move = next_move(replace(SCENE, found=None, standing=None, grantor=7), 1000.0)
    assert isinstance(move, Take)
    assert move.tenure.number == 8


def test_the_holder_stays_while_it_is_able_and_is_replaced_when_it_is_not() -> None:
    assert acting(ALL, ("n1",), "op3") == "op3"
    assert acting((ONE, TWO), ("n1",), "op3") == "op2"
    unable = replace(THREE, able=False)
    assert acting((ONE, TWO, unable), ("n1",), "op3") == "op2"


def test_a_dead_holders_tenure_is_taken_and_waited_out() -> None:
    found = Tenure(number=4, holder="op9", token="t9", wait=LENGTH)
    move = next_move(replace(SCENE, found=found, standing=None), 1000.0)
    assert isinstance(move, Take)
    assert move.tenure.number == 5
    standing = taken(move, begun=1000.0, succeeded=1002.0)
    assert standing.until == 1000.0 + LENGTH
    assert standing.over == 1002.0 + LENGTH * (1 + DRIFT) + MARGIN


def test_a_living_holders_tenure_is_left_alone() -> None:
    found = Tenure(number=4, holder="op3", token="t3", wait=LENGTH)
    assert next_move(replace(SCENE, found=found, standing=None), 1000.0) is None


def test_a_process_that_was_restarted_does_not_take_its_former_tenure_for_its_own() -> None:
    move = next_move(replace(SCENE, token="new", standing=None), 1000.0)
    assert isinstance(move, Take)
    assert move.tenure.number == 5


def test_it_is_renewed_in_time_and_not_before() -> None:
    assert next_move(SCENE, 1000.0 + RENEW - 0.1) is None
    move = next_move(SCENE, 1000.0 + RENEW)
    assert isinstance(move, Renew)
    assert (move.tenure.number, move.tenure.beat) == (4, 1)


def test_a_holder_on_the_primarys_node_passes_it_on_and_says_how_long_its_grants_count() -> None:
    move = next_move(replace(SCENE, nodes=("n2",), granted_until=1006.0), 1000.0)
    assert isinstance(move, PassOn)
    assert (move.tenure.holder, move.tenure.number) == ("", 4)
    assert move.tenure.wait == 6.0 + MARGIN


def test_what_its_holder_itself_still_had_to_wait_for_is_passed_on_too() -> None:
    move = next_move(replace(SCENE, nodes=("n2",), standing=replace(STANDING, over=1012.0)), 1000.0)
    assert isinstance(move, PassOn)
    assert move.tenure.wait == 12.0 + MARGIN


def test_a_tenure_that_was_passed_on_is_taken_at_once_with_the_short_wait() -> None:
    found = Tenure(number=4, holder="", token="", beat=3, wait=1.5)
    move = next_move(replace(SCENE, found=found, standing=None), 1000.0)
    assert isinstance(move, Take)
    assert move.wait == 1.5


def test_one_operator_alone_keeps_it_though_it_is_on_the_primarys_node() -> None:
    alone = replace(SCENE, me="op1", token="t2", candidates=(ONE,), found=MINE.model_copy(update={"holder": "op1"}))
    assert next_move(alone, 1000.0) is None


@dataclass
class Operator:
    """One operator with a clock of its own, a standing, and a ledger of what it granted (in true time)."""

    name: str
    rate: float
    offset: float
    standing: Standing | None = None
    found: Tenure | None = None
    granted: list[tuple[int, float]] = field(default_factory=list)

    def now(self, true: float) -> float:
        return true * self.rate + self.offset

    def true(self, own: float) -> float:
        return (own - self.offset) / self.rate


STEPS = st.lists(
    st.tuples(st.sampled_from(["op1", "op2"]), st.sampled_from(["read", "move", "grant"]), st.floats(0.0, 9.0)),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@any_of(STEPS, st.floats(1 - DRIFT / 2, 1 + DRIFT / 2), st.floats(1 - DRIFT / 2, 1 + DRIFT / 2))
def test_when_the_wait_is_over_no_grant_of_an_earlier_holder_is_left(
    steps: list[tuple[str, str, float]], rate1: float, rate2: float
) -> None:
    """Two operators that see nothing of each other but the object, in any order, with clocks that run apart."""
    stored: Tenure | None = None
    operators = {
        "op1": Operator(name="op1", rate=rate1, offset=500.0),
        "op2": Operator(name="op2", rate=rate2, offset=9000.0),
    }
    true = 0.0
    for name, what, pause in steps:
        true += pause
        one = operators[name]
        if what == "read":
            one.found = stored
        elif what == "grant" and one.standing is not None and one.now(true) < one.standing.until:
            until = min(one.now(true) + 10.0, one.standing.until)
            one.granted.append((one.standing.number, one.true(until)))
        elif what == "move":
            own = one.now(true)
            left = max((one.now(until) for _, until in one.granted), default=0.0)
            # Each believes itself to be alone: the worst case.
            scene = Scene(
                me=name, token=name, found=one.found, standing=one.standing, nodes=("n1",), granted_until=left,
                candidates=(Candidate(name=name, node_id=name, able=True),), grantor=0,
            )  # fmt: skip
            move = next_move(scene, own)
            if move is None or stored != one.found:
                continue  # nothing to do, or the compare-and-set fails
            stored = one.found = move.tenure
            match move:
                case Take():
                    one.standing = taken(move, begun=own, succeeded=own)
                case Renew() if one.standing is not None:
                    one.standing = replace(one.standing, until=own + LENGTH)
                case _:
                    one.standing = None
        for other in operators.values():
            if other.standing is None or other.now(true) < other.standing.over:
                continue
            for third in operators.values():
                for number, until in third.granted:
                    assert number >= other.standing.number or until <= true, (name, what, true)
