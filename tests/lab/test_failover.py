"""Every failure of a primary that the README promises to survive, on real parts, with a ledger."""

from __future__ import annotations

import pytest
from house import CLUSTER, Whole, incarnation, no_longer, stayed

from pgswarm.drill.stage import wait_for

pytestmark = pytest.mark.lab


def test_a_killed_postmaster_is_replaced_and_comes_back_as_a_standby(whole: Whole) -> None:
    before = whole.primary()
    with whole.writing() as writing:
        victim = whole.stage.container(whole.service(before))
        script = "kill -9 $(head -1 /var/lib/pgswarm/pgdata/postmaster.pid)"
        whole.stage.docker("exec", victim.id, "sh", "-c", script, node=victim.node)
        gap = writing.goes_on()
        assert whole.another_primary_than(before)
        whole.stage.wait_healthy(CLUSTER, members=3)
    no_longer(gap, 10)


def test_a_killed_container_is_replaced_and_comes_back_as_a_standby(whole: Whole) -> None:
    before = whole.primary()
    with whole.writing() as writing:
        victim = whole.stage.container(whole.service(before))
        whole.stage.docker("kill", victim.id, node=victim.node)
        gap = writing.goes_on()
        assert whole.another_primary_than(before)
        whole.stage.wait_healthy(CLUSTER, members=3)
    no_longer(gap, 10)


def test_a_primary_scaled_to_zero_by_hand_is_replaced_and_scaled_back(whole: Whole) -> None:
    before = whole.primary()
    with whole.writing() as writing:
        whole.stage.docker("service", "scale", "--detach", f"{whole.service(before)}=0")
        assert whole.another_primary_than(before)
        writing.goes_on()
        status = whole.stage.wait_healthy(CLUSTER, members=3)
    assert {one["name"]: one["state"] for one in status["members"]}[before] == "streaming"


def test_a_removed_service_of_the_primary_is_made_again_over_its_volume(whole: Whole) -> None:
    before = whole.primary()
    with whole.writing() as writing:
        whole.stage.docker("service", "rm", whole.service(before))
        assert whole.another_primary_than(before)
        writing.goes_on()
        whole.stage.wait_healthy(CLUSTER, members=3)


def test_a_node_that_loses_power_with_the_primary_is_survived(whole: Whole) -> None:
    before = whole.primary()
    node = whole.node_of(before)
    with whole.writing() as writing:
        whole.stage.lab("kill", str(node))
        writing.goes_on(within=120)
        assert whole.another_primary_than(before, deadline=120)
        whole.stage.lab("start", str(node))
        whole.stage.wait_healthy(CLUSTER, members=3)


def test_a_node_that_freezes_with_the_primary_is_survived(whole: Whole) -> None:
    before = whole.primary()
    node = whole.node_of(before)
    with whole.writing() as writing:
        whole.stage.lab("freeze", str(node))
        writing.goes_on(within=120)
        assert whole.another_primary_than(before, node=node % len(whole.stage.nodes) + 1)
        whole.stage.lab("thaw", str(node))
        whole.stage.wait_healthy(CLUSTER, members=3, deadline=300)


def test_losing_a_standby_costs_nothing_and_it_is_counted_again_when_back(whole: Whole) -> None:
    before, standby = whole.primary(), whole.standbys()[0]
    with whole.writing() as writing:
        victim = whole.stage.container(whole.service(standby))
        whole.stage.docker("kill", victim.id, node=victim.node)
        gap = writing.goes_on()
        whole.stage.wait_healthy(CLUSTER, members=3)
    stayed(whole, before)
    no_longer(gap, 5)


def test_losing_all_standbys_leaves_the_primary_writing_alone(whole: Whole) -> None:
    before = whole.primary()
    lost = [whole.stage.container(whole.service(name)) for name in whole.standbys()]
    with whole.writing() as writing:
        for one in lost:
            whole.stage.docker("pause", one.id, node=one.node)
        try:
            wait_for(lambda: True if _counted(whole) == 1 else None, "the primary alone in the claim", 60)
            writing.goes_on()
        finally:
            for one in lost:
                whole.stage.docker("unpause", one.id, node=one.node)
        whole.stage.wait_healthy(CLUSTER, members=3)
    stayed(whole, before)


def test_a_standby_whose_log_is_gone_is_seeded_anew_by_itself(whole: Whole) -> None:
    standby = whole.standbys()[0]
    node = whole.node_of(standby)
    whole.stage.write_document(whole.document(parameters=", max_slot_wal_keep_size: 32MB"))
    before = incarnation(whole, standby)
    with whole.writing() as writing:
        whole.stage.lab("cut", str(node))
        writing.goes_on()
        for _ in range(8):
            _sql(whole, "SELECT pg_switch_wal(); CHECKPOINT")
            _sql(whole, "CREATE TABLE bulk AS SELECT repeat('x', 500) FROM generate_series(1, 40000); DROP TABLE bulk")
        whole.stage.lab("heal", str(node))
        whole.stage.wait_healthy(CLUSTER, members=3, deadline=300)
    assert incarnation(whole, standby) != before


def _counted(whole: Whole) -> int:
    return sum(1 for member in whole.status()["members"] if member["counted"])


def _sql(whole: Whole, text: str) -> str:
    """As superuser, on the primary."""
    found = whole.stage.container(whole.service(whole.primary()))
    socket = "$(dirname $(find /var/lib/pgswarm /tmp /run -name '.s.PGSQL.5432' 2>/dev/null | head -1))"
    command = f'psql -qAt -h {socket} -d postgres -c "{text}"'
    return whole.stage.docker("exec", found.id, "sh", "-c", command, node=found.node)
