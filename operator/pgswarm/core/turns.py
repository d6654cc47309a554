"""Whose turn it is to be away for a moment: settings that need a restart, and services that are to change.

Two things that a document can ask for end a PostgreSQL that runs: parameters that are read at a start only, and another
image, or anything else that makes Swarm replace a member's container. Both go round the members in one way, and only
one member is away at a time, whatever for:

    1 standbys first, as the record lists them; each only while everybody else is there, the primary serves, and every
      other standby is back in the claim
    2 a standby for which alone commits would wait is let go from the claim before (`durability`): so writers notice
      nothing of it, and until it is back commits are on the primary alone, as in every restart of it
    3 it is told: by a new service (`upkeep`), or by a word beside its order (`telling`)
    4 the primary last: it hands over (`handover`), and then is a standby like any other

A primary cannot hand over where nobody may have less than it has (`lowered`: hot standby demands it), or where there is
nobody else at all. Then its PostgreSQL is started anew where it is, in its own term; no role changes in that.

Nothing of this is written down. Who has yet to go is what reports and services say, so an operator that takes over goes
on; a pause, a wish of a person or a failover come first, and what is left is taken up after them. A member that does
not come back is not in the claim: so nobody else is touched, the status says who, why and what to do, and the cluster
lives on with the others. What could mend it is done at once: whoever follows nobody is always next.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgswarm import settings
from pgswarm.core import granting
from pgswarm.core.claim import Incarnation, member_of
from pgswarm.core.record import Record
from pgswarm.core.reports import Data, MemberReport, Serving
from pgswarm.core.streams import standbys
from pgswarm.core.swarmview import Node, Service, Task
from pgswarm.core.world import Unknown, Wanted, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One member that is next, and what for."""

    member: str
    reason: str  # in words: what is to be done with it
    service: bool  # its service changes; else only its PostgreSQL is started anew
    in_place: bool  # it need not, or cannot, hand over first


def next_up(world: World, record: Record, now: float) -> Turn | None:
    """Who is next, whether it may go already or not; None if nobody has to."""
    out = [name for name in record.members if _is_out(world, record, name, now)]
    order = sorted(record.members, key=lambda name: (name == record.primary_member, name not in out))
    return next((turn for name in order if (turn := _turn_of(world, record, name, now)) is not None), None)


def has_to_go(world: World, record: Record, member: str, now: float) -> bool:
    """Will this member be away in this round? Then it follows nobody while there is another."""
    return _turn_of(world, record, member, now) is not None


def may_go(world: World, record: Record, turn: Turn, now: float) -> str:
    """Why it cannot be this member's turn yet; empty if it is."""
    if not (before := _first(world, record)) and _is_out(world, record, turn.member, now):
        return ""  # nobody waits for it, and perhaps that is what mends it
    if before or (before := others_are_back(world, record, turn.member, now)):
        return before
    if turn.member == record.primary_member:
        return "" if turn.in_place else f"{turn.member} is to hand over first"
    if _spares(record, turn.member) or _is_required(world) or granting.governs(record):
        return ""
    primary = world.present(record.primary_member, now)
    force = primary.in_force if primary is not None else None
    is_let_go = not record.sync.named(turn.member) and force is not None and force.revision == record.revision
    return "" if is_let_go else f"commits still wait for {turn.member} alone"


def let_go(world: World, record: Record, now: float) -> str | None:
    """The standby that claim and sync are to do without, because it is about to be away."""
    if (ending := _ending(world, record, now)) is not None:
        return ending
    turn = next_up(world, record, now)
    if turn is None or turn.member == record.primary_member or _is_required(world):
        return None
    if _first(world, record) or others_are_back(world, record, turn.member, now):
        return None
    return None if _spares(record, turn.member) else turn.member


def told_to_restart(world: World, record: Record, now: float) -> tuple[str, str]:
    """(member, postmaster): who is told now to start its PostgreSQL anew; ("", "") if nobody is."""
    turn = next_up(world, record, now)
    if turn is None or turn.service or may_go(world, record, turn, now):
        return "", ""
    report = world.present(turn.member, now)
    return (turn.member, report.postmaster) if report is not None else ("", "")


