"""Taking over a data directory that pgswarm did not make: whether that may be, and the first record that says so.

Nothing else in the house touches data that it did not make, so this must be asked for by name (`bootstrap.adopt`), of
one instance, whose volume is then *the* truth: the record of term 1 names an incarnation of it as primary, with the
identifier that its system really has, and every other member is cloned from it. Whatever makes it less than a complete
directory at rest is refused, each with what to do: looked at twice, by the operator before there is a record, and by
the agent before the first byte changes.

A primary's directory goes on as it was, on its timeline. A standby's is missing what its primary had not sent, so it is
taken only by a person's word, and begins a timeline of its own: the old primary can never be mistaken for its peer.

Before this: `member/foreign` looks at the volume. After it: `bootstrap` writes, `duty` has `member/adopting` do it.
"""

from __future__ import annotations

from pgswarm.core import strangers
from pgswarm.core.adoptable import ROOT, described, objections, timeline
from pgswarm.core.claim import Claim, Incarnation
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import Data, MemberReport
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.steps import NOTHING, Plan, WriteRecord
from pgswarm.core.wal import Reign
from pgswarm.core.world import Unknown, World


def against(world: World, place: Place, report: MemberReport) -> tuple[str, ...]:
    """Why the volume that is to be adopted cannot be, as its agent describes it."""
    document, where = world.document, f"{place.member}: volume {place.volume} on {place.node_name}"
    if document is None:
        return ()
    found = report.found
    if report.data is Data.NONE:
        return (
            f"{where} is empty: there is nothing to adopt. A stack's volumes begin with the stack's name and lie on "
            f"one node (`docker volume ls` there): correct node and volume in the document, then "
            f"`docker service rm {document.name}_{place.member}`",
        )
    if report.data is not Data.FOREIGN:
        return (
            f"{where} holds data of pgswarm already ({report.incarnation or report.data.value}), and there is no "
            f"record of a cluster {world.cluster}: it is not adopted; a person must look",
        )
    if found is None:
        return (f"{where}: {report.problem.text if report.problem else 'it has not been looked at yet'}",)
    refused = objections(
        found, major=report.version.partition(".")[0], accept_standby=document.spec.bootstrap.accept_standby
    )
    if refused:
        return tuple(f"{where} is not adopted: {text}" for text in refused)
    if found.folder != ROOT and not isinstance(world.swarm, Unknown):
        # Its directory stays where it is, so the old service could start on it beside ours; on the root it cannot.
        return tuple(
            f"{where} is not adopted yet: service {service.name} would find its data in the folder {found.folder} "
            f"again if it were ever started: remove it, `docker service rm {service.name}` (the volume stays)"
            for service in strangers.mounting(document.name, place, world.swarm)
        )
    return ()


def besides(document: PostgresCluster, place: Place) -> str:
    """What is to be said of another member whose volume is not empty."""
    if document.spec.bootstrap.adopt is None:
        return ""
    return (
        f"; only the volume of {document.spec.bootstrap.adopt} is adopted, and {place.member} is cloned anew: the "
        f"volume of an old standby stays as it is. After the edit, `docker service rm {document.name}_{place.member}`"
    )


def first_record(world: World, place: Place, primary: Incarnation, now: float) -> Record | None:
    """The record of term 1 over that directory; nothing is in the way any more."""
    report = world.present(place.member, now)
    found = report.found if report is not None else None
    if found is None:
        return None
    return Record(
        revision=1,
        term=1,
        primary=primary,
        claim=Claim(members=(primary,), r=1),
        lineage=(Reign(term=1, incarnation=primary, timeline=timeline(found), fork=0),),
        places=world.places,
        system_id=found.system_id,
        adopting=True,
        reason=f"{place.member} takes over the data that it has found in {place.volume}: {described(found)}",
    )


def completed(world: World, record: Record, now: float) -> Plan:
    """Once the directory has been taken over, the record says so: from then on nothing is adopted any more."""
    report = world.present(record.primary_member, now)
    if not record.adopting or report is None or not record.is_held_by(report, record.primary):
        return NOTHING
    reason = f"{record.primary_member} has taken over system {record.system_id}"
    return Plan(steps=(WriteRecord(record=record.amended(reason, adopting=False), reason=reason),))
