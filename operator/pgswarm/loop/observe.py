"""One cluster as this operator sees it: the caches that streams, listings and reads fill, made into a `World`.

Nothing here waits. Streams from the agents keep the newest reports; the listing of Swarm, shared by all clusters, and
the record are refreshed beside and marked with how well they are known. So a pass costs no call at all, and the fast
path from "postgres has exited" to "promise, please" is a function call.

What a single report cannot say is remembered here, because it is *since when*: a standby's stream that is missing on
the primary, a primary that is there but does not serve.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import anyio
from anyio.abc import TaskGroup
from loguru import logger

from pgswarm import settings
from pgswarm.core import bootstrap, strangers
from pgswarm.core.claim import Incarnation, application_name
from pgswarm.core.plan import RESTORED_AFTER
from pgswarm.core.record import Place, Record
from pgswarm.core.reports import MemberReport, Role, RouterReport, Serving
from pgswarm.core.sightings import Sighting
from pgswarm.core.spec import PostgresCluster
from pgswarm.core.stored import Stored
from pgswarm.core.swarmview import Service, SwarmView
from pgswarm.core.tenure import Standing
from pgswarm.core.world import FoundDocument, Granted, LastEnd, Told, Unknown, Wanted, World
from pgswarm.errors import Refused
from pgswarm.loop.away import Away
from pgswarm.loop.bell import Bell
from pgswarm.loop.listing import Listing
from pgswarm.loop.watches import Watches
from pgswarm.ports.agents import ROUTER_SILENCE, Agents, not_member
from pgswarm.render import drift, services
from pgswarm.wire import MEMBER_PORT, ROUTER_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Which images this operator gives to agents when the document names none, and what else they have from it."""

    member: str
    router: str
    heritage: services.Heritage = services.NOTHING