def others_are_back(world: World, record: Record, member: str, now: float) -> str:
    """Whom of the others this member has to wait for; empty if everybody is there and as it was."""
    primary, own = world.present(record.primary_member, now), world.present(member, now)
    streaming = standbys(world, record, primary, now) if primary is not None else ()
    for other in record.members:
        if other == member:
            continue
        report = world.present(other, now)
        if _is_ending(world, other, report):
            return f"waiting until the update of {other} is through"
        if (node := _task_and_node(world, report)[1]) is not None and node.state != "ready":
            return f"waiting until Swarm hears {node.name} again: what becomes of {other} there is not known before"
        if report is None:
            return f"waiting until {other} is back{_trouble(world, other)}"
        if record.fence(other) is not None:
            return f"waiting until {other} is unfenced"
        if own is not None and own.settings_digest != report.settings_digest:
            return f"waiting until {other} has taken the same settings"
        if report.unsure:
            return f"waiting until {other} knows what its settings leave waiting"
        if other == record.primary_member:
            if report.serving is not Serving.PRIMARY:
                return f"waiting until {other} serves{_trouble(world, other)}"
        elif not _is_back(record, report, streaming):
            return f"waiting until {other} is back in the claim{_trouble(world, other)}"
    return ""


def _turn_of(world: World, record: Record, member: str, now: float) -> Turn | None:
    """What has to be done with this member; None if nothing."""
    report = world.present(member, now)
    if report is None or report.data is not Data.READY:
        return None
    wanted = _wanted(world, member)
    is_alone = record.members == (member,)
    if wanted is not None and wanted.exists and not wanted.foreign and wanted.differences and wanted.ends:
        return Turn(member=member, reason=wanted.ends, service=True, in_place=is_alone)
    if report.pending_restart:
        why = f"{', '.join(report.pending_restart)} needs a restart of PostgreSQL"
        return Turn(member=member, reason=why, service=False, in_place=is_alone or bool(report.lowered))
    return None


def _is_out(world: World, record: Record, member: str, now: float) -> bool:
    """Does it follow nobody at the moment, so that nothing changes if it is away?"""
    primary = world.present(record.primary_member, now)
    if primary is None or member == record.primary_member or record.sync.named(member):
        return False
    return all(member_of(name) != member for name in standbys(world, record, primary, now))


def _first(world: World, record: Record) -> str:
    """What comes before: a person's word, or the operator's own."""
    if (pause := record.paused(world.wall)) is not None:
        return str(pause)
    wish = record.wished(world.wall)
    return f"{wish} comes first" if wish is not None else ""


def _is_back(record: Record, report: MemberReport, streaming: tuple[Incarnation, ...]) -> bool:
    """Does it stream, and is it counted (where anybody is)?"""
    if report.incarnation is None or report.incarnation not in streaming:
        return False
    return granting.governs(record) or report.incarnation in record.claim.members


def _spares(record: Record, member: str) -> bool:
    """Is there another standby that commits may wait for?"""
    return any(member_of(name) != member for name in record.sync.names)


def _is_required(world: World) -> bool:
    """Writers wait for a standby in any case then: the shorter it is away the better."""
    return world.document is not None and world.document.spec.durability == "required"


def _ending(world: World, record: Record, now: float) -> str | None:
    """A standby that commits wait for alone, and whose container Swarm is about to end: it still speaks and streams."""
    if _is_required(world):
        return None
    for member in record.members:
        report = world.present(member, now)
        is_standby = member != record.primary_member and report is not None
        if is_standby and _is_ending(world, member, report) and not _spares(record, member):
            return member
    return None


def _is_ending(world: World, member: str, report: MemberReport | None) -> bool:
    """Is this member's container about to be replaced? Swarm ends it seconds after a change, and it speaks until then.

    Right after the change nothing but the image of its task tells it. A wish for its end counts only on a node that is
    there: Swarm wishes for the end of every task on a node that it does not hear.
    """
    service = _service(world, member)
    if isinstance(world.swarm, Unknown) or service is None:
        return False
    if service.update_state == "updating":
        return True
    task, node = _task_and_node(world, report)
    if task is None or node is None or node.state != "ready":
        return False
    image = service.spec.get("TaskTemplate", {}).get("ContainerSpec", {}).get("Image", "")
    return task.desired in ("shutdown", "remove") or (bool(task.image and image) and task.image != image)


def _task_and_node(world: World, report: MemberReport | None) -> tuple[Task | None, Node | None]:
    """The task that this member says it is, and where that is."""
    if isinstance(world.swarm, Unknown) or report is None or not report.task:
        return None, None
    task = next((task for task in world.swarm.tasks if task.id == report.task), None)
    return task, world.swarm.node(task.node_id) if task is not None and task.node_id else None


def _wanted(world: World, member: str) -> Wanted | None:
    return world.wanted.get(settings.member_service(world.cluster, member))


def _service(world: World, member: str) -> Service | None:
    if isinstance(world.swarm, Unknown):
        return None
    return world.swarm.service(settings.member_service(world.cluster, member))


def _trouble(world: World, member: str) -> str:
    """Why it is not back, as far as that is known."""
    wanted, report = _wanted(world, member), world.report(member)
    problem = report.problem.text if report is not None and report.problem is not None else ""
    why = (wanted.trouble if wanted is not None else "") or problem
    return f" ({why})" if why else ""
