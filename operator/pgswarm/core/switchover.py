"""Switchover: a ballot that is called while the primary is well, and whose first promise is the primary's.

    1 make ready   it checkpoints, so that its shutdown is short, then turns new clients away; routers hold them
    2 promise      it promises the next term, durably, and *then* shuts down fast: what it still had to send is sent
    3 candidate    now the candidate promises, too, and says where its log ends
    4 decide       the candidate, if its log ends exactly where the old primary's does; else the old primary itself

There is no way back into the old term (C9): from 2 on, going back is the same write as going on, a new term for the old
primary. The promise of the primary is a quorum by itself, so nothing is lost whatever `spec.durability` says.

Who asks for it is a person, by a wish in the record, or the primary itself: told to stop (its container is updated,
its node drained) it says so in its reports, and as long as it says so that is a wish like any other. Nothing of that is
written down: with the agent its word is gone, and what is left is an ordinary ballot.

A crash of the operator leaves: before 2, a primary that soon serves again because nobody went on (`yields` runs out
in its agent); after 2, a promise in a report, from which any operator goes on here; without the wish, or once
`HAND_OVER` is over, `ballot` goes on with what there is. Before this: a wish. After it: orders.
"""

from __future__ import annotations

from pgswarm.core.claim import Incarnation, application_name, member_of
from pgswarm.core.disk import Room, told
from pgswarm.core.record import Record
from pgswarm.core.reports import MemberReport, Postgres, Serving
from pgswarm.core.steps import NOTHING, AskPromise, Plan, WriteRecord
from pgswarm.core.streams import standbys
from pgswarm.core.wish import Wish
from pgswarm.core.world import World

HAND_OVER = 5.0
"""Seconds from the primary's last service within which the candidate must be there; then the old primary goes on."""

ROUTERS = 0.75
"""Seconds that routers get to say that they hold new connections; they need a hundredth of that, on a machine with ten
times too much to do more than a quarter (measured). Open sessions go on writing meanwhile, and a primary that nobody
asks further takes clients again only after twice as long."""

REPLAYED = 16 << 20
"""Bytes that a candidate may still have to replay when the primary is asked: what is left delays its promise."""

LOOK = 0.02
"""Seconds between two looks at routers that are about to hold."""


def wished(world: World, record: Record, now: float) -> Wish | None:
    """The wish for a switchover that is in force: a person's, or that of a primary which is told to stop."""
    wish, primary = record.wished(world.wall), world.present(record.primary_member, now)
    if wish is not None and wish.kind == "switchover":
        return wish
    if primary is None or not primary.leaving:
        return None
    by = f"{record.primary_member}, which is told to stop"
    return Wish(id="", kind="switchover", term=record.term, by=by, until=world.wall)


def is_under_way(world: World, record: Record, now: float) -> bool:
    """Does the primary already turn clients away for it? Then nothing else may be put in between."""
    primary = world.present(record.primary_member, now)
    return primary is not None and primary.yields > record.term


def begun(world: World, record: Record, now: float) -> Plan:
    """Steps 1 and 2, or why it cannot be, or what is waited for first."""
    wish, primary = wished(world, record, now), world.present(record.primary_member, now)
    if wish is None or primary is None or primary.promised > record.term:
        return NOTHING
    unheard = _unheard(world, record, wish, now)
    if unheard and not _streaming(world, record, wish, primary, now):
        return Plan(waits=(f"{wish}: {', '.join(unheard)} has not been heard yet",), again=0.1)
    if refusal := refused(world, record, wish, primary, now):
        text = f"{wish} refused: {refusal}"
        if wish is not record.wish:
            return Plan(waits=(f"{wish.by}, has no successor: {refusal}",), again=0.3)
        return Plan(steps=(WriteRecord(record=record.answering(text), reason=text),))
    term, why = record.term + 1, f"{wish}, asked for by {wish.by}"
    if primary.yields == term:
        since = max(world.not_serving_since or 0.0, world.awake_since)
        if (sending := _routers_that_send(world, record)) and now - since < ROUTERS:
            return Plan(waits=(f"{wish}: {', '.join(sending)} still sends clients there",), again=LOOK)
        return Plan(steps=(AskPromise(member=record.primary_member, term=term, reason=why),))
    if pending := waits(world, record, wish, primary, now):
        return Plan(waits=(f"{wish}: {pending}",), again=0.3)
    return Plan(steps=(AskPromise(member=record.primary_member, term=term, reason=why, prepare=True),))


def refused(world: World, record: Record, wish: Wish, primary: MemberReport, now: float) -> str:
    """Why a switchover cannot be had now; empty if it can. What passes by itself is no refusal."""
    if wish.to == record.primary_member:
        return f"{wish.to} is primary already"
    if wish.to is not None and record.place(wish.to) is None:
        return f"there is no member {wish.to}; there is: {', '.join(record.members)}"
    if wish.to is not None and (maintenance := record.maintained(wish.to)) is not None:
        return f"{wish.to} is on {maintenance.node_name}, which is under maintenance"
    if wish.to is not None and (fence := record.fence(wish.to)) is not None:
        return f"{fence}; `pgswarm unfence {wish.to}` first"
    if wish.to is not None and (heir := world.present(wish.to, now)) is not None and _is_too_full(heir, primary):
        how = told(heir.disk_free, heir.disk_total) or heir.room.value
        return f"the disk of {wish.to} is {how}: it would be no better there"
    if not record.is_held_by(primary, record.primary):
        return f"{record.primary_member} does not hold the primary's data any more"
    if _streaming(world, record, wish, primary, now):
        return ""
    if wish.to is None:
        return f"no standby streams from {record.primary_member}"
    return world.gone(wish.to, now) or f"{wish.to} does not stream from {record.primary_member}"


