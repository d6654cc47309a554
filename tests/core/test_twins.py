"""Clever functions beside dumb twins that try every case (those of claims are in test_claim, of positions in test_wal).

*The ballot* counts promises and compares positions. Its twin knows nothing of quorums: it tries every length that the
logs of the silent may have, now or later, and asks whether the furthest promiser has whatever was acknowledged.

*The moves of the claim* are proved by arithmetic. Their twin keeps every set of members on which some acknowledged
commit may lie, under any mixture of the settings that PostgreSQL may be at (C6), and looks whether the claim is true.
"""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from pgswarm.core.ballot import ballot, health
from pgswarm.core.claim import Claim, Incarnation, Sync, application_name
from pgswarm.core.durability import moves
from pgswarm.core.record import Record
from pgswarm.core.reports import InForce, Walsender
from pgswarm.core.steps import WriteRecord
from pgswarm.core.wal import Position, Reign
from tests.core.builders import END, NOW, heard, names, primary, promiser, record, standby, world

LONGEST = 4
FORK = 2
LINEAGE = (
    Reign(term=1, incarnation="b/1", timeline=1, fork=0),
    Reign(term=2, incarnation="a/1", timeline=2, fork=FORK),
)


@st.composite
def ballots(draw: st.DrawFn) -> tuple[Record, dict[str, tuple[int, int]], bool]:
    """A record of term 2, what each promiser's log ends with, and whether everyone silent was heard before."""
    members = "abcd"[: draw(st.integers(2, 4))]
    standbys = "".join(draw(st.lists(st.sampled_from(members[1:]), min_size=1, unique=True)))
    r = draw(st.integers(1, 1 + len(standbys)))
    sync = Sync(k=r - 1, names=names(standbys)) if r > 1 else Sync()
    claim = Claim(members=names("a" + standbys), r=r)
    plain = record("a", 1, "", members=members, term=2, lineage=LINEAGE)
    of = plain.model_copy(update={"claim": claim, "sync": sync})
    promisers = draw(st.lists(st.sampled_from(members), unique=True))
    longest = draw(st.integers(0, LONGEST))
    ends = {}
    for member in promisers:
        lsn = longest if member == "a" else draw(st.integers(0, longest))
        ends[member] = (2 if lsn > FORK or (lsn == FORK and draw(st.booleans())) else 1, lsn)
    return of, ends, draw(st.booleans())


def is_safe(of: Record, ends: dict[str, tuple[int, int]]) -> bool:
    """Has the furthest claimed promiser whatever was or will be acknowledged, however long the others' logs are?"""
    claimed = [name.partition("/")[0] for name in of.claim.members]
    known = {member: ends[member][1] for member in claimed if member in ends}
    silent = [member for member in claimed if member not in known]
    if not known:
        return False
    most = known.get("a", LONGEST + 1)  # nobody has what the primary has not
    for lengths in product(range(most + 1), repeat=len(silent)):
        every = sorted([*known.values(), *lengths], reverse=True)
        if every[of.claim.r - 1] > max(known.values()):
            return False
    return True


@settings(max_examples=400, deadline=None)
@given(ballots())
def test_a_ballot_decides_exactly_if_no_length_of_the_silent_logs_could_make_its_winner_lose_a_commit(
    made: tuple[Record, dict[str, tuple[int, int]], bool],
) -> None:
    of, ends, was_heard = made
    said = [
        promiser(of, member, 3, position=Position(timeline=timeline, lsn=lsn))
        for member, (timeline, lsn) in ends.items()
    ]
    gone = [
        heard(standby(of, member) if member != "a" else primary(of), ago=9.0, closed=9.0)
        for member in of.members
        if member not in ends and was_heard
    ]
    seen = world(of, *said, *gone)
    plan = ballot(seen, of, health(seen, of, NOW), NOW)
    written = [step.record for step in plan.steps if isinstance(step, WriteRecord)]
    assert bool(written) == is_safe(of, ends)
    for new in written:
        lengths = [ends[member][1] for member in ends if of.claim.names(member)]
        assert ends[new.primary_member][1] == max(lengths)
        assert (new.claim.r, new.claim.members) == (1, (new.primary,))
        assert new.lineage[-1].fork == max(lengths)


Copies = frozenset[Incarnation]


def acknowledged_under(mixture: list[Sync]) -> set[Copies]:
    """Where the copies of a commit may lie, at the least, that is acknowledged while any of these may be in force."""
    anyone = {name for sync in mixture for name in sync.names}
    waits = {sync.k for sync in mixture}
    return {frozenset(("a/1", *some)) for k in waits for some in combinations(sorted(anyone), k)}


def is_true(claim: Claim, everywhere: set[Copies]) -> bool:
    return all(len(copies & set(claim.members)) >= claim.r for copies in everywhere)


MEMBERS = "abcd"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_however_standbys_come_and_go_the_claim_is_true_of_every_commit_that_any_mixture_of_settings_lets_through(
    data: st.DataObject,
) -> None:
    of = record("a", 1, "", members=MEMBERS)
    mixture, everywhere = [of.sync], acknowledged_under([of.sync])
    for _ in range(data.draw(st.integers(1, 12), label="moves")):
        states = {member: data.draw(st.sampled_from(["streams", "behind", "gone"]), label=member) for member in "bcd"}
        in_force = data.draw(st.booleans(), label="in force")
        if in_force:
            mixture = [of.sync]
            everywhere |= acknowledged_under(mixture)
            flushed = {f"{member}/1" for member, state in states.items() if state == "streams"}
            everywhere = {copies | flushed for copies in everywhere} | acknowledged_under(mixture)
        rows = tuple(
            Walsender(
                name=application_name(f"{member}/1", of.term),
                state="streaming",
                flush=END if state == "streams" else 1,
            )
            for member, state in states.items()
            if state != "gone"
        )
        force = InForce(term=of.term, revision=of.revision, since=END) if in_force else None
        own = primary(of, walsenders=rows, in_force=force)
        others = [
            heard(standby(of, member), **({"ago": 9.0, "closed": 9.0} if state == "gone" else {}))
            for member, state in states.items()
        ]
        for step in moves(world(of, own, *others), of, NOW).steps:
            assert isinstance(step, WriteRecord)
            of = step.record
            mixture.append(of.sync)
        everywhere |= acknowledged_under(mixture)
        assert is_true(of.claim, everywhere), f"{of.claim}, under {[str(sync) for sync in mixture]}"
