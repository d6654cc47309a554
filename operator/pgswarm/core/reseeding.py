"""Making a member's data anew because a person says so: cloned from the primary, and only while nobody counts on it.

A member makes its data anew by itself where it must (`duty`). A person may want it where it need not: an index that is
broken on one disk, a checksum that fails, a doubt. The way:

    1 the wish names the data directory, by its incarnation, that shall be replaced
    2 claim and sync do without the member (`durability`), once another is counted in its place; where there is none,
      only if the person insists. The only other copy that is not counted (all of them in `async`) is a copy as well
    3 nobody counts on it or waits for it any more, the primary serves and has heeded that: the *decision* is the write
      that puts the incarnation among `reseeds` and answers the wish. From then on the member's order says so, and
      whichever operator comes next goes on with it, however late
    4 the member clones: a new incarnation before the first byte, the old directory kept until the new one is complete
      (laws 4 and 10). Once it says that it is another incarnation the entry is taken out
    5 it streams and is counted again, like any that was cloned

There is never less than the primary's copy, and one more where the claim had one more. A primary is not reseeded: it
hands over first, by a person's word. Should the member become primary before it has begun (a person accepts loss, or
`async`), it is not done: the entry is taken out.

A crash of the operator leaves: before 3, a wish; after it, an order that the record gives again and again.
"""

from __future__ import annotations

from pgswarm.core import durability, retirement
from pgswarm.core.claim import Incarnation, member_of
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, MemberReport, Serving
from pgswarm.core.steps import NOTHING, Plan, WriteRecord
from pgswarm.core.streams import standbys
from pgswarm.core.wish import Wish
from pgswarm.core.world import World


def begun(world: World, record: Record, now: float) -> Plan:
    """The next thing to do for a wish to reseed, or for one that was decided; or what is waited for."""
    over = [name for name in record.reseeds if _is_over(world, record, name, now)]
    if over:
        text = f"the data of {', '.join(map(member_of, over))} is being made anew"
        left = tuple(name for name in record.reseeds if name not in over)
        return Plan(steps=(WriteRecord(record=record.amended(text, reseeds=left), reason=text),))
    waits = Plan(waits=tuple(f"{member_of(name)} is to be made anew" for name in record.reseeds))
    wish = record.wished(world.wall)
    if wish is None or wish.kind != "reseed" or wish.to is None:
        return waits
    return _wished(world, record, wish, wish.to, now).and_then(waits)


def refused(world: World, record: Record, member: str, now: float) -> str:
    """Why this member's data cannot be made anew now; empty if it can. What passes by itself is no refusal."""
    if record.place(member) is None:
        return f"there is no member {member}; there is: {', '.join(record.members)}"
    if member == record.primary_member:
        return f"{member} is primary: `pgswarm switchover` first"
    if (fence := record.fence(member)) is not None:
        return f"{fence}; `pgswarm unfence {member}` first"
    report, primary = world.present(member, now), world.present(record.primary_member, now)
    if report is None:
        return world.gone(member, now) or f"{member} is not there"
    if report.data is not Data.READY or report.incarnation is None:
        return f"{member} has no data that could be replaced ({report.data.value})"
    if primary is None or not record.is_held_by(primary, record.primary) or primary.serving is not Serving.PRIMARY:
        return f"{record.primary_member} does not serve, and the new data would have to come from it"
    return ""


def proposed(
    world: World, record: Record, member: str, now: float, *, fewer_copies: bool
) -> tuple[tuple[str, ...], str, Incarnation]:
    """What it would mean, line by line; why it is refused, if so; and the data directory that it is about."""
    if why := refused(world, record, member, now):
        return (), why, ""
    report, primary = world.present(member, now), world.present(record.primary_member, now)
    if report is None or primary is None or report.incarnation is None:
        return (), f"{member} is not there", ""
    lines, refusal = _copies(world, record, member, now, insists=fewer_copies)
    used = primary.disk_total - primary.disk_free
    lines += (
        f"{member}: {report.incarnation} is replaced by a clone of {record.primary_member}; it serves nobody meanwhile",
        f"the old data stays until the new is complete, so there must be room for both: {_size(report.disk_free)} free "
        f"there, {_size(used)} used on the disk of {record.primary_member}",
    )
    return lines, refusal, report.incarnation


