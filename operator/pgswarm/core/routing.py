"""Where writers and readers go: the router's whole judgement, as one pure function.

`route` looks at the sightings of all members and the newest order, and says: send writers there, or hold them; cut the
sessions that must not go on; send readers there. It needs no operator: the members say themselves who serves, and in
which term. The order only makes it instant, and forbids more.

The rules, in the order in which they matter:

1. Never below the *floor*: the highest term ordered, accepted by any member heard, or ever routed to. An order that a
   member accepted is of a record that was decided, so one such word is enough to know that a lower term is over.
2. Within a term only the primary that the order (or our own earlier routing) names: a term has one primary.
3. A primary counts as heard while its stream was alive within `hold_after`; if its process is seen to be gone, not at
   all. Holding new connections early is cheap: a held connection is a pause, one sent into a dead node an error.
4. Sessions are cut when they must not go on: at once when a newer term has another primary; and when the primary says
   itself that it does not serve while its postgres still runs (isolated or fenced: reads there grow stale), a moment
   after new connections are held, so that one that is being made right then is made and not lost half-way. While
   postgres stops or has crashed it ends them itself, with a better message than ours.
5. A primary that is only silent keeps its sessions: the silence may be its agent's or the control network's alone, and
   writes there are safe in any case, since quorum commit and not the router guards them. But nobody vouches any longer
   that it has not been isolated, so after `CUT_SILENT` stale reads end too. One whose process is gone (postgres dies
   with its agent) and does not come back within `CUT_CLOSED` leaves sessions that are dead; telling the clients is
   a kindness.

6. A router that does not hear the primary, while an operator does and says so, is itself cut off. To hold its clients
   would be to hold them for ever: it cuts their sessions and closes its port to writers, so that a client with several
   hosts goes on to the next one at once. A word of that kind is good for `VOUCHED` seconds.

Before this: ports/agents.py hears. After it: router/table.py turns the plan into HAProxy's commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgswarm.core.claim import Incarnation, member_of
from pgswarm.core.orders import RouterOrder
from pgswarm.core.reports import MemberReport, Postgres, Serving
from pgswarm.core.sightings import Sighting

HOLD_AFTER, HOLD_LEAST = 2.0, 0.6
"""Seconds of silence after which new connections are held: four heartbeats, and at least a little more than one."""

CUT_SILENT = 10.0
"""Seconds of silence after which sessions are cut: a member's own isolation (5 s), and as much again."""

CUT_TURNED_AWAY = 0.25
"""Seconds between holding new connections and cutting the sessions of a primary that only says it does not serve."""

VOUCHED = 12.0
"""Seconds for which an operator's word counts that the primary serves though we do not hear it."""

CUT_CLOSED = 1.0
"""Seconds after the end of an agent's process after which sessions are cut, unless it was heard again."""

