"""`pgswarm doctor` and a small cluster beside the main one: what a healthy cluster of three cannot have.

One member, then two on one node; a weak password, `async`, a rule that keeps the application out, a small volume, one
router; and what somebody does to its services by hand while it is paused. Every remedy must say which cluster it means,
for there are two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from consult import Sign, do, expect, expect_none, on, router
from house import Whole

from pgswarm import settings
from pgswarm.drill.stage import Broken, wait_for
from pgswarm.drill.whole import AGENT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

NODE, ROUTER = 3, 2
PLACE, SIZE = "/srv/pgswarm-doctor", 800
WEAK = "pgswarm-weak"
SERVICE = "tiny_tiny-ha_node2"

DOCUMENT = """\
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: tiny}}
spec:
  durability: {durability}
  postgres:
    passwords: {{owner: {weak}}}
    parameters: {{shared_buffers: 32MB, max_wal_size: 64MB, min_wal_size: 32MB}}
    hba: [{hba}]
  instances: [{instances}]
  router:
    {{name: tiny-ha, port: 6432, readOnlyPort: 6433, statsPort: 9404, healthPort: 9405, nodes: [{router}]}}
"""


class Tiny:
    """The small cluster."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole

    def write(self, *members: str, durability: str = "preferred", hba: str = "") -> None:
        nodes = self.whole.stage.nodes
        rows = ", ".join(f"{{name: {name}, node: {nodes[NODE - 1]}}}" for name in members)
        text = DOCUMENT.format(
            durability=durability, weak=WEAK, hba=hba, instances=rows, router=nodes[ROUTER - 1]
        )  # fmt: skip
        put = "cat > /etc/pgswarm/.new && mv /etc/pgswarm/.new /etc/pgswarm/tiny.yaml"
        self.whole.stage.lab("exec", "1", "--", "sh", "-c", put, text=text)

    def serves(self, members: int) -> None:
        """Wait until the primary serves and so many members are counted or, with `async`, are there."""

        def look() -> bool | None:
            status = self.whole.stage.status("tiny", 1)
            there = [one for one in status["members"] if one["state"] in ("serving", "streaming")]
            return True if len(there) == members else None

        wait_for(look, f"tiny with {members}", 120, lambda: self.whole.stage.picture("tiny"))

    def fill(self, leave: int) -> None:
        """Somebody else's file takes all but so many megabytes of the volume of member one."""
        free = f"$(df -m --output=avail {PLACE} | tail -1)"
        own = f"$(stat -c %s {PLACE}/foreign 2>/dev/null || echo 0)"
        on(self.whole, NODE, f"fallocate -l $(( {own} / 1048576 + {free} - {leave} ))M {PLACE}/foreign")

    def free(self) -> None:
        on(self.whole, NODE, f"rm -f {PLACE}/foreign")


@pytest.fixture
def tiny(whole: Whole) -> Iterator[Tiny]:
    """Nothing of it yet but a small volume and a weak password; all of it is gone afterwards."""
    stage, made = whole.stage, Tiny(whole)
    on(whole, NODE, f"mkdir -p {PLACE}; mount -t tmpfs -o size={SIZE}m,mode=0777 tmpfs {PLACE}")
    stage.docker(
        "volume", "create", "--label", f"{settings.LABEL_CLUSTER}=tiny", "--opt", "type=none", "--opt", "o=bind",
        "--opt", f"device={PLACE}", "tiny_one", node=NODE,
    )  # fmt: skip
    stage.docker("secret", "create", WEAK, "-", text="changeme")
    yield made
    on(whole, 1, "rm -f /etc/pgswarm/tiny.yaml")
    if "tiny" in stage.clusters():
        wait_for(lambda: stage.status("tiny", 1)["orphaned"] or None, "the file names it no more", 90)
        stage.pgswarm("delete", "tiny", "--yes", deadline=150, node=1)
    stage.docker("secret", "rm", WEAK)

    def emptied() -> bool:
        for name in stage.docker("volume", "ls", "-q", "--filter", "name=tiny_", node=NODE).split():
            stage.docker("volume", "rm", name, node=NODE)
        return True

    wait_for(emptied, "its volumes are free", 60)
    on(whole, NODE, f"umount -l {PLACE}")


