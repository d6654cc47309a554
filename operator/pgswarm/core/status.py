"""Status: one cluster for people, as a tree; made from what a plan was made from, so it can say nothing else.

Every line of it is a fact of the world or a reason of the plan, in the words of the log. Nothing ever reads a status
back: it is a picture, not a source (`cli/show` draws it, `-o json` prints it, the operator serves it).

What is not known is said to be not known, with the reason; a member that was never heard is listed all the same,
because the record or the document names it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pgswarm.core import disk, lapse, pausing, steps
from pgswarm.core.base import Message
from pgswarm.core.chronicle import Event
from pgswarm.core.claim import Claim, application_name, member_of
from pgswarm.core.explain import Explanation, explained
from pgswarm.core.record import Grant, Place, Record
from pgswarm.core.reports import Data, Kept, MemberReport, Postgres, Progress, Role, RouterReport, Serving
from pgswarm.core.wal import show_lsn
from pgswarm.core.world import Unknown, World

ROUTER_SILENT = 3.0
"""Seconds of silence after which a router is told as gone; it speaks every second."""

EVENTS = 5
"""The newest events that a status tells; `pgswarm history` tells them all."""


class MemberStatus(Message):
    """One member as its agent describes it, or why it cannot."""

    name: str
    node: str = ""
    role: str = Field(default="unknown", description="primary, standby, fenced, none or unknown")
    state: str = Field(default="", description="one word or two: serving, streaming, clone 40 %, not heard")
    present: bool = Field(default=False, description="its agent is heard")
    counted: bool = Field(default=False, description="the claim names it: it holds every acknowledged commit, or may")
    position: str = Field(default="", description="LSN and timeline")
    lag: float | None = Field(default=None, description="seconds behind in replay")
    behind: int | None = Field(default=None, description="bytes of the primary's log that are not replayed here")
    follows: str = Field(default="", description="the member that log is streamed from now")
    work: Progress | None = Field(default=None, description="long work under way, such as a clone")
    version: str = Field(default="", description="PostgreSQL's, such as 17.6")
    disk_free: int = Field(default=0, description="bytes")
    disk_total: int = Field(default=0, description="bytes; 0 if unknown")
    pending_restart: tuple[str, ...] = ()
    kept: tuple[str, ...] = Field(default=(), description="diverged log that lies aside on its volume")
    disk: str = Field(default="", description="how full its volume is, and what holds how much of it")
    warning: str = Field(default="", description="nothing is wrong yet, but somebody should know")
    problem: str = ""


class RouterStatus(Message):
    """One router."""

    name: str
    state: str = ""
    primary: str = Field(default="", description="the member that writers are sent to; empty: they are held")
    readers: tuple[str, ...] = ()
    sessions: int = 0
    problem: str = ""


class StepStatus(Message):
    """What is about to be done, and why."""

    step: str
    reason: str
    state: str = Field(default="", description="why it has not worked yet; empty if it has not been tried")


class Status(Message):
    """One cluster at one moment, as one operator sees it."""

    cluster: str
    summary: str = Field(description="one line: how it is")
    healthy: bool = Field(description="a primary serves, everyone is as wanted, nothing waits")
    serving: bool = Field(default=False, description="the record's primary serves writers")
    operator: str = ""
    leader: str = Field(default="", description="the operator that acts")
    term: int | None = None
    revision: int | None = None
    primary: str = ""
    durability: str = Field(default="", description="what the cluster survives without losing a commit, in words")
    copies: int | None = Field(
        default=None, description="on so many members every commit is; None: async, or no record"
    )
    copies_wanted: int = Field(default=1, description="if all members were well")
    losses: tuple[str, ...] = Field(default=(), description="what failovers gave up, the newest last")
    document: str = Field(default="", description="where the document in force came from")
    orphaned: tuple[str, ...] = Field(default=(), description="what there is of a cluster that no document names")
    members: tuple[MemberStatus, ...] = ()
    volumes: tuple[str, ...] = Field(default=(), description="volumes that members have left behind; nothing uses them")
    routers: tuple[RouterStatus, ...] = ()
    steps: tuple[StepStatus, ...] = ()
    waits: tuple[str, ...] = ()
    errors: tuple[str, ...] = Field(default=(), description="mistakes in documents; they change nothing")
    last_change: str = Field(default="", description="why the record was last written")
    events: tuple[Event, ...] = Field(default=(), description="the last things that happened, the newest last")
    wish: str = Field(default="", description="what a person asked for and is not done yet")
    planned: str = Field(default="", description="a switchover at a time to come")
    answer: str = Field(default="", description="what came of the last wish")
    paused: str = Field(default="", description="who wants nothing changed, and why; empty if nobody does")
    maintenance: tuple[str, ...] = Field(default=(), description="nodes that are worked on, and who says so")
    fences: tuple[str, ...] = Field(default=(), description="members that stay stopped, and who says so")
    explanation: Explanation = Field(default=Explanation(), description="why it is so; drawn by `pgswarm explain`")


def status_of(
    world: World,
    plan: steps.Plan,
    now: float,
    *,
    failed: dict[str, steps.Failed] | None = None,
    errors: tuple[str, ...] = (),
    source: str = "",
    events: tuple[Event, ...] = (),
) -> Status:
    """The status of a cluster from what is known of it and what is planned for it, and its `events`."""
    record = world.record if isinstance(world.record, Record) else None
    members = tuple(_member(world, record, name, now) for name in _names(world, record))
    routers = tuple(_router(world, name, now) for name in sorted(world.routers))
    serving = record is not None and _serves(world, record, now)
    pause = pausing.in_force(world)
    return Status(
        cluster=world.cluster,
        summary=_summary(world, record, plan, serving),
        serving=serving,
        healthy=serving and plan.at_rest and not errors and not _any_problem(members, routers),
        operator=world.operator,
        leader=world.leader or world.operator,
        term=record.term if record else None,
        revision=record.revision if record else None,
        primary=record.primary_member if record else "",
        durability=_durability(world, record, now) if record else "",
        copies=record.claim.r if record and record.grant is Grant.NONE else None,
        copies_wanted=_copies_wanted(world),
        losses=tuple(str(loss) for loss in record.losses) if record else (),
        document=source,
        members=members,
        volumes=tuple(_left_behind(place, record) for place in record.departed) if record else (),
        routers=routers,
        steps=tuple(_step(step, failed or {}, now) for step in plan.steps),
        waits=plan.waits,
        errors=errors,
        last_change=record.reason if record else "",
        events=events[-EVENTS:],
        wish=f"{record.wish}, asked for by {record.wish.by}" if record and record.wish else "",
        planned=str(record.appointment) if record and record.appointment else "",
        answer=record.answered.text if record and record.answered else "",
        paused=str(pause) if pause else "",
        maintenance=tuple(str(one) for one in record.maintenance) if record else (),
        fences=tuple(str(one) for one in record.fences) if record else (),
        explanation=explained(world, record, plan, now) if record else Explanation(),
    )


def _left_behind(place: Place, record: Record) -> str:
    there = record.place(place.member)
    if there is not None or place.given_up:
        whither = f"has moved to {there.volume} on {there.node_name}" if there else "is to have another place"
        return (
            f"{place.volume} on {place.node_name}: {place.member} {whither}, and this was kept as it was; if nobody "
            f"needs it, `docker volume rm {place.volume}` there"
        )
    return (
        f"{place.volume} on {place.node_name}: {place.member} has left it; named in the document again, {place.member} "
        f"comes back to it; if nobody needs it, `docker volume rm {place.volume}` there"
    )


def _any_problem(members: tuple[MemberStatus, ...], routers: tuple[RouterStatus, ...]) -> bool:
    return any(one.problem for one in members) or any(one.problem for one in routers)


def _durability(world: World, record: Record, now: float) -> str:
    """What a failover would keep, said before it happens."""
    if record.grant is not Grant.NONE:
        return lapse.in_words(world, record, now)
    return in_words(record.claim, record.members)


def _copies_wanted(world: World) -> int:
    """On how many members a commit shall be (`durability`): the primary's and one more, while there are two."""
    if world.document is None or world.document.spec.durability == "async":
        return 1
    return min(2, len(world.document.instances()))