def _copies(world: World, record: Record, member: str, now: float, *, insists: bool) -> tuple[tuple[str, ...], str]:
    if not record.counts(member):
        if not (why := _only_other_copy(world, record, member, now)):
            return (f"{member} is a standby: nobody counts on it",), ""
        line = f"{why}: until the new one is complete nobody could follow {record.primary_member} if that were lost"
        return (line,), "" if insists else f"{why}: say --with-fewer-copies to do without meanwhile"
    would = record.model_copy(
        update={"wish": Wish(id="", kind="reseed", term=record.term, to=member, until=world.wall)}
    )
    if not durability.held_back(world, would, member, now):
        return (f"{member} is a standby: claim and sync do without it first",), ""
    after = (
        "writes WAIT until it is back (durability: required)"
        if durability.alone(world.document).k
        else f"commits are on {record.primary_member} alone until it is back: losing that loses commits"
    )
    line = f"{member} is the only other copy that counts: without it {after}"
    return (line,), "" if insists else f"the claim needs {member}: say --with-fewer-copies to do without meanwhile"


def _kept_for(world: World, record: Record, member: str, now: float) -> str:
    """What its data is still needed for; empty if it can be done without."""
    if record.counts(member):
        return durability.held_back(world, record, member, now)
    return _only_other_copy(world, record, member, now)


def _only_other_copy(world: World, record: Record, member: str, now: float) -> str:
    """Said if nobody else streams from the primary: then whatever this member has is all that there is beside it."""
    primary = world.present(record.primary_member, now)
    there = standbys(world, record, primary, now) if primary is not None else ()
    if any(member_of(name) != member for name in there):
        return ""
    return f"{member} holds the only other copy, though commits do not wait for it"


def _wished(world: World, record: Record, wish: Wish, member: str, now: float) -> Plan:
    report, primary = world.present(member, now), world.present(record.primary_member, now)
    if report is not None and report.incarnation != wish.data:
        return _answer(record, f"{member} has other data by now: {report.incarnation or 'none'}", done=True)
    if why := refused(world, record, member, now):
        passes = member != record.primary_member and record.place(member) is not None and not record.fence(member)
        return Plan(waits=(f"{wish}: {why}",), again=1.0) if passes else _answer(record, f"{wish} refused: {why}")
    if primary is None:
        return NOTHING
    if kept := "" if wish.fewer_copies else _kept_for(world, record, member, now):
        return Plan(waits=(f"{wish}: {kept}",), again=1.0)
    if counted := retirement.counted_on(record, member, primary):
        return Plan(waits=(f"{wish}: {counted}",), again=0.5)
    text = f"{wish}, asked for by {wish.by}: {wish.data} is made anew from {record.primary_member}"
    reseeds = (*(name for name in record.reseeds if member_of(name) != member), wish.data)
    changed = record.amended(text, reseeds=reseeds, wish=None, answered=wish.answered(text, done=True))
    return Plan(steps=(WriteRecord(record=changed, reason=text),))


def _is_over(world: World, record: Record, name: Incarnation, now: float) -> bool:
    """Has its member other data by now, or may it not be done any more?"""
    member = member_of(name)
    if record.place(member) is None or name == record.primary or record.counts(member):
        return True
    report: MemberReport | None = world.present(member, now)
    return report is not None and report.incarnation != name


def _answer(record: Record, text: str, *, done: bool = False) -> Plan:
    return Plan(steps=(WriteRecord(record=record.answering(text, done=done), reason=text),))


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB"