def test_a_small_cluster_has_what_a_good_one_has_not(whole: Whole, tiny: Tiny) -> None:
    tiny.write("one", durability="async", hba='"host all app 0.0.0.0/0 reject"')
    tiny.serves(1)
    _wrong_from_the_beginning(tiny)
    tiny.write("one")
    expect_none(whole, Sign("durability", "note", "commits wait for nobody"), cluster="tiny")
    _its_agents_hang(whole, tiny)
    tiny.write("one", "two")
    tiny.serves(2)
    together = Sign("placement", "warn", "are both on"), Sign("routers", "warn", "there is one router")
    expect(whole, *together, cluster="tiny")
    expect_none(
        whole,
        Sign("placement", "warn", "there is one member"),
        Sign("document", "warn", "durability async"),
        Sign("application-path", "bad", "no session through router"),
        cluster="tiny",
    )
    _changed_by_hand_in_a_pause(whole)


def _wrong_from_the_beginning(tiny: Tiny) -> None:
    signs = (
        Sign("placement", "warn", "there is one member"),
        Sign("durability", "note", "commits wait for nobody"),
        Sign("document", "warn", "durability async"),
        Sign("secrets", "bad", "the password for owner of ", of="tiny"),
        Sign("application-path", "bad", "no session through router"),
        Sign("application-path", "warn", "no session through router"),
    )
    tiny.fill(leave=100)
    expect(tiny.whole, *signs, Sign("volumes", "warn", "of its volume is free"), cluster="tiny")
    tiny.fill(leave=34)
    full = Sign("replication", "bad", "read-only", of="one"), Sign("volumes", "bad", "of its volume is free")
    expect(tiny.whole, *full, cluster="tiny")
    tiny.free()
    expect_none(tiny.whole, *full, cluster="tiny")


def _its_agents_hang(whole: Whole, tiny: Tiny) -> None:
    hung = whole.stage.container("tiny_one"), router(whole, ROUTER, SERVICE)
    signs = (
        Sign("volumes", "warn", "no member has told"),
        Sign("application-path", "warn", "could not be asked"),
        Sign("application-path", "warn", "no member could try a session"),
        Sign("dns", "warn", "could look up"),
        Sign("routers-agree", "warn", "is not heard"),
    )
    try:
        for one in hung:
            whole.signal(one, "STOP", AGENT)
        expect(whole, *signs, cluster="tiny")
    finally:
        for one in hung:
            whole.signal(one, "CONT", AGENT)
    expect_none(whole, *signs, cluster="tiny")


def _changed_by_hand_in_a_pause(whole: Whole) -> None:
    """Services are changed and removed by somebody; nothing is put back until the pause is over."""
    stage = whole.stage
    signs = (
        Sign("shared-memory", "note", "/dev/shm of ", of="two"),
        Sign("dns", "bad", "has no address"),
        Sign("pause", "warn", "paused by"),
    )
    gone = Sign("routers-agree", "bad", "no router is known")
    try:
        stage.pgswarm("pause", "tiny", "--for", "5m")
        stage.docker("service", "update", "--detach", "--mount-rm", "/dev/shm", "tiny_two")
        stage.docker("service", "update", "--detach", "--network-rm", "webnet", SERVICE)
        told = expect(whole, *signs, cluster="tiny", deadline=90)
        stage.docker("service", "rm", SERVICE)
        expect(whole, gone, cluster="tiny")
        do(whole, told[-1])
        expect_none(whole, *signs, gone, cluster="tiny")
    finally:
        with contextlib.suppress(Broken):
            stage.pgswarm("resume", "tiny")
