"""PostgreSQL's files as text."""

from __future__ import annotations

import pytest

from pgswarm.core.disk import Room
from pgswarm.core.parameters import OWNED_PARAMETERS
from pgswarm.render import postgres
from pgswarm.render.postgres import Configuration, configuration


def wanted(**changes: object) -> Configuration:
    fields = {"port": 5432, "listen": "0.0.0.0", "socket_dir": "/s", "hba_file": "/h", "ident_file": "/i", **changes}
    return Configuration(**fields)  # type: ignore[arg-type]


def lines(**changes: object) -> list[str]:
    return configuration(wanted(**changes)).splitlines()


def test_a_document_may_change_defaults() -> None:
    assert "work_mem = '7MB'" in lines(parameters={"work_mem": "7MB"})
    assert "wal_keep_size = '1GB'" in lines(parameters={"wal_keep_size": "1GB"})
    assert "max_slot_wal_keep_size = '1MB'" in lines(parameters={"max_slot_wal_keep_size": "1MB"})


@pytest.mark.parametrize("name", sorted(OWNED_PARAMETERS | postgres.OWNED.keys()))
def test_a_document_never_changes_what_the_protocol_stands_on(name: str) -> None:
    assert configuration(wanted(parameters={name: "stolen"})) == configuration(wanted())


def test_no_value_can_begin_a_second_line_or_leave_its_quotes() -> None:
    text = configuration(wanted(parameters={"log_line_prefix": "x'\nfsync = off\\", "bad name": "1", "fs\nync": "off"}))
    assert "log_line_prefix = 'x'' fsync = off\\\\'" in text.splitlines()
    assert [line for line in text.splitlines() if line.startswith("fsync")] == ["fsync = 'on'"]
    assert "bad name" not in text


def test_alter_system_is_off_where_that_can_be_said() -> None:
    assert "allow_alter_system = 'off'" in lines(major=17)
    assert not any(line.startswith("allow_alter_system") for line in lines(major=15))


def test_crashes_are_left_to_the_agent_and_commits_are_synchronous() -> None:
    assert {"restart_after_crash = 'off'", "synchronous_commit = 'on'", "wal_log_hints = 'on'"} <= set(lines())


def test_a_setting_and_an_upstream_stand_as_they_are_given() -> None:
    text = lines(sync='ANY 1 ("b-1-2")', upstream="hostaddr='10.0.0.1' user='x'", slot="pgswarm_b")
    assert "synchronous_standby_names = 'ANY 1 (\"b-1-2\")'" in text
    assert "primary_conninfo = 'hostaddr=''10.0.0.1'' user=''x'''" in text
    assert "primary_slot_name = 'pgswarm_b'" in text


def test_in_quarantine_only_the_agent_and_replication_come_in() -> None:
    rows = [row.split() for row in postgres.hba(open_to_clients=False).splitlines() if not row.startswith("#")]
    assert [row[:3] for row in rows] == [
        ["local", "all", "postgres"],
        ["host", "replication", "pgswarm_replication"],
        ["host", "postgres", "pgswarm_replication"],
    ]
    assert "host  all         all" in postgres.hba(open_to_clients=True)


def test_a_connection_string_quotes_its_values() -> None:
    assert postgres.conninfo(user="it's", passfile="a\\b") == "user='it\\'s' passfile='a\\\\b'"


def test_a_password_file_escapes_its_separators() -> None:
    assert postgres.pgpass("a:b\\c") == "*:*:*:pgswarm_replication:a\\:b\\\\c\n"


def test_slots_of_different_members_have_different_names() -> None:
    assert postgres.slot_name("postgres-primary") == "pgswarm_postgres_primary"


def test_a_documents_rules_come_after_ours_and_before_everybody_with_a_password() -> None:
    text = postgres.hba(open_to_clients=True, rules=("host all bob 10.0.0.0/8 reject",)).splitlines()
    kinds = [line.split()[2] for line in text[1:]]
    assert kinds == ["postgres", "pgswarm_replication", "pgswarm_replication", "bob", "all"]


def test_in_quarantine_no_rule_of_a_document_lets_anybody_in() -> None:
    assert "trust" not in postgres.hba(open_to_clients=False, rules=("host all all 0.0.0.0/0 trust",))


@pytest.mark.parametrize(
    ("given", "libraries"),
    [
        (None, "pg_stat_statements"),
        ("timescaledb", "timescaledb,pg_stat_statements"),
        ("pg_cron, pg_stat_statements", "pg_cron, pg_stat_statements"),
        ("", ""),
    ],
)
def test_statements_are_counted_beside_what_the_document_loads_unless_it_loads_nothing(
    given: str | None, libraries: str
) -> None:
    parameters = {} if given is None else {"shared_preload_libraries": given}
    text = lines(statements=True, parameters=parameters)
    assert f"shared_preload_libraries = '{libraries}'" in text
    assert "pg_stat_statements.track_utility = 'off'" in text


def test_where_the_library_is_not_there_it_is_not_asked_for() -> None:
    assert "pg_stat_statements" not in configuration(wanted())
    assert "shared_preload_libraries = 'x'" in lines(parameters={"shared_preload_libraries": "x"})


def test_a_volume_with_little_room_has_log_kept_sparingly_and_never_more_than_the_document_asks_for() -> None:
    assert "wal_keep_size = '0'" in lines(room=Room.SHORT, parameters={"wal_keep_size": "1GB"})
    assert "max_wal_size = '2GB'" in lines(room=Room.SHORT)
    assert "max_wal_size = '128MB'" in lines(room=Room.TIGHT, parameters={"max_wal_size": "8GB"})
    for less in ("64MB", "64", "65536kB"):
        assert f"max_wal_size = '{less}'" in lines(room=Room.FULL, parameters={"max_wal_size": less})
    assert "default_transaction_read_only = 'on'" in lines(room=Room.FULL, read_only=True)
    assert not [line for line in lines() if "read_only" in line]
