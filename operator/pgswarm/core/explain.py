"""Why a cluster is as it is: what is claimed, what is waited for, why there is no failover, why not another primary.

Every sentence is a reason of the rule that decides: `ballot.health` judges the primary, `switchover.refused` says who
cannot take over, the plan says what it waits for. Nothing is decided here and nothing is asked that the rules would
not ask themselves, so an explanation cannot say something else than what will happen.

It is a part of `status` (`-o json` prints it); `pgswarm explain` draws it alone.
"""

from __future__ import annotations

from pydantic import Field

from pgswarm.core import ballot, durability, lapse, switchover
from pgswarm.core.base import Message
from pgswarm.core.claim import member_of
from pgswarm.core.record import Grant, Record
from pgswarm.core.reports import Data, MemberReport, Serving
from pgswarm.core.steps import AskPromise, Plan, WriteRecord
from pgswarm.core.wish import Wish
from pgswarm.core.world import World


class Candidate(Message):
    """Why one member is primary, could be, or is not."""

    member: str
    can: bool = Field(description="it is primary, or a switchover to it would be begun")
    why: str


class Explanation(Message):
    """Why it is as it is, in sentences."""

    claim: str = Field(default="", description="where every acknowledged commit is")
    commits: str = Field(default="", description="what a commit waits for now")
    failover: str = Field(default="", description="why there is none, or what is being done")
    if_lost: str = Field(default="", description="what would happen if the primary were lost now")
    candidates: tuple[Candidate, ...] = ()


def explained(world: World, record: Record, plan: Plan, now: float) -> Explanation:
    """Why this cluster is as it is; `plan` is what was made from the same world."""
    health = ballot.health(world, record, now)
    claimed = ", ".join(member_of(name) for name in record.claim.members)
    return Explanation(
        claim=f"every acknowledged commit is on at least {record.claim.r} of {claimed}"
        if record.grant is Grant.NONE
        else "nothing is claimed: commits wait for nobody, so a failover may lose some",
        commits=_commits(record),
        failover=_failover(world, record, health, plan, now),
        if_lost=_if_lost(world, record, now) if not (health.lost or health.coming) else "",
        candidates=tuple(_candidate(world, record, health, member, now) for member in record.members),
    )


def _commits(record: Record) -> str:
    if record.grant is not Grant.NONE:
        return "a commit waits for nobody; the primary writes under a grant"
    if not record.sync.k:
        return "a commit waits for nobody: no standby can be waited for now"
    if durability.NOBODY in record.sync.names:
        return "commits wait: no standby is there, and durability is required"
    names = [member_of(name) for name in record.sync.names]
    who = names[0] if len(names) == 1 else f"{record.sync.k} of {', '.join(names)}"
    return f"a commit waits until it is on the disk of {who}"


def _failover(world: World, record: Record, health: ballot.Health, plan: Plan, now: float) -> str:
    if health.lost:
        refused = next((text for text in plan.waits if text.startswith("no failover")), "")
        if refused:
            return refused
        deciding = next((step for step in plan.steps if isinstance(step, (AskPromise, WriteRecord))), None)
        if deciding is not None:
            return f"under way: {deciding.reason}"
        return f"sought, because {health.reason}" + (f"; {plan.waits[0]}" if plan.waits else "")
    if health.coming or world.present(record.primary_member, now) is None:
        return f"not yet: {health.reason}"
    return f"none is needed: {health.reason}"


def _if_lost(world: World, record: Record, now: float) -> str:
    """The same quorum that a ballot would count, while there is still time to do something about it."""
    name = record.primary_member
    if record.grant is not Grant.NONE:
        return lapse.in_words(world, record, now)
    others = [member_of(other) for other in record.claim.members if other != record.primary]
    asked = [other for other in others if _could_be_asked(world, record, other, now)]
    needed = record.claim.quorum
    if len(asked) >= needed:
        return f"{needed} of {', '.join(asked)} would have to promise, and the furthest of them would follow {name}"
    missing = [f"{other} ({_absence(world, record, other, now)})" for other in others if other not in asked]
    without = f"missing: {', '.join(missing)}" if missing else f"{name} alone is claimed"
    return f"there would be no failover, and {name} would have to come back; {without}"


def _could_be_asked(world: World, record: Record, member: str, now: float) -> bool:
    report = world.present(member, now)
    claimed = next((name for name in record.claim.members if member_of(name) == member), None)
    return claimed is not None and record.is_held_by(report, claimed)


def _candidate(world: World, record: Record, health: ballot.Health, member: str, now: float) -> Candidate:
    if member == record.primary_member:
        return Candidate(member=member, can=True, why=f"it is primary of term {record.term}: {health.reason}")
    report, primary = world.present(member, now), world.present(record.primary_member, now)
    if report is None:
        return Candidate(member=member, can=False, why=world.gone(member, now) or "it is not there")
    if (hindrance := _hindrance(record, report)) is not None:
        return Candidate(member=member, can=False, why=hindrance)
    if primary is None or primary.serving is not Serving.PRIMARY:
        return _in_a_ballot(record, report)
    wish = Wish(id="", kind="switchover", term=record.term, to=member, until=world.wall)
    why = switchover.refused(world, record, wish, primary, now) or switchover.waits(world, record, wish, primary, now)
    if why:
        return Candidate(member=member, can=False, why=why)
    return Candidate(member=member, can=True, why=f"it could be: `pgswarm switchover --to {member}`")


def _hindrance(record: Record, report: MemberReport) -> str | None:
    """What keeps it from being anybody's successor, whatever the primary does."""
    if (fence := record.fence(report.member)) is not None:
        return f"{fence}: `pgswarm unfence {report.member}`"
    if report.problem is not None:
        return report.problem.text
    if report.progress is not None:
        return f"{report.progress.what} is under way"
    if report.data is not Data.READY or report.incarnation is None:
        return f"it has no data directory yet ({report.data.value})"
    if not record.is_held_by(report, report.incarnation):
        return f"its data is of another system ({report.system_id}); it is cloned anew"
    if report.settled and not ballot.is_on_the_line(report, record):
        return f"its log ({report.position}) is not in the cluster's history; it has to be rewound or cloned first"
    return None


def _in_a_ballot(record: Record, report: MemberReport) -> Candidate:
    """No primary serves: what this one's word is worth."""
    counted = record.claim.names(report.member)
    if not counted and record.grant is Grant.NONE:
        why = "it is not counted: commits that were acknowledged may be missing on it"
        return Candidate(member=report.member, can=False, why=why)
    if report.promised > record.term:
        where = (
            f" and has {report.position}" if report.settled and report.position else "; its log's end is not known yet"
        )
        return Candidate(member=report.member, can=True, why=f"it has promised term {report.promised}{where}")
    return Candidate(member=report.member, can=True, why="it can be asked for its promise")


def _absence(world: World, record: Record, member: str, now: float) -> str:
    if (gone := world.gone(member, now)) is not None:
        return gone
    report = world.report(member)
    return (
        f"it holds {report.incarnation if report and report.incarnation else 'no data'}, which is not what is claimed"
    )
