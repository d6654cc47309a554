"""PostgreSQL's own files: postgresql.conf, pg_hba.conf, pg_ident.conf and connection strings. Pure text.

They live beside PGDATA, not in it, so a clone or a rewind never brings the source's settings along, least of all
its synchronous_standby_names. A document's parameters come after the defaults and before what the protocol stands
on, so the last word is always the agent's; an agent that writes this file has nothing to merge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pgswarm.core.disk import Room
from pgswarm.core.parameters import OWNED_PARAMETERS, size
from pgswarm.settings import REPLICATION_ROLE

GHOST = 'ANY 1 ("pgswarm-nobody")'
"""A synchronous_standby_names that nobody can satisfy: every commit waits (C7, C12)."""

CLONE_NAME = "pgswarm-clone"
"""application_name of a base backup: never one that a sync setting can name (C5)."""

IDENT_MAP = "pgswarm"

DEFAULTS: Mapping[str, str] = {
    "checkpoint_timeout": "5min",
    "checkpoint_completion_target": "0.9",
    "hot_standby_feedback": "on",
    "lc_messages": "C",
    "log_checkpoints": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_lock_waits": "on",
    "log_temp_files": "64MB",
    "max_connections": "100",
    "max_replication_slots": "16",
    "max_wal_senders": "16",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "128MB",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_user_timeout": "30s",
    "wal_compression": "on",
    "wal_keep_size": "256MB",
    "wal_receiver_timeout": "5s",
    "wal_sender_timeout": "5s",
}
"""Settings that a document may change."""

PRELOAD = "shared_preload_libraries"
STATEMENTS: Mapping[str, str] = {PRELOAD: "pg_stat_statements", "pg_stat_statements.track_utility": "off"}
"""Settings by which statements are counted, for `pgswarm top`; where the library is, and the document may change them.
Utility statements are not counted, for their texts may hold passwords (CREATE ROLE)."""

OWNED: Mapping[str, str] = {
    "archive_cleanup_command": "",
    "fsync": "on",
    "full_page_writes": "on",
    "hot_standby": "on",
    "log_destination": "stderr",
    "logging_collector": "off",
    "recovery_target_timeline": "latest",
    "restart_after_crash": "off",
    "restore_command": "",
    "synchronous_commit": "on",
    "update_process_title": "on",
    "wal_level": "replica",
    "wal_log_hints": "on",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "200ms",
}
"""Settings on which the agent or the protocol stands."""

SPARE_WAL = "128MB"
"""max_wal_size while a volume is about to be full: a checkpoint for every few segments, and the log is gone sooner."""

CALM_RETRY = "10s"
"""wal_retrieve_retry_interval of a member that has come to the end of its log and follows nobody: it has nothing to try
again, and would say so in its log each time."""

DEMANDED: Mapping[str, int] = {
    "max_connections": 100,
    "max_locks_per_transaction": 64,
    "max_prepared_transactions": 0,
    "max_wal_senders": 10,
    "max_worker_processes": 8,
}
"""Of these a standby may not have less than its primary: hot standby demands it, and a start with less ends at once.
With PostgreSQL's own defaults."""

