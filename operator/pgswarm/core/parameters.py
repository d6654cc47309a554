"""PostgreSQL's parameters: which of them are pgswarm's own, and how much a size such as `16MB` is.

Apart from `spec`, because an agent needs this much of a document and no more: its models would cost each agent most of
a megabyte, beside a database.
"""

from __future__ import annotations

import re

OWNED_PARAMETERS = frozenset(
    {
        "allow_alter_system", "archive_cleanup_command", "config_file", "data_directory", "external_pid_file",
        "full_page_writes", "fsync", "hba_file", "hot_standby", "ident_file", "include", "include_dir",
        "include_if_exists", "listen_addresses", "port", "primary_conninfo", "primary_slot_name",
        "promote_trigger_file", "recovery_target", "recovery_target_action", "recovery_target_inclusive",
        "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_timeline",
        "recovery_target_xid", "restart_after_crash", "restore_command", "synchronous_commit",
        "synchronous_standby_names", "unix_socket_directories", "wal_level", "wal_log_hints",
    }
)  # fmt: skip
"""Parameters on which the protocol stands: a document may not set them."""

_FACTOR = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def size(text: str) -> int:
    """The bytes in a size such as `16MB`, counted as PostgreSQL does: 1 kB is 1024 bytes."""
    match = re.fullmatch(r"(\d+)(B|kB|MB|GB|TB)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(match[1]) * _FACTOR[match[2]]
