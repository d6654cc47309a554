"""HAProxy's servers as a table: what is told to it, in which order. No process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgswarm.core.routing import Reader, RoutePlan, Target
from pgswarm.render.haproxy import NOWHERE
from pgswarm.router.table import (
    GATES,
    HELD,
    PRIMARIES,
    READERS,
    Server,
    Table,
    commands,
    dismissals,
    mending,
    parse_state,
    parse_statistics,
    seats,
    wanted,
)

PORT = 5432
FRESH: dict[str, Server] = {
    name: Server(address=NOWHERE[0], port=NOWHERE[1], ready=name in HELD)
    for name in (*HELD, *PRIMARIES, *READERS, *GATES)
}

STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_port
3 writers 1 primary 10.0.0.1 2 4 1 1 5432
3 writers 2 held 127.0.0.1 2 0 1 1 1
4 readers 1 r1 10.0.0.2 0 5 1 1 5432
4 readers 2 r2 10.0.0.3 2 12 1 1 5432
4 readers 3 r3 10.0.0.4 0 4 0 1 5432
"""


def to(name: str | None, *readers: str) -> RoutePlan:
    return RoutePlan(
        write=Target(incarnation=f"{name}/00000001", term=1, address=f"10.0.0.{name[-1]}") if name else None,
        cut=False,
        readers=tuple(Reader(member=reader, address=f"10.0.0.{reader[-1]}") for reader in readers),
        reason="",
    )


def obeyed(seen: Table, lines: list[str]) -> dict[str, Server]:
    """What HAProxy's table is after these commands."""
    table = dict(seen)
    for line in lines:
        match line.split():
            case ["set", "server", name, "addr", address, "port", port]:
                table[name] = replace(table[name], address=address, port=int(port))
            case ["set", "server", name, "state", state]:
                table[name] = replace(table[name], ready=state == "ready")
            case ["set", "server", name, "weight", _]:
                table[name] = replace(table[name], weight=1)
            case ["set", "server", _, "health", "up"] | ["shutdown", "sessions", "server", _]:
                pass
            case _:
                raise AssertionError(f"no such command: {line}")
    return table


def steer(seen: Table, plan: RoutePlan) -> tuple[list[str], dict[str, Server]]:
    lines = commands(wanted(plan, seen, PORT), seen)
    return lines, obeyed(seen, lines)


def test_a_server_is_ready_only_if_no_bit_but_that_of_the_configuration_keeps_it_shut() -> None:
    table = parse_state("some remark\n\n" + STATE)
    assert table["writers/primary"] == Server(address="10.0.0.1", port=5432, ready=True)
    assert not table["readers/r1"].ready  # maintenance
    assert not table["readers/r2"].ready  # drain
    assert not table["readers/r3"].ready  # down by hand
    assert table["readers/r3"].weight == 0


def test_what_is_no_table_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(ValueError, match="not a table"):
        parse_state("Unknown command")


@pytest.mark.parametrize("plan", [to(None), to("pg-1"), to("pg-1", "pg-2", "pg-3"), to(None, "pg-2")])
@pytest.mark.parametrize("before", [to(None), to("pg-2", "pg-1"), to("pg-1", "pg-2")])
def test_after_the_commands_the_table_is_as_wanted_and_nothing_is_left_to_do(
    before: RoutePlan, plan: RoutePlan
) -> None:
    _, seen = steer(FRESH, before)
    _, after = steer(seen, plan)
    assert commands(wanted(plan, after, PORT), after) == []


def test_a_switch_closes_the_gate_first_and_opens_it_last() -> None:
    _, seen = steer(FRESH, to("pg-1"))
    lines, _ = steer(seen, to("pg-2"))
    writers = [line for line in lines if "write" in line]
    assert writers == [
        "set server write_gate/open state maint",
        "set server writers/primary state maint",
        "set server writers/primary addr 10.0.0.2 port 5432",
        "shutdown sessions server writers/primary",
        "set server writers/primary health up",
        "set server writers/primary state ready",
        "set server write_gate/open health up",
        "set server write_gate/open state ready",
    ]
    assert lines[0].startswith("set server write_gate/open state maint")
    assert lines[-1].startswith("set server read_gate/open state ready")


