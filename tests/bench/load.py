"""Throughput: pgbench through a router in `preferred`, against bare PostgreSQL with the same sync behind a bare
HAProxy.

Both pairs are on the lab at once and take turns, so that noise meets both. Everything that is not ours is the same:
the nodes of primary and standby, the node of the HAProxy and of the client, the image, the networks, PostgreSQL's
settings (those that the member's agent has written, without its own names), one synchronous standby. Measured
without HAProxy too, since HAProxy itself costs a good part on few cores: then the client speaks with the primary's
own address.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from pgswarm.drill.stage import Broken, Container, LabStage, wait_for
from pgswarm.drill.tally import median
from pgswarm.drill.whole import CLUSTER, DATABASE, MEMBERS, OWNER, Whole
from pgswarm.settings import CONTROL_NETWORK
from tests.bench.bench import Bench, Json

SCALE, CLIENTS, THREADS, SPAN = 20, 8, 2, 15
"""pgbench: size, connections, threads, seconds of one run."""

NETWORK = "webnet"
CLIENT_NODE = 3

CONF = "/var/lib/pgswarm/agent/conf/postgresql.conf"
LEFT_OUT = re.compile(
    r"^(hba_file|ident_file|unix_socket_directories|primary_conninfo|primary_slot_name|synchronous_standby_names|"
    r"allow_alter_system) ?="
)

DATA = "/var/lib/pgswarm"
"""The image has this folder with the right owner, and a volume that is mounted there inherits it."""

BARE_PRIMARY = f"""\
initdb -D {DATA}/pg -U postgres --auth=trust --data-checksums --encoding=UTF8 --locale=C.UTF-8 > /dev/null
echo "$CONF" | base64 -d > {DATA}/pg/postgresql.conf
echo "synchronous_standby_names = 'ANY 1 (bare)'" >> {DATA}/pg/postgresql.conf
printf 'local all all trust\\nhost all all all trust\\nhost replication all all trust\\n' > {DATA}/pg/pg_hba.conf
exec postgres -D {DATA}/pg -c unix_socket_directories=/tmp
"""
BARE_STANDBY = f"""\
until pg_basebackup -h "$CONF" -U postgres -D {DATA}/pg -X stream --checkpoint=fast; do sleep 0.5; done
echo "primary_conninfo = 'host=$CONF user=postgres application_name=bare'" >> {DATA}/pg/postgresql.conf
touch {DATA}/pg/standby.signal
exec postgres -D {DATA}/pg -c unix_socket_directories=/tmp
"""
BARE_HAPROXY = """\
echo "$CONF" | base64 -d > /tmp/haproxy.cfg
exec haproxy -db -f /tmp/haproxy.cfg
"""
HAPROXY = """\
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
frontend write
    bind 0.0.0.0:5432
    default_backend primary
