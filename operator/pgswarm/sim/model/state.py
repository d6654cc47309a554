"""The small world of the model: everything that can matter to an acknowledged commit, and nothing else.

A log is a string of bytes, one for each commit, so its length is the LSN. A member is its durable memory, its log
and what its PostgreSQL does now; a primary also knows its walsenders, each with the sync setting that this process
has taken up (C6, C7). The record is the newest of `recs`; older ones are kept for as long as some member could still
accept an order made from them, because an order may be late, repeated or lost. There is no clock: whoever is silent
may be called lost at any moment, which is worse than any clock.

Revisions are ranked anew in every state (1, 2, 3 for what is still spoken of): the rules only compare them, so two
states that differ in nothing else are the same state, and moving claims to and fro comes to an end. Values are plain
tuples, because millions of them are hashed.
"""

from __future__ import annotations

from typing import NamedTuple

from pgswarm.core.claim import Incarnation, member_of

MEMBERS = "abc"
SYSTEM = "7301"
NONE, BUILDING, READY = 0, 1, 2
"""Of `data`."""
DOWN, FENCED, STANDBY, PRIMARY = 0, 1, 2, 3
"""Of `role`: what PostgreSQL is."""

Setting = tuple[int, int, tuple[Incarnation, ...]]
"""A sync setting with the term that its names carry: (term, k, names)."""
NO_WAITING: Setting = (0, 0, ())


class Rec(NamedTuple):
    """The record at one revision."""

    rev: int
    term: int
    primary: Incarnation
    claim: tuple[Incarnation, ...]
    r: int
    k: int
    names: tuple[Incarnation, ...]
    lineage: tuple[tuple[int, Incarnation, int, int], ...]
    wish: str  # what a person asks for, and whom they give up: 'accept-loss:ab'; empty: nothing


class Sender(NamedTuple):
    """A walsender: whose stream, how far it has said to have flushed (-1: nothing said), the setting it goes by."""

    inc: Incarnation
    term: int
    known: int
    taken: Setting


class Member(NamedTuple):
    """One agent with its PostgreSQL and its volume. A crash keeps what stands above `heeded`."""

    inc: Incarnation
    data: int
    log: bytes
    tl: int
    promised: int
    order: int  # revision of the newest order accepted
    reigned: int
    own_tl: int
    begun: bool
    follows: tuple[Incarnation, int] | None
    births: int
    heeded: bool
    role: int
    settled: bool
    upstream: tuple[Incarnation, int] | None
    setting: Setting
    waits: bool  # the shared flag is up that makes commits wait
    open: bool
    force: tuple[int, int] | None  # the revision whose setting is in force, and since which LSN
    senders: tuple[Sender, ...]


class Seen(NamedTuple):
    """A report, as far as a decision about the newest record can depend on it."""

    inc: Incarnation
    data: int
    promised: int
    accepted: int  # the term of the newest order
    heeded: bool
    is_current: bool  # that order is of the newest record
    role: int
    serving: bool
    end: tuple[int, int] | None  # timeline and LSN once settled
    in_force: bool  # the setting of the newest record
    senders: tuple[tuple[Incarnation, bool], ...]  # streams of the record's term; whether past what was there before


class State(NamedTuple):
    recs: tuple[Rec, ...]
    members: tuple[Member, ...]
    held: tuple[Seen | None, ...]  # an old report of this member that some operator still goes by
    acked: int  # bits of commits
    made: int
    winners: tuple[tuple[int, int, str], ...]  # term, what its primary had when decided, whom a person gave up for it
    graves: tuple[tuple[Incarnation, int], ...]  # what data directories held that are no more
    crashes: int
    losses: int
    wishes: int

    @property
    def record(self) -> Rec:
        return self.recs[-1]


def bits(log: bytes) -> int:
    """The commits of a log as a set of bits."""
    found = 0
    for commit in log:
        found |= 1 << commit
    return found


def index(name: Incarnation) -> int:
    return MEMBERS.index(member_of(name))


def record_of(state: State, member: Member) -> Rec | None:
    """The record that this member's newest order was made from."""
    return next((rec for rec in state.recs if rec.rev == member.order), None) if member.order else None


def asleep(member: Member) -> Member:
    """PostgreSQL has ended, and what it knew with it."""
    return member._replace(
        role=DOWN,
        settled=False,
        upstream=None,
        setting=NO_WAITING,
        waits=False,
        open=False,
        force=None,
        senders=(),
    )


def fits(member: Member, rec: Rec | None) -> bool:
    """Does it reign by this order: heeded, primary, of the term that it has promised and begun?"""
    return (
        rec is not None
        and member.role == PRIMARY
        and member.heeded
        and rec.primary == member.inc
        and member.reigned == rec.term == member.promised
    )


def setting_of(rec: Rec) -> Setting:
    return (rec.term, rec.k, rec.names) if rec.k else NO_WAITING


def seen(member: Member, rec: Rec | None, newest: Rec) -> Seen:
    """What the member reports now. A later record makes nothing in it matter that does not matter now."""
    fit = fits(member, rec)
    settled = member.role == FENCED and member.settled and member.data == READY
    is_current = rec is not None and rec.rev == newest.rev
    force = member.force if fit and is_current else None
    since = force[1] if force else 1 << 30
    return Seen(
        inc=member.inc,
        data=member.data,
        promised=member.promised,
        accepted=rec.term if rec else 0,
        heeded=member.heeded,
        is_current=is_current,
        role=member.role,
        serving=fit and member.open,
        end=(member.tl, len(member.log)) if settled else None,
        in_force=force is not None,
        senders=tuple((one.inc, one.known >= since) for one in member.senders if one.term == newest.term),
    )


def outdated(old: Seen, *, by_term: bool) -> Seen:
    """The same report once there is a newer record: what it says of the former one counts for nothing now."""
    senders = () if by_term else tuple((name, False) for name, _ in old.senders)
    return old._replace(is_current=False, in_force=False, senders=senders)


def resting(count: int) -> State:
    """A cluster of `count` members as it rests: all stream, and two copies are claimed."""
    names = tuple(f"{MEMBERS[i]}/1" for i in range(count))
    rec = Rec(
        rev=1,
        term=1,
        primary=names[0],
        claim=names,
        r=2,
        k=1,
        names=names[1:],
        lineage=((1, names[0], 1, 0),),
        wish="",
    )
    setting = setting_of(rec)
    own = _member(names[0])._replace(
        reigned=1,
        own_tl=1,
        begun=True,
        role=PRIMARY,
        setting=setting,
        waits=True,
        open=True,
        force=(1, 0),
        senders=tuple(Sender(inc=name, term=1, known=0, taken=setting) for name in names[1:]),
    )
    upstream = (names[0], 1)
    others = tuple(_member(name)._replace(role=STANDBY, upstream=upstream, follows=upstream) for name in names[1:])
    return State(
        recs=(rec,),
        members=(own, *others),
        held=(None,) * count,
        acked=0,
        made=0,
        winners=(),
        graves=(),
        crashes=0,
        losses=0,
        wishes=0,
    )


def _member(name: Incarnation) -> Member:
    return Member(
        inc=name, data=READY, log=b"", tl=1, promised=1, order=1, reigned=0, own_tl=0, begun=False, follows=None,
        births=1, heeded=True, role=DOWN, settled=False, upstream=None, setting=NO_WAITING, waits=False, open=False,
        force=None, senders=(),
    )  # fmt: skip


def empty(member: Member) -> Member:
    """The volume is lost, and every promise with it."""
    return _member("")._replace(inc="", data=NONE, promised=0, order=0, births=member.births, heeded=False, tl=0)
