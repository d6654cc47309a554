"""HAProxy's configuration: fixed for the life of the container; all that changes goes through the admin socket.

Writers meet a *gate* first. `write_gate/open` is not a server but a flag that the agent raises and lowers: while it is
down, a new connection waits in the Lua action `hold`, which looks again every few milliseconds. Behind the gate there
is one server, `primary`, whose address the agent sets. While it is in maintenance the server `held` stands in,
which refuses, so that a connection comes back to try again every `TURNAROUND` (`retries`, `option redispatch 1`);
HAProxy would give up at once on a backend with no server in it. So a wait of less than `GATE_LIMIT` ends within
milliseconds of the switch, a longer one within a turnaround; after `hold_limit` the connection is closed.

Why not wait in Lua all the time: HAProxy 2.6.12 now and then loses the timer of a sleeping action (about one in 10^4 on
a busy machine, more often with two threads; seen in `show sess` with a rule `lua.hold` that nothing would wake), and
then only `inspect-delay` wakes it. That is why it is short, and why there is one thread. Why not by retries alone: a
switch would cost every waiting client half a turnaround. Queueing by `maxconn` needs a session that is open, and
`set maxconn frontend 0` kills HAProxy 2.6 when released. Measured: 200 held connections were through 16-50 ms after the
gate opened, those past it within a turnaround.

Readers have sixteen slots, filled from the members that serve as replicas; with none, the primary (backup) takes them.
Works with 2.6 (Debian 12) and 3.0. Who writes the files and starts HAProxy: router/haproxy.py.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOTS = 16
"""Readers that can be routed to at once."""

NOWHERE = ("127.0.0.1", 1)
"""An address that refuses: where servers point that are not in use."""

TURNAROUND = 0.2
"""Seconds that a connection past the gate waits before it is tried again, and that a connection attempt may take."""

GATE_LIMIT = 0.6
"""Seconds that a connection waits at the gate, looking every 5 ms; longer waits go on behind it, by retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HaproxyConfig:
    """What the configuration depends on."""

    admin_socket: str
    lua_file: str
    bind: str = "0.0.0.0"
    port: int = 5432
    read_only_port: int = 5433
    stats_port: int = 8404
    hold_limit: float = 30.0
    """Seconds."""
    stop_limit: float = 10.0
    """Seconds that open sessions are given when the router stops."""
    max_connections: int = 4000


def render_config(config: HaproxyConfig) -> str:
    """The text of haproxy.cfg."""
    retries = round(config.hold_limit / TURNAROUND)
    slots = "\n".join(f"    server r{n} {_address(NOWHERE)} disabled" for n in range(1, SLOTS + 1))
    nowhere = _address(NOWHERE)
    return f"""\
# Written by pgswarm's router agent at every start. Changes made here, or by hand through the socket, do not last.
global
    maxconn {config.max_connections}
    nbthread 1
    hard-stop-after {_ms(config.stop_limit)}
    stats socket {config.admin_socket} mode 600 level admin
    stats timeout 10s
    lua-load {config.lua_file}

defaults
    mode tcp
    timeout connect {_ms(TURNAROUND)}
    # A session of PostgreSQL may be idle for days; dead peers are found by keepalive.
    timeout client 20d
    timeout server 20d
    timeout queue {_ms(config.hold_limit)}
    retries {retries}
    option redispatch 1
    option clitcpka
    clitcpka-idle 30s
    clitcpka-intvl 10s
    clitcpka-cnt 3
    option srvtcpka
    srvtcpka-idle 10s
    srvtcpka-intvl 5s
    srvtcpka-cnt 3

frontend write
    bind {config.bind}:{config.port}
{_gate("write_gate")}
    default_backend writers

frontend read
    bind {config.bind}:{config.read_only_port}
{_gate("read_gate")}
    default_backend readers

backend writers
    server primary {nowhere} disabled
    server held {nowhere} backup

backend readers
    balance leastconn
{slots}
    server primary {nowhere} backup disabled
    server held {nowhere} backup

# Flags, not servers: nothing is ever sent there.
backend write_gate
    server open {nowhere} disabled

backend read_gate
    server open {nowhere} disabled

frontend stats
    mode http
    bind {config.bind}:{config.stats_port}
    timeout client 10s
    timeout http-request 5s
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /
    stats refresh 5s
    stats show-legends
"""


def render_lua() -> str:
    """The text of the Lua file: the gate."""
    return LUA


def _gate(name: str) -> str:
    # A little more than the gate's own limit, so that only a lost timer ever meets it.
    return f"""\
    tcp-request inspect-delay {_ms(GATE_LIMIT + 0.1)}
    tcp-request content lua.hold {name} {round(GATE_LIMIT * 1000)} if {{ nbsrv({name}) eq 0 }}"""


def _address(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


LUA = r"""-- Written by pgswarm's router agent at every start.

-- Holds a new connection until the gate is open, `limit` milliseconds have gone by, or the client has left.
-- Never sleeps past `limit`: when HAProxy's inspect-delay has run out, an action may not sleep any more.
core.register_action("hold", { "tcp-req" }, function(txn, gate, limit)
  local function milliseconds()
    local now = core.now()
    return now.sec * 1000 + now.usec / 1000
  end
  local began = milliseconds()
  while txn.f:nbsrv(gate) == 0 do
    if milliseconds() - began > tonumber(limit) or not txn.req:may_recv() then
      return
    end
    core.msleep(5)
  end
end, 2)
"""
