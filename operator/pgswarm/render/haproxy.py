"""HAProxy's configuration: fixed for the life of the container; all that changes goes through the admin socket.

Writers meet a *gate* first. `write_gate/open` is not a server but a flag that the agent raises and lowers: while it is
down, a new connection waits in the Lua action `hold`, which looks again every few milliseconds, for at most
`hold_limit`; then it is told so in PostgreSQL's own words (57P03, cannot_connect_now). Behind the gate there is
one server, `primary`, whose address the agent sets. A connection that had already passed when the primary vanished
comes back to try again after `timeout connect` (`retries`, `option redispatch 1`; the server `held` refuses it
for as long as `primary` is in maintenance, since HAProxy gives up at once on a backend with no server in it).

Measured with HAProxy 2.6.12 on two cores: 200 held connections were through 16-50 ms after the gate opened, those past
it after 0.25 s. Retries alone would add up to `timeout connect` to each; queueing by `maxconn` needs an open session.
`set maxconn frontend 0` kills HAProxy 2.6 when released, and is not used.

One thread, on purpose: with two, 2.6.12 lost the wake-up of a sleeping Lua action about once in 2000.
Readers have sixteen slots, filled from the members that serve as replicas; with none, the primary (backup) takes them.
Works with 2.6 (Debian 12) and 3.0. Who writes the files and starts HAProxy: router/haproxy.py.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOTS = 16
"""Readers that can be routed to at once."""

NOWHERE = ("127.0.0.1", 1)
"""An address that refuses: where servers point that are not in use."""

TURNAROUND = 0.25
"""Seconds that a connection past the gate waits before it is tried again, and that a connection attempt may take."""


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
{_gate("write_gate", config.hold_limit)}
    default_backend writers

frontend read
    bind {config.bind}:{config.read_only_port}
{_gate("read_gate", config.hold_limit)}
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
    """The text of the Lua file: the gate, and the words in which a connection is refused."""
    return LUA


def _gate(name: str, limit: float) -> str:
    return f"""\
    tcp-request inspect-delay {_ms(limit + 10)}
    tcp-request content lua.hold {name} {round(limit * 1000)} if {{ nbsrv({name}) eq 0 }}
    tcp-request content use-service lua.refuse if {{ nbsrv({name}) eq 0 }}"""


def _address(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


LUA = r"""-- Written by pgswarm's router agent at every start.

-- Holds a new connection until the gate is open, `limit` milliseconds have gone by, or the client has left.
-- Looks often at first, when a switch is a matter of moments, and less often when it has taken longer.
core.register_action("hold", { "tcp-req" }, function(txn, gate, limit)
  local function milliseconds()
    local now = core.now()
    return now.sec * 1000 + now.usec / 1000
  end
  local began = milliseconds()
  while txn.f:nbsrv(gate) == 0 do
    local age = milliseconds() - began
    if age > tonumber(limit) or not txn.req:may_recv() then
      return
    end
    if age < 2000 then
      core.msleep(5)
    elseif age < 10000 then
      core.msleep(10)
    else
      core.msleep(20)
    end
  end
end, 2)

-- Tells a client of PostgreSQL, in its own protocol, that it must try again later.
core.register_service("refuse", "tcp", function(applet)
  local SSL, GSS, CANCEL = 80877103, 80877104, 80877102
  while true do
    local head = applet:receive(8)
    if head == nil or #head < 8 then
      return
    end
    local _, code = string.unpack(">I4I4", head)
    if code == SSL or code == GSS then
      applet:send("N")
    elseif code == CANCEL then
      return
    else
      local body = "SFATAL\0VFATAL\0C57P03\0Mno server is ready for this connection; try again\0\0"
      applet:send("E" .. string.pack(">I4", #body + 4) .. body)
      return
    end
  end
end)
"""