class Lookout:
    """What is known of one cluster."""

    def __init__(self, cluster: str, operator: str, agents: Agents, listing: Listing, images: Images) -> None:
        self.cluster = cluster
        self.bell = Bell()
        self.found: FoundDocument | None = None
        self.stored: Stored | Unknown | None = Unknown(why="not read yet")
        self.stored_read_at = 0.0
        self.told: dict[str, Told] = {}
        self.granted = Granted()
        self.spoiled = 0
        self.wrote = 0
        self.vouched_at = float("-inf")
        self._called_at: dict[Incarnation, float] = {}
        self._operator = operator
        self._listing = listing
        self._images = images
        self._members = Watches(
            agents,
            MemberReport,
            MEMBER_PORT,
            self.bell,
            stranger=lambda member: not_member(cluster, member, self._members.places.get(member, "")),
            hear=self._hear_member,
        )
        self._routers = Watches(
            agents, RouterReport, ROUTER_PORT, self.bell, stranger=self._not_router, silence=ROUTER_SILENCE
        )
        self._absent_since: dict[Incarnation, float] = {}
        self._not_serving_since: float | None = None
        self._last_end: LastEnd | None = None
        self._reign: tuple[int, Incarnation] = (0, "")
        self._wanted: Mapping[str, Wanted] = {}
        self._wanted_of: tuple[object, ...] = ()
        self._ground: tuple[object, ...] = ()
        self._aims: dict[str, str | None] = {}
        self._aimed_by: tuple[object, ...] = (None, None)
        self._places: tuple[tuple[Place, ...], tuple[str, ...]] = ((), ())
        self._away = Away()
        self._newer_since: float | None = None
        self._older_since: float | None = None
        self._taken_at = 0.0
        self.unreadable = ""

    def keep(self, stored: Stored | Unknown | None, read_at: float) -> None:
        """Take over what was read of the store, unless something newer is known already.

        What cannot be read, or is read to be older or gone, does not put out what was read before: compare-and-set
        guards its use. But Swarm may have been restored from a backup while this operator lived, so what is read to
        be older for longer than any read can be stale is the truth by then.
        """
        known = self.stored
        self.unreadable = stored.why if isinstance(stored, Unknown) else ""
        if isinstance(stored, Unknown):
            if not isinstance(known, Stored):
                self.stored = stored  # what cannot be understood is there, whatever was read before
            return
        if isinstance(known, Stored) and (stored is None or stored.version_index < known.version_index):
            if not self._goes_back(stored, read_at):
                return
        else:
            self._older_since = None
        self.stored_read_at = max(self.stored_read_at, read_at)
        if isinstance(known, Stored) and stored is not None and _is_raised(known.record, stored.record):
            self.vouched_at = read_at
        if isinstance(known, Stored) and stored is not None and known.record is not None and stored.record is not None:
            self._called_at.update(dict.fromkeys({*stored.record.sync.names} - {*known.record.sync.names}, read_at))
        if known != stored:  # the same again keeps its identity, by which `_survey` knows that nothing is to be done
            self.stored = stored
            self.bell.ring()

    def _goes_back(self, stored: Stored | None, read_at: float) -> bool:
        """Has the store shown something older than is known for so long that it has gone back?"""
        if read_at <= self.stored_read_at:
            return False  # a read that was overtaken by a write
        if self._older_since is None:
            self._older_since = read_at
        if read_at - self._older_since < RESTORED_AFTER:
            return False
        self._older_since = None
        logger.error(
            "{}: for {:.0f} s Swarm's store has shown {}: that is what holds now",
            self.cluster,
            RESTORED_AFTER,
            "an older record than before" if stored is not None else "no record any more",
        )
        return True

    def take(self, member: str, report: MemberReport) -> None:
        """A report that came as an answer is as good as one from the stream."""
        self._members.take(member, report)

    @property
    def unheard(self) -> bool:
        """Is there an agent with an address that has neither spoken nor been found gone?"""
        sightings = [*self._members.sightings.values(), *self._routers.sightings.values()]
        return any(one.address is not None and one.report is None and one.closed_at is None for one in sightings)

    def sighted(self, world: World) -> World:
        """The same world with the sightings of this moment, to see what the clock alone has changed."""
        sightings = self._members.sightings
        if world.members.keys() == sightings.keys() and all(
            world.members[name] is one for name, one in sightings.items()
        ):
            return world
        return replace(world, members=dict(sightings))

    def member_address(self, member: str) -> str | None:
        sighting = self._members.sightings.get(member)
        return sighting.address if sighting else None

    def router_address(self, router: str) -> str | None:
        sighting = self._routers.sightings.get(router)
        return sighting.address if sighting else None

    @property
    def record(self) -> Record | Unknown | None:
        if isinstance(self.stored, Stored):
            return self.stored.record
        return self.stored

    @property
    def document(self) -> PostgresCluster | None:
        """The document in force: the stored one, or before there is one, the one that was found."""
        if isinstance(self.stored, Stored) and self.stored.document is not None:
            return self.stored.document
        return self.found.document if self.found else None

    def world(
        self, tasks: TaskGroup, now: float, leader: str | None, awake_since: float, standing: Standing | None = None
    ) -> World:
        """Everything that is known at this moment; also points the streams at where the agents are now."""
        if self._listing.read_at > self._taken_at:
            self._taken_at = self._listing.read_at
            self.keep(self._listing.of(self.cluster), self._taken_at)
        self._survey()
        self._note_newer(now)
        swarm = self._listing.view
        addresses = self._aim(swarm, tasks)
        self._note_absence(now)
        self._note_end()
        stored = self.stored if isinstance(self.stored, Stored) else None
        return World(
            cluster=self.cluster,
            operator=self._operator,
            document=self.document,
            stored=stored is not None and stored.document is not None,
            stored_edited_at=stored.edited_at if stored else 0.0,
            editions=stored.editions if stored else "",
            found=self.found,
            record=self.record,
            record_read_at=self.stored_read_at,
            newer_since=self._newer_since,
            swarm=swarm,
            places=self._places[0],
            place_problems=self._places[1],
            wanted=self._wanted,
            away=self._away.seen(self.record, swarm, now, awake_since),
            addresses=addresses,
            members=dict(self._members.sightings),
            routers=dict(self._routers.sightings),
            absent_since=dict(self._absent_since),
            not_serving_since=self._not_serving_since,
            told=dict(self.told),
            standing=standing,
            granted=self.granted,
            last_end=self._last_end,
            spoiled=self.spoiled,
            leader=leader,
            vouched_at=self.vouched_at,
            called_at=dict(self._called_at),
            wrote=self.wrote,
            awake_since=awake_since,
            wall=time.time(),
            fresh_id=secrets.token_hex(4),
        )

    @property
    def primary(self) -> Sighting[MemberReport] | None:
        """What is seen of the member that is primary by the record."""
        record = self.record
        return self._members.sightings.get(record.primary_member) if isinstance(record, Record) else None

    def _note_end(self) -> None:
        """A beat without news says that the log of the primary still ends where its last report said."""
        record, seen = self.record, self.primary
        if seen is None or seen.report is None or seen.heard_at is None or not isinstance(record, Record):
            return
        if seen.report.incarnation == record.primary and seen.report.position is not None:
            self._last_end = LastEnd(incarnation=record.primary, position=seen.report.position, heard_at=seen.heard_at)

    def _survey(self) -> None:
        """Work out places and services anew, only when what they follow from has changed."""
        swarm, document, record = self._listing.view, self.document, self.record
        basis = (swarm, document, record.places if isinstance(record, Record) else None)
        if self._wanted_of and all(one is two for one, two in zip(basis, self._wanted_of, strict=True)):
            return
        if document is None or isinstance(swarm, Unknown):
            return  # keep what was known: a failed listing changes nothing
        ground = (document, basis[2], swarm.services, swarm.nodes, swarm.networks, swarm.secrets)
        if ground == self._ground:  # only tasks have changed, as they do when anything happens
            self._wanted = {name: _troubled(one, swarm) for name, one in self._wanted.items()}
            self._wanted_of = basis
            return
        places, problems = bootstrap.places(document, record if isinstance(record, Record) else None, swarm)
        self._wanted, unsaid = wanted_services(document, places, swarm, self._images)
        self._places = (places, (*problems, *unsaid))
        self._wanted_of, self._ground = basis, ground  # last: what failed half-way is worked out again

    def _aim(self, swarm: SwarmView | Unknown, tasks: TaskGroup) -> dict[str, str | None]:
        if isinstance(swarm, Unknown) or not self._places[0]:
            return {name: sighting.address for name, sighting in self._members.sightings.items()}
        listed, places = self._aimed_by
        if listed is swarm and places is self._places[0]:
            return self._aims  # the streams are there already
        running = swarm.members(self.cluster)
        self._aims = {
            place.member: swarm.address(running[place.member]) if place.member in running else None
            for place in self._places[0]
        }
        self._members.keep(self._aims, tasks, {place.member: place.id for place in self._places[0]})
        self._routers.keep(swarm.router_addresses(self.cluster), tasks)
        self._aimed_by = (swarm, self._places[0])
        return self._aims

    def _hear_member(self, member: str, report: MemberReport) -> None:
        """Remember since when a counted stream is missing on the primary, and since when the primary does not serve."""
        record = self.record
        if not isinstance(record, Record) or report.incarnation != record.primary:
            return
        now = anyio.current_time()
        if report.position is not None:
            self._last_end = LastEnd(incarnation=record.primary, position=report.position, heard_at=now)
        if self._reign != (record.term, record.primary):
            self._reign = (record.term, record.primary)
            self._not_serving_since = None
        if report.serving is Serving.PRIMARY:
            self._not_serving_since = None
        elif self._not_serving_since is None:
            self._not_serving_since = now
        if report.role is not Role.PRIMARY:
            self._absent_since.clear()  # whoever is not yet primary has no streams to miss
            return
        streams = {row.name for row in report.walsenders if row.state in ("streaming", "catchup")}
        for name in {*record.claim.members, *record.sync.names} - {record.primary}:
            if application_name(name, record.term) in streams:
                self._absent_since.pop(name, None)
            elif name not in self._absent_since:
                self._absent_since[name] = now

    def _note_newer(self, now: float) -> None:
        """Since when has some agent accepted something newer than the record as it was read?"""
        record = self.record
        key = (record.term, record.revision) if isinstance(record, Record) else None
        accepted = [one.report.accepted for one in self._members.sightings.values() if one.report is not None]
        is_older = key is not None and any(other is not None and other > key for other in accepted)
        self._newer_since = None if not is_older else now if self._newer_since is None else self._newer_since

    def _note_absence(self, now: float) -> None:
        """Forget whom the record does not name any more."""
        record = self.record
        named = {*record.claim.members, *record.sync.names} if isinstance(record, Record) else set()
        for name in [name for name in self._absent_since if name not in named]:
            del self._absent_since[name]
        for name in [name for name in self._called_at if name not in named]:
            del self._called_at[name]

    def _not_router(self, name: str) -> Callable[[RouterReport], str]:
        def stranger(report: RouterReport) -> str:
            return "" if report.cluster == self.cluster else f"it is a router of {report.cluster}"

        return stranger