def in_words(claim: Claim, members: Sequence[str] = ()) -> str:
    """What a claim is worth: how many of its members may be lost at once without losing a commit. `members` are all
    that there are."""
    others = claim.r - 1
    counted = [member_of(name) for name in claim.members]
    names = ", ".join(counted)
    if others == 0:
        return f"one copy counted: losing {names} loses commits"
    how_many = "one" if others == 1 else str(others)
    if set(members) == set(counted):
        return f"survives the loss of: any {how_many} {'member' if others == 1 else 'members'} ({names})"
    return f"survives the loss of: any {how_many} of {names}"


def _names(world: World, record: Record | None) -> list[str]:
    """Every member that is wanted or remembered, in the document's order."""
    wanted = [one.name for one in world.document.instances()] if world.document else []
    remembered = list(record.members) if record else []
    return list(dict.fromkeys([*wanted, *remembered, *sorted(world.members)]))


def _summary(world: World, record: Record | None, plan: steps.Plan, serving: bool) -> str:
    if isinstance(world.record, Unknown):
        return f"the record cannot be read: {world.record.why}"
    if record is None:
        return "being created" if world.document else "no document"
    if serving and (pause := pausing.in_force(world)) is not None:
        return f"{record.primary_member} serves; {pause}"
    if serving:
        going_on = "all is as the document says" if plan.at_rest else "not yet as the document says"
        return f"{record.primary_member} serves; {going_on}"
    return f"{record.primary_member} does not serve" + (f": {plan.waits[0]}" if plan.waits else "")


def _serves(world: World, record: Record, now: float) -> bool:
    report = world.present(record.primary_member, now)
    return report is not None and report.incarnation == record.primary and report.serving is Serving.PRIMARY


