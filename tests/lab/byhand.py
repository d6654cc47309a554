"""The classic set-up made by hand, as a stack on the lab: primary, hot standby, HAProxy, a password in the environment.

There is no official image on the lab. The PostgreSQL and the HAProxy of our own images stand in for it, with what
matters of the official one: the directory on the volume's root, user 999, a superuser that is not called postgres, the
locale en_US, SIGINT and ten seconds to stop, no checksums and no wal_log_hints; and what people add: md5 passwords
beside scram ones, a standby with a slot of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from house import DATABASE, OWNER, Whole

from pgswarm.drill.ledger import Target
from pgswarm.drill.stage import OWNER_SECRET, wait_for

CLUSTER = "byhand"
STACK = "my_stack"
PORT = 7432
NETWORK = f"{STACK}_webnet"
OLD_PRIMARY, OLD_SECONDARY = f"{STACK}_postgres_primary_data", f"{STACK}_postgres_secondary_data"

PRIMARY = """
set -e
d=/var/lib/postgresql/data; as="setpriv --reuid=999 --regid=999 --clear-groups"
chown 999:999 $d; chmod 700 $d
if [ ! -s $d/PG_VERSION ]; then
  echo "$PASSWORD" > /tmp/pw; chown 999 /tmp/pw
  LANG=en_US.UTF-8 $as initdb -D $d -U cnv_user --pwfile=/tmp/pw --auth-host=md5 --auth-local=trust --locale=en_US.UTF-8
  printf 'host all all all md5\\nhost replication all all md5\\n' >> $d/pg_hba.conf
  printf "listen_addresses = '*'\\nwork_mem = 7MB\\n" >> $d/postgresql.conf
  $as pg_ctl -D $d -w -o "-c listen_addresses= -c unix_socket_directories=/tmp" start
  $as psql -v ON_ERROR_STOP=1 -h /tmp -U cnv_user -d postgres -c "CREATE DATABASE cnv_project" \\
    -c "SET password_encryption = 'scram-sha-256'" -c "CREATE ROLE reports LOGIN PASSWORD '$PASSWORD-r'" \\
    -c "SET password_encryption = md5" \\
    -c "ALTER ROLE cnv_user PASSWORD '$PASSWORD'" -c "CREATE ROLE legacy LOGIN PASSWORD '$PASSWORD-l'" \\
    -c "SELECT pg_create_physical_replication_slot('standby', true)"
  $as pg_ctl -D $d -w stop
fi
exec $as postgres -D $d -c unix_socket_directories=/tmp
"""

SECONDARY = """
set -e
d=/var/lib/postgresql/data; as="setpriv --reuid=999 --regid=999 --clear-groups"
chown 999:999 $d; chmod 700 $d; export PGPASSWORD="$PASSWORD"
until [ -s $d/PG_VERSION ]; do
  $as pg_basebackup -d "host=postgres-primary user=cnv_user" -D $d -R -S standby -X stream -c fast || sleep 1
done
exec $as postgres -D $d -c unix_socket_directories=/tmp
"""

HAPROXY = """
printf 'defaults\\n mode tcp\\n timeout connect 2s\\n timeout client 1h\\n timeout server 1h\\n' > /tmp/h
printf 'resolvers d\\n nameserver d 127.0.0.11:53\\n hold valid 1s\\n' >> /tmp/h
printf 'listen pg\\n bind :5432\\n server p postgres-primary:5432 check resolvers d init-addr none\\n' >> /tmp/h
exec haproxy -f /tmp/h
"""

DOCUMENT = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {cluster}}}
spec:
  bootstrap: {{adopt: postgres-primary}}
  postgres:
    database: {database}
    owner: {owner}
    passwords: {{owner: {secret}}}
    parameters: {{shared_buffers: 64MB}}
    hba: [{hba}]
  instances:
    - {{name: postgres-primary, node: {one}, volume: {volume}}}
    - {{name: postgres-secondary, node: {two}{other}}}
  router: {{name: postgres-ha, network: {network}, port: 7432, readOnlyPort: 7433, statsPort: 7404, healthPort: 7405}}
"""


