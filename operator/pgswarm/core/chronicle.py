"""The chronicle: who became primary when and why, as text for people, beside the record and never read by a decision.

The record knows who reigned in which order (its lineage) and no time of day, because nothing that is decided may hang
on one. People ask *when*. So whoever writes the record into Swarm's store notes there, in the same write, what it
changed that a person would call an event: a first primary, a new term, a wish that was refused, a pause. The note is a
label of its own: `World` does not contain it, so no rule can come to depend on it, and one that cannot be read costs a
few lines of history and stops nothing.

Written by `ports/records` with every write; read by `pgswarm history`, which fills what is missing from the lineage.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, TypeAdapter, ValidationError

from pgswarm.core.base import Message
from pgswarm.core.claim import member_of
from pgswarm.core.record import Record

KEPT = 100
"""Events that are remembered; the oldest go first."""

LONGEST = 400
"""Characters of one event's text: a hundred of them must have room in the labels of a Swarm object."""


REIGNS = frozenset({"began", "new primary", "same primary", "term raised"})
"""Kinds of events with which a term begins."""


class Event(Message):
    """One thing that happened, as it is kept."""

    at: float | None = Field(default=None, description="seconds since the epoch; None: before times were noted")
    term: int
    primary: str = Field(description="the member that is primary after it")
    timeline: int = 1
    kind: str = Field(
        description="began, new primary, same primary, term raised, refused, paused, resumed, maintenance, fence, "
        "planned"
    )
    text: str = Field(default="", description="why, in the words of the log")
    lost: str = Field(default="", description="what a failover gave up; empty if nothing")


_EVENTS: TypeAdapter[tuple[Event, ...]] = TypeAdapter(tuple[Event, ...])


def continued(chronicle: str, before: Record | None, after: Record | None, at: float) -> str:
    """The chronicle after this write; the same text if it was no event."""
    if after is None or after == before or not (kind := _kind(before, after)):
        return chronicle
    event = Event(
        at=round(at, 3),
        term=after.term,
        primary=after.primary_member,
        timeline=after.timeline,
        kind=kind,
        text=after.reason[:LONGEST],
    )
    kept = (*events(chronicle), event)[-KEPT:]
    return _EVENTS.dump_json(kept, exclude_defaults=True).decode()


def events(chronicle: str) -> tuple[Event, ...]:
    """What was noted; nothing if it cannot be read, for a decision never waits for it."""
    try:
        return _EVENTS.validate_json(chronicle) if chronicle else ()
    except ValidationError:
        return ()


def history(record: Record | None, chronicle: str) -> tuple[Event, ...]:
    """Every event that is known, the oldest first: what was noted, and reigns of which only the lineage knows."""
    noted = events(chronicle)
    if record is None:
        return noted
    lost = {loss.term: str(loss) for loss in record.losses}
    begun = {event.term for event in noted if event.kind in REIGNS}
    silent = [event for event in _of_lineage(record) if event.term not in begun]
    told = sorted((*silent, *noted), key=lambda event: (event.term, event.at or 0.0))
    return tuple(
        event.model_copy(update={"lost": lost[event.term][:LONGEST]})
        if event.term in lost and event.kind in REIGNS
        else event
        for event in told
    )


def _kind(before: Record | None, after: Record) -> str:
    """What people would call it; empty for the daily moves of claim and sync."""
    if before is None:
        return "began"
    if after.term != before.term:
        return _succession(before.primary, before.timeline, after.primary, after.timeline)
    if after.pause != before.pause:
        return "paused" if after.pause is not None else "resumed"
    if after.maintenance != before.maintenance:
        return "maintenance"
    if after.fences != before.fences:
        return "fence"
    if after.appointment is not None and after.appointment != before.appointment:
        return "planned"
    if after.answered is not None and after.answered != before.answered and not after.answered.done:
        return "refused"
    return ""


def _succession(before: str, timeline_before: int, after: str, timeline: int) -> str:
    if member_of(after) != member_of(before):
        return "new primary"
    return "same primary" if timeline != timeline_before else "term raised"


def _of_lineage(record: Record) -> Sequence[Event]:
    """What the lineage alone says: in which order, not when and why."""
    found = []
    for index, reign in enumerate(record.lineage):
        before = record.lineage[index - 1] if index else None
        if before is not None:
            kind = _succession(before.incarnation, before.timeline, reign.incarnation, reign.timeline)
        else:
            kind = "began" if reign.term == 1 else "new primary"
        found.append(Event(term=reign.term, primary=member_of(reign.incarnation), timeline=reign.timeline, kind=kind))
    return found