backend primary
    server primary {address}:5432 check
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way from the client to a primary."""

    name: str
    host: str
    database: str
    user: str


def run(bench: Bench) -> Json:
    bench.close()
    stage = bench.stage()
    Whole(stage, "").remove()
    whole = Whole(stage, stage.owner_password())
    stage.write_document(whole.document(members=MEMBERS[:2], base="shared_buffers: 256MB"))
    stage.install()
    stage.wait_healthy(CLUSTER, members=2)
    bare = Bare(stage)
    try:
        ways = _set_up(whole, bare)
        for way in ways[:2]:
            size = str(2 if bench.quick else SCALE)
            bare.pgbench(way, "-i", "-q", "-s", size, password=whole.password)
        rounds: dict[str, list[float]] = {way.name: [] for way in ways}
        for number in range(bench.times(5)):
            turn = number % len(ways)
            for way in (*ways[turn:], *ways[:turn]):
                span = str(5 if bench.quick else SPAN)
                words = ("-n", "-c", str(CLIENTS), "-j", str(THREADS), "-T", span)
                rounds[way.name].append(_tps(bare.pgbench(way, *words, password=whole.password)))
            bench.tell(", ".join(f"{name} {tps[-1]:.0f}" for name, tps in rounds.items()))
    finally:
        bare.close()
        stage.uninstall(CLUSTER)
    return {"rounds": rounds, "ratios": ratios(rounds), "scale": SCALE, "clients": CLIENTS, "span": SPAN}


def ratios(rounds: dict[str, list[float]]) -> Json:
    """Of each round ours to bare, and the median: neighbours in time have met the same noise."""

    def of(ours: str, bare: str) -> float:
        return round(median(a / b for a, b in zip(rounds[ours], rounds[bare], strict=True)), 3)

    return {
        "router": of("our router", "bare HAProxy"),
        "direct": of("our primary", "bare primary"),
        "router_to_bare_primary": of("our router", "bare primary"),
    }


class Bare:
    """PostgreSQL with a standby and an HAProxy in front, put there by hand; and the client's container."""

    def __init__(self, stage: LabStage) -> None:
        self.stage = stage
        self._made: list[Container] = []

    def start(
        self, name: str, node: int, networks: tuple[str, ...], script: str, conf: str, kind: str = "member"
    ) -> Container:
        """A container that runs a script, with its configuration in CONF."""
        image = f"{self.stage.environment['PGSWARM_REGISTRY']}pgswarm/{kind}:dev"
        words = (
            "create", "--init", "--name", f"bench-{name}", "--network", networks[0], "--shm-size=256m",
            "--env", f"CONF={conf}", "--volume", f"bench-{name}:{DATA}", "--entrypoint", "sh", image, "-ec", script,
        )  # fmt: skip
        container = Container(node=node, id=self.stage.docker(*words, node=node).strip())
        self._made.append(container)
        for network in networks[1:]:
            self.stage.docker("network", "connect", network, container.id, node=node)
        self.stage.docker("start", container.id, node=node)
        return container

    def pgbench(self, way: Way, *words: str, password: str) -> str:
        """Run pgbench in the client's container, the newest."""
        line = 'read -r PGPASSWORD; export PGPASSWORD; exec pgbench "$@"'
        where = ("-h", way.host, "-U", way.user, way.database)
        return self.stage.docker(
            "exec", "--interactive", self._made[-1].id, "sh", "-c", line, "sh", *words, *where,
            node=self._made[-1].node, text=password + "\n", deadline=600,
        )  # fmt: skip

    def close(self) -> None:
        for container in self._made:
            self.stage.docker("rm", "--force", container.id, node=container.node)
        for node in range(1, len(self.stage.nodes) + 1):
            left = [
                one for one in self.stage.docker("volume", "ls", "-q", node=node).split() if one.startswith("bench-")
            ]
            if left:
                self.stage.docker("volume", "rm", *left, node=node)
        self._made.clear()


def _set_up(whole: Whole, bare: Bare) -> tuple[Way, ...]:
    """The bare pair beside ours, and a client that reaches both."""
    stage = whole.stage
    primary = stage.container(whole.service(whole.primary()))
    standby = stage.container(whole.service(whole.standbys()[0]))
    router = _on(stage, f"{CLUSTER}_postgres-ha", CLIENT_NODE)
    text = stage.docker("exec", primary.id, "cat", CONF, node=primary.node)
    conf = "\n".join(line for line in text.splitlines() if not LEFT_OUT.match(line)) + "\n"
    both = (CONTROL_NETWORK, NETWORK)
    first = bare.start("primary", primary.node, both, BARE_PRIMARY, _packed(conf))
    address = _address(stage, first, CONTROL_NETWORK)
    bare.start("standby", standby.node, (CONTROL_NETWORK,), BARE_STANDBY, address)
    ask = ("exec", first.id, "psql", "-h", "/tmp", "-U", "postgres", "-qAtc")
    streams = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"

    def is_streaming() -> bool | None:
        return True if stage.docker(*ask, streams, node=first.node).strip() == "1" else None

    wait_for(is_streaming, "the bare standby", 120)
    haproxy = bare.start("haproxy", CLIENT_NODE, both, BARE_HAPROXY, _packed(HAPROXY.format(address=address)), "router")
    bare.start("client", CLIENT_NODE, both, "exec sleep infinity", "")
    theirs, ours = {"database": "postgres", "user": "postgres"}, {"database": DATABASE, "user": OWNER}
    return (
        Way(name="our primary", host=_address(stage, primary, CONTROL_NETWORK), **ours),
        Way(name="bare primary", host=address, **theirs),
        Way(name="our router", host=_address(stage, router, NETWORK), **ours),
        Way(name="bare HAProxy", host=_address(stage, haproxy, NETWORK), **theirs),
    )


def _on(stage: LabStage, service: str, node: int) -> Container:
    """The container of a service on one node."""
    found = stage.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}", node=node).split()
    if not found:
        raise Broken(f"no container of {service} on node {node}")
    return Container(node=node, id=found[0])


def _address(stage: LabStage, container: Container, network: str) -> str:
    shown = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    return stage.docker("inspect", container.id, "--format", shown, node=container.node).strip()


def _packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _tps(output: str) -> float:
    found = re.search(r"tps = ([0-9.]+)", output)
    if found is None or "failed transactions: 0" not in output:
        raise Broken(f"pgbench did not get through: {output[-1000:]}")
    return float(found[1])