def _is_raised(before: Record | None, now: Record | None) -> bool:
    """The same reign under a higher term: only an operator that hears the primary writes that."""
    if before is None or now is None:
        return False
    return now.term > before.term and (now.primary, now.timeline) == (before.primary, before.timeline)


def wanted_services(
    document: PostgresCluster, places: tuple[Place, ...], swarm: SwarmView, images: Images
) -> tuple[dict[str, Wanted], tuple[str, ...]]:
    """Every service as it shall be, compared with the one that is; and why some cannot be said yet."""
    wanted: dict[str, Wanted] = {}
    heritage, problems = images.heritage, list[str]()
    try:
        for place in places:
            reference = document.spec.postgres.image or images.member
            name = settings.member_service(document.name, place.member)
            image, label = _pinned(reference, swarm.service(name))
            spec = services.member_service(document, place, swarm, image=image, requested=label, heritage=heritage)
            compared = _compared(document.name, place.member, spec, swarm)
            wanted[name] = replace(compared, beside=strangers.beside_member(document, place, swarm))
        reference = document.spec.router.image or images.router
        routers = swarm.services_of(document.name, "router")
        image, label = _pinned(reference, routers[0] if routers else None)
        beside = strangers.beside_routers(document, swarm)
        for spec in services.router_services(document, swarm, image=image, requested=label, heritage=heritage):
            wanted[spec["Name"]] = replace(_compared(document.name, None, spec, swarm), beside=beside)
    except Refused as refusal:
        problems.append(refusal.reason)
    return wanted, tuple(problems)