def decided(world: World, record: Record, now: float) -> Plan | Incarnation | None:
    """Steps 3 and 4, once the primary has promised: what is to be done, or who wins, or None for an ordinary ballot."""
    wish, own = wished(world, record, now), world.present(record.primary_member, now)
    if wish is None or own is None or own.promised <= record.term or not record.is_held_by(own, record.primary):
        return None
    term, name = own.promised, record.primary_member
    over = world.not_serving_since is not None and now - max(world.not_serving_since, world.awake_since) > HAND_OVER
    end = own.position if own.settled else None
    for candidate, report in _candidates(world, record, wish, term, now):
        if report.promised >= term and report.settled and report.position is not None:
            if end is None:
                return Plan(
                    waits=(f"{wish}: {name} has promised term {term}; its log's end is not known yet",), again=0.2
                )
            if report.position == end:
                return candidate
            continue
        if over:
            break
        if end is None and own.postgres not in (Postgres.STOPPED, Postgres.CRASHED):
            # It still sends what it has: a candidate that promised now would miss the rest.
            return Plan(waits=(f"{wish}: {name} has promised term {term} and is shutting down",), again=0.2)
        why = f"{wish}: {name} has promised term {term} and is shut down"
        return Plan(steps=(AskPromise(member=member_of(candidate), term=term, reason=why),))
    return None


def preference(world: World, record: Record, member: str) -> tuple[bool, bool, bool, int]:
    """Whom to take among equals, the least first: not who is fenced, nor where a node is under maintenance, nor where
    Swarm's Raft leader is, then as the document lists them.
    """
    place = record.place(member)
    on_leader = place is not None and place.node_id == world.raft_leader
    maintained = record.maintained(member) is not None
    fenced = record.fence(member) is not None
    return (
        fenced,
        maintained,
        on_leader,
        record.members.index(member) if member in record.members else len(record.members),
    )


def _candidates(
    world: World, record: Record, wish: Wish, term: int, now: float
) -> list[tuple[Incarnation, MemberReport]]:
    """Who may follow, the best first; whoever has promised already before the others, so that the choice stays."""
    found = []
    for member in record.members:
        report = world.present(member, now)
        if report is None or report.incarnation is None or member == record.primary_member:
            continue
        can = record.is_held_by(report, report.incarnation) and report.promised <= term
        can = can and record.fence(member) is None
        if can and wish.to in (None, member) and _counts(world, record, report.incarnation):
            found.append((report.incarnation, report))
    return sorted(found, key=lambda one: (one[1].promised < term, *preference(world, record, member_of(one[0]))))


def _counts(world: World, record: Record, name: Incarnation) -> bool:
    """Is it in the claim? In `async` nobody but the primary is, and a log of equal length is enough."""
    return name in record.claim.members or (world.document is not None and world.document.spec.durability == "async")


def _routers_that_send(world: World, record: Record) -> list[str]:
    """Routers that are heard and still let new connections through to the primary."""
    return [
        f"router {name}"
        for name, sighting in sorted(world.routers.items())
        if sighting.connected and sighting.report is not None and sighting.report.primary == record.primary
    ]


def _streaming(world: World, record: Record, wish: Wish, primary: MemberReport, now: float) -> list[Incarnation]:
    """Who might follow, counted yet or not."""
    return [
        name
        for name in standbys(world, record, primary, now)
        if wish.to in (None, member_of(name))
        and record.fence(member_of(name)) is None
        and name not in record.reseeds
        and not _is_too_full(world.report(member_of(name)), primary)
    ]


def _is_too_full(heir: MemberReport | None, primary: MemberReport) -> bool:
    """Has it so little room that it would be read-only at once, and less than the primary?"""
    return heir is not None and heir.room.want >= Room.FULL.want and heir.room.want >= primary.room.want


def _unheard(world: World, record: Record, wish: Wish, now: float) -> list[str]:
    """Who might follow and is not judged yet: an operator that has just begun has heard nobody so far."""
    return [
        member
        for member in record.members
        if member != record.primary_member
        and wish.to in (None, member)
        and world.present(member, now) is None
        and not world.is_lost(member, now)
    ]


def waits(world: World, record: Record, wish: Wish, primary: MemberReport, now: float) -> str:
    """What passes by itself: a primary on its way, a standby that is about to be counted or has yet to replay."""
    if primary.serving is not Serving.PRIMARY:
        return f"{record.primary_member} does not serve yet"
    streaming = _streaming(world, record, wish, primary, now)
    counted = [name for name in streaming if _counts(world, record, name)]
    if not counted:
        return f"{', '.join(member_of(name) for name in streaming)} is not counted yet"
    end = primary.position.lsn if primary.position else 0
    for name in counted:
        stream = next((row for row in primary.walsenders if row.name == application_name(name, record.term)), None)
        if stream is not None and end - stream.replay <= REPLAYED:
            return ""
    return f"{', '.join(member_of(name) for name in counted)} has more than {REPLAYED >> 20} MB to replay"
