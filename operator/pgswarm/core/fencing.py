"""A fence: a person's word that PostgreSQL of one member is stopped and stays so, though its agent goes on answering.

It stands in the record until it is taken back, so it outlives every operator, and in the member's order, so it outlives
the agent too: a member that comes back behind its fence with no operator to ask stays stopped. It is no promise, and
nothing about safety rests on it. It takes effect by the ways that are there:

    a standby   claim and sync do without it first, once another is counted in its place (`durability`). Only the order
                of a record in which nobody counts on it says that it is fenced (`Record.keeps_down`), so no copy that
                is claimed is ever stopped by this
    a primary   hands over first (`handover`), then it is a standby like any other

Where nobody can be counted in its place, or nobody can follow a primary, a person may insist, in a word for each
(`fewer_copies`, `no_primary`): then commits rest on one copy, or wait (`required`), or nobody serves at all, until the
fence is taken back. The word is in the record only where it was needed: should a successor come after all, a primary
that was not to be stopped without one hands over.

Who is fenced is not counted, not elected, not chosen by a switchover, not restarted and not missed. A ballot that would
have to elect somebody who is to be fenced, and still counts, waits and says so: the furthest cannot be passed over, and
a person's word is not. If the old primary itself comes out as the winner (a hand-over came to nothing) it goes on: it
is not made primary, it stays so, and its fence is still to come.

Before this: the record, in which `pgswarm fence` has written it. After it: `orders`, and the agent's `duty`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgswarm.core import durability, granting, switchover
from pgswarm.core.claim import member_of
from pgswarm.core.record import Record
from pgswarm.core.steps import Plan
from pgswarm.core.streams import standbys
from pgswarm.core.wish import Fence, Wish
from pgswarm.core.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What a fence would do now, line by line; why it may not be put up, if so; what a person has to insist on."""

    cluster: str
    lines: tuple[str, ...]
    refusal: str = ""
    fewer_copies: bool = False
    no_primary: bool = False


def pending(world: World, record: Record, now: float) -> Plan:
    """Fences that have not taken effect yet, and why."""
    waits = []
    for fence in record.fences:
        if record.keeps_down(fence.member) or fence.member == record.primary_member:
            continue  # it has, or `handover` says why not
        why = durability.held_back(world, record, fence.member, now) if not fence.fewer_copies else ""
        waits.append(f"{fence}, and counts still: {why or 'claim and sync are about to do without it'}")
    return Plan(waits=tuple(waits), again=1.0 if waits else None)


def proposed(
    world: World, record: Record, member: str, now: float, *, fewer_copies: bool, nobody_follows: bool
) -> Proposed:
    """What it would mean to fence this member now; the two words are those with which a person may insist."""
    if record.place(member) is None:
        return _refused(world, f"there is no member {member}; there is: {', '.join(record.members)}")
    if (pause := record.paused(world.wall)) is not None:
        return _refused(world, f"{pause}; `pgswarm resume` first")
    if (fence := record.fence(member)) is not None:
        return _refused(world, f"{fence} already")
    lines, unfollowed = _role(world, record, member, now)
    copies = () if unfollowed else _copies(world, record, member, now)
    refusal = ""
    if unfollowed and not nobody_follows:
        refusal = (
            f"nobody can follow {member} ({unfollowed}): say --even-if-nobody-can-follow to have no primary at all"
        )
    elif copies and not fewer_copies:
        refusal = f"the claim needs {member}: say --with-fewer-copies to do without"
    stopped = f"{member}: PostgreSQL is stopped and stays so, its agent answers; `pgswarm unfence {member}` undoes it"
    return Proposed(
        cluster=world.cluster,
        lines=(*lines, *copies, stopped),
        refusal=refusal,
        fewer_copies=bool(copies),
        no_primary=bool(unfollowed),
    )


def _role(world: World, record: Record, member: str, now: float) -> tuple[tuple[str, ...], str]:
    """What it is and what comes first; and for a primary why nobody can follow, if so."""
    if member != record.primary_member:
        counts = "claim and sync do without it first" if record.counts(member) else "nobody counts on it"
        return (f"{member} is a standby: {counts}",), ""
    own = world.present(member, now)
    if own is None:
        why = world.gone(member, now) or "it is not there"
    else:
        why = switchover.refused(world, record, Wish(id="", kind="switchover", term=1, until=world.wall), own, now)
    if why:
        return (f"{member} is primary, and nobody can follow: NOBODY SERVES until it is undone",), why
    streaming = standbys(world, record, own, now) if own is not None else ()
    heirs = [member_of(name) for name in streaming if record.fence(member_of(name)) is None]
    return (f"{member} is primary: {' or '.join(heirs)} takes over first, and open sessions end",), ""


def _copies(world: World, record: Record, member: str, now: float) -> tuple[str, ...]:
    """What becomes of commits, if nobody is or could be counted in its place; nothing if somebody is."""
    if granting.governs(record):
        return ()
    if member == record.primary_member:  # the one who takes over needs another beside it
        enough = len([name for name in record.members if name != member and record.fence(name) is None]) > 1
    else:
        would = record.model_copy(update={"fences": (*record.fences, Fence(member=member, since=world.wall))})
        enough = not record.counts(member) or not durability.held_back(world, would, member, now)
    if enough:
        return ()
    if durability.alone(world.document).k:
        return (f"without {member} writes WAIT until another standby is there (durability: required)",)
    return (f"without {member} commits are on one copy alone: losing that loses commits",)


def _refused(world: World, why: str) -> Proposed:
    return Proposed(cluster=world.cluster, lines=(), refusal=why)