def _troubled(wanted: Wanted, swarm: SwarmView) -> Wanted:
    """The same, with what its task says now."""
    service = swarm.service(wanted.name)
    trouble = swarm.trouble(service) or "" if service is not None and wanted.exists and not wanted.foreign else ""
    return wanted if trouble == wanted.trouble else replace(wanted, trouble=trouble)


def _compared(cluster: str, member: str | None, spec: dict[str, Any], swarm: SwarmView) -> Wanted:
    name = spec["Name"]
    service = swarm.service(name)
    if service is None:
        return Wanted(name=name, spec=spec, member=member, exists=False)
    if service.cluster != cluster:
        why = f"it lacks the label {settings.LABEL_CLUSTER}={cluster}; rename or remove it, or rename the cluster"
        return Wanted(name=name, spec=spec, member=member, exists=True, foreign=why)
    differences = drift.drift(service, spec)
    if differences and drift.was_edited(service, spec):
        differences = (f"changed by hand: {differences[0]}", *differences[1:])
    ends, trouble = drift.ends(service, spec), swarm.trouble(service) or ""
    return Wanted(name=name, spec=spec, member=member, exists=True, differences=differences, ends=ends, trouble=trouble)


def _pinned(reference: str, service: Service | None) -> tuple[str, str]:
    """The image that a service runs, and the label that remembers what its reference was resolved to.

    A reference such as `registry/member:17` may mean another image tomorrow; a service goes on with the one it was
    given until the *reference* changes, so nothing restarts because somebody pushed, and an image set by hand is put
    back. Where nothing is remembered yet the bare reference stays, and `act` resolves it.
    """
    known, _, pinned = (service.labels.get(settings.LABEL_IMAGE, "") if service else "").partition(" ")
    return (pinned, f"{reference} {pinned}") if known == reference and pinned else (reference, reference)