_PARAMETER = re.compile(r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that postgresql.conf depends on."""

    major: int = 17
    port: int
    listen: str
    socket_dir: str
    hba_file: str
    ident_file: str
    slot_keep: str = "10GB"
    parameters: Mapping[str, str] = field(default_factory=dict)
    sync: str = ""
    upstream: str = ""
    slot: str = ""
    statements: bool = False  # the library pg_stat_statements is there
    is_calm: bool = False
    room: Room = Room.AMPLE
    read_only: bool = False
    floors: Mapping[str, int] = field(default_factory=dict)  # of DEMANDED: as much as the primary's log asks for


def configuration(wanted: Configuration) -> str:
    """postgresql.conf."""
    settings = _settings(wanted)
    settings.update({name: str(floor) for name, floor in _raised(wanted).items()})
    lines = [f"{name} = {quoted(value)}" for name, value in sorted(settings.items())]
    return "\n".join(["# Written by pgswarm at every change; the document is the place to edit.", *lines, ""])


def is_floored(wanted: Configuration) -> bool:
    """Does a standby have more of something than the document says, because its primary has more?"""
    return bool(_raised(wanted))


def demanded(wanted: Configuration) -> dict[str, int]:
    """Of the parameters that hot standby compares: what the document and the defaults come to, where it is a number."""
    settings = _settings(wanted)
    numbers = {name: _number(settings.get(name, str(default))) for name, default in DEMANDED.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _raised(wanted: Configuration) -> dict[str, int]:
    asked = demanded(wanted) if wanted.floors else {}
    return {name: floor for name, floor in wanted.floors.items() if name in asked and asked[name] < floor}


def _number(text: str) -> int | None:
    """As PostgreSQL reads an integer; None for what only PostgreSQL understands."""
    try:
        return int(text, 0)
    except ValueError:
        try:
            return round(float(text))
        except ValueError:
            return None


def _settings(wanted: Configuration) -> dict[str, str]:
    settings = dict(DEFAULTS)
    settings["max_slot_wal_keep_size"] = wanted.slot_keep
    if wanted.statements:
        settings.update(STATEMENTS)
    settings.update(usable(wanted.parameters))
    if wanted.statements:
        settings[PRELOAD] = _with_statements(settings[PRELOAD])
    settings.update(OWNED)
    settings.update(sparing(wanted))
    if wanted.is_calm:
        settings["wal_retrieve_retry_interval"] = CALM_RETRY
    if wanted.major >= 17:
        settings["allow_alter_system"] = "off"
    settings.update(
        port=str(wanted.port),
        listen_addresses=wanted.listen,
        unix_socket_directories=wanted.socket_dir,
        hba_file=wanted.hba_file,
        ident_file=wanted.ident_file,
        synchronous_standby_names=wanted.sync,
        primary_conninfo=wanted.upstream,
        primary_slot_name=wanted.slot,
    )
    return settings


def _with_statements(libraries: str) -> str:
    """The document's libraries and ours; of one that asks for none, none."""
    named = [name.strip() for name in libraries.split(",") if name.strip()]
    if not named or STATEMENTS[PRELOAD] in (name.strip('"') for name in named):
        return libraries
    return ",".join([*named, STATEMENTS[PRELOAD]])


def _is_less(given: str, than: str) -> bool:
    """Is this size, as a document gives it, less? What is no size that is known here is not."""
    try:
        return size(given if not given.isdigit() else f"{given}MB") < size(than)
    except ValueError:
        return False


def sparing(wanted: Configuration) -> dict[str, str]:
    """What a volume with little room asks for: no log beyond what standbys need, at last frequent checkpoints, so that
    it goes soon, and transactions that do not write. All of it needs no restart, and nobody has to wish it back.
    """
    settings: dict[str, str] = {}
    if wanted.room.want >= Room.SHORT.want:
        settings.update(wal_keep_size="0", min_wal_size="32MB")
    if wanted.room.want >= Room.TIGHT.want and not _is_less(wanted.parameters.get("max_wal_size", ""), SPARE_WAL):
        settings.update(max_wal_size=SPARE_WAL)
    if wanted.read_only:
        settings.update(default_transaction_read_only="on")
    return settings


def usable(parameters: Mapping[str, str]) -> dict[str, str]:
    """The document's parameters without those that are not its to set, and without what is no name at all."""
    owned = OWNED_PARAMETERS | OWNED.keys()
    return {name: value for name, value in parameters.items() if name not in owned and _PARAMETER.match(name)}


def quoted(value: str) -> str:
    """A value as postgresql.conf wants it: backslashes and quotes doubled, and never a second line."""
    flat = value.replace("\n", " ").replace("\r", " ")
    return "'" + flat.replace("\\", "\\\\").replace("'", "''") + "'"


def hba(*, open_to_clients: bool, rules: Sequence[str] = ()) -> str:
    """pg_hba.conf: the agent over the socket, replication, and - unless in quarantine - the document's rules and
    everybody with a password.

    The first line that fits decides, so no rule of a document can shut out the agent or a standby, and in quarantine
    none of them lets anybody in.
    """
    rows = [
        f"local all         postgres              peer map={IDENT_MAP}",
        f"host  replication {REPLICATION_ROLE} 0.0.0.0/0 scram-sha-256",
        f"host  postgres    {REPLICATION_ROLE} 0.0.0.0/0 scram-sha-256",
    ]
    if open_to_clients:
        rows.extend(" ".join(rule.split()) for rule in rules)
        rows.append("host  all         all                 0.0.0.0/0 scram-sha-256")
    return "\n".join(["# Written by pgswarm.", *rows, ""])


def ident(system_user: str) -> str:
    """pg_ident.conf: the agent's own system user may be postgres over the socket."""
    return f"# Written by pgswarm.\n{IDENT_MAP} {system_user} postgres\n"


def upstream(*, address: str, port: int, passfile: str, name: str) -> str:
    """The primary_conninfo of a standby known as `name`."""
    return conninfo(
        hostaddr=address,
        port=str(port),
        user=REPLICATION_ROLE,
        passfile=passfile,
        application_name=name,
        connect_timeout="3",
        keepalives_idle="5",
        keepalives_interval="2",
        keepalives_count="3",
        tcp_user_timeout="5000",
        sslmode="prefer",
    )


def conninfo(**parts: str) -> str:
    """A libpq connection string; every value quoted."""
    escaped = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in parts.items()}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items())


def slot_name(member: str) -> str:
    """The replication slot of one member, as every other member calls it."""
    return "pgswarm_" + member.replace("-", "_")


def pgpass(password: str) -> str:
    """A password file for replication, to anywhere."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:{REPLICATION_ROLE}:{escaped}\n"
