"""Whether a data directory that pgswarm did not make can be taken over as it is, from what was found of it.

Asked twice, by the operator before there is a record (`adoption`), and by the agent before the first byte changes
(`member/adopting`). Each objection says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgswarm.core.reports import Found

ROOT = "."
"""The volume's own root, where the official image has its data directory."""

AT_REST = "shut down"
"""What pg_control says of a primary that was stopped in order."""

STANDBY_AT_REST = "shut down in recovery"

_STOP = "start the old service again, let PostgreSQL come up, then scale it to 0 and wait until its task has ended"


def objections(found: Found, *, major: str, accept_standby: bool) -> tuple[str, ...]:
    """Why this directory cannot be taken over as it is, each with what to do; empty if it can."""
    return tuple(_objections(found, major, accept_standby))


def timeline(found: Found) -> int:
    """The timeline that the first term writes there."""
    return found.timeline + 1 if found.standby else found.timeline


def described(found: Found) -> str:
    """A directory in a few words."""
    kind = "standby's " if found.standby else ""
    where = "the volume's root" if found.folder == ROOT else f"folder {found.folder}"
    return f"a {kind}PostgreSQL {found.major} directory in {where}, system {found.system_id}, timeline {found.timeline}"


def _objections(found: Found, major: str, accept_standby: bool) -> Iterator[str]:
    if found.unreadable:
        yield found.unreadable
        return
    if found.others:
        yield (
            f"there are several data directories in it ({', '.join((found.folder, *found.others))}): which of them is "
            "the truth cannot be known; move the others to another volume"
        )
        return
    if found.major != major:
        yield _of_another_version(found.major, major)
        return
    if found.lock_file:
        yield (
            "a PostgreSQL runs on it, or was killed (there is a postmaster.pid): stop the old service and wait until "
            f"its task has ended; if it has ended and this stays, {_STOP}"
        )
        return
    if found.backup_label:
        yield (
            "it is a copy that was never completed (there is a backup_label): adopt the directory that it was copied "
            "from, or start PostgreSQL on it once with the old image, and stop it"
        )
        return
    if found.standby and not accept_standby:
        yield (
            "it is a standby's (in recovery), and may lack what its primary wrote last: adopt the old primary's "
            "volume; if that is lost, or this one is known to have everything, say spec.bootstrap.acceptStandby: true"
        )
    elif found.state not in ((AT_REST, STANDBY_AT_REST) if found.standby else (AT_REST,)):
        yield f"it was not shut down in order (pg_control says {found.state!r}): {_STOP}"
    if found.tablespaces:
        yield (
            "it has tablespaces outside of the volume, which no clone could follow: move their tables back with the "
            "old service (ALTER TABLE … SET TABLESPACE pg_default) and drop them"
        )
    if found.linked_wal:
        yield "its pg_wal is a link to somewhere else: move the log back into the directory while nothing runs"
    if found.logical_slots:
        yield (
            f"it has logical replication slots ({', '.join(found.logical_slots)}), which wal_level replica does not "
            "keep: drop them with the old service (pg_drop_replication_slot)"
        )


def _of_another_version(found: str, ours: str) -> str:
    if not (found.isdigit() and ours.isdigit()):
        return f"its PG_VERSION is {found!r}, and this image has PostgreSQL {ours}: it is no directory of that version"
    if int(found) > int(ours):
        return f"it is of PostgreSQL {found}, newer than this image's {ours}: a member image of {found} is needed"
    return (
        f"it is of PostgreSQL {found}, older than this image's {ours}: upgrade it first (pg_upgrade with the old "
        "set-up), or dump it and restore into a new cluster"
    )
