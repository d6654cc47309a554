"""Claims and sync settings, against dumb twins that try every way in which copies can lie."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pgswarm.core.claim import Claim, Incarnation, Sync, application_name

ALL = ("a/1", "b/1", "c/1", "d/1", "b/2")


def subsets(of: tuple[Incarnation, ...]) -> list[frozenset[Incarnation]]:
    return [frozenset(some) for size in range(len(of) + 1) for some in combinations(of, size)]


COPIES = subsets(ALL)
"""Every way in which the copies of one commit can lie."""


def is_true(claim: Claim, copies: frozenset[Incarnation]) -> bool:
    return len(copies & set(claim.members)) >= claim.r


some_members = st.lists(st.sampled_from(ALL), min_size=1, max_size=5, unique=True).map(tuple)
claims = some_members.flatmap(lambda m: st.builds(Claim, members=st.just(m), r=st.integers(1, len(m))))
waiting = some_members.flatmap(lambda n: st.builds(Sync, k=st.integers(1, len(n)), names=st.just(n)))
syncs = st.one_of(st.just(Sync()), waiting)


@given(claims, claims)
def test_a_claim_implies_another_exactly_if_no_distribution_of_copies_tells_them_apart(one: Claim, two: Claim) -> None:
    by_trying = all(is_true(two, copies) for copies in COPIES if is_true(one, copies))
    assert one.implies(two) == by_trying


@given(syncs, claims, st.sampled_from(ALL))
def test_a_sync_implies_a_claim_exactly_if_every_commit_that_it_lets_through_satisfies_it(
    sync: Sync, claim: Claim, primary: Incarnation
) -> None:
    if primary in sync.names:
        return  # no primary streams from itself
    acknowledged = [copies for copies in COPIES if primary in copies and len(copies & set(sync.names)) >= sync.k]
    by_trying = all(is_true(claim, copies) for copies in acknowledged)
    if primary in claim.members:
        assert sync.implies(claim, primary) == by_trying
    else:
        assert not sync.implies(claim, primary), "a claim that leaves out the primary is never kept"


@given(claims)
def test_a_quorum_meets_every_set_that_may_hold_a_commit_and_one_fewer_does_not(claim: Claim) -> None:
    holders = [set(some) for some in combinations(claim.members, claim.r)]
    assert all(holder & set(q) for q in combinations(claim.members, claim.quorum) for holder in holders)
    assert not all(holder & set(q) for q in combinations(claim.members, claim.quorum - 1) for holder in holders)


def test_more_copies_than_members_cannot_be_claimed() -> None:
    with pytest.raises(ValidationError, match="2 copies cannot be on 1"):
        Claim(members=("a/1",), r=2)


@pytest.mark.parametrize(("k", "names"), [(2, ("b/1",)), (1, ()), (0, ("b/1",))])
def test_a_commit_cannot_wait_for_standbys_that_are_not_named(k: int, names: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="cannot wait"):
        Sync(k=k, names=names)


def test_the_setting_names_incarnation_and_term_and_nothing_else() -> None:
    sync = Sync(k=1, names=("c/0000000c", "b/0000000b"))
    assert sync.setting(7) == 'ANY 1 ("b-0000000b-7", "c-0000000c-7")'
    assert Sync().setting(7) == ""


def test_the_longest_name_fits_into_what_postgresql_keeps() -> None:
    assert len(application_name("m" * 40 + "/0123abcd", 999_999_999)) <= 63


def test_a_member_is_known_by_any_of_its_incarnations() -> None:
    claim = Claim(members=("a/1", "b/2"), r=2)
    assert claim.names("b")
    assert not claim.names("c")
    assert str(claim) == "2 of a/1, b/2"
