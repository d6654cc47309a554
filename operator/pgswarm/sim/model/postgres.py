"""PostgreSQL as far as acknowledgements go: commits, streams, and settings taken up one process at a time.

A commit is flushed at home, then waits if the shared flag is up, until some walsender finds its own quorum reached:
`k` of *its* setting, among the walsenders that count by *their* settings (C6, C7). Then the client is told, and that is
the moment at which a promise is made to the world. A commit also counts as told when clients are let in and can read
it (C11).

What comes late to our harm is a move of its own: the flag, each walsender's taking up of a setting, each commit that a
standby flushes. The rest happens at once, see `prompt`.
"""

from __future__ import annotations

from pgswarm.sim.model.state import (
    NO_WAITING,
    STANDBY,
    Member,
    Rec,
    Sender,
    bits,
    fits,
    setting_of,
)


def commit(primary: Member, number: int) -> tuple[Member, int]:
    """A client commits; what is acknowledged by it."""
    after = primary._replace(log=primary.log + bytes((number,)))
    return after, 0 if primary.waits else 1 << number


def flag(primary: Member) -> tuple[Member, int]:
    """The checkpointer gets to it: commits wait from now on, or none waits any more."""
    waits = primary.setting != NO_WAITING
    told = bits(primary.log) if primary.open and not waits else 0
    return primary._replace(waits=waits), told


def take_up(primary: Member, at: int) -> Member:
    """One walsender takes the setting up."""
    return _with_sender(primary, at, primary.senders[at]._replace(taken=primary.setting))


def disconnect(primary: Member, at: int) -> Member:
    return primary._replace(senders=primary.senders[:at] + primary.senders[at + 1 :])


def receive(primary: Member, standby: Member, fork: int) -> Member | None:
    """The standby flushes one more commit of its primary's."""
    if stream_to(primary, standby) < 0 or not primary.log.startswith(standby.log):
        return None
    log = primary.log[: len(standby.log) + 1]
    after = standby._replace(log=log, tl=primary.tl if len(log) >= fork else standby.tl)
    return None if after == standby else after


def is_attached(primary: Member, at: int, standby: Member) -> bool:
    """Is this walsender's standby at the other end, or is it a walsender that has not noticed?"""
    return stream_to(primary, standby) == at


def loaded(primary: Member, rec: Rec | None) -> Member:
    """The postmaster has read the setting of the order that it reigns by; no other process has yet."""
    if rec is None or not fits(primary, rec) or primary.setting == setting_of(rec):
        return primary
    return primary._replace(setting=setting_of(rec))


def joined(primary: Member, standby: Member) -> Member:
    """A walsender for this standby and its reply, if PostgreSQL finds that its log is a beginning of ours."""
    if standby.upstream is None or not primary.log.startswith(standby.log):
        return primary
    at = stream_to(primary, standby)
    if at < 0:
        new = Sender(inc=standby.inc, term=standby.upstream[1], known=len(standby.log), taken=primary.setting)
        return primary._replace(senders=tuple(sorted((*primary.senders, new))))
    if primary.senders[at].known == len(standby.log):
        return primary
    return _with_sender(primary, at, primary.senders[at]._replace(known=len(standby.log)))


def stream_to(primary: Member, standby: Member) -> int:
    """Which walsender streams to this standby; -1: none."""
    if standby.role != STANDBY or standby.upstream is None:
        return -1
    for at, sender in enumerate(primary.senders):
        if sender.inc == standby.inc and sender.term == standby.upstream[1]:
            return at
    return -1


def released(primary: Member) -> int:
    """The commits that some walsender finds satisfied."""
    upto = max((_satisfied(primary, sender) for sender in primary.senders), default=-1)
    return bits(primary.log[:upto]) if upto > 0 else 0


def _satisfied(primary: Member, own: Sender) -> int:
    """Up to which LSN this walsender finds commits satisfied; -1 if it cannot say."""
    if not _counts(own):
        return -1
    flushed = sorted((one.known for one in primary.senders if _counts(one)), reverse=True)
    wanted = own.taken[1]
    return flushed[wanted - 1] if len(flushed) >= wanted else -1


def may_open(primary: Member, rec: Rec | None) -> bool:
    """May clients be let in: its own setting holds, and covers everything that they will see?"""
    if primary.open or rec is None or not fits(primary, rec) or primary.setting != setting_of(rec):
        return False
    if primary.setting == NO_WAITING:
        return True
    covered = any(_satisfied(primary, sender) >= len(primary.log) for sender in primary.senders)
    return primary.waits and covered


def proved(primary: Member, rec: Rec | None) -> Member:
    """Say that the setting is in force as soon as it is: the earliest such word is the weakest proof."""
    if rec is None or not fits(primary, rec) or (primary.force and primary.force[0] == rec.rev):
        return primary
    setting = setting_of(rec)
    in_force = primary.setting == setting and (
        setting == NO_WAITING or (primary.waits and all(one.taken == setting for one in primary.senders))
    )
    return primary._replace(force=(rec.rev, len(primary.log))) if in_force else primary


def _with_sender(primary: Member, at: int, sender: Sender) -> Member:
    return primary._replace(senders=(*primary.senders[:at], sender, *primary.senders[at + 1 :]))


def _counts(sender: Sender) -> bool:
    term, k, names = sender.taken
    return k > 0 and term == sender.term and sender.inc in names
