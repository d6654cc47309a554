"""One installed cluster of three members on the lab, and the hands to break it with.

The lab's tests, the soak and the benchmark all break the same thing: a document with a member and a router on each of
three nodes, installed as its users would. Here is how it is looked at (who is primary, where, who leads Swarm) and how
each single blow is struck; which blows there are, and what ends them, is in `faults`.

Everything that may be cut off or frozen in a moment is looked up before: a blow is one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pgswarm.drill.ledger import Gap, Ledger, Target
from pgswarm.drill.stage import OWNER_SECRET, Broken, Container, LabStage, wait_for
from pgswarm.settings import VOLUME_PATH

CLUSTER = "main"
DATABASE, OWNER = "cnv_project", "cnv_user"
MEMBERS = ("pg-a", "pg-b", "pg-c")

POSTMASTER = f"$(head -1 {VOLUME_PATH}/pgdata/postmaster.pid)"
"""In a member's container: the pid of its postmaster."""

AGENT = "$(cut -d' ' -f1 /proc/1/task/1/children)"
"""In a member's container: the pid of its agent, the only child of the container's init."""

DOCUMENT = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: {cluster}}}
spec:
  postgres:
    database: {database}
    owner: {owner}
    passwords: {{owner: {secret}}}
    parameters: {{{parameters}}}
  instances:
{instances}
  router: {{name: postgres-ha, network: webnet}}
{more}"""

MOVES = 8
"""How often somebody else is made primary until the right one is."""

SMALL = "shared_buffers: 64MB, max_wal_size: 64MB, min_wal_size: 32MB, wal_keep_size: 0"
"""Parameters with which a standby that was away for a minute may have to be made anew."""


class Whole:
    """An installed cluster and the hands to break it with."""

    def __init__(self, stage: LabStage, password: str) -> None:
        self.stage = stage
        self.password = password

    def document(
        self, *, members: tuple[str, ...] = MEMBERS, parameters: str = "", base: str = SMALL, more: str = ""
    ) -> str:
        rows = [f"    - {{name: {name}, node: {self.stage.nodes[index]}}}" for index, name in enumerate(members)]
        return DOCUMENT.format(
            cluster=CLUSTER,
            database=DATABASE,
            owner=OWNER,
            secret=OWNER_SECRET,
            instances="\n".join(rows),
            parameters=base + parameters,
            more=more,
        )

    @property
    def target(self) -> Target:
        """Where the application writes."""
        return self.stage.target(self.password, 5432, DATABASE, OWNER)

    def heal(self) -> dict[str, Any]:
        """Everything on, connected, as documented and at rest."""
        self.repair()
        self.stage.install()
        self.stage.write_document(self.document())
        return self.stage.wait_healthy(CLUSTER, members=3, deadline=240)

    def repair(self) -> None:
        """Everything on, connected and of use."""
        self.stage.lab("heal", "all")
        self.stage.lab("up")
        for node in wait_for(self._not_active, "Swarm's word about its nodes", 120):
            self.stage.docker("node", "update", "--availability", "active", node)

    def _not_active(self) -> list[str]:
        """Nodes that somebody has drained or paused and not given back."""
        rows = self.stage.docker("node", "ls", "--format", "{{.Hostname}} {{.Availability}}", deadline=30).splitlines()
        return [row.split()[0] for row in rows if not row.endswith(" Active")]

    def remove(self) -> None:
        """Take the installation away, and whatever cluster an earlier run has left, as soon as Swarm has a leader."""
        wait_for(self.raft_leader, "a Raft leader", 120)
        self.stage.uninstall(*{CLUSTER, *self.stage.clusters()})

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
            folder = self.stage.docker("exec", one.id, "ls", f"{VOLUME_PATH}/pgdata", node=one.node)
            found += [member] if "standby.signal" in folder else []
        return found

    def node_of(self, member: str) -> int:
        """Where a member lives; the document says so, nobody needs to be asked."""
        return MEMBERS.index(member) + 1

    def member_on(self, node: int) -> str:
        return MEMBERS[node - 1]

    def service(self, member: str) -> str:
        return f"{CLUSTER}_{member}"

    def another_primary_than(self, before: str, deadline: float = 60, node: int | None = None) -> str:
        """Who it is; as seen from `node`, if the old one's is cut off."""

        def look() -> str | None:
            now = str(self.stage.status(CLUSTER, node)["primary"])
            return now if now not in ("", before) else None

        return wait_for(
            look,
            f"another primary than {before}",
            deadline,
            lambda: self.stage.picture(CLUSTER),
        )

    def raft_leader(self, node: int = 1) -> int:
        """The number of the node that leads Swarm, as seen from a node. Raises Broken while there is none."""
        rows = self.stage.docker("node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}", node=node, deadline=30)
        for row in rows.splitlines():
            if row.endswith(" Leader"):
                return self.stage.nodes.index(row.split()[0]) + 1
        raise Broken("Swarm has no leader")

    def elected_at(self, since: float, node: int) -> float | None:
        """When Swarm's managers first elected a leader after `since` (seconds of the wall clock), as a node logs it."""
        text = self.stage.lab("exec", str(node), "--", "grep", "-h", "elected leader", "/outside/dockerd.log")
        for line in text.splitlines():
            stamp = line.partition('time="')[2].partition('"')[0]
            # Python reads microseconds, Docker writes nanoseconds.
            moment = datetime.fromisoformat(f"{stamp[:26]}+00:00").timestamp()
            if moment > since:
                return moment
        return None

    def wait_healthy(self, deadline: float = 240) -> dict[str, Any]:
        """Three counted members at rest, and a Swarm with a leader."""
        status = self.stage.wait_healthy(CLUSTER, members=len(MEMBERS), deadline=deadline)
        wait_for(self.raft_leader, "a Raft leader", deadline)
        return status

    def place_primary(self, *, on_leader: bool, deadline: float = 240) -> str:
        """See to it that the primary is on the node of Swarm's leader, or is not; its name. Raises Broken."""
        for _ in range(MOVES):
            primary, leader = str(self.wait_healthy(deadline)["primary"]), self.raft_leader()
            if (self.node_of(primary) == leader) == on_leader:
                return primary
            self.switch_over(self.member_on(leader) if on_leader else next(one for one in MEMBERS if one != primary))
        raise Broken(f"the primary could not be moved {'to' if on_leader else 'from'} the node of Swarm's leader")

    def switch_over(self, to: str) -> None:
        """Make another member primary, as a person does. Raises Broken with the reason if it is refused."""
        self.stage.pgswarm("switchover", "--to", to, deadline=90)

    def within(self, container: Container, script: str) -> str:
        """Run a line of shell in a container."""
        return self.stage.docker("exec", container.id, "sh", "-c", script, node=container.node)

    def signal(self, container: Container, number: str, process: str) -> None:
        """Send a signal to the postmaster or the agent of a member."""
        self.within(container, f"kill -{number} {process}")

    def kill(self, *containers: Container) -> None:
        """SIGKILL to all of a container's processes."""
        for one in containers:
            self.stage.docker("kill", one.id, node=one.node)

    def is_running(self, container: Container) -> bool:
        row = self.stage.docker("ps", "-q", "--no-trunc", "--filter", f"id={container.id}", node=container.node)
        return bool(row.strip())

    def sql(self, text: str, database: str = "postgres", member: str = "") -> str:
        """As superuser, on the primary or on another member."""
        found = self.stage.container(self.service(member or self.primary()))
        socket = f"$(dirname $(find {VOLUME_PATH} /tmp /run -name '.s.PGSQL.5432' 2>/dev/null | head -1))"
        return self.within(found, f'psql -qAt -h {socket} -d {database} -c "{text}"').strip()

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A client writes through all routers; at the end nothing acknowledged may be missing."""
        with Ledger(self.target) as ledger:
            ledger.wait_for_writes(50)
            yield Writing(ledger)
            ledger.wait_for_writes(50, deadline=120)
            ledger.stop()
            missing = ledger.missing()
            if missing:
                raise Broken(f"{len(missing)} of {ledger.acknowledged} acknowledged writes are gone: {missing[:10]}")


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


def install(stage: LabStage, tell: Callable[[str], None] = lambda text: None) -> Whole:
    """pgswarm on the lab with images of this very tree, and nothing of what an earlier run has left."""
    tell("the lab and its images")
    whole = Whole(stage, "")
    whole.repair()
    stage.lab("images", "--pull")
    whole.remove()
    whole.password = stage.owner_password()
    tell("pgswarm, and a document of three members")
    stage.write_document(whole.document())
    stage.install()
    return whole
