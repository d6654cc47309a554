"""The classic set-up made by hand is taken over while an application writes, by the commands of docs/operations.md;
and two clusters live side by side under one operator, of which one hangs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import byhand
import psycopg
import pytest
from byhand import ByHand
from house import CLUSTER, OWNER, Whole, no_longer

from pgswarm.drill.ledger import Ledger
from pgswarm.drill.stage import Broken, Container, wait_for
from pgswarm.drill.whole import AGENT, POSTMASTER

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

HBA = "host all legacy 0.0.0.0/0 md5"


def test_the_classic_set_up_is_taken_over_in_place_with_one_short_outage(whole: Whole) -> None:
    with byhand.set_up(whole) as old, Ledger(old.target) as ledger:
        ledger.wait_for_writes(200)
        _refuses_to_begin_beside_it(old)
        ledger.wait_for_writes(50)
        no_longer(ledger.gap(), 2)  # so far nobody has noticed

        mark = time.monotonic()
        old.ask("CHECKPOINT")
        old.scale(0, "postgres-ha", "postgres-primary", "postgres-secondary")
        _tell_the_outage(old, mark)
        ledger.wait_for_writes(100, deadline=120)
        outage = ledger.gap(mark)
        print(f"taken over: {outage.seconds:.1f} s without an acknowledged write, {ledger.acknowledged} acknowledged")
        _until_both_count(old)
        print(f"two members counted {time.monotonic() - mark:.1f} s after the old services were scaled down")
        assert "postgres-primary takes over the data" in " ".join(old.stage.pgswarm("history", byhand.CLUSTER).split())
        assert ledger.missing() == []
        _its_users_log_in(old)
        _the_way_back_is_untouched(old)

        # The old service started again finds no data where it had them, and is told of.
        old.scale(1, "postgres-primary")
        old.says(f"service {byhand.STACK}_postgres-primary runs on its volume")
        ledger.wait_for_writes(50)
        old.scale(0, "postgres-primary")

        # A failover like any other.
        before, mark = str(old.status()["primary"]), time.monotonic()
        whole.kill(old.stage.container(f"{byhand.CLUSTER}_{before}"))
        wait_for(
            lambda: True if old.status()["primary"] not in ("", before) else None,
            "the other one reigns", 60, lambda: old.stage.picture(byhand.CLUSTER),
        )  # fmt: skip
        ledger.wait_for_writes(100, deadline=60)
        print(f"failover of what was taken over: {ledger.gap(mark).seconds:.2f} s")
        old.stage.wait_healthy(byhand.CLUSTER, members=2)
        ledger.stop()
        assert ledger.missing() == []


def _refuses_to_begin_beside_it(old: ByHand) -> None:
    """Whoever is in the way is named with the command that ends it, and nothing is started beside them."""
    old.apply(other=f", volume: {byhand.OLD_SECONDARY}")
    assert "name another volume for postgres-secondary" in old.says("only the volume of postgres-primary")
    old.apply()
    old.says(f"`docker service scale {byhand.STACK}_postgres-primary=0`")
    old.says(f"published on {old.stage.nodes[0]} by service {byhand.STACK}_postgres-ha")
    old.says(f"answers to the name postgres-ha on network {byhand.NETWORK} as well")
    names = old.stage.docker("service", "ls", "--format", "{{.Name}}").split()
    assert f"{byhand.CLUSTER}_postgres-primary" not in names
    assert not any(name.startswith(f"{byhand.CLUSTER}_postgres-ha") for name in names)


def _tell_the_outage(old: ByHand, mark: float) -> None:
    """When the record was written, and when it was served: the parts of the outage."""
    seen: dict[str, float] = {}

    def look() -> bool | None:
        status = old.status()
        now = time.monotonic() - mark
        if status["term"]:
            seen.setdefault("the record names it", now)
        if any(one["name"] == "postgres-primary" and one["state"] == "serving" for one in status["members"]):
            seen.setdefault("it serves", now)
            return True
        return None

    wait_for(look, "the data are taken over", 180, lambda: old.stage.picture(byhand.CLUSTER))
    print("; ".join(f"{what} after {when:.1f} s" for what, when in seen.items()))


def _until_both_count(old: ByHand) -> None:
    """Not at rest: md5 passwords are told."""

    def look() -> bool | None:
        return True if [one["counted"] for one in old.status()["members"]] == [True, True] else None

    wait_for(look, "both members count", 120, lambda: old.stage.picture(byhand.CLUSTER))


def _its_users_log_in(old: ByHand) -> None:
    word = old.whole.password
    row = old.ask(
        "SELECT datcollate, rolpassword LIKE 'SCRAM%', current_setting('wal_log_hints'), current_setting('work_mem') "
        f"FROM pg_database, pg_authid WHERE datname = current_database() AND rolname = '{OWNER}'"
    )
    assert row == [("en_US.UTF-8", True, "on", "4MB")]
    assert old.ask("SELECT current_user::text", "reports", f"{word}-r") == [("reports",)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        old.ask("SELECT 1", "legacy", f"{word}-l")
    assert "roles legacy have md5 passwords" in old.says("md5 passwords")
    old.apply(hba=HBA)

    def let_in() -> bool | None:
        try:
            return True if old.ask("SELECT current_user::text", "legacy", f"{word}-l") == [("legacy",)] else None
        except psycopg.OperationalError:
            return None

    wait_for(let_in, "the old role is let in", 60, lambda: old.stage.picture(byhand.CLUSTER))


def _the_way_back_is_untouched(old: ByHand) -> None:
    listed = old.stage.docker(
        "run", "--rm", "--entrypoint", "ls", "-v", f"{byhand.OLD_SECONDARY}:/v", old.image.format("member"), "/v",
        node=2,
    )  # fmt: skip
    assert "PG_VERSION" in listed.split(), "the old standby's volume is as it was"


BESIDE = """\
---
apiVersion: pgswarm/v1
kind: PostgresCluster
metadata: {{name: beside}}
spec:
  postgres: {{parameters: {{shared_buffers: 32MB}}{image}}}
  instances:
    - {{name: one, node: {one}}}
    - {{name: two, node: {two}}}
  router: {{name: beside-ha, port: {port}, readOnlyPort: 7433, statsPort: 7404, healthPort: 7405}}