def _member(world: World, record: Record | None, name: str, now: float) -> MemberStatus:
    places = {place.member: place for place in (*(record.places if record else ()), *world.places)}
    node = places[name].node_name if name in places else ""
    counted = record is not None and record.claim.names(name)
    trouble = next((wanted.trouble for wanted in world.wanted.values() if wanted.member == name), "")
    gone = world.gone(name, now)
    report = world.report(name)
    if gone is not None or report is None:
        why = gone or "not heard yet"
        fenced = record is not None and record.fence(name) is not None
        expected = fenced or (record is not None and record.maintained(name) is not None)
        expected = expected and record is not None and name != record.primary_member
        last = str(report.position) if report and report.position else ""
        return MemberStatus(
            name=name,
            node=node,
            state=("fenced" if fenced else "maintenance") if expected else "gone" if report else "not heard",
            counted=counted,
            position=last,
            problem="" if expected else f"{why}; {trouble}" if trouble else why,
        )
    return MemberStatus(
        name=name,
        node=node,
        present=True,
        role=report.role.value,
        state=_state(report, record),
        counted=counted,
        position=f"{show_lsn(report.position.lsn)} tl {report.position.timeline}" if report.position else "",
        lag=report.lag,
        behind=_behind(world, record, report, now),
        follows=member_of(report.upstream) if report.upstream else "",
        work=report.progress,
        version=report.version,
        disk_free=report.disk_free,
        disk_total=report.disk_total,
        pending_restart=report.pending_restart,
        kept=tuple(_kept(one) for one in report.kept),
        disk=disk.told(report.disk_free, report.disk_total, report.held),
        warning=_filling(report),
        problem=report.problem.text if report.problem else trouble,
    )


def _behind(world: World, record: Record | None, report: MemberReport, now: float) -> int | None:
    """Bytes of log that the primary has and this standby has not replayed, by the primary's own word."""
    if record is None or report.role is not Role.STANDBY or report.incarnation is None:
        return None
    primary = world.present(record.primary_member, now)
    if primary is None or primary.incarnation != record.primary or primary.position is None:
        return None
    name = application_name(report.incarnation, record.term)
    row = next((one for one in primary.walsenders if one.name == name and one.replay), None)
    return max(0, primary.position.lsn - row.replay) if row is not None else None


def _filling(report: MemberReport) -> str:
    """Before a volume is full: how full it is, and what holds it."""
    used = disk.percent(report.disk_free, report.disk_total)
    over = next((limit for limit in disk.WARNED if used >= limit), None)
    if over is None and report.room is disk.Room.AMPLE:
        return ""
    told = disk.told(report.disk_free, report.disk_total, report.held)
    wal = f"; all of the log takes {disk.size(report.wal_size)}" if report.wal_size else ""
    left = f", {disk.size(report.disk_free)} left" if report.room is not disk.Room.AMPLE else ""
    return f"disk {told} on {report.member}{left}{wal}"


def _kept(one: Kept) -> str:
    short = f", {one.missing} files of it are missing" if one.missing else ""
    return (
        f"{one.size} bytes of log that are not in the cluster's history, from {one.since} to {one.until}, "
        f"kept {one.at} in {one.folder}{short}"
    )


def _state(report: MemberReport, record: Record | None) -> str:
    if record is not None and record.keeps_down(report.member):
        return "fenced" if report.postgres in (Postgres.STOPPED, Postgres.CRASHED) else "is being fenced"
    if report.progress is not None:
        return _in_percent(report.progress)
    if report.data is not Data.READY:
        return f"data: {report.data.value}"
    if report.serving is Serving.PRIMARY:
        return "serving"
    if report.role is Role.STANDBY:
        return "streaming" if report.upstream else "not streaming"
    return report.postgres.value


def _in_percent(progress: Progress) -> str:
    return f"{progress.what} {100 * progress.done // progress.total} %" if progress.total else progress.what


def _router(world: World, name: str, now: float) -> RouterStatus:
    sighting = world.routers[name]
    report: RouterReport | None = sighting.report
    if report is None:
        return RouterStatus(name=name, state="not heard", problem=sighting.why)
    silent = sighting.is_gone or sighting.silence(now) > max(world.detection, ROUTER_SILENT)
    return RouterStatus(
        name=name,
        state="gone" if silent else report.haproxy,
        primary=member_of(report.primary) if report.primary else "",
        readers=report.replicas,
        sessions=report.sessions,
        problem=report.problem.text if report.problem else (sighting.why if silent else ""),
    )


def _step(step: steps.Step, failed: dict[str, steps.Failed], now: float) -> StepStatus:
    failure = failed.get(step.key)
    state = ""
    if failure is not None:
        pause = max(0.0, failure.retry_at - now)
        state = f"failed {failure.times} times: {failure.reason}; again in {pause:.0f} s"
    return StepStatus(step=steps.title(step), reason=step.reason, state=state)