def test_holding_writers_cuts_nobody_unless_asked_to() -> None:
    _, seen = steer(FRESH, to("pg-1"))
    want = wanted(to(None), seen, PORT)
    assert not any("shutdown" in line for line in commands(want, seen))
    asked = commands(want, seen, frozenset(PRIMARIES))
    assert asked.index("set server writers/primary state maint") < asked.index(
        "shutdown sessions server writers/primary"
    )


def test_cutting_the_sessions_of_a_primary_that_stays_pauses_new_ones_meanwhile() -> None:
    _, seen = steer(FRESH, to("pg-1"))
    lines = commands(wanted(to("pg-1"), seen, PORT), seen, frozenset(PRIMARIES))
    cut = lines.index("shutdown sessions server writers/primary")
    assert lines.index("set server write_gate/open state maint") < cut
    assert lines.index("set server write_gate/open state ready") > cut


def test_a_reader_keeps_its_slot_while_others_come_and_go() -> None:
    _, seen = steer(FRESH, to("pg-1", "pg-2", "pg-3"))
    lines, after = steer(seen, to("pg-1", "pg-3", "pg-4"))
    assert seats(["10.0.0.3"], after)["readers/r2"] == "10.0.0.3"
    assert not any("readers/r2" in line for line in lines)
    assert not any("shutdown" in line for line in lines)


def test_a_reader_that_comes_back_gets_its_old_slot() -> None:
    _, seen = steer(FRESH, to("pg-1", "pg-2", "pg-3"))
    _, without = steer(seen, to("pg-1", "pg-3"))
    assert seats(["10.0.0.2", "10.0.0.3"], without)["readers/r1"] == "10.0.0.2"


def test_more_readers_than_slots_fill_the_slots_and_no_more() -> None:
    taken = [slot for slot in seats([f"10.0.1.{n}" for n in range(30)], FRESH).values() if slot]
    assert len(taken) == len(set(taken)) == len(READERS)


def test_weights_and_servers_of_the_gate_changed_by_hand_are_put_back() -> None:
    _, seen = steer(FRESH, to("pg-1"))
    spoiled = {
        **seen,
        "writers/primary": replace(seen["writers/primary"], weight=0),
        "writers/held": replace(seen["writers/held"], address="10.0.0.9"),
        "write_gate/open": replace(seen["write_gate/open"], ready=False),
    }
    _, after = steer(spoiled, to("pg-1"))
    assert after == seen


def test_everyone_who_waits_at_a_port_is_dismissed_and_nobody_else() -> None:
    said = (
        "0x55d1: proto=tcpv4 src=10.0.0.1:1 fe=write be=writers srv=<none> ts=00\n"
        "0x55d2: proto=tcpv4 src=10.0.0.1:2 fe=read be=readers srv=r1 ts=00\n"
        "0x55d3: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00\n"
    )
    assert dismissals(said, "write") == ["shutdown session 0x55d1"]


def test_statistics_tell_sessions_and_what_was_changed_by_hand() -> None:
    statistics = parse_statistics(
        "# pxname,svname,scur,slim,status,\n"
        "write,FRONTEND,7,2000,PAUSED,\nread,FRONTEND,0,2000,STOP,\nstats,FRONTEND,0,2000,OPEN,\n"
        "writers,primary,5,1,UP,\nreaders,r1,3,,UP,\n"
    )
    assert statistics.sessions == 5
    assert mending(statistics, frozenset()) == ["enable frontend write", "set maxconn server writers/primary 0"]
    assert mending(statistics, frozenset({"write", "read"})) == ["set maxconn server writers/primary 0"]
    assert mending(statistics, frozenset({"write", "stats"}))[0] == "disable frontend stats"
    assert statistics.shut == ("read",)