class ByHand:
    """The old stack, and the document that is to take its place."""

    def __init__(self, whole: Whole) -> None:
        self.whole, self.stage = whole, whole.stage
        tag = os.environ.get("PGSWARM_TAG", "dev")
        self.image = f"{whole.stage.environment['PGSWARM_REGISTRY']}pgswarm/{{}}:{tag}"

    @property
    def target(self) -> Target:
        return replace(self.whole.target, port=PORT)

    def deploy(self) -> None:
        data = "/var/lib/postgresql/data"
        port = {"target": 5432, "published": PORT, "mode": "host"}
        services = {
            "postgres-primary": self._service("member", PRIMARY, 1, volumes=[f"postgres_primary_data:{data}"]),
            "postgres-secondary": self._service("member", SECONDARY, 2, volumes=[f"postgres_secondary_data:{data}"]),
            "postgres-ha": self._service("router", HAPROXY, 1, ports=[port]),
        }
        file = {
            "version": "3.8",
            "services": services,
            "volumes": {"postgres_primary_data": {}, "postgres_secondary_data": {}},
            "networks": {"webnet": {"driver": "overlay"}},
        }
        self.stage.docker("stack", "deploy", "--detach=true", "-c", "-", STACK, text=json.dumps(file))
        wait_for(self._streams, "the old standby streams", 120, lambda: self.stage.picture(STACK))

    def _service(self, image: str, script: str, node: int, **more: object) -> dict[str, object]:
        where = [f"node.hostname=={self.stage.nodes[node - 1]}"]
        return {
            "image": self.image.format(image),
            "user": "root",
            "entrypoint": ["sh", "-c", script.replace("$", "$$")],
            "environment": {"PASSWORD": self.whole.password},
            "networks": ["webnet"],
            "stop_signal": "SIGINT",
            "deploy": {"endpoint_mode": "dnsrr", "placement": {"constraints": where}},
            **more,
        }

    def _streams(self) -> bool | None:
        try:
            rows = self.ask("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
        except psycopg.OperationalError:
            return None
        return True if rows == [(1,)] else None

    def ask(self, query: str, user: str = OWNER, password: str = "") -> list[tuple[Any, ...]]:
        """What an application is answered on the port that it always had."""
        target = replace(self.target, user=user, password=password or self.whole.password)
        with psycopg.connect(target.conninfo(), autocommit=True) as connection:
            answer = connection.execute(query.encode())
            return answer.fetchall() if answer.description else []

    def scale(self, replicas: int, *names: str) -> None:
        self.stage.docker("service", "scale", "--detach", *(f"{STACK}_{name}={replicas}" for name in names))

    def document(self, *, other: str = "", hba: str = "") -> str:
        one, two = self.stage.nodes[:2]
        return DOCUMENT.format(
            cluster=CLUSTER, database=DATABASE, owner=OWNER, secret=OWNER_SECRET, one=one, two=two,
            volume=OLD_PRIMARY, other=other, hba=hba, network=NETWORK,
        )  # fmt: skip

    def apply(self, **given: str) -> str:
        """`pgswarm apply`, as a person says it on a manager."""
        there = self.stage.operators()[0]
        put = ["exec", "-i", there.id, "sh", "-c", "cat > /tmp/byhand.yaml"]
        self.stage.docker(*put, node=there.node, text=self.document(**given))
        return self.stage.docker("exec", there.id, "pgswarm", "apply", "-f", "/tmp/byhand.yaml", node=there.node)

    def status(self) -> dict[str, Any]:
        return self.stage.status(CLUSTER)

    def says(self, words: str, deadline: float = 60) -> str:
        """The line in which the status of the new cluster says so."""

        def look() -> str | None:
            status = self.status()
            problems = [one["problem"] for one in status["members"] if one["problem"]]
            return next((text for text in [*status["waits"], *problems] if words in text), None)

        return wait_for(look, f"the status says {words!r}", deadline, lambda: self.stage.picture(CLUSTER))

    def remove(self) -> None:
        """Both set-ups, and their volumes."""
        if CLUSTER in self.stage.clusters():
            self.stage.pgswarm("delete", CLUSTER, "--yes", deadline=150)
        self.stage.docker("stack", "rm", STACK)
        wait_for(self._gone, "everything of the old set-up is gone", 120)

    def _gone(self) -> bool | None:
        """Remove what is left; True once a look finds nothing."""
        left = 0
        for node in range(1, len(self.stage.nodes) + 1):
            volumes = self.stage.docker("volume", "ls", "-q", node=node).split()
            ours = [name for name in volumes if name.startswith((f"{CLUSTER}_", f"{STACK}_"))]
            if ours:
                self.stage.docker("volume", "rm", *ours, node=node)
            left += len(ours)
        networks = self.stage.docker("network", "ls", "--format", "{{.Name}}").split()
        if NETWORK in networks:
            self.stage.docker("network", "rm", NETWORK)
            left += 1
        return True if not left else None


@contextmanager
def set_up(whole: Whole) -> Iterator[ByHand]:
    """The old stack runs and is written to; everything of it, and of what took its place, is gone afterwards."""
    found = ByHand(whole)
    try:
        found.remove()
        found.deploy()
        yield found
    finally:
        found.remove()