Seen = Sighting[MemberReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A primary that writers are, or were, sent to."""

    incarnation: Incarnation
    term: int
    address: str

    def __str__(self) -> str:
        return f"{self.incarnation} at {self.address}, term {self.term}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that the decision is made from."""

    order: RouterOrder | None
    """The newest order accepted, kept over restarts."""
    routed: Target | None
    """The last primary that writers were sent to, kept over restarts; its sessions may still be open."""
    held_since: float | None
    """Since when writers are held; None while they are not."""
    vouched_at: float | None = None
    """When an operator said last that the primary of the order serves though we do not hear it."""
    hold_after: float = HOLD_AFTER
    """Seconds of silence after which writers are held, as `hold_after` has it."""
    sightings: tuple[Seen, ...]
    """One for each address where a member of this cluster may be; a member is known by its report alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    member: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """What HAProxy shall be made to do."""

    write: Target | None
    """Send writers there; None: hold them."""
    cut: bool
    """End the sessions of `View.routed`."""
    readers: tuple[Reader, ...] = ()
    cut_readers: tuple[str, ...] = ()
    """Addresses whose readers' sessions shall end."""
    floor: int = 0
    turn_away: bool = False
    """Close the port to writers: it is this router that is cut off."""
    reason: str


def route(view: View, now: float) -> RoutePlan:
    """Decide where writers and readers go at `now`."""
    low = floor(view)
    write, reason = _writer(view, low, now)
    turn_away = write is None and _is_cut_off(view, low, now)
    cut, why_cut = (True, "others can reach it") if turn_away else _cut(view, write, now)
    if turn_away:
        reason = reason.replace("writers are held", "writers are turned away: only this router is cut off")
    return RoutePlan(
        write=write,
        cut=cut,
        readers=_readers(view.sightings, write, now),
        cut_readers=tuple(sorted(_stale_readers(view.sightings, now))),
        floor=low,
        turn_away=turn_away,
        reason=f"{reason}; sessions to {view.routed} are cut: {why_cut}" if cut else reason,
    )


def hold_after(detection: float) -> float:
    """Seconds of silence after which new connections are held, where a member is lost after `detection` seconds of it.

    Always less: connections under way into a dead node have come back to the gate by then, before the switch cuts what
    is left there. Routers do not switch in the same millisecond, and whoever was cut at one of them and comes to
    another is not to be sent to the old primary once more: a frozen node's kernel takes every connection, and a client
    that goes on to its next host then may find a frozen router there, and wait as long as it has patience (measured
    5.9 s instead of 0.9 with `detectionTimeout: 1s`, when this was 2 s whatever the document said).
    """
    return max(HOLD_LEAST, min(HOLD_AFTER, 2 / 3 * detection))


def stands(plan: RoutePlan, before: View, then: float, view: View, now: float) -> bool:
    """Would `route` say again at `now` what it said of `before` at `then`? True only if that is plain to see.

    Most looks find nothing but beats: everybody says what they said, and who was heard is heard. While writers have
    somewhere to go, only silence could make a difference then, and that which of two words for one thing came last.
    """
    if plan.write is None or view.order is not before.order or view.routed is not before.routed:
        return False
    if view.hold_after != before.hold_after or len(view.sightings) != len(before.sightings):
        return False
    members: set[str] = set()
    primaries = 0
    for was, one in zip(before.sightings, view.sightings, strict=True):
        report = one.report
        if was.report is not report or was.closed_at != one.closed_at:
            return False
        if was.address != one.address or was.connected != one.connected:
            return False
        if report is None or was.heard_at is None or one.heard_at is None:
            continue
        for limit in (view.hold_after, HOLD_AFTER):
            if (then - was.heard_at <= limit) != (now - one.heard_at <= limit):
                return False
        if report.member in members:
            return False
        members.add(report.member)
        primaries += report.serving is Serving.PRIMARY
    return primaries == 1


def floor(view: View) -> int:
    """The lowest term that a writer may still be sent to."""
    return max(
        [
            view.order.term if view.order else 0,
            view.routed.term if view.routed else 0,
            *(term_of(seen.report) for seen in view.sightings if seen.report),
        ]
    )


def term_of(report: MemberReport) -> int:
    """The term of the newest order that this member has made its own; 0 if none."""
    return max(report.accepted[0] if report.accepted else 0, report.reigned)


def _writer(view: View, low: int, now: float) -> tuple[Target | None, str]:
    serving = [
        (Target(incarnation=seen.report.incarnation, term=term_of(seen.report), address=seen.address), seen)
        for seen in view.sightings
        if seen.report and seen.report.serving is Serving.PRIMARY and seen.report.incarnation and seen.address
    ]
    # A member may be seen at two addresses while Swarm replaces its container: the one heard last is it.
    serving.sort(key=lambda pair: (pair[0].term, pair[1].connected, pair[1].heard_at or 0.0), reverse=True)
    refusals: list[str] = []
    for target, seen in serving:
        if refusal := _refusal(view, target, seen, low, now):
            refusals.append(refusal)
        else:
            return target, f"writers go to {target}"
    if refusals:
        return None, f"writers are held: {'; '.join(refusals)}"
    return None, f"writers are held: {_absence(view, low, now)}"


def _refusal(view: View, target: Target, seen: Seen, low: int, now: float) -> str:
    """Why writers may not be sent to a member that serves; empty if they may."""
    if seen.is_gone:
        return f"the agent of {target.incarnation} is gone: {seen.why}"
    if seen.silence(now) > view.hold_after:
        limit = f"{view.hold_after:.2g} s"
        return f"{target.incarnation} has been silent for more than {limit}: {seen.why or 'stream idle'}"
    if target.term < 1:
        return f"{target.incarnation} serves without ever having accepted an order"
    if target.term < low:
        return f"{target.incarnation} serves in term {target.term}, but term {low} has begun"
    for term, primary, whose in _named(view):
        if target.term == term and target.incarnation != primary:
            return (
                f"{target.incarnation} says it serves in term {term}, but the primary of that term is {primary} {whose}"
            )
    return ""


def _named(view: View) -> Iterable[tuple[int, Incarnation, str]]:
    if view.order:
        yield view.order.term, view.order.primary, "(ordered)"
    if view.routed:
        yield view.routed.term, view.routed.incarnation, "(routed to before)"


def _absence(view: View, low: int, now: float) -> str:
    """Say what is missed when nobody serves, for people."""
    heard = [seen.report for seen in view.sightings if seen.report and seen.is_fresh(now, HOLD_AFTER)]
    awaited = view.order.primary if view.order and view.order.term == low else None
    if awaited is None and view.routed and view.routed.term == low:
        awaited = view.routed.incarnation
    if awaited is None:
        return f"none of the {len(heard)} members heard is serving as primary"
    for report in heard:
        if report.member == member_of(awaited):
            return f"{awaited} is not serving as primary of term {low} yet (its postgres is {report.postgres})"
    return f"{awaited}, primary of term {low}, is not heard"


def _cut(view: View, write: Target | None, now: float) -> tuple[bool, str]:
    """Must the sessions to the primary routed to last end, and why?"""
    old = view.routed
    if old is None:
        return False, ""
    if write is not None:
        if write.incarnation != old.incarnation:
            return True, f"{write.incarnation} is primary now"
        return write.address != old.address, "it has moved"
    if view.order and view.order.term > old.term and view.order.primary != old.incarnation:
        return True, f"{view.order.primary} was ordered primary of term {view.order.term}"
    seen = _sighting_of(old, view.sightings)
    if seen is None or seen.report is None:
        return False, ""
    if seen.closed_at is not None:
        return now - seen.closed_at > CUT_CLOSED, "its agent's process is gone"
    if seen.silence(now) > CUT_SILENT:
        return True, f"silent for more than {CUT_SILENT:g} s"
    if seen.silence(now) <= HOLD_AFTER and _turns_away(seen.report):
        is_due = view.held_since is not None and now - view.held_since >= CUT_TURNED_AWAY
        return is_due, "it does not serve any more, though its postgres runs"
    return False, ""


def _is_cut_off(view: View, low: int, now: float) -> bool:
    """Does an operator hear the ordered primary serve, and we do not hear it at all?"""
    order = view.order
    if order is None or order.term != low or view.vouched_at is None or now - view.vouched_at > VOUCHED:
        return False
    heard = [one for one in view.sightings if one.report is not None and one.report.incarnation == order.primary]
    if any(one.silence(now) <= HOLD_AFTER for one in heard):
        return False
    return bool(heard) or (view.held_since is not None and now - view.held_since > HOLD_AFTER)


def _sighting_of(target: Target, sightings: Iterable[Seen]) -> Seen | None:
    at = [seen for seen in sightings if seen.address == target.address]
    return at[0] if at else None


def _turns_away(report: MemberReport) -> bool:
    """Does it run a postgres that clients must not use: isolated, fenced, too far behind?"""
    return report.serving is Serving.NONE and report.postgres is Postgres.RUNNING


def _readers(sightings: Iterable[Seen], write: Target | None, now: float) -> tuple[Reader, ...]:
    """Members that serve as replicas, of the reign that writers are sent to; one address for each."""
    low = write.term if write else 0
    newest: dict[str, tuple[float, str]] = {}
    for seen in sightings:
        report, address = seen.report, seen.address
        if report is None or address is None or not seen.is_fresh(now, HOLD_AFTER):
            continue
        # One that has not followed into the new reign yet may still stream from the old primary.
        if report.serving is Serving.REPLICA and term_of(report) >= low:
            newest[report.member] = max(newest.get(report.member, (0.0, "")), (seen.heard_at or 0.0, address))
    return tuple(Reader(member=member, address=newest[member][1]) for member in sorted(newest))


def _stale_readers(sightings: Iterable[Seen], now: float) -> Iterable[str]:
    for seen in sightings:
        if seen.report and seen.address and seen.is_fresh(now, HOLD_AFTER) and _turns_away(seen.report):
            yield seen.address


def refuses(order: RouterOrder, cluster: str, held: RouterOrder | None, routed: Target | None) -> str:
    """Why an order is not accepted; empty if it is. One that is held already is accepted again."""
    if order.cluster != cluster:
        return f"this is a router of {cluster}, not of {order.cluster}"
    if routed and order.term < routed.term:
        return f"writers have been sent to {routed}; term {order.term} is over"
    if held is None or order == held:
        return ""
    if order.key < held.key:
        return f"{order.key} (term, revision) is older than the order in force, {held.key}"
    if order.key == held.key or (order.term == held.term and order.primary != held.primary):
        return f"it contradicts the order in force: the primary of term {held.term} is {held.primary}"
    return ""