"""


@pytest.fixture
def beside(whole: Whole) -> Iterator[Callable[..., None]]:
    """Another cluster in the same file, of the same operator; it is gone afterwards."""

    def write(port: int = 7432, image: str = "") -> None:
        one, two = whole.stage.nodes[1:]
        text = BESIDE.format(one=one, two=two, port=port, image=image and f", image: {image}")
        whole.stage.write_document(whole.document() + text)

    yield write
    whole.stage.write_document(whole.document())
    if "beside" in whole.stage.clusters():
        wait_for(lambda: whole.stage.status("beside")["orphaned"] or None, "the file names it no more", 60)
        whole.stage.pgswarm("delete", "beside", "--yes", deadline=150)
    for node in (2, 3):
        wait_for(partial(_emptied, whole, node), "its volumes are free", 60)


def _emptied(whole: Whole, node: int) -> bool:
    for name in whole.stage.docker("volume", "ls", "-q", "--filter", "name=beside_", node=node).split():
        whole.stage.docker("volume", "rm", name, node=node)
    return True


def test_of_two_clusters_in_one_file_one_hangs_and_the_other_fails_over_as_ever(
    whole: Whole, beside: Callable[..., None]
) -> None:
    stage = whole.stage
    # Ports are compared between the documents of the file: nothing is begun, and what runs goes on.
    beside(port=5432)
    said = wait_for(
        lambda: next((line for line in stage.pgswarm("status").splitlines() if "port 5432" in line), None),
        "the ports of the two documents clash", 60, lambda: stage.picture(CLUSTER),
    )  # fmt: skip
    print(said)
    assert not any(
        name.startswith("beside_") for name in stage.docker("service", "ls", "--format", "{{.Name}}").split()
    )

    beside()
    stage.wait_healthy("beside", members=2, deadline=120)
    hung = str(stage.status("beside")["primary"])
    other = "two" if hung == "one" else "one"
    database, agent = stage.container(f"beside_{hung}"), stage.container(f"beside_{other}")
    alone = _failover(whole, "beside a cluster that is well")
    # A database that answers nobody, the agent of the other member stopped, and an image that is nowhere.
    whole.signal(agent, "STOP", AGENT)
    _signal_all(whole, database, "STOP")
    try:
        beside(image="10.255.255.1:5000/nowhere:1")
        wait_for(lambda: None if stage.status("beside")["healthy"] else True, "it is seen to hang", 60)
        hangs = [_failover(whole, "beside one that hangs") for _ in range(2)]
    finally:
        whole.signal(agent, "CONT", AGENT)
        with suppress(Broken):  # it was given up meanwhile, and what it leaves behind is not there to be woken
            _signal_all(whole, database, "CONT")
    print(f"failover of {CLUSTER}: {alone:.2f} s; beside a cluster that hangs {', '.join(f'{s:.2f}' for s in hangs)} s")
    beside()
    stage.wait_healthy("beside", members=2, deadline=120)


def _failover(whole: Whole, when: str) -> float:
    """The outage when the primary's container is killed; nothing acknowledged is lost."""
    before = whole.primary()
    with whole.writing() as writing:
        writing.mark = time.monotonic()
        whole.kill(whole.stage.container(whole.service(before)))
        gap = writing.goes_on()
        whole.another_primary_than(before)
    print(f"{when}: {gap.seconds:.2f} s")
    no_longer(gap, 5)
    whole.wait_healthy()
    return gap.seconds


def _signal_all(whole: Whole, container: Container, number: str) -> None:
    """To every process of its PostgreSQL."""
    children = f"$(cat /proc/{POSTMASTER}/task/{POSTMASTER}/children)"
    whole.within(container, f"kill -{number} {POSTMASTER} {children}")
