"""HAProxy's servers as a table: how it is, how it shall be, and the commands between the two. Pure.

The table is read from `show servers state`, so nothing here remembers what was sent: after a switch, a restart of
HAProxy or an edit by hand the same comparison gives the same commands. Their order is part of the design:

    close gates → servers into maintenance → addresses → cut sessions → servers ready → open gates

so a connection let through the gate only ever finds the right address, and none that was just let through is cut.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from pgswarm.core.routing import RoutePlan
from pgswarm.render.haproxy import NOWHERE, SLOTS

PRIMARIES = ("writers/primary", "readers/primary")
HELD = ("writers/held", "readers/held")
WRITE = "write"
"""The frontend of writers."""
GATES = ("write_gate/open", "read_gate/open")
READERS = tuple(f"readers/r{n}" for n in range(1, SLOTS + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One line of the table."""

    address: str
    port: int
    ready: bool
    weight: int = 1


Table = Mapping[str, Server]

BORN_DISABLED = 0x04
"""Bit of the administrative state that says no more than `disabled` in the configuration; all others keep it shut."""

RUNNING = "2"
"""The operational state of a server that is used; 0 is down, also by hand (`set server … health down`)."""


def parse_state(text: str) -> dict[str, Server]:
    """Read the answer of `show servers state`, by the names in its heading. Raises ValueError if it is none."""
    heading: list[str] = []
    table: dict[str, Server] = {}
    for line in text.splitlines():
        if line.startswith("# be_id"):
            heading = line[2:].split()
        elif heading and line.strip():
            row = dict(zip(heading, line.split(), strict=False))
            ready = int(row["srv_admin_state"]) & ~BORN_DISABLED == 0 and row["srv_op_state"] == RUNNING
            table[f"{row['be_name']}/{row['srv_name']}"] = Server(
                address=row["srv_addr"], port=int(row["srv_port"]), ready=ready, weight=int(row["srv_uweight"])
            )
    if not heading:
        raise ValueError(f"not a table of servers: {text[:200]!r}")
    return table


def wanted(plan: RoutePlan, seen: Table, postgres_port: int) -> dict[str, Server]:
    """How the table shall be for this plan. Readers keep the slot in which they are."""
    nowhere = Server(address=NOWHERE[0], port=NOWHERE[1], ready=True)
    table: dict[str, Server] = dict.fromkeys(HELD, nowhere)
    for name in PRIMARIES:
        if plan.write is None:
            table[name] = Server(address=seen[name].address, port=seen[name].port, ready=False)
        else:
            table[name] = Server(address=plan.write.address, port=postgres_port, ready=True)
    for name, address in seats([reader.address for reader in plan.readers], seen).items():
        if address is None:
            table[name] = Server(address=seen[name].address, port=seen[name].port, ready=False)
        else:
            table[name] = Server(address=address, port=postgres_port, ready=True)
    for name, is_open in zip(
        GATES, (plan.write is not None, plan.write is not None or bool(plan.readers)), strict=True
    ):
        table[name] = Server(address=NOWHERE[0], port=NOWHERE[1], ready=is_open)
    return table


def seats(addresses: list[str], seen: Table) -> dict[str, str | None]:
    """Which slot each reader gets: the one it has, else one that nobody has, preferably never used."""
    slots: dict[str, str | None] = dict.fromkeys(READERS)
    waiting: list[str] = []
    for address in addresses[:SLOTS]:
        at = [name for name in READERS if seen[name].address == address and slots[name] is None]
        if at:
            slots[min(at, key=lambda name: (not seen[name].ready, READERS.index(name)))] = address
        else:
            waiting.append(address)
    free = sorted((name for name in READERS if slots[name] is None), key=lambda name: seen[name].address != NOWHERE[0])
    for name, address in zip(free, waiting, strict=False):
        slots[name] = address
    return slots


def commands(want: Table, seen: Table, cut: frozenset[str] = frozenset()) -> list[str]:
    """What makes `seen` into `want`, in the safe order; `cut` names servers to clear of sessions as well."""
    moved = {name for name in want if (want[name].address, want[name].port) != (seen[name].address, seen[name].port)}
    # Sessions to an address that is right no longer must not go on; readers' may, on their old address.
    cleared = (cut | (moved & {*PRIMARIES, *HELD})) & set(want)
    # While a primary is moved or cleared, nobody passes the gate in front of it.
    paused = {name for name in want if name in moved or name in cleared}
    gates = set(GATES) if paused & {PRIMARIES[0]} else {GATES[1]} if paused & {PRIMARIES[1]} else set()

    closing = [name for name in GATES if seen[name].ready and (not want[name].ready or name in gates)]
    resting = [
        name for name in want if name not in GATES and seen[name].ready and (not want[name].ready or name in paused)
    ]
    lines = [f"set server {name} state maint" for name in closing + resting]
    lines += [
        f"set server {name} addr {want[name].address} port {want[name].port}"
        for name in sorted(moved, key=list(want).index)
    ]
    lines += [f"shutdown sessions server {name}" for name in want if name in cleared]
    lines += [f"set server {name} weight 100%" for name in want if seen[name].weight != want[name].weight]
    stopped = {*closing, *resting}
    waking = [name for name in want if want[name].ready and (not seen[name].ready or name in stopped)]
    for name in [*(name for name in waking if name not in GATES), *(name for name in waking if name in GATES)]:
        lines += [f"set server {name} health up", f"set server {name} state ready"]
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the table of servers does not show."""

    sessions: int
    """Open sessions of writers."""
    paused: tuple[str, ...]
    """Frontends whose port is closed for now."""
    limited: tuple[str, ...]
    """Servers to which somebody has given a limit."""
    shut: tuple[str, ...]
    """Frontends that are gone for as long as this process lives."""


def parse_statistics(text: str) -> Statistics:
    """Read the answer of `show stat -1 5 -1`: frontends and servers."""
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("# ").strip())))
    frontends = [row for row in rows if row["svname"] == "FRONTEND"]
    limited = [
        f"{row['pxname']}/{row['svname']}" for row in rows if row not in frontends and row["slim"] not in ("", "0")
    ]
    return Statistics(
        sessions=sum(int(row["scur"] or 0) for row in rows if (row["pxname"], row["svname"]) == ("writers", "primary")),
        paused=tuple(row["pxname"] for row in frontends if row["status"] == "PAUSED"),
        limited=tuple(limited),
        shut=tuple(row["pxname"] for row in frontends if row["status"] == "STOP"),
    )


def mending(statistics: Statistics, closed: frozenset[str]) -> list[str]:
    """What makes it so that exactly these frontends are closed, and nothing is limited."""
    lines = [f"disable frontend {name}" for name in sorted(closed - {*statistics.paused, *statistics.shut})]
    lines += [f"enable frontend {name}" for name in statistics.paused if name not in closed]
    return lines + [f"set maxconn server {name} 0" for name in statistics.limited]


def dismissals(text: str, frontend: str) -> list[str]:
    """From the answer of `show sess`: what ends every session of this frontend, those that have no server yet too."""
    rows = [line.split() for line in text.splitlines()]
    return [f"shutdown session {row[0].rstrip(':')}" for row in rows if f"fe={frontend}" in row]


def at_address(addresses: tuple[str, ...], seen: Table) -> frozenset[str]:
    """The readers' servers that point to one of these addresses."""
    return frozenset(name for name in READERS if seen[name].address in addresses)
