"""One installed pgswarm for all lab tests that break it, with a writing client to each test.

The installation is made once a session and brought back to health before every test, so each test can run alone and
in any order; what a test may rely on is said in its fixture's name: `whole` is three counted members at rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgswarm.drill.ledger import Gap, Ledger
from pgswarm.drill.stage import OWNER_SECRET, TOP, LabStage, run, wait_for

CLUSTER = "main"
DATABASE, OWNER = "cnv_project", "cnv_user"
MEMBERS = ("pg-a", "pg-b", "pg-c")
LAB = TOP / "stack" / "lab" / "lab"

DOCUMENT = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {cluster}}}
spec:
  postgres:
    database: {database}
    owner: {owner}
    passwords: {{owner: {secret}}}
    parameters: {{shared_buffers: 64MB, max_wal_size: 64MB, min_wal_size: 32MB, wal_keep_size: 0{parameters}}}
  instances:
{instances}
  router: {{name: postgres-ha, network: webnet}}
"""


class Whole:
    """An installed cluster and the hands to break it with."""

    def __init__(self, stage: LabStage, password: str) -> None:
        self.stage = stage
        self.password = password

    def document(self, *, members: tuple[str, ...] = MEMBERS, parameters: str = "") -> str:
        rows = [f"    - {{name: {name}, node: {self.stage.nodes[index]}}}" for index, name in enumerate(members)]
        return DOCUMENT.format(
            cluster=CLUSTER,
            database=DATABASE,
            owner=OWNER,
            secret=OWNER_SECRET,
            instances="\n".join(rows),
            parameters=parameters,
        )

    def heal(self) -> dict[str, Any]:
        """Everything on, connected, as documented and at rest."""
        self.stage.lab("heal", "all")
        self.stage.lab("up")
        self.stage.install()
        self.stage.write_document(self.document())
        return self.stage.wait_healthy(CLUSTER, members=3, deadline=240)

    def status(self) -> dict[str, Any]:
        return self.stage.status(CLUSTER)

    def primary(self) -> str:
        return str(self.status()["primary"])

    def standbys(self) -> list[str]:
        status = self.status()
        return [one["name"] for one in status["members"] if one["name"] != status["primary"]]

    def standbys_by_hand(self) -> list[str]:
        """Members whose PostgreSQL says that it is in recovery; needs no operator."""
        found = []
        for member in MEMBERS:
            one = self.stage.container(self.service(member))
            folder = self.stage.docker("exec", one.id, "ls", "/var/lib/pgswarm/pgdata", node=one.node)
            found += [member] if "standby.signal" in folder else []
        return found

    def node_of(self, member: str) -> int:
        return self.stage.node_of(member, self.status())

    def service(self, member: str) -> str:
        return f"{CLUSTER}_{member}"

    def another_primary_than(self, before: str, deadline: float = 60) -> str:
        return wait_for(
            lambda: now if (now := self.primary()) and now != before else None,
            f"another primary than {before}",
            deadline,
            lambda: self.stage.picture(CLUSTER),
        )

    def raft_leader(self) -> int:
        rows = self.stage.docker("node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}").splitlines()
        name = next(row.split()[0] for row in rows if row.endswith("Leader"))
        return self.stage.nodes.index(name) + 1

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A client writes through all routers; at the end nothing acknowledged may be missing."""
        with Ledger(self.stage.target(self.password, 5432, DATABASE, OWNER)) as ledger:
            ledger.wait_for_writes(50)
            yield Writing(ledger)
            ledger.wait_for_writes(50, deadline=120)
            ledger.stop()
            missing = ledger.missing()
            assert not missing, f"{len(missing)} of {ledger.acknowledged} acknowledged writes are gone: {missing[:10]}"


class Writing:
    """What the client has seen so far."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.mark = time.monotonic()

    def goes_on(self, within: float = 60) -> Gap:
        """Wait for new writes after what was just broken; the outage since the mark, which is then set anew."""
        self.ledger.wait_for_writes(50, deadline=within)
        gap = self.ledger.gap(self.mark)
        self.mark = time.monotonic()
        return gap


@pytest.fixture(scope="session")
def installed() -> Iterator[Whole]:
    """pgswarm on the lab, with images of this very tree."""
    run([str(LAB), "up"], text=None, deadline=900, environment=None)
    run([str(LAB), "images"], text=None, deadline=900, environment=None)
    stage = LabStage()
    stage.uninstall(CLUSTER)  # what a demo or an earlier run has left
    house = Whole(stage, stage.owner_password())
    stage.write_document(house.document())
    stage.install()
    yield house
    stage.uninstall(CLUSTER)


@pytest.fixture
def whole(installed: Whole) -> Whole:
    """Three counted members at rest, whatever the test before has left."""
    installed.heal()
    return installed
